"""A damaged state, or a damaged best net, begins the trial anew: with a remark and equal values."""

import io
from dataclasses import replace

import pytest
import torch
from flipped_bits import flip, flip_in_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spaces
from adv import BaseNet, Best, Curriculum, Recipe, load
from adv.checkpoints.checkpoint import save_checkpoint
from search.record.run_files import compute_sha256
from search.record.trial import EpochReport
from search.trials import train_trial
from search.trials.train_trial import Training
from search.trials.trial_state import BEST, STATE, TrialState, load_state, save_state

RECIPE = Recipe(net=BaseNet(), curriculum=Curriculum(eps=0.03, steps=1), epochs=3, batch=32)
REPORT = EpochReport(1, 3, 0.5, {"loss": 0.25})
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def run():
    scale = spaces.scale("laptop", train_images=64, images=8, watch_images=8, gap_images=0)
    return Training("smoke", replace(scale, battery_steps=1), load("digits"))


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """The reports of a trial that nothing has disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "recipe", lambda *_: RECIPE)
        return list(run({}, 3, tmp_path_factory.mktemp("whole")))


@pytest.fixture
def folder(run, whole, monkeypatch, tmp_path):
    """The folder of a trial that was cut off after two epochs."""
    monkeypatch.setattr(Training, "recipe", lambda *_: RECIPE)
    reports = run({}, 3, tmp_path)
    assert [next(reports).epoch for _ in range(2)] == [1, 2]
    reports.close()
    return tmp_path


def assert_equal(reports, whole):
    assert [report.metrics for report in reports] == [report.metrics for report in whole]
    one, other = reports[-1].result, whole[-1].result
    assert (one.objectives, one.details.table) == (other.objectives, other.details.table)
    assert one.details.weights_sha256 == other.details.weights_sha256


@FUZZ
@given(st.data())
def test_a_flipped_bit_of_a_state_is_noticed(tmp_path, data):
    state = TrialState((REPORT,), {"w": torch.arange(8.0)}, Best((0.5, 0.5), 1, 1, 1), None, "odd")
    save_state(tmp_path, state)
    content = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(flip(content, data.draw(st.integers(0, 8 * len(content) - 1))))
    read = load_state(tmp_path)
    if read.reports:  # a flip that only hides the checksum: the state itself is as it was
        assert (read.reports, read.best, read.remark) == (state.reports, state.best, "odd")
        assert read.training is not None and torch.equal(read.training["w"], torch.arange(8.0))
    else:
        assert read.remark == "trained anew, because its state was damaged"


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\nsha256 " + b"0" * 64])
def test_a_state_that_cannot_be_read_is_that_of_a_new_trial(tmp_path, content):
    (tmp_path / STATE).write_bytes(content)
    assert load_state(tmp_path).reports == () and load_state(tmp_path).remark
    assert load_state(tmp_path / "none") == TrialState()


def test_a_state_of_an_earlier_version_is_read(tmp_path):
    buffer = io.BytesIO()
    best = {"rank": (0.5, 0.5), "epoch": 1, "rose": 1, "seen": 1}
    torch.save({"told": [REPORT.to_json()], "training": {}, "best": best}, buffer)
    (tmp_path / STATE).write_bytes(buffer.getvalue())
    assert load_state(tmp_path).reports == (REPORT,)


@pytest.mark.parametrize("bit", [3, 70_001, 2_000_000])
@pytest.mark.parametrize(("file", "named"), [(STATE, "state"), (BEST, "best net")])
def test_a_damaged_file_begins_the_trial_anew(run, whole, folder, file, named, bit):
    flip_in_file(folder / file, bit)
    again = list(run({}, 3, folder))
    assert_equal(again, whole)
    assert again[-1].result.details.remark == f"trained anew, because its {named} was damaged"
    assert compute_sha256(folder / BEST) == again[-1].result.details.weights_sha256


def test_a_missing_best_net_begins_the_trial_anew(run, whole, folder):
    (folder / BEST).unlink()
    assert_equal(list(run({}, 3, folder)), whole)


def test_the_remark_outlives_another_interruption(run, whole, folder):
    flip_in_file(folder / STATE, 99)
    reports = run({}, 3, folder)
    next(reports)
    reports.close()
    again = list(run({}, 3, folder))
    assert_equal(again, whole)
    assert "state was damaged" in again[-1].result.details.remark


def test_a_net_damaged_before_its_scoring_is_not_scored(run, whole, folder):
    reports = run({}, 3, folder)
    told = [next(reports) for _ in range(3)]
    flip_in_file(folder / BEST, 400_000)
    rest = list(reports)
    assert [report.epoch for report in rest] == [1, 2, 3, 3]
    assert_equal(rest, whole)
    assert [report.metrics for report in told] == [report.metrics for report in whole[:3]]


def test_a_better_net_without_its_state_is_no_damage(run, whole, monkeypatch, tmp_path):
    """A driver may be killed between the two files."""
    monkeypatch.setattr(Training, "recipe", lambda *_: RECIPE)

    def save_then_die(path, net, metadata):
        save_checkpoint(path, net, metadata)
        if metadata["epoch"] > 1:
            raise KeyboardInterrupt
        return compute_sha256(path)

    with monkeypatch.context() as patch:
        patch.setattr(train_trial, "save_checkpoint", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            list(run({}, 3, tmp_path))
    state = load_state(tmp_path)
    assert state.reports and not state.remark
    again = list(run({}, 3, tmp_path))
    assert_equal(again, whole)
    assert again[-1].result.details.remark is None
