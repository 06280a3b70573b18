"""The time left, by replay of simulated searches whose true end is known."""

import random
from typing import Any

import pytest
from synthetic_studies import header

from search.record.view import View
from search.reporting.time_left import (
    describe_time_left,
    estimate_final_scoring,
    estimate_time_left,
    measure_start,
)

SCALE = {"images": 300, "test_images": 360, "battery_steps": 10, "strong_steps": 10}
SCALE |= {"strong_queries": 100}


def simulate(
    trials: int,
    slots: int,
    finals: int,
    factor: float = 3.0,
    gap: float = 0.0,
    epoch: float = 10.0,
):
    """Return the events of a search with so many workers; a final is scored `factor` times as long.

    Args:
      gap: seconds between two sessions, half-way.
      epoch: seconds of an epoch; a trial is scored for 20.
    """
    rng = random.Random(0)
    heap: list[Any] = []
    begun = [("study", 0.0, header(trials=trials, scale=SCALE))]
    free = [5.0] * slots  # the workers start for 5 s
    for number in range(trials):
        slot = min(range(slots), key=free.__getitem__)
        free[slot] = _run(heap, number, free[slot], rng, 1.0, epoch, final=False)
    end = max(free)
    heap.append((end, "finals", {"trials": [0], "trainings": finals, "battery": "b"}))
    free = [end + 5.0] * slots  # and so do those of the finals
    for number in range(finals):
        slot = min(range(slots), key=free.__getitem__)
        free[slot] = _run(heap, number, free[slot], rng, factor, epoch, final=True)
    heap.sort(key=lambda item: item[0])
    found = [begun[0][2], {"event": "session", "time": 0.0}]
    half, shift = heap[len(heap) // 3][0], 0.0
    for time, kind, content in heap:
        if gap and not shift and time > half:
            shift = gap
            found.append({"event": "session", "time": time + gap})
        found.append({"event": kind, "time": time + shift, **content})
    return found


def _run(heap, number, start, rng, factor, epoch_seconds, *, final):
    """Add the events of a trial, or of a final training; return when it ends."""
    pace, parts = rng.uniform(0.7, 1.3), []
    origin = {"params": {}, "seed": number, "origin": "0" if final else "sobol"}
    parts.append((start, {"event": "proposed", "trial": number, **origin}))
    now = start
    for epoch in range(1, 7):
        now += epoch_seconds * pace
        report = {"epoch": epoch, "epochs": 6, "seconds": epoch_seconds * pace, "metrics": {}}
        parts.append((now, {"event": "epoch", "trial": number, **report}))
    scoring = 20 * pace * factor
    now += scoring
    made = {"objectives": {"natural_accuracy": 0.5, "attacked_score": 9.0}, "intervals": {}}
    details = {"details": {"evaluate_seconds": scoring, "battery": "b"}}
    parts.append((now, {"event": "finished", "trial": number, **made, **details}))
    for time, part in parts:
        kind, rest = part["event"], {k: v for k, v in part.items() if k != "event"}
        heap.append((time, "final", {"part": part}) if final else (time, kind, rest))
    return now


@pytest.mark.parametrize("gap", [0.0, 3600.0])
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("finals", [0, 8])
@pytest.mark.parametrize("epoch", [0.5, 10.0])
def test_after_the_first_quarter_it_is_not_off_by_a_factor_of_two(slots, finals, gap, epoch):
    """Also where scoring takes most of a trial: the attacks of finals take more than its own."""
    every = simulate(16, slots, finals, gap=gap, epoch=epoch)
    whole = View()
    for event in every:
        whole.apply(event)
    end, view, checked = whole.elapsed, View(), 0
    for event in every:
        view.apply(event)
        left, true = estimate_time_left(view, 16, finals), end - view.elapsed
        if 0.25 * end < view.elapsed < 0.97 * end:
            checked += 1
            assert left is not None and true / 2 < left + 5 and left < 2 * true + 15, (
                event["event"],
                view.elapsed / end,
                left,
                true,
            )
    assert checked > 40


def test_right_after_a_resume_it_is_known():
    """21 minutes were shown where 6 were left, because the session had done little yet."""
    view = View()
    for event in simulate(16, 1, 0):
        if event["event"] != "study" and event["time"] > 640:
            break
        view.apply(event)
    before = estimate_time_left(view, 16, 0)
    view.apply({"event": "session", "time": 1e6})
    view.apply({"event": "started", "time": 1e6 + 1, "trial": max(view.trials)})
    after = estimate_time_left(view, 16, 0)
    assert before is not None and after == pytest.approx(before, rel=0.2)


def test_the_workers_of_the_finals_start_too():
    """It said "about 0:00 left" for a third of a short search."""
    view, every = View(), simulate(4, 2, 1)
    place = [event["event"] for event in every].index("finals")
    first = next(n for n in range(place, len(every)) if every[n].get("part", {}).get("epoch"))
    for event in every[:first]:
        view.apply(event)
    waiting = estimate_time_left(view, 4, 1)
    view.apply(every[first])  # its first epoch: the worker has started
    assert waiting is not None
    training = estimate_time_left(view, 4, 1)
    assert training is not None and waiting - training > 5.0
    assert measure_start(view, list(view.trials.values())) == pytest.approx(5.0)
    assert describe_time_left(view, 4, 1, since=training + 1) == "longer than estimated"


def test_finals_of_nets_that_withstand_more_take_longer():
    """Attacks after the first meet what stands, in one of the balls."""
    factors = []
    for accuracy in (0.2, 0.8):
        view = View()
        for event in simulate(4, 1, 0):
            if event["event"] == "finished":
                curve = [[eps, accuracy, accuracy, accuracy] for eps in (0.03, 0.1)]
                event = {**event, "details": {**event["details"], "curve": curve}}
            view.apply(event)
        factors.append(estimate_final_scoring(view))
    more = 1.9 * (3 * 10 * 9 + 100) / (3 * 10 * len(view.header.battery))
    expected = [0.7 + 0.4 * 1.2 * (2 + accuracy * more) for accuracy in (0.2, 0.8)]
    assert factors == pytest.approx(expected)


def test_before_anything_was_measured_it_is_not_known():
    view = View()
    view.apply(header(trials=4))
    assert estimate_time_left(view, 4, 0) is None


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "about "),
        ({"budget": 1e6}, "about "),
        ({"budget": 700.0}, "0:57 left of the budget"),
        ({"budget": 640.0}, "0:00 left of the budget"),
        ({"until_gain": 0.01}, "at most about "),
        ({"until_gain": 0.01, "budget": 700.0}, "0:57 left of the budget"),
    ],
)
def test_limits_that_end_a_search_are_in_the_time_left(limits, words):
    view = View()
    for event in simulate(16, 1, 8):
        if event["event"] != "study" and event["time"] > 645:
            break
        view.apply({**event, **limits} if event["event"] == "session" else event)
    assert 640 < view.elapsed < 645
    left = estimate_time_left(view, 16, 8)
    assert left is not None and left > 100
    said = describe_time_left(view, 16, 8, since=700 - 57 - view.elapsed)
    assert said.startswith(words) and said.endswith((" left", " left of the budget"))


def test_a_budget_is_known_before_any_trial_has_ended():
    view = View()
    view.apply(header(trials=4))
    assert describe_time_left(view, 4, 0) == "time left not known yet"
    view.apply({"event": "session", "time": 0.0, "budget": 90.0})
    assert describe_time_left(view, 4, 0, since=30.0) == "1:00 left of the budget"
