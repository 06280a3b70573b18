"""Ray, imported with settings that keep it silent.

Use `from search.backends.ray_imports import ray, tune`. Ray reads some of these settings when it is
imported, so they are set here first. Variables that the user has set take precedence.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SETTINGS = {
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # messages of the raylet, which log_to_driver does not stop
    "RAY_enable_metrics_collection": "0",  # there is no dashboard to send metrics to
    "RAY_prestart_worker_first_driver": "0",  # trials get workers of their own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without a GPU sees none
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}

for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

import ray as ray  # noqa: E402, PLC0414
from ray import tune as tune  # noqa: E402, PLC0414


@contextmanager
def replace_attributes(owner: Any, **values: Any) -> Iterator[None]:
    """Replace attributes of a module or class of Ray while the block runs: there is no setting.

    Those that this version of Ray does not have stay away.
    """
    before = {name: getattr(owner, name) for name in values if hasattr(owner, name)}
    for name in before:
        setattr(owner, name, values[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
