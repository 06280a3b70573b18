"""Drivers of iterative attacks: who asks for the next step, and for whom."""

from adv.evaluation.engine.batch_loop import plainly as plainly
from adv.evaluation.engine.continuous_batching import through as through
from adv.evaluation.engine.jobs import Problem as Problem
from adv.evaluation.engine.jobs import Run as Run
from adv.evaluation.engine.jobs import runs as runs
