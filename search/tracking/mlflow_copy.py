"""A copy of a search in MLflow: an experiment with a run for the search and one for each trial.

The ledger remains the truth: the copy is written, never read back but for what it holds already.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, final

from search.record.view import View
from search.reporting.csv_tables import hypervolumes
from search.tracking.metric_names import epoch_row
from search.tracking.mlflow_client import open_mlflow
from search.tracking.run_records import (
    RunRecord,
    all_records,
    compute_digest,
    describe_study,
    finite_numbers,
)
from search.tracking.standing import find_standing
from search.tracking.tracker import study_id

KEY, TOLD = "robustune.key", "robustune.told"
_BATCH, _MOST = 900, 50_000  # metrics that are sent at once, and runs that are asked for
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@final
class MlflowCopy:
    """A copy of a search in MLflow, see `background_copy.Copy`.

    Args:
      place: see `open_mlflow`.

    Raises:
      ValueError: MLflow is not installed, or the place cannot be used; the message is one line.
    """

    def __init__(self, place: str) -> None:
        self._entities, self._client, self._artifacts = open_mlflow(place)

    def write(self, view: View) -> None:
        """Make the copy say what the ledger says of the search and of ended trials."""
        study = study_id(view.header)
        experiment = self._client.get_experiment_by_name(study)
        number = experiment.experiment_id if experiment else self._create(study)
        known = self._find_runs(number)
        parent = self._write_study(view, number, study, known.get(study))
        for record in all_records(study, view, find_standing(view, roles=True)):
            if record.ended:
                self._write_run(record, number, parent, known.get(record.key))

    def _create(self, study: str) -> str:
        return str(self._client.create_experiment(study, artifact_location=self._artifacts))

    def _find_runs(self, experiment: str) -> dict[str, Any]:
        """Return the whole runs of an experiment by key; those that were cut off are deleted."""
        found: dict[str, Any] = {}
        for run in self._client.search_runs([experiment], max_results=_MOST):
            if TOLD in run.data.tags:
                found[run.data.tags[KEY]] = run
            elif KEY in run.data.tags:
                self._client.delete_run(run.info.run_id)
        return found

    def _write_study(self, view: View, experiment: str, study: str, run: Any) -> str:
        """Write the run of the whole search, and return its id."""
        area = hypervolumes(view)
        told = compute_digest(area)
        if run is None:
            tags = {KEY: study, "mlflow.note.content": view.header.question}
            name = view.header.name or study
            run = self._client.create_run(experiment, tags=tags, run_name=name)
            self._log(run, describe_study(view.header), ())
        if run.data.tags.get(TOLD) != told:
            rows = [{"epoch": n, "hypervolume": value} for n, value in enumerate(area, 1)]
            self._log(run, {}, rows)
            self._end(run, {TOLD: told}, "FINISHED")
        return str(run.info.run_id)

    def _write_run(self, record: RunRecord, experiment: str, parent: str, run: Any) -> None:
        """Write the run of a trial; of a known one only results and tags can have changed."""
        told = compute_digest([record.summary, record.tags, parent])
        if run is not None and run.data.tags[TOLD] == told:
            return
        epochs = sorted(record.trial.epochs.items())
        if run is None:
            tags = {KEY: record.key, "mlflow.parentRunId": parent, "kind": record.kind}
            run = self._client.create_run(experiment, tags=tags, run_name=record.name)
            self._log(run, record.config, [epoch_row(report) for _, report in epochs])
        self._log(run, {}, [{**record.summary, "epoch": epochs[-1][0] if epochs else 0}])
        words = {k: v for k, v in record.summary.items() if isinstance(v, str)}
        tags = {**words, "tags": ", ".join(record.tags), TOLD: told}
        self._end(run, tags, _STATUS[record.trial.state])

    def _end(self, run: Any, tags: dict[str, str], status: str) -> None:
        """Set tags, the last of which says that all is there, and the status of a run."""
        for name, value in tags.items():
            self._client.set_tag(run.info.run_id, name, value)
        self._client.set_terminated(run.info.run_id, status=status)

    def _log(self, run: Any, params: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
        """Log hyperparameters, and rows of metrics at the step that their `epoch` names."""
        make, now = self._entities, int(1000 * time.time())
        metrics = [
            make.Metric(name, value, now, row["epoch"])
            for row in rows
            for name, value in finite_numbers(row).items()
        ]
        texts = [make.Param(name, str(value)[:500]) for name, value in params.items()]
        self._client.log_batch(run.info.run_id, params=texts)
        for first in range(0, len(metrics), _BATCH):
            self._client.log_batch(run.info.run_id, metrics[first : first + _BATCH])
