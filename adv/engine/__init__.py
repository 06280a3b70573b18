"""Drivers of iterative attacks: who asks for the next step, and for whom."""

from adv.engine.plain import plainly as plainly
from adv.engine.queue import Problem as Problem
from adv.engine.queue import Run as Run
from adv.engine.queue import runs as runs
from adv.engine.slots import through as through
