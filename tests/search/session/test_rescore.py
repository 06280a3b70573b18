"""Re-scoring: new results replace the old ones all at once or not at all."""

import json
from dataclasses import replace

import pytest
from flipped_bits import flip_in_file

import spaces
from adv import build, load
from adv.checkpoints.checkpoint import save_checkpoint
from search.finals.standings import compute_standings
from search.interrupt import Interrupted
from search.record.ledger import Ledger, read
from search.record.trial_result import ResultDetails, TrialResult
from search.session.header import describe_battery
from search.session.rescore import Rescoring, change_battery, rescore, rescore_net
from search.session.resume import battery_differs
from search.session.stored_nets import StoredNet, find_stored_nets, has_stored_nets
from search.trials.train_trial import Training
from search.trials.trial_state import BEST

VALUES = {0: (0.9, 100.0), 1: (0.8, 200.0), 2: (0.7, 150.0), 3: (0.5, 50.0)}
TURNED = {0: (0.9, 90.0), 1: (0.8, 20.0), 2: (0.7, 140.0), 3: (0.5, 10.0)}


def result(point, **details):
    made = ResultDetails.from_json(details)
    return TrialResult(dict(zip(spaces.OBJECTIVES, point, strict=True)), {}, made)


def finish(ledger, number, point, **details):
    made = result(point, **details)
    ledger.append("proposed", trial=number, params={}, seed=number, origin="known")
    plain = {"objectives": dict(made.objectives), "intervals": {}, "details": details}
    ledger.append("finished", trial=number, **plain)


@pytest.fixture(scope="module")
def training():
    sizes = {"battery_steps": 1, "images": 20, "watch_images": 16, "test_images": 8}
    scale = spaces.scale("laptop", score="report", **sizes)
    return Training("smoke", scale, load("digits"))


@pytest.fixture
def ledger(tmp_path, training):
    """Four finished trials; the weights of trial 3 are gone."""
    opened = Ledger(tmp_path / "ledger.jsonl")
    battery = json.loads(json.dumps(describe_battery(training.scale)))
    opened.append("study", format=1, name="n", scale={"name": "laptop"}, battery=battery)
    for number, point in VALUES.items():
        finish(opened, number, point, weights=f"trials/{number:04d}/{BEST}", best_epoch=2)
        if number != 3:
            path = tmp_path / "trials" / f"{number:04d}" / BEST
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
    yield opened
    opened.close()


def way(values, stop_after=99):
    """Return a rescoring that looks results up, and is interrupted after `stop_after` nets."""

    def go(run, nets):
        for n, item in enumerate(nets):
            if n == stop_after:
                raise Interrupted("interrupted", 130)
            outcome = values[item.number]
            yield item, outcome if isinstance(outcome, str) else result(outcome, new=True)

    return go


def points(view):
    return {t.number: t.result.point for t in view.scored()}


def test_the_front_is_made_anew_from_the_new_values_alone(ledger, training, tmp_path):
    assert [t.number for t in ledger.view.front()] == [0, 1]
    said: list[str] = []
    missing = rescore(ledger, Rescoring(training), way(TURNED), said.append)
    assert [t.number for t in ledger.view.front()] == [0, 2]
    assert points(ledger.view) == {n: TURNED[n] for n in (0, 1, 2)}
    assert list(missing) == ["trial 3"] and "no weights at" in missing["trial 3"]
    lost = ledger.view.trials[3]
    assert (lost.state, lost.result) == ("finished", None)
    assert lost.reason == f"not scored under this battery: no weights at trials/0003/{BEST}"
    assert len(said) == 4 and said[0].startswith("not re-scored: trial 3")
    assert "attacked score 200.0 to 20.0" in said[2]
    assert read(tmp_path / "ledger.jsonl") == ledger.view


def test_cut_off_it_keeps_the_old_values_and_goes_on(ledger, training):
    run = Rescoring(training)
    said: list[str] = []
    with pytest.raises(Interrupted):
        rescore(ledger, run, way(TURNED, stop_after=2), said.append)
    assert points(ledger.view) == VALUES and [t.number for t in ledger.view.front()] == [0, 1]
    rescore(ledger, run, way({2: TURNED[2]}), said.append)  # 0 and 1 are known
    assert points(ledger.view) == {n: TURNED[n] for n in (0, 1, 2)}
    again: list[str] = []
    rescore(ledger, run, way({}), again.append)
    assert points(ledger.view) == {n: TURNED[n] for n in (0, 1, 2)}


def test_a_net_that_cannot_be_judged_leaves_the_front_with_a_reason(ledger, training):
    missing = rescore(ledger, Rescoring(training), way({**TURNED, 0: "it is damaged"}), print)
    assert missing["trial 0"] == "it is damaged"
    assert ledger.view.trials[0].reason == "not scored under this battery: it is damaged"
    assert ledger.view.trials[0].state == "finished"
    assert [t.number for t in ledger.view.front()] == [1, 2]


def test_another_battery_is_another_collection(ledger, training):
    more = replace(training, scale=replace(training.scale, battery_steps=3))
    assert Rescoring(more).id != Rescoring(training).id
    with pytest.raises(Interrupted):
        rescore(ledger, Rescoring(training), way(TURNED, stop_after=2), print)
    rescore(ledger, Rescoring(more), way(VALUES), print)
    assert points(ledger.view) == {n: VALUES[n] for n in (0, 1, 2)}
    assert ledger.view.header.scale["battery_steps"] == 3
    battery = ledger.view.header.battery
    assert not battery_differs(battery, more.scale) and battery_differs(battery, training.scale)


def test_finals_are_judged_again_too(ledger, training, tmp_path):
    old = {"battery": "old", "validation": {}}
    ledger.append("finals", trials=[0, 1], trainings=2, battery="old", images=8, attacks="weak")
    for number, of in ((0, 0), (1, 1)):
        ledger.append(
            "final",
            part={
                "event": "proposed",
                "trial": number,
                "params": {},
                "seed": 9 + number,
                "origin": str(of),
            },
        )
        ledger.append(
            "final",
            part={
                "event": "finished",
                "trial": number,
                "intervals": {},
                "objectives": dict(result(VALUES[of]).objectives),
                "details": old,
            },
        )
    weights = tmp_path / "finals" / "trials" / "0000" / BEST
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    strong = Rescoring(training).final.final_battery.id

    def go(run, nets):
        for item in nets:
            yield item, result((0.6, 60.0), battery=strong if item.kind == "final" else "")

    missing = rescore(ledger, Rescoring(training), go, print)
    assert sorted(missing) == ["final 1", "trial 3"]
    (field,) = [f for f in compute_standings(ledger.view) if f.runs]
    assert field.trial.number == 0 and field.mean == (0.6, 60.0)
    assert ledger.view.finals_header.battery == strong
    unscored = ledger.view.finals.trials[1]
    assert (unscored.state, unscored.result) == ("finished", None)


def test_what_is_there_is_found(ledger, tmp_path):
    found, missing = find_stored_nets(ledger.view, tmp_path)
    assert [item.number for item in found] == [0, 1, 2] and list(missing) == ["trial 3"]
    assert has_stored_nets(ledger.view, tmp_path)
    for item in found:
        item.find().unlink()
    assert not has_stored_nets(ledger.view, tmp_path)


def test_a_damaged_file_is_one_line(training, tmp_path):
    (tmp_path / BEST).write_bytes(b"nonsense")
    point = spaces.load("smoke").known[0]
    said = rescore_net(
        Rescoring(training), StoredNet("trial", 0, point, 0, tmp_path, (BEST,), result((0.5, 5.0)))
    )
    assert isinstance(said, str) and "damaged" in said and "\n" not in said


def test_images_must_be_there(training):
    changed = change_battery(training, "margin", 7, 30).scale
    assert (changed.score, changed.battery_steps, changed.images) == ("margin", 7, 30)
    assert change_battery(training, None, None, None) == training
    with pytest.raises(ValueError, match=r"--images 5000: 421 of the 437"):
        change_battery(training, None, None, 5000)


def test_each_score_has_a_collection_and_a_final_battery_of_its_own(ledger, training):
    report, margin = (
        Rescoring(change_battery(training, score, None, None)) for score in ("report", "margin")
    )
    assert report.id != margin.id
    assert report.final.final_battery.id != margin.final.final_battery.id
    with pytest.raises(Interrupted):
        rescore(ledger, report, way(TURNED, stop_after=2), print)
    rescore(ledger, margin, way(VALUES), print)
    header = ledger.view.header
    assert (header.score, header.scale["score"]) == ("margin", "margin")
    assert header.battery[0]["name"] == "margin1-0.01"
    assert not battery_differs(header.battery, margin.training.scale)
    assert battery_differs(header.battery, report.training.scale)


def test_another_loss_is_another_battery(training):
    scale = change_battery(training, "margin", None, None).scale
    battery = json.loads(json.dumps(describe_battery(scale)))
    assert not battery_differs(battery, scale)
    assert (battery[0]["steps"], battery[0]["loss"]) == (1, "mifpe")
    battery[0]["loss"] = "ce"
    assert battery_differs(battery, scale)


def test_a_run_without_second_attacks_has_another_battery(training):
    scale = change_battery(training, "margin", None, None).scale
    battery = json.loads(json.dumps(describe_battery(scale)))
    (second,) = battery[0]["second"]
    assert second.startswith("APGD(ball=Linf(eps=0.01), steps=1, loss='dlr-targeted', ")
    del battery[3]["second"]
    assert battery_differs(battery, scale)


def test_a_setting_that_a_run_did_not_know_changes_nothing(training):
    battery = json.loads(json.dumps(describe_battery(training.scale)))
    assert not battery_differs(battery, training.scale)
    for attack in battery:
        attack.pop("pace", None)
        attack["gone"] = 1
    assert not battery_differs(battery, training.scale)
    battery[0]["steps"] = 99
    assert battery_differs(battery, training.scale)


def test_a_net_that_is_back_gets_its_value_from_the_next_rescoring(ledger, training, tmp_path):
    run = Rescoring(training)
    rescore(ledger, run, way({**TURNED, 0: "it is damaged"}), print)
    scored: list[int] = []

    def go(run, nets):
        for net in nets:
            scored.append(net.number)
            yield net, result(TURNED[net.number])

    rescore(ledger, run, go, print)
    assert scored == [0] and ledger.view.trials[0].reason == ""
    path = tmp_path / "trials" / "0003" / BEST
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert rescore(ledger, run, go, print) == {}
    assert scored == [0, 3] and points(ledger.view) == TURNED
    assert read(tmp_path / "ledger.jsonl") == ledger.view


def test_if_no_net_can_be_scored_nothing_is_replaced(ledger, training, tmp_path):
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"nothing was replaced: trial 3: no weights .* trial 0"):
        rescore(ledger, Rescoring(training), way(dict.fromkeys(VALUES, "it is damaged")), print)
    assert points(ledger.view) == VALUES
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def test_a_changed_net_is_not_scored_but_its_copy_is(training, tmp_path):
    recipe = training.recipe(spaces.load("smoke").known[0])
    net = build(recipe, 10, seed=0)
    (tmp_path / "front").mkdir()
    sha256 = save_checkpoint(tmp_path / BEST, net, {})
    copy = tmp_path / "front" / "0000.safetensors"
    copy.write_bytes((tmp_path / BEST).read_bytes())
    flip_in_file(tmp_path / BEST, 90_001)
    known = result((0.5, 5.0), weights=BEST, weights_sha256=sha256)
    files = (BEST, "front/0000.safetensors")
    point = spaces.load("smoke").known[0]
    stored = StoredNet("trial", 0, point, 0, tmp_path, files, known)
    assert isinstance(rescore_net(Rescoring(training), stored), TrialResult)
    flip_in_file(copy, 90_001)
    said = rescore_net(Rescoring(training), stored)
    assert isinstance(said, str) and "has changed since it was written" in said
