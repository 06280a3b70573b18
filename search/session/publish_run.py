"""Log a run that exists to Weights & Biases, from its ledger."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rich.markup import escape

from adv.shell import name_program, quote
from adv.terminal.console import open_console, print_error
from search.formatting import count
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.record.run_folder import LEDGER
from search.session.options import Options
from search.tracking.tracker import Tracker
from search.tracking.wandb_environment import DEFAULT_PROJECT
from search.tracking.wandb_login import resolve_mode


def publish_run(folder: Path, options: Options, interrupt: Interrupt) -> int:
    """Log whatever of a run differs from what W&B has been told, and print where it is.

    Args:
      folder: of the run; no search may be running in it.
      options: mode, project and entity of W&B.
      interrupt: ends the wait for uploads.

    Returns:
      The exit status: 0 done; 1 W&B does not work.

    Raises:
      ValueError: the ledger cannot be read, or W&B is off.
    """
    console, said = open_console(), list[str]()
    mode, why = resolve_mode(options.wandb)
    if mode == "off":
        raise ValueError(f"--publish logs to W&B: {why} Choose --wandb online or offline")
    with closing(Ledger(folder / LEDGER)) as ledger:
        view = ledger.view
        place = options.wandb_project or DEFAULT_PROJECT, options.wandb_entity
        tracker = Tracker(folder, view.header, mode, *place, say=said.append)
        tracker.set_latest(view)
        interrupt.check()
        tracker.close(timeout=None, nets=True)
    for line in said:
        console.print(escape(line))
    if not (where := tracker.describe_location()):
        print_error(name_program(), f"{quote(folder)} was not published")
        return 1
    if not tracker.has_logged:
        console.print(f"{quote(folder)} has not changed since it was logged: {where}", markup=False)
        return 0
    trials = count(len(view.trials), "trial")
    console.print(f"Logged {trials} of {quote(folder)} to W&B: {where}", markup=False)
    return 0
