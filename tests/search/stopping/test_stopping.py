"""Decisions at rungs, audits, relaxations, and the same decisions after an interruption."""

import random
from dataclasses import asdict, replace

import numpy as np
import optuna
import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.interrupt import Interrupt
from search.record.derived_ledgers import MemoryLedger
from search.record.json_records import FieldError
from search.record.ledger import Ledger, read
from search.record.study_header import StudyHeader
from search.record.trial import EpochReport, Rung
from search.record.trial_result import TrialResult
from search.record.view import View
from search.reporting.html_report import write_html_report
from search.samplers.optuna_conversion import to_optuna_trial
from search.samplers.table import make_sampler
from search.stopping.audit import audit_stopping, describe_audit, describe_stopping
from search.stopping.moasha import MOASHA
from search.stopping.nondominated_sort import nondominated_ranks
from search.stopping.rung_schedule import rung_epochs
from search.stopping.standard_error import standard_error
from search.study import Study

RUN = Formula(4, rung=2)


def at(natural, attacked, *, epoch=2, strength=0.5, sd=0.01):
    sds = {"natural_accuracy": sd, "attacked_score": sd}
    return Rung(epoch, strength, {"natural_accuracy": natural, "attacked_score": attacked}, sds)


class OneRungStudy:
    """Runs trials to one rung and, if they continue, to the end with given values."""

    def __init__(self, stopper):
        self.ledger = MemoryLedger()
        ask = make_sampler("random", SPACE, seed=0, start=0)
        self.study = Study(SPACE, self.ledger, trials=1000, seed=0, sampler=ask, stopper=stopper)

    def __call__(self, point, end=None, **rung):
        trial = self.study.suggest()
        assert trial is not None
        goes_on = self.study.update(
            trial.number, EpochReport(2, 4, 1.0, {}, rung=at(*point, **rung))
        )
        if goes_on and end is not False:
            natural, attacked = end or point
            result = TrialResult({"natural_accuracy": natural, "attacked_score": attacked})
            self.study.update(trial.number, EpochReport(4, 4, 1.0, {}, result))
        return self.view.trials[trial.number]

    @property
    def view(self):
        return self.ledger.view


def rule(**changes):
    return MOASHA(**{"audit": 0.0, "min_finished": 2, **changes})


@pytest.mark.parametrize("eta", [2.0, 3.0])
def test_the_best_share_goes_on_and_nothing_else_without_noise(eta):
    chance = random.Random(1)
    trials = OneRungStudy(rule(eta=eta, margin=0.0, min_correlation=-1.0))
    points = []
    for _ in range(60):
        points.append((chance.random(), chance.random()))
        trial = trials(points[-1], sd=0.0)
        place, best = nondominated_ranks(points)[-1], max(1, int(len(points) / eta))
        beaten = any(p[0] > points[-1][0] and p[1] > points[-1][1] for p in points)
        stops = len(points) > 2 and place >= best and beaten
        assert (trial.state == "stopped") == stops, trial
    assert 10 < len(trials.view.in_state("stopped")) < 50


def test_only_what_is_worse_by_more_than_noise_is_stopped():
    for ahead, stops in ((2.9, False), (3.1, True)):
        trials = OneRungStudy(rule(margin=3.0 / np.hypot(0.1, 0.1)))
        for _ in range(4):
            trials((10.0, 10.0), sd=0.1)
        trial = trials((10.0 - ahead, 10.0 - ahead), sd=0.1)
        assert (trial.state == "stopped") == stops
        if stops:
            assert trial.reason == (
                "ranked 5th of 5; the top 2 continue; significantly worse than trial 0"
            )


def test_what_is_worse_in_one_objective_only_goes_on():
    trials = OneRungStudy(rule(margin=0.0))
    for _ in range(4):
        trials((10.0, 10.0))
    assert trials((9.0, 10.0)).state == "finished" and trials((9.0, 9.0)).state == "stopped"


def test_no_rung_is_compared_with_another():
    trials = OneRungStudy(rule(margin=0.0))
    for _ in range(4):
        trials((10.0, 10.0))
    assert trials((1.0, 1.0), strength=0.7).state == "finished"
    assert trials((1.0, 1.0), epoch=3).state == "finished"
    assert trials((1.0, 1.0), strength=0.52).state == "stopped"  # the same tenth


def test_nothing_is_stopped_before_a_rung_has_been_seen_to_tell():
    trials = OneRungStudy(rule(min_finished=3, margin=0.0))
    for value in (10.0, 9.0, 8.0):
        assert trials((value, value)).state == "finished"
    assert trials((1.0, 1.0)).state == "stopped"


def test_pairs_tell_more_than_two_samples_of_images():
    """On the same images, the paired error of two nets that differ on few of them is small."""
    chance = np.random.default_rng(0)
    ok = chance.random((7, 400)) < 0.5
    other = ok.copy()
    other[:, :8] = True
    one, two = (
        Rung(2, 0.5, {}, {"natural_accuracy": 0.025, "attacked_score": 15.0}, packed(t))
        for t in (ok, other)
    )
    each = np.stack([t[0] for t in (other,)])[0].astype(float) - ok[0]
    paired = standard_error(one, two)
    assert paired[0] == pytest.approx(each.std(ddof=1) / 20)
    assert paired[0] < standard_error(replace(one, table=None), two)[0] / 3
    assert standard_error(replace(one, table=None), two)[1] == pytest.approx(np.hypot(15, 15))


def packed(ok):
    import torch

    from adv import Score

    names = tuple(f"a{i}" for i in range(len(ok) - 1))
    return Score(names, (0.1,) * len(names), torch.from_numpy(ok)).to_dict()


def test_the_first_rung_is_at_half_the_strength_and_a_third_of_the_epochs():
    ramp = [0.01 + 0.09 * n / 60 for n in range(60)]
    first, second = rung_epochs(ramp)
    assert 0.45 <= ramp[first - 1] / ramp[-1] < 0.47 and (first, second) == (24, 48)
    assert rung_epochs([0.1] * 60) == (20, 40)
    assert rung_epochs([0.1] * 60, eta=1.5) == (20, 30, 45)
    assert rung_epochs([1.0] * 2) == (1,) and rung_epochs([1.0]) == () and rung_epochs([]) == ()


def test_no_rung_comes_before_the_learning_rate_has_begun_to_fall():
    late = [1.0] * 40 + [0.1] * 20
    assert rung_epochs([1.0] * 60, lr=late) == (41,)
    assert rung_epochs([1.0] * 60, lr=[1.0] * 60) == rung_epochs([1.0] * 60) == (20, 40)
    warm_up = [min(n / 30, (60 - n) / 30) for n in range(60)]
    assert rung_epochs([1.0] * 60, lr=warm_up) == (32,)
    assert rung_epochs([1.0] * 60, lr=[1.0] * 59 + [0.1]) == ()  # nothing is left to save


def test_a_rung_knows_its_learning_rate_and_old_ledgers_have_none():
    ledger = MemoryLedger()
    ledger.append("proposed", trial=0, params=dict(SPACE.known[0]), seed=0, origin="known")
    plain = {**asdict(replace(at(0.1, 0.1), lr_share=0.5)), "action": "go on", "reason": ""}
    ledger.append("rung", trial=0, **plain)
    old = {**plain, "epoch": 3}
    del old["lr_share"]
    ledger.append("rung", trial=0, **old)
    assert [rung.lr_share for rung in ledger.view.trials[0].rungs.values()] == [0.5, None]
    with pytest.raises(FieldError, match="lr_share"):
        ledger.append("rung", trial=0, **{**plain, "epoch": 4, "lr_share": 1.5})


def test_a_share_of_those_to_be_stopped_runs_on_and_is_the_same_share_for_the_same_seed():
    def run_search(seed, count):
        trials = OneRungStudy(rule(audit=0.25, margin=0.0, seed=seed))
        for _ in range(4):
            trials((10.0, 10.0))
        for n in range(count):
            trials((5.0 - n / 100, 5.0 - n / 100))
        return trials.view

    view, again, other = run_search(0, 120), run_search(0, 40), run_search(1, 40)
    audited = [t.number for t in view.trials.values() if t.audited]
    assert 18 < len(audited) < 42 and len(view.in_state("stopped")) == 120 - len(audited)
    first = [n for n in audited if n < 44]
    assert first == [t.number for t in again.trials.values() if t.audited] and len(first) > 3
    assert first != [t.number for t in other.trials.values() if t.audited]


def test_an_audited_trial_is_not_stopped_at_its_next_rung():
    trials = OneRungStudy(rule(audit=1.0, margin=0.0))
    for _ in range(4):
        trials((10.0, 10.0))
    trial = trials((1.0, 1.0), end=False)
    for _ in range(4):
        trials((10.0, 10.0), epoch=3)
    assert trials.study.update(trial.number, EpochReport(3, 4, 1.0, {}, rung=at(0.0, 0.0, epoch=3)))
    assert [d.action for d in trial.decisions.values()] == ["audit", "audit"]


def test_the_audit_counts_what_stopping_would_have_cost():
    trials = OneRungStudy(rule(audit=1.0, margin=0.0, min_correlation=-1.0, min_finished=3))
    for value in (10.0, 9.0, 8.0):
        trials((value, value), end=(2.0, 2.0))
    wrong = trials((1.0, 1.0), end=(1.0, 4.0))
    trials((0.5, 0.5), end=(0.5, 0.5))
    audit = audit_stopping(trials.view)
    assert audit.finished == (3, 4) and audit.wrong == (wrong.number,)
    assert audit.regret == pytest.approx(1 - 4 / 6)
    [found] = audit.agreement
    assert found.trials == 5 and found.rho[0] == pytest.approx(0.894, abs=1e-3)
    text = "\n".join(describe_audit(audit))
    assert "1 of them ended on the front" in text and "33.33 %" in text
    assert describe_audit(audit_stopping(OneRungStudy(rule()).view)) == []


def test_the_report_says_what_stopping_cost(tmp_path):
    trials = OneRungStudy(rule(audit=0.5, margin=0.0, min_correlation=-1.0))
    for n in range(24):
        trials((10.0 - n / 10, 10.0 - n / 10), end=(1.0 + n, 30.0 - n))
    write_html_report(trials.view, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<h3>Early stopping</h3>" in page and "ended on the front" in page
    assert any(
        line.startswith("Fewer trials were stopped: ") for line in describe_stopping(trials.view)
    )
    assert (
        "Fewer trials were stopped: " in page
        and "Rank correlation between epoch 2 and the end" in page
    )
    write_html_report(View(), tmp_path / "none.html")
    assert "Early stopping" not in (tmp_path / "none.html").read_text()


def test_rungs_that_tell_nothing_are_trusted_no_more_and_the_ledger_says_so():
    """The final ranking is the reverse of that at the rung."""
    chance = random.Random(2)
    trials = OneRungStudy(rule(margin=0.0, min_finished=4))
    for _ in range(60):
        x, y = chance.random(), chance.random()
        trials((x, y), end=(1 - x, 1 - y))
    view = trials.view
    assert [event["level"] for event in view.relaxed] == [1, 2]
    assert "predict the end poorly (rank correlation -" in view.relaxed[0]["reason"]
    assert view.relaxed[1]["reason"].endswith("no more trials are stopped")
    stopped = [t.number for t in view.in_state("stopped")]
    assert len(stopped) < 8 and max(stopped, default=0) < 16


def test_rungs_that_rank_as_the_end_does_are_trusted_to_the_end():
    chance = random.Random(2)
    trials = OneRungStudy(rule(margin=0.0, min_finished=4, audit=0.2))
    for _ in range(60):
        x, y = chance.random(), chance.random()
        trials((x, y), end=(x + chance.gauss(0, 0.05), y + chance.gauss(0, 0.05)))
    assert not trials.view.relaxed and len(trials.view.in_state("stopped")) > 15


def test_audits_that_end_on_the_front_relax_the_rule_step_by_step():
    trials = OneRungStudy(rule(audit=1.0, margin=1.0, min_finished=2, min_correlation=-1.0))
    for _ in range(4):
        trials((10.0, 10.0))
    stopper = trials.study.stopper
    assert isinstance(stopper, MOASHA)
    before = stopper.current_rule(trials.view)
    for n in range(4):
        trials((1.0 - n / 10, 1.0 - n / 10), end=(20.0 + n, 20.0 - n))
    assert before == (2.0, 1.0) and stopper.current_rule(trials.view) == (4 / 3, 2.0)
    assert "audited trials ended on the front" in trials.view.relaxed[0]["reason"]


def test_a_stopped_trial_is_kept_but_never_told_as_finished():
    trials = OneRungStudy(rule(margin=0.0))
    for _ in range(4):
        trials((10.0, 10.0))
    trial = trials((1.0, 1.0))
    assert trial.state == "stopped" and trial.rungs[2, 5].point == (1.0, 1.0) and trial.epochs
    seen = to_optuna_trial(SPACE, trial, StudyHeader())
    assert seen.state == optuna.trial.TrialState.FAIL and seen.values is None
    assert trial not in trials.view.front()


def run_search(path, trials=24, run=RUN):
    ledger = Ledger(path / "ledger.jsonl")
    study = Study(SPACE, ledger, trials=trials, seed=0, stopper=rule(margin=0.0, audit=0.2))
    try:
        serial.search(study, run, Interrupt())
    finally:
        ledger.close()
    return ledger.view


def outcome(view):
    return [(t.params, t.state, t.reason, t.rungs, t.decisions) for t in view.trials.values()]


def test_a_search_cut_off_at_any_event_decides_what_a_whole_one_does(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = run_search(tmp_path / "whole")
    assert {"finished", "stopped"} == {t.state for t in whole.trials.values()}
    lines = (tmp_path / "whole" / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    kinds = [line.split(b'"')[3] for line in lines]
    rungs = [i for i, kind in enumerate(kinds) if kind == b"rung"]
    for cut in (rungs[5], rungs[-1], *(i + 1 for i in (rungs[7], kinds.index(b"stopped") - 1))):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "ledger.jsonl").write_bytes(b"".join(lines[:cut]))
        assert outcome(run_search(folder)) == outcome(whole)
        assert outcome(read(folder / "ledger.jsonl")) == outcome(whole)


def test_the_space_between_a_decision_and_its_end_is_bridged(tmp_path):
    """If a driver is killed right after writing a stop, the trial is not trained again."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("proposed", trial=0, params=dict(SPACE.known[0]), seed=0, origin="known")
    rung = at(0.1, 0.1)
    ledger.append(
        "rung",
        trial=0,
        epoch=2,
        strength=0.5,
        objectives=rung.objectives,
        sds=rung.sds,
        table=None,
        action="stop",
        reason="place 9 of 9",
    )
    ledger.close()
    assert run_search(tmp_path, trials=1).trials[0].state == "stopped"
    assert not (tmp_path / "trials" / "0000").exists()


def test_a_rung_that_is_not_finite_ends_its_trial_as_failed():
    trials = OneRungStudy(rule())
    trial = trials((float("nan"), 1.0))
    assert trial.state == "failed" and trial.reason == "epoch 2: natural_accuracy is nan"


@pytest.mark.parametrize(
    "wrong", [{"eta": 1.0}, {"margin": -1.0}, {"audit": 1.5}, {"margin": float("nan")}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"eta|margin|audit"):
        MOASHA(**wrong)
