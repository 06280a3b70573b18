"""A run has one front, three recommended nets, and a caveat where its nets cannot be told apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_studies import build, final_events, make_view

from search.finals.standings import compute_standings
from search.outcome.commands import make_commands
from search.outcome.front import find_front
from search.outcome.front_member import choose_typical_run
from search.outcome.marks import find_marks, list_marks
from search.outcome.outcome import find_outcome
from search.outcome.roles import assign_roles, find_knee, name_roles
from search.record.trial import EpochReport, Trial
from search.record.trial_result import ResultDetails, TrialResult
from search.record.view import View
from spaces import FIGURES

RUN = Path("runs/x")
NAMES = ("natural_accuracy", "attacked_score")


def with_finals(view: View, numbers: tuple[int, ...] = (0, 1, 0)) -> View:
    for event in final_events(numbers):
        view.apply(event)
    return view


def test_without_finals_the_front_is_the_one_of_the_search():
    view = build(16, 3)
    front = find_front(view)
    assert front.source == "search" and front.numbers == [t.number for t in view.front()]
    assert front.describe().startswith("The front of the search")
    member, trial = front.members[0], view.front()[0]
    assert trial.result and member.objectives == {n: trial.result.objectives[n] for n in NAMES}
    assert member.intervals == trial.result.intervals and member.point == trial.result.point
    assert member.measured == "search" and member.net is trial and not member.is_final
    assert str(member.file) == f"front/{trial.name}.safetensors"


def test_with_finals_the_front_is_the_reported_one():
    view = with_finals(build(16, 3))
    front, standings = find_front(view), compute_standings(view)
    reported = [f for f in standings if f.on_front]
    assert front.source == "finals" and sorted(front.numbers) == sorted(
        f.trial.number for f in reported
    )
    for f in reported:
        member = front.find(f.trial.number)
        assert member and member.point == pytest.approx(f.mean) and member.p_front == f.p_front
        assert member.intervals[NAMES[0]] == f.intervals[0]
        assert member.is_final == bool(f.runs) == (member.measured == "fresh seeds")
        assert bool(f.runs) or member.measured == "estimate"
    assert front.trainings == 2 and "2 trainings with fresh seeds" in front.describe()


def test_finals_without_a_training_yet_change_nothing():
    view = build(16, 3)
    view.apply(next(final_events()))
    assert find_front(view).source == "search" and find_front(View()).members == ()
    assert find_front(View()).describe() == "There is no front: no trial has a result."
    assert find_outcome(View(), RUN).roles == ()


def test_the_net_of_several_trainings_is_the_one_nearest_to_their_mean():
    def run(number: int, natural: float, attacked: float, lost: str = "") -> Trial:
        result = TrialResult(dict(zip(NAMES, (natural, attacked), strict=True)))
        return Trial(number, {}, number, "3", "finished", result=result, lost_net=lost)

    best, middle, worst = run(0, 0.9, 300), run(1, 0.8, 210), run(2, 0.7, 100)
    assert choose_typical_run([best, worst, middle]) is middle
    assert choose_typical_run([worst, best]) is best  # equally near: the first of them
    assert choose_typical_run([]) is None and choose_typical_run([worst]) is worst
    gone = run(1, 0.8, 210, "no weights")
    assert choose_typical_run([best, gone, worst]) is best
    assert choose_typical_run([gone]) is gone


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.9, 100), (0.8, 300), (0.3, 320)], 1),
        ([(0.95, 100), (0.93, 250), (0.90, 270)], 1),
        ([(0.9, 100), (0.5, 180), (0.3, 320)], 1),  # below the line through the ends
        ([(0.7, 200)], 0),
        ([(0.8, 200), (0.5, 210)], 0),  # two ends: 160 against 105
        ([(0.8, 100), (0.7, 210)], 1),  # two ends: 80 against 147
    ],
)
def test_the_knee_is_the_point_nearest_to_the_ideal(points, expected):
    assert find_knee(np.array(points, float), np.zeros(2), np.zeros(2)) == expected


def test_a_range_of_noise_does_not_decide_the_knee():
    points = np.array([(0.902, 100.0), (0.901, 200.0), (0.900, 300.0)])
    assert find_knee(points, np.zeros(2), np.zeros(2)) == 1
    assert find_knee(points, np.zeros(2), np.array([0.05, 1.0])) == 2
    assert find_knee(points[:1].repeat(3, axis=0), np.zeros(2), np.zeros(2)) == 0


def test_the_three_roles_of_a_front():
    view = make_view([(0.9, 100), (0.8, 300), (0.3, 320), (0.2, 50)])
    roles = assign_roles(view, find_front(view))
    assert [(r.name, r.slug, r.member.number) for r in roles] == [
        ("most accurate", "most-accurate", 0),
        ("most robust", "most-robust", 2),
        ("balanced", "balanced", 1),
    ]
    assert [role.tied for role in roles] == [(), (), ()]
    assert find_outcome(view, RUN).roles_of(1) == [roles[2]]


def test_a_net_that_cannot_be_told_from_the_best_is_named():
    view = make_view([(0.90, 100), (0.89, 300), (0.3, 320)], half=(0.05, 5.0))
    accurate, robust, balanced = assign_roles(view, find_front(view))
    assert accurate.member.number == 0 and accurate.tied == (1,)
    assert robust.tied == () and balanced.tied == ()


def test_one_net_may_hold_all_roles():
    view = make_view([(0.9, 300), (0.8, 200)])
    roles = assign_roles(view, find_front(view))
    assert [role.member.number for role in roles] == [0, 0, 0]


@pytest.mark.parametrize("first", FIGURES)
def test_roles_of_any_two_objectives(first):
    for second in FIGURES.keys() - {first}:
        names = name_roles((first, second))
        assert len(set(names)) == 3 and names[2] == "balanced"
        points = list(zip(scale(first, (9, 5, 1, 0)), scale(second, (1, 8, 9, 0)), strict=True))
        view = make_view(points, half=(1e-4, 1e-4), aims=(first, second))
        roles = assign_roles(view, find_front(view))
        assert [role.member.number for role in roles] == [0, 2, 1]
        recorded = dict(zip((first, second), points[0], strict=True))
        assert roles[0].member.objectives == pytest.approx(recorded)


def scale(name: str, goodness: tuple[int, ...]) -> list[float]:
    """Return recorded values of a figure from how good they are, out of ten."""
    unit = 0.1 if FIGURES[name].unit == "%" else 10.0
    return [unit * (good if FIGURES[name].larger else 10 - good) for good in goodness]


def test_a_net_whose_score_misleads_is_recommended_only_if_all_do():
    view = make_view([(0.9, 100), (0.8, 300), (0.3, 320)])
    view.trials[2].lost_net = "no weights"
    roles = assign_roles(view, find_front(view))
    assert roles[1].member.number == 1
    for trial in view.trials.values():
        trial.lost_net = "no weights"
    assert assign_roles(view, find_front(view))[1].member.number == 2


def test_the_caveat_comes_with_the_command_that_helps():
    view = make_view([(0.90, 150), (0.85, 170), (0.80, 190)], half=(0.08, 60.0))
    outcome = find_outcome(view, RUN)
    assert outcome.verdict and outcome.verdict.kind == "undecided" and outcome.caveat
    more = outcome.verdict.more
    assert outcome.caveat.text.startswith(
        "The nets cannot be told apart: the intervals of 3 trials overlap"
    ) and outcome.caveat.text.endswith(f"about {more} more trainings would tell.")
    assert outcome.caveat.command == (
        f"python launch.py --finalists runs/x --final-trainings {more}"
    )
    sure = find_outcome(make_view([(0.9, 100), (0.3, 320)]), RUN)
    assert sure.caveat is None and sure.verdict and sure.verdict.kind == "trade-off"


def test_commands_name_the_file_and_trust_what_has_to_be_trusted():
    view = make_view([(0.9, 100)])
    member = find_front(view).members[0]
    commands = make_commands(member, view.header, Path("my runs/x"))
    file = "'my runs/x/front/0000.safetensors'"
    assert commands.evaluate == f"python -m adv evaluate {file} --split test"
    assert commands.train == (
        f"python -m adv train --like {file} --scale full --out x-0000-full.safetensors"
    )
    assert commands.export == f"python -m adv export {file} x-0000"
    trusting = view.header.merge({"net": "External('a:b')"})
    assert all(
        command.endswith(" --trust-code")
        for command in vars(make_commands(member, trusting, RUN)).values()
    )


def marks_of(trial: Trial, classes: int = 10) -> str:
    return list_marks(find_marks(trial, View().header.merge({"classes": classes})))


def make_trial(natural: float = 0.8, interval: tuple[float, float] = (0.7, 0.9), **more: Any):
    figures = {"natural_accuracy": natural, "attacked_score": 100.0, **more.pop("figures", {})}
    details = ResultDetails(images=100, **more.pop("details", {}))
    result = TrialResult(figures, {"natural_accuracy": interval}, details)
    return Trial(0, {}, 0, "known", "finished", result=result, **more)


def test_a_net_at_chance_level_is_marked():
    assert marks_of(make_trial()) == ""
    assert marks_of(make_trial(0.12, (0.08, 0.18))) == "chance level"
    assert marks_of(make_trial(0.2, (0.13, 0.3))) == ""
    assert marks_of(make_trial(0.12, (0.08, 0.18)), classes=0) == ""


def test_a_net_that_knows_the_largest_class_alone_is_marked():
    assert marks_of(make_trial(figures={"balanced_accuracy": 0.1})) == "majority class"
    assert marks_of(make_trial(figures={"balanced_accuracy": 0.6})) == ""


def test_catastrophic_overfitting_is_marked_where_it_was_kept():
    flag = {"catastrophic_overfitting": 1.0, "one_step_accuracy": 0.61, "pgd_accuracy": 0.03}
    flag["eps"] = 0.1
    epochs = {n: EpochReport(n, 3, 1.0, flag if n == 2 else {}) for n in (1, 2, 3)}
    kept = make_trial(epochs=epochs, details={"best_epoch": 2})
    (mark,) = find_marks(kept, View().header)
    assert mark.name == "overfitted" and "attacks of many steps" in mark.text and not mark.misleads
    assert "radius 0.1 that attack leaves 61 % of some training images and PGD 3 %" in mark.text
    assert find_marks(make_trial(epochs=epochs, details={"best_epoch": 1}), View().header) == ()


def test_a_flagged_gap_is_marked_with_its_interval():
    view = build(16, 3)
    (mark,) = find_marks(view.trials[2], view.header)
    assert mark.name == "flagged" and "by 12.0 points (11.0 to 14.0) at eps 0.0314" in mark.text
    assert find_marks(view.trials[1], view.header) == ()


def near_ties(seed: int, finals: bool) -> View:
    """A search whose nets are near each other, two of which the finals train again."""
    rng = np.random.default_rng(seed)
    points = [(0.85 + 0.03 * rng.normal(), 220 + 30 * rng.normal()) for _ in range(6)]
    view = make_view(points, half=(0.02, 12.0))
    return with_finals(view, (0, 1, 0, 1, 0)) if finals else view


@pytest.mark.parametrize("finals", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_verdict_front_and_recommended_nets_do_not_contradict_each_other(seed, finals):
    outcome = find_outcome(near_ties(seed, finals), RUN)
    roles, verdict = {role.name: role for role in outcome.roles}, outcome.verdict
    assert verdict and len(roles) == 3
    named = {verdict.best} if verdict.best is not None else set()
    if verdict.trade:
        named |= {verdict.trade.ahead, verdict.trade.of}
    for number in named:
        member = outcome.front.find(number)
        assert member and member.measured == ("fresh seeds" if finals else "search")
    if verdict.best is not None:
        assert roles["balanced"].member.number == verdict.best
        for role in outcome.roles:  # another one only where it is told to be better
            assert role.member.number == verdict.best or verdict.best not in role.tied
