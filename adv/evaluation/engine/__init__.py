"""The loops that run attacks on batches of images: one batch at a time, or continuously."""

from adv.evaluation.engine.batch_loop import run_batch as run_batch
from adv.evaluation.engine.continuous_batching import run_continuous as run_continuous
from adv.evaluation.engine.jobs import AttackRun as AttackRun
from adv.evaluation.engine.jobs import EvaluationJob as EvaluationJob
from adv.evaluation.engine.jobs import group_runs as group_runs
