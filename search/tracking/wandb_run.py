"""One W&B run: how it is started, and its tags."""

from __future__ import annotations

from typing import Any

from search.tracking.run_records import STATE_TAGS
from search.tracking.wandb_environment import hide_run_variables


def start_run(wandb: Any, **about: Any) -> Any:
    """Return a new run, or that of an earlier session if it has the same id.

    Args:
      wandb: the module.
      about: further arguments of `wandb.init`, such as `id`, `name` and `config`.
    """
    settings = wandb.Settings(
        silent=True,
        console="off",
        x_disable_stats=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        init_timeout=30,
        stop_fn=lambda: None,  # by default a click in W&B interrupts this process
        x_transaction_log_flush_interval=1,
    )
    with hide_run_variables():
        return wandb.init(resume="allow", reinit="create_new", settings=settings, **about)


def set_tags(run: Any, tags: tuple[str, ...]) -> None:
    """Give a run its tags beside those of the user; take back those that hold no more."""
    kept = [tag for tag in run.tags or () if tag not in STATE_TAGS]
    merged = tuple(dict.fromkeys((*kept, *tags)))
    if merged != tuple(run.tags or ()):
        run.tags = merged
