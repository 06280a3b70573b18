"""Save the W&B view and report of a run that exists, from its ledger."""

from __future__ import annotations

import importlib
from pathlib import Path

from adv.shell import quote
from adv.terminal.console import open_console
from search.errors import describe_error
from search.interrupt import Interrupt
from search.record.ledger import read
from search.record.run_folder import LEDGER
from search.session.options import Options
from search.tracking.tracker import study_id
from search.tracking.wandb_environment import DEFAULT_PROJECT
from search.tracking.wandb_login import find_login_problem, resolve_mode
from search.tracking.wandb_save import save_views
from search.tracking.wandb_sections import load_classes
from search.tracking.wandb_view import Place


def save_wandb_views(folder: Path, options: Options, interrupt: Interrupt) -> int:
    """Save the view and the report of a run, and print their addresses.

    Args:
      folder: of the run.
      options: project and entity of W&B.
      interrupt: ends the command before anything is saved.

    Returns:
      The exit status, 0.

    Raises:
      ValueError: the ledger cannot be read, there is no login, or W&B refuses.
    """
    view = read(folder / LEDGER)
    mode, why = resolve_mode("auto")
    if mode != "online":
        raise ValueError(
            f"--wandb-report saves in W&B, which needs a login: {why} Run wandb login, or set "
            "WANDB_API_KEY"
        )
    load_classes()
    wandb = importlib.import_module("wandb")
    wandb.setup(wandb.Settings(silent=True))
    if problem := find_login_problem(wandb):
        raise ValueError(f"--wandb-report saves in W&B, which needs a login: {problem}")
    interrupt.check()
    try:
        entity = options.wandb_entity or wandb.Api().default_entity
        project = options.wandb_project or DEFAULT_PROJECT
        place = Place(entity, project, study_id(view.header))
        addresses = save_views(view, place, folder)
    except Exception as error:  # W&B may raise anything
        reason = describe_error(error, limit=200)
        raise ValueError(f"--wandb-report {quote(folder)}: W&B refused it: {reason}") from None
    console = open_console()
    for name, address in zip(("view", "report"), addresses, strict=True):
        console.print(f"{name:<8} {address}", markup=False, soft_wrap=True)
    return 0
