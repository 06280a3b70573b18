"""A copy of a search for TensorBoard: a folder for the search and one for each trial.

The ledger remains the truth: the copy is written, never read back.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, final

from adv.files import write_atomic
from search.record.view import View
from search.reporting.csv_tables import hypervolumes
from search.tracking.metric_names import epoch_row
from search.tracking.run_records import (
    RunRecord,
    all_records,
    compute_digest,
    finite_numbers,
)
from search.tracking.standing import find_standing
from search.tracking.tracker import study_id

TOLD = "copied.json"  # what each folder holds, as digests


@final
class TensorboardCopy:
    """A copy of a search for TensorBoard, see `background_copy.Copy`.

    Args:
      folder: of all searches; `tensorboard --logdir FOLDER` shows it.

    Raises:
      ValueError: TensorBoard is not installed, or the folder cannot be made; in one line.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._new_writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError:
            raise ValueError(
                "--tensorboard needs the package tensorboard: pip install tensorboard"
            ) from None
        self._folder = folder.absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--tensorboard {folder}: {error.strerror or error}") from None

    def write(self, view: View) -> None:
        """Make the copy say what the ledger says of the search and of ended trials."""
        study = study_id(view.header)
        folder = self._folder / study
        folder.mkdir(parents=True, exist_ok=True)
        told = _read_told(folder / TOLD)
        area = hypervolumes(view)
        rows = [{"epoch": n, "hypervolume": value} for n, value in enumerate(area, 1)]
        if told.get("search") != compute_digest(rows):
            self._write_run(folder / "search", rows, {}, {})
            told["search"] = compute_digest(rows)
        for record in all_records(study, view, find_standing(view, roles=True)):
            digest = compute_digest([record.config, record.summary, record.tags])
            name = record.name.replace(" ", "-")
            if record.ended and told.get(name) != digest:
                self._write_record(folder / name, record)
                told[name] = digest
        write_atomic(folder / TOLD, json.dumps(told) + "\n")

    def _write_record(self, folder: Path, record: RunRecord) -> None:
        rows = [epoch_row(report) for _, report in sorted(record.trial.epochs.items())]
        words = {**record.config, "tags": ", ".join(record.tags), "state": record.trial.state}
        self._write_run(folder, rows, words, record.summary)

    def _write_run(
        self,
        folder: Path,
        rows: Iterable[dict[str, Any]],
        config: dict[str, Any],
        summary: dict[str, Any],
    ) -> None:
        """Write a folder anew: curves over epochs, and the hyperparameters with the results."""
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        with closing(self._new_writer(str(folder))) as writer:
            for row in rows:
                for name, value in finite_numbers(row).items():
                    writer.add_scalar(name, value, row["epoch"])
            if config:
                writer.add_hparams(config, finite_numbers(summary), run_name=".")


def _read_told(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
    return {}
