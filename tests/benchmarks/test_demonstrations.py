"""The tables of the truth, what a verdict is compared with, and the picture of a front."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import demonstrations
import front_picture
import numpy as np
import pytest
import truth
from synthetic_studies import build, final_events
from waiting import is_running, wait_until

import spaces
from search.finals.standings import compute_standings
from search.finals.verdict import Difference, Verdict
from spaces import Float, Space

LINE = Space(
    "A line?",
    {"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)},
    lambda **_: pytest.fail("no recipe is needed"),
)


def write_table(folder, score):
    """Write two trainings of each corner of the unit square, 0.01 and 6 apart."""
    lines = ["x,y,seed,natural,attacked,images,judge"]
    for x, y in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        natural, attacked = score(x, y)
        for seed, sign in enumerate((-1, 1)):
            values = f"{natural + sign * 0.005:.4f},{attacked + sign * 3:.1f}"
            lines.append(f"{x},{y},{seed},{values},757,b1")
    (folder / "line.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrations, "FOLDER", tmp_path)
    monkeypatch.setattr(spaces, "load", lambda _: LINE)

    def make(score):
        write_table(tmp_path, score)
        return demonstrations.Truth("line")

    return make


def test_between_points_the_truth_is_linear(table):
    found = table(lambda x, y: (0.9 - 0.1 * x, 300 + 100 * x - 50 * y))
    assert found({"x": 0.25, "y": 0.5}) == pytest.approx([0.875, 300])
    assert (found.kind, found.trainings) == ("trade-off", 8)


def test_there_is_no_trade_off_if_one_point_is_within_the_margin_of_the_best(table):
    assert table(lambda x, y: (0.9 - 0.024 * x, 300 + 100 * x)).kind == "no trade-off"
    assert table(lambda x, y: (0.9 - 0.026 * x, 300 + 100 * x)).kind == "trade-off"


def test_a_verdict_is_right_if_the_truth_says_so_too(table):
    view = build(2, 0)
    view.trials[0].params, view.trials[1].params = {"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 0.0}
    trade = Verdict("trade-off", trade=Difference(0, 1, (0.1, -90), ((0, 0), (0, 0))))
    falling = table(lambda x, y: (0.9 - 0.1 * x, 300 + 100 * x))
    assert demonstrations.is_right(trade, view, falling)
    wrong = Verdict("trade-off", trade=Difference(1, 0, (0.1, -90), ((0, 0), (0, 0))))
    assert not demonstrations.is_right(wrong, view, falling)
    assert not demonstrations.is_right(Verdict("no trade-off", best=1), view, falling)
    assert not demonstrations.is_right(Verdict("undecided"), view, falling)
    rising = table(lambda x, y: (0.8 + 0.1 * x, 300 + 100 * x))
    assert demonstrations.is_right(Verdict("no trade-off", best=1), view, rising)
    assert not demonstrations.is_right(Verdict("no trade-off", best=0), view, rising)


def test_means_have_the_standard_error_over_seeds(tmp_path):
    write_table(tmp_path, lambda x, y: (0.9, 300))
    groups = truth.group_rows(truth.read_rows(tmp_path / "line.csv"), ["x", "y"])
    assert len(groups) == 4
    error = 0.005 * 2**0.5 / 2**0.5  # sd 0.00707 of two values, divided by the root of two
    assert truth._describe(groups["0.0", "0.0"]) == (f"90.0 ± {100 * error:.1f} %", "300 ± 3")


def test_a_grid_has_each_combination_once():
    points = truth.grid("rse_sigmas")
    assert len(points) == len({tuple(p.values()) for p in points}) == 25
    points = truth.grid("tradeoff")
    assert points[0] == {"fraction": 0.0}  # whose radius does not exist
    assert len(points) == 1 + 3 * 4 and truth.name_point(points[0], ["fraction", "eps"]) == (
        "0.0",
        "",
    )
    with pytest.raises(ValueError, match="is no grid: add its values"):
        truth.grid("optimizer")


def test_processes_that_train_end_with_the_command_that_is_killed():
    code = (
        "import os, sys, truth\n"
        "if __name__ == '__main__':\n"
        "    print(truth.make_pool(1).submit(os.getpid).result(), flush=True)\n"
        "    sys.stdin.read()"
    )
    place = Path(truth.__file__).parent
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=place, stdin=pipe, stdout=pipe, text=True
    ) as command:
        assert command.stdout is not None
        worker = int(command.stdout.readline())
        assert is_running(worker)
        command.kill()
    wait_until(lambda: not is_running(worker))


def test_the_picture_holds_every_trial_and_every_finalist():
    view = build(8, 0)
    for event in final_events():
        view.apply(event)
    trials = [trial.result.point for trial in view.scored() if trial.result]
    finalists = [f for f in compute_standings(view) if f.runs]
    root = ET.fromstring(front_picture.draw(trials, finalists))
    circles = [e for e in root if e.tag.endswith("circle")]
    assert len(circles) == len(trials) + len(finalists)
    ends = [float(e.attrib["cx"]) for e in circles] + [float(e.attrib["cy"]) for e in circles]
    assert np.isfinite(ends).all() and min(ends) >= 0 and max(ends) <= front_picture.WIDTH
