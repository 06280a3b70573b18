"""Copies in MLflow and for TensorBoard say what the ledger says, however often they are written."""

from importlib import import_module
from typing import Any

import pytest
from synthetic_studies import events, final_events, stopped_events

from search.record.view import View
from search.reporting.csv_tables import hypervolumes
from search.tracking.background_copy import BackgroundCopy
from search.tracking.copies import open_copies
from search.tracking.mlflow_client import open_mlflow
from search.tracking.run_records import all_records
from search.tracking.standing import find_standing
from search.tracking.tracker import study_id

EVENTS = [*events(6, 1, epochs=3), *stopped_events(6), *final_events()]
pytestmark = [  # of SQLAlchemy and of protobuf, to the authors of MLflow and TensorBoard
    pytest.mark.filterwarnings("ignore:.*noload.*"),
]


def view_after(count):
    view = View()
    for event in EVENTS[:count]:
        view.apply(event)
    return view


def records_of(view):
    return list(all_records(study_id(view.header), view, find_standing(view, roles=True)))


class Mlflow:
    """MLflow in a folder, read back."""

    def __init__(self, folder):
        pytest.importorskip("mlflow", exc_type=ImportError)
        self.folder = folder
        (copy,) = open_copies(str(folder), None).values()
        self.copy: Any = copy

    def read(self, view):
        client = self.copy._client
        experiment = client.get_experiment_by_name(study_id(view.header))
        runs = client.search_runs([experiment.experiment_id])
        self.parents = {r.data.tags.get("mlflow.parentRunId") for r in runs}
        found = {}
        for run in runs:
            history = client.get_metric_history(run.info.run_id, "validation/attacked_accuracy")
            key = run.data.tags["robustune.key"]
            assert key not in found
            curve = {point.step: point.value for point in history}
            found[key] = (run.data.params, run.data.metrics, run.data.tags, curve, len(history))
        return found

    def check(self, view):
        found = self.read(view)
        study = study_id(view.header)
        assert found[study][1]["hypervolume"] == pytest.approx(hypervolumes(view)[-1])
        ended = [record for record in records_of(view) if record.ended]
        assert set(found) == {study, *(record.key for record in ended)}
        assert len(self.parents - {None}) == 1
        for record in ended:
            params, metrics, tags, curve, points = found[record.key]
            assert params == {name: str(value) for name, value in record.config.items()}
            assert (tags["state"], tags["tags"]) == (record.trial.state, ", ".join(record.tags))
            epochs = record.trial.epochs
            assert curve == {n: r.metrics["watched_robust"] for n, r in epochs.items()}
            assert points == len(epochs)
            for name, value in record.summary.items():
                if isinstance(value, float):
                    assert metrics[name] == pytest.approx(value)


class Tensorboard:
    """A folder for TensorBoard, read back."""

    def __init__(self, folder):
        pytest.importorskip("tensorboard", exc_type=ImportError)
        self.folder = folder
        (self.copy,) = open_copies(None, folder).values()

    def check(self, view):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        folder = self.folder / study_id(view.header)
        ended = {r.name.replace(" ", "-"): r for r in records_of(view) if r.ended}
        assert {path.name for path in folder.iterdir() if path.is_dir()} == {"search", *ended}
        held = EventAccumulator(str(folder / "search")).Reload()
        area = [point.value for point in held.Scalars("hypervolume")]
        assert area == pytest.approx(hypervolumes(view))
        for name, record in ended.items():
            held = EventAccumulator(str(folder / name)).Reload()
            curve = {p.step: p.value for p in held.Scalars("validation/attacked_accuracy")}
            epochs = record.trial.epochs
            assert curve == pytest.approx(
                {n: r.metrics["watched_robust"] for n, r in epochs.items()}
            )
            plain = held.summary_metadata["_hparams_/session_start_info"].plugin_data.content
            assert b"model_family" in plain and record.config["space"].encode() in plain
            for metric in ("natural_accuracy", "final/natural_accuracy"):
                if metric in record.summary:
                    (point,) = held.Scalars(metric)
                    assert point.value == pytest.approx(record.summary[metric])


@pytest.fixture(params=[Mlflow, Tensorboard])
def tracker(request, tmp_path):
    return request.param(tmp_path / "copy")


def test_the_copy_says_what_the_ledger_says_at_each_time(tracker):
    for count in (len(EVENTS) // 3, len(EVENTS), len(EVENTS)):
        view = view_after(count)
        tracker.copy.write(view)
        tracker.check(view)


def test_a_tracker_that_fails_costs_one_line(tmp_path):
    class Broken:
        def write(self, view):
            raise RuntimeError("no\nluck")

    said: list[str] = []
    reader = BackgroundCopy("MLflow", Broken(), said.append, every=0)
    view = View()
    for event in (*EVENTS, {"event": "end", "time": 1_700_002_000.0, "reason": "done", "code": 0}):
        view.apply(event)
        reader(event, view)
    reader.close()
    assert said == ["MLflow is off: RuntimeError: no luck"]


def test_the_last_state_is_written_at_the_end_of_a_session():
    class Kept:
        def write(self, view):
            seen.append(len(view.trials))

    seen: list[int] = []
    view = View()
    reader = BackgroundCopy("MLflow", Kept(), print, every=1e9)
    for event in (*EVENTS, {"event": "end", "time": 1_700_002_000.0, "reason": "done", "code": 0}):
        view.apply(event)
        reader(event, view)
    reader.close()
    assert seen == [1, 8]  # after the first trial, then not before the end


def test_a_place_that_cannot_be_used_is_one_line():
    pytest.importorskip("mlflow", exc_type=ImportError)
    with pytest.raises(ValueError, match=r"--mlflow ftp://[*]") as caught:
        open_copies("ftp://me:secret1@host/x", None)
    assert "\n" not in str(caught.value) and "secret1" not in str(caught.value)


def test_ipython_is_imported_before_threads_would_do_it(tmp_path, monkeypatch):
    """Matplotlib fails if it meets it half imported, and with it the report."""
    mlflow = pytest.importorskip("mlflow", exc_type=ImportError)
    pytest.importorskip("IPython")
    imported: list[str] = []

    def note(name):
        imported.append(name)
        return import_module(name)

    monkeypatch.setattr("importlib.import_module", note)
    monkeypatch.setattr(mlflow, "MlflowClient", lambda **_: [*imported])
    _, before, _ = open_mlflow(str(tmp_path))
    assert "IPython" in before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    pytest.importorskip("tensorboard", exc_type=ImportError)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"--tensorboard .*file/tb: Not a directory"):
        open_copies(None, tmp_path / "file" / "tb")
