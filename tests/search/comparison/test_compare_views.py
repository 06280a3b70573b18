"""Comparing runs: hypervolumes and differences by hand, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from synthetic_studies import EPS, events, final_events, header

from adv.evaluation.image_table import pack
from adv.intervals import paired_interval
from search.comparison.compare_views import Difference, compare_views
from search.comparison.comparison_terminal import describe, describe_basis, sentences
from search.record.view import View

N = 200


def table(*standing: int) -> dict[str, Any]:
    """Return a table in which the first so many of N images are right, row by row."""
    ok = np.arange(N) < np.array(standing)[:, None]
    return {
        "names": [f"a{eps:.3f}" for eps in EPS],
        "eps": list(EPS),
        "images": N,
        "votes": 1,
        "draws": 1,
        "ok": pack(ok),
    }


def run(tables: Sequence[dict[str, Any]], rows: Sequence[Sequence[int]], **head: Any) -> View:
    """Return a search in which trial i has the i-th table, whose rows hold so many right images."""
    view = View()
    for event in events(len(tables), 0, 1, header(trials=len(tables), **head)):
        if event["event"] == "finished":
            right = rows[event["trial"]]
            event["objectives"] = {
                "natural_accuracy": right[0] / N,
                "attacked_score": 100 * sum(right[1:]) / N,
            }
            event["intervals"] = {}
            event["details"] = {"table": tables[event["trial"]]}
        view.apply(event)
    return view


def search(*rows: Sequence[int], **head: Any) -> View:
    """Return a search of one trial for each row of counts of right images."""
    return run([table(*row) for row in rows], rows, **head)


STRONG = search((200, 160, 120, 80, 40), (180, 170, 130, 90, 50))
WEAK = search((150, 80, 60, 40, 20))


def test_hypervolumes_by_hand():
    """Rectangles of natural accuracy and mean attacked accuracy above (0, 0)."""
    found = compare_views({"strong": STRONG, "weak": WEAK})
    (strong, _), (weak, _) = found.hypervolumes
    assert strong == pytest.approx(0.9 * 0.55 + 0.1 * 0.5)
    assert weak == pytest.approx(0.75 * 0.25)
    assert found.joint == ((True, True), (False,))
    volume = found.differences[0][0]
    assert volume.value == pytest.approx(weak - strong) and volume.told_apart
    said = sentences(found)
    assert said[0].startswith("The joint front (*) holds 2 nets of strong, 0 nets of weak")
    assert said[1].startswith("strong is ahead in hypervolume: by +0.3575 (")


def test_the_interval_of_a_hypervolume_is_that_of_a_share():
    """A net that is always right without an attack: its hypervolume is a share of 200 images."""
    even = search((200, 100, 100, 100, 100))
    found = compare_views({"a": even, "b": even})
    value, interval = found.hypervolumes[0]
    half = 1.96 * (0.5 * 0.5 / N) ** 0.5
    assert value == 0.5
    assert interval == pytest.approx((0.5 - half, 0.5 + half), abs=0.1 * half)


def test_a_search_cannot_be_told_from_itself_and_its_images_are_drawn_alike():
    found = compare_views({"a": STRONG, "b": STRONG})
    volume, *nets = found.differences[0]
    assert volume.interval == (0, 0) and not volume.told_apart
    assert not any(one.told_apart for one in nets)
    assert all("cannot be told apart" in sentence for sentence in sentences(found)[1:])


def test_nets_are_compared_image_by_image():
    """Best in accuracy: 50 images lost of 200. One that is best in both is shown once."""
    _, *nets = compare_views({"weak": WEAK, "strong": STRONG}).differences[0]
    natural, score = nets[:2]
    assert natural.of == "best in natural accuracy: trials 0 and 0"
    assert natural.interval == pytest.approx(paired_interval(50, 50, N))
    assert score.value == pytest.approx(100 * (400 - 200) / N)
    assert len(nets) == 4
    alone = compare_views({"weak": WEAK, "copy": WEAK}).differences[0]
    assert [one.figure for one in alone] == ["hypervolume", "natural_accuracy", "attacked_score"]


def test_runs_without_verdicts_of_images_have_no_intervals():
    old = View()
    for event in events(3, 0):
        old.apply(event)
    found = compare_views({"a": old, "b": old})
    assert found.hypervolumes[0][1] is None
    assert not any(one.told_apart for one in found.differences[0])
    assert sentences(found)[1].endswith("interval not known.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "cifar10"}, r"differ in their data \(digits; cifar10\)"),
        ({"data_fingerprint": "1"}, "differ in their images or labels"),
        ({"objectives": ["worst_case", "natural_accuracy"]}, "differ in their objectives"),
        ({"scale": {"score": "margin"}}, r"differ in their score \(report; margin\)"),
        ({"battery": [{"name": "pgd", "eps": 0.1}]}, "differ in their attacks"),
        ({"scale": {"images": 10}}, "differ in their number of images"),
        ({"shape": [1, 8, 8]}, "differ in their image shape"),
    ],
)
def test_runs_of_other_figures_are_refused_in_one_line(change, said):
    view = View()
    view.apply(header(**change))
    with pytest.raises(ValueError, match=f"strong and other cannot be compared: they {said}") as no:
        compare_views({"strong": STRONG, "other": view})
    assert "\n" not in str(no.value)


def test_a_run_without_a_trial_is_refused():
    view = View()
    view.apply(header())
    with pytest.raises(ValueError, match="empty has no finished trial"):
        compare_views({"strong": STRONG, "empty": view})


def with_finals() -> View:
    view = View()
    for event in (*events(3, 0), *final_events((0, 1, 0, 1, 0))):
        view.apply(event)
    return view


def test_finals_are_compared_where_all_runs_have_them():
    """Seeds are independent, so a run of the same scores may have been better or worse."""
    found = compare_views({"a": with_finals(), "b": with_finals()})
    assert found.finals and "seeds" in found.method
    views = {"a": with_finals(), "b": with_finals()}
    said = describe_basis(found, views)
    assert said.startswith("The fronts that the finals report, on 500 test images.")
    assert "left out" not in said
    volume = found.differences[0][0]
    assert volume.value == 0 and volume.interval is not None
    assert volume.interval[0] < 0 < volume.interval[1]
    searched = View()
    for event in events(3, 0):
        searched.apply(event)
    mixed = compare_views({"a": with_finals(), "b": searched})
    assert not mixed.finals and "images" in mixed.method


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.01, 0.03), "b is ahead in natural accuracy (best): by +2.0 points (+1.0 points to"),
        ((-0.01, 0.05), "a and b cannot be told apart in natural accuracy (best): -1.0 points to"),
        (None, "a and b, natural accuracy (best): +2.0 points apart, interval not known."),
    ],
)
def test_a_difference_is_named_where_its_interval_excludes_zero(interval, said):
    assert describe(Difference("best", "natural_accuracy", 0.02, interval), "a", "b").startswith(
        said
    )
    if interval and interval[0] > 0:
        turned = Difference("best", "natural_accuracy", -0.02, (-interval[1], -interval[0]))
        assert describe(turned, "a", "b").startswith(
            "a is ahead in natural accuracy (best): by +2.0"
        )
