"""The contract of every space: it finds new files by itself."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from random_configurations import random_configurations

import adv
import spaces
from adv.attacks.composite import members
from spaces import OBJECTIVES, Baseline, Choice, Float, Int, Knob, Params, Scale, Space

each = pytest.mark.parametrize("name", spaces.names())


def no_recipe(**params: object) -> adv.Recipe:
    raise NotImplementedError("these spaces train nothing")


def test_there_are_spaces():
    tables = {"report_augmentation", "report_defences", "report_sizes", "report_wrn_rse"}
    questions = {"pni", "architecture", "augmentation", "curriculum", "optimizer", "objective"}
    questions |= {"rse_sigmas", "defences", "everything", "smoke", "cheap_recipes"}
    assert questions | tables <= set(spaces.names())
    assert {name for name in spaces.names() if spaces.load(name).grid} == tables
    assert list(spaces.names()) == sorted(spaces.names())


@each
def test_the_docstring_states_the_question_and_the_command(name):
    text = spaces.docstring(name)
    question, _, rest = text.partition("\n")
    assert question.strip() and question.rstrip().endswith((".", "?"))
    space = spaces.load(name)
    weights = " --init weights.safetensors" if space.from_weights else ""
    assert f"\n    python launch.py --space {name}{weights}\n" in rest
    assert isinstance(space, Space) and "\n" not in space.question and space.question
    assert space.build.__doc__


@each
def test_known_configurations_are_valid_and_distinct(name):
    for space in (spaces.load(name), spaces.load(name).for_scale("laptop")):
        assert space.known
        for point in space.known:
            space.check(point)
        assert len({repr(point) for point in space.known}) == len(space.known)


@each
@pytest.mark.parametrize("size", spaces.SCALES)
def test_configurations_become_nets_that_run(name, size):
    """20 random points and the known ones, as recipes at both scales and as nets."""
    space = spaces.load(name).for_scale(size)
    scale = spaces.scale(size, **space.scale)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for point in [*space.known, *([] if space.grid else random_configurations(space))]:
        space.check(point)
        full = space.build(**point)
        recipe = scale.apply(full)
        epochs = max(1, round(scale.epochs * full.epochs / 60))
        assert (recipe.epochs, recipe.batch) == (epochs, scale.batch)
        last = recipe.curriculum.lessons(recipe.epochs)[-1].attack
        assert scale.train_steps is None or last.steps <= scale.train_steps
        if size == "laptop" or point in space.known:
            net = adv.build(recipe, 10, seed=0).eval()
            with torch.no_grad():
                logits = net(x)
            assert logits.shape == (2, 10) and torch.isfinite(logits).all()


@pytest.mark.slow
@each
def test_configurations_can_be_trained(name, tmp_path, monkeypatch):
    """A step at known points and at random ones: no combination of knobs is a dead end."""
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path))
    space = spaces.load(name).for_scale("laptop")
    scale = spaces.scale("laptop", **{**space.scale, "epochs": 1, "batch": 8, "train_steps": 1})
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 32, 32), generator=draw, dtype=torch.uint8)
    split = adv.Split(images, torch.arange(8))
    if name == "synthetic":  # which trains a GAN: here a short training, on 8 x 8 pixels
        split, short = adv.load("digits").train.head(40), adv.GAN().small()
        monkeypatch.setattr(adv.GAN, "small", lambda _: replace(short, steps=20, ema_start=5))
    count = {"everything": 20, "smoke": 2}.get(name, 5)
    for point in [*space.known, *([] if space.grid else random_configurations(space, count))]:
        (epoch,) = adv.train(scale.apply(space.build(**point)), split, classes=10, seed=0)
        assert math.isfinite(epoch.metrics["loss"]), point


@each
def test_equal_configurations_are_equal_recipes(name):
    space = spaces.load(name)
    points = random_configurations(space, 30)
    recipes = [space.build(**point) for point in points]
    again = [space.build(**copy.deepcopy(point)) for point in points]
    assert recipes == again and [*map(repr, recipes)] == [*map(repr, again)]
    assert pickle.loads(pickle.dumps(recipes)) == recipes
    different = {repr(sorted(point.items())) for point in points}
    assert len(set(recipes)) == len(set(map(repr, recipes))) == len(different)
    assert len(different) == len(space.known) if space.grid else len(different) > 10


def narrower(knob):
    if isinstance(knob, Choice):
        return replace(knob, options=knob.options[::-1])
    if isinstance(knob, Int):  # a range of two numbers cannot be cut, so it moves
        return replace(knob, low=knob.low + 1, high=max(knob.low + 2, knob.high - 1), prior=None)
    return replace(knob, high=knob.high - (knob.high - knob.low) / 2, prior=None)


@each
def test_the_fingerprint_is_that_of_the_knobs(name):
    space = replace(spaces.load(name), known=(), laptop={}, grid=False, baseline=None)
    assert len(space.fingerprint) == 12 and int(space.fingerprint, 16) >= 0
    assert replace(space, question="another").fingerprint == spaces.load(name).fingerprint
    prints = {space.fingerprint}
    for key, knob in space.knobs.items():
        prints.add(replace(space, knobs={**space.knobs, key: narrower(knob)}).fingerprint)
    assert len(prints) == 1 + len(space.knobs)


def test_fingerprints_are_stable():
    """A stored search goes on only if its knobs still give the fingerprint it began with."""
    space = Space("?", {"a": Float(0.0, 1.0), "b": Int(1, 2, when={"a": 1.0})}, build=no_recipe)
    assert space.fingerprint == Space("!", dict(space.knobs), build=adv.Recipe).fingerprint
    assert space.fingerprint == "5e5338a2cbd0"


@each
def test_bad_configurations_are_refused_in_one_line(name):
    space = spaces.load(name)
    for good in random_configurations(space, 5):
        bad = [({**good, "sigma_innner": 0.1}, "no hyperparameter 'sigma_innner' here: ")]
        for key, knob in space.active(good):
            bad += [({**good, key: value}, f"{key}=") for value in values_outside(knob)]
            if not any(key in other.when for other in space.knobs.values()):
                without = {k: v for k, v in good.items() if k != key}
                bad.append((without, f"hyperparameter '{key}' is missing: {knob}"))
        for point, said in bad:
            with pytest.raises(ValueError, match=re.escape(said)) as error:
                space.check(point)
            assert "\n" not in str(error.value)


def values_outside(knob):
    if isinstance(knob, Choice):
        return ["no\nsuch", None]
    ends = [knob.low - 1, knob.high + 1, math.nan, math.inf, "0.1", None, True]
    return ends + ([knob.low + 0.5, float(knob.low)] if isinstance(knob, Int) else [])


# --- conditions, narrower ranges, grids ---


def test_a_condition_may_have_several_values():
    knobs: dict[str, Knob] = {
        "kind": Choice(("a", "b", "c")),
        "n": Int(1, 2, when={"kind": ("a", "b")}),
        "x": Float(0, 1, when={"kind": "b", "n": 2}),
    }
    space = Space("?", knobs, no_recipe)
    exist = {
        (kind, n): [name for name, _ in space.active({"kind": kind, "n": n})]
        for kind in "abc"
        for n in (1, 2)
    }
    assert exist[("a", 2)] == exist[("b", 1)] == ["kind", "n"] and exist[("c", 1)] == ["kind"]
    assert exist[("b", 2)] == ["kind", "n", "x"]
    assert str(knobs["n"]) == "1 to 2, when kind = a | b"
    assert str(knobs["x"]) == "0 to 1, when kind = b and n = 2"


def test_narrower_ranges_hold_on_the_laptop_alone():
    knobs: dict[str, Knob] = {
        "a": Int(1, 9),
        "b": Choice(("x", "y")),
        "c": Float(0, 1, when={"b": "y"}),
    }
    known: tuple[Params, ...] = ({"a": 9, "b": "x"}, {"a": 2, "b": "y", "c": 0.25})
    space = Space("?", knobs, no_recipe, known, laptop={"a": Int(1, 3), "c": Float(0, 0.5)})
    assert space.for_scale("full") is space
    small = space.for_scale("laptop")
    assert small.knobs["c"] == Float(0, 0.5, when={"b": "y"})
    assert small.known == ({"a": 3, "b": "x"}, known[1])  # the nearest number
    assert small.fingerprint != space.fingerprint and small.for_scale("laptop") is small
    assert not small.holds(known[0]) and space.holds(known[0])
    one = replace(space, laptop={"a": Int(1, 3), "b": Choice(("y",))}).for_scale("laptop")
    assert one.known == known[1:]  # whose choice is there
    twice = replace(space, known=(known[0], {"a": 8, "b": "x"}))
    assert len(twice.for_scale("laptop").known) == 1


def test_a_baseline_is_a_known_configuration_of_the_scale():
    space = Space(
        "?", {"a": Int(1, 9)}, no_recipe, ({"a": 1}, {"a": 9}), baseline=Baseline("one", {"a": 1})
    )
    assert space.for_scale("laptop").baseline == space.baseline
    assert replace(space, laptop={"a": Int(1, 3)}).for_scale("laptop").baseline == space.baseline
    assert replace(space, laptop={"a": Int(2, 3)}).for_scale("laptop").baseline is None
    with pytest.raises(ValueError, match="the baseline is a known configuration, not"):
        replace(space, baseline=Baseline("two", {"a": 2}))


def test_a_narrower_choice_narrows_conditions_on_it():
    knobs: dict[str, Knob] = {"a": Choice(("x", "y", "z")), "b": Int(1, 2, when={"a": ("y", "z")})}
    space = Space("?", knobs, no_recipe, laptop={"a": Choice(("x", "y"))})
    assert space.for_scale("laptop").knobs["b"] == Int(1, 2, when={"a": ("y",)})
    assert list(replace(space, laptop={"a": Choice(("x",))}).for_scale("laptop").knobs) == ["a"]


def test_a_grid_is_all_its_combinations():
    knobs = {"a": Choice((1, 2)), "b": Choice(("x", "y", "z"))}
    space = Space("?", knobs, no_recipe, grid=True, laptop={"b": Choice(("w",))})
    assert [tuple(point.values()) for point in space.known] == [
        *((1, "x"), (1, "y"), (1, "z")),
        *((2, "x"), (2, "y"), (2, "z")),
    ]
    assert space.for_scale("laptop").known == ({"a": 1, "b": "w"}, {"a": 2, "b": "w"})


def test_the_objectives_are_properties_of_a_score():
    assert all(isinstance(getattr(adv.Score, name), property) for name in OBJECTIVES)


# --- knobs ---


@pytest.mark.parametrize(
    "knob",
    [Float(-1, 3), Float(1e-4, 1.0, log=True), Int(2, 5), Int(1, 1000, log=True), Choice(("a", 2))],
    ids=repr,
)
def test_positions_cover_a_hyperparameter_and_nothing_else(knob):
    values = [knob.at(i / 1000) for i in range(1000)] + [knob.at(1 - 2**-53)]
    assert all(knob.holds(value) for value in values)
    assert all(knob.parse(str(value)) == value for value in values)
    if isinstance(knob, Float):
        middle = math.sqrt(knob.low * knob.high) if knob.log else (knob.low + knob.high) / 2
        assert values[0] == knob.low and values[-1] == pytest.approx(knob.high)
        assert values[500] == pytest.approx(middle)
    elif isinstance(knob, Int):
        assert (min(values), max(values)) == (knob.low, knob.high)
        assert {type(value) for value in values} == {int}
        if not knob.log:
            assert {values.count(value) for value in (2, 3, 4)} == {250}
    else:
        assert values.count("a") == 500


@each
@pytest.mark.parametrize("size", spaces.SCALES)
def test_a_position_leads_back_to_its_configuration(name, size):
    """`position` is the inverse of `at`, of each hyperparameter and of the whole space."""
    space = spaces.load(name).for_scale(size)
    for params in [*space.known, *random_configurations(space, 50)]:
        again = space.at(space.position(params))
        assert again.keys() == params.keys() and all(0 <= u < 1 for u in space.position(params))
        for key, value in params.items():
            knob = space.knobs[key]
            assert again[key] == (pytest.approx(value) if isinstance(knob, Float) else value)
            assert space.position(again) == pytest.approx(space.position(params))


@pytest.mark.parametrize("knob", [Int(2, 5), Int(1, 9, log=True), Choice(("a", 2, False))])
def test_a_position_is_in_the_middle_of_its_value(knob):
    positions: dict[spaces.Value, list[float]] = {}
    for i in range(100_000):
        positions.setdefault(knob.at(i / 100_000), []).append(i / 100_000)
    for value, found in positions.items():
        middle = (found[0] + found[-1]) / 2
        assert knob.position(value) == pytest.approx(middle, abs=1e-4)


def test_positions_of_the_ends():
    for knob in (Float(-1, 3), Float(1e-4, 1.0, log=True)):
        assert (knob.position(knob.low), knob.position(knob.high)) == (0, 1)
        assert knob.at(knob.position(0.01)) == pytest.approx(0.01)
    space = Space("?", {"a": Float(0, 1), "b": Int(1, 2, when={"a": 0.0})}, no_recipe)
    assert space.position({"a": 1.0}) == [1 - 1e-12, 0.5]
    assert space.at([0.25, 0.9]) == {"a": 0.25} and space.at([0, 0.9]) == {"a": 0.0, "b": 2}


@pytest.mark.parametrize(
    ("knob", "text"),
    [
        *((Float(0, 1), text) for text in ("2", "x", "", "nan", "inf", "-0.1")),
        *((Int(1, 4), text) for text in ("5", "1.5", "2.0", "")),
        (Choice(("a", "b")), "c"),
    ],
)
def test_texts_that_name_no_value(knob, text):
    with pytest.raises(ValueError, match=r"is not one of|is outside") as error:
        knob.parse(text)
    assert str(knob) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Float(1, 1), "low < high; got 1 to 1"),
        (lambda: Float(0, math.inf), "a range needs finite ends"),
        (lambda: Float(0, 1, log=True), "starts above 0, got 0"),
        (lambda: Int(3, 2), "a range needs finite ends"),
        (lambda: Int(0, 8, log=True), "starts above 0"),
        (lambda: Float(1e-300, 1e300, log=True), "needs a finite high / low"),
        (lambda: Float(-1.7e308, 1.7e308), "a range needs finite ends"),
        (lambda: Float(0, 10**400), "a range needs finite ends"),
        (lambda: Int(1, 10**400), "a range needs finite ends"),
        (lambda: Float(math.nan, 1), "a range needs finite ends"),
        (lambda: Float("0", "1"), "ends of a range are numbers, got '0'"),  # type: ignore[arg-type]  # no numbers
        (lambda: Float(None, 1), "ends of a range are numbers, got None"),  # type: ignore[arg-type]  # no number
        (lambda: Float(False, True), "ends of a range are numbers, got False"),
        (lambda: Int(0.5, 2), "ends of an Int are whole numbers, got 0.5"),  # type: ignore[arg-type]  # not whole
        (lambda: Choice("abc"), "options of a choice are a tuple, got 'abc'"),  # type: ignore[arg-type]  # no tuple
        (lambda: Choice(["a", "b"]), "options of a choice are a tuple, got"),  # type: ignore[arg-type]  # no tuple
        (lambda: Choice({"a": 1}), "options of a choice are a tuple, got"),  # type: ignore[arg-type]  # no tuple
        (lambda: Choice(((1, 2), (3, 4))), "which JSON keeps, not .1, 2.: give it a name"),  # type: ignore[arg-type]  # not in JSON
        (lambda: Choice(([1], [2])), "which JSON keeps, not .1."),  # type: ignore[arg-type]  # not in JSON
        (lambda: Choice((None, "a")), "which JSON keeps, not None"),  # type: ignore[arg-type]  # not in JSON
        (lambda: Choice((torch.float32, "a")), "which JSON keeps, not torch.float32"),  # type: ignore[arg-type]  # not in JSON
        (lambda: Choice((np.int64(1), 2)), "which JSON keeps, not"),  # type: ignore[arg-type]  # not in JSON
        (lambda: Choice((b"a", b"b")), "which JSON keeps, not b'a'"),  # type: ignore[arg-type]  # not in JSON
        (lambda: Choice((math.nan, 1.0)), "must be finite, got nan"),
        (lambda: Choice((1.0, -math.inf)), "must be finite, got -inf"),
        (lambda: Choice(("a", "\ud800")), "not valid text"),
        (lambda: Choice((2**63, 1)), "64 bits at most, got one of 64"),
        (lambda: Choice((-(10**5000), 1)), "64 bits at most, got one of 16610"),
        (lambda: Int(0, 2**63), "64 bits at most, got one of 64"),
        (lambda: Choice((1, "1")), "needs distinct options"),
        (lambda: Choice((1, True)), "needs distinct options"),
        (lambda: Space("?", {1: Int(1, 2)}, no_recipe), "has a name and a knob, got 1"),  # type: ignore[dict-item]  # no name
        (lambda: Space("?", {"a": (1, 2)}, no_recipe), "has a name and a knob, got 'a': .1, 2."),  # type: ignore[dict-item]  # no knob
        (lambda: Choice(()), "needs distinct options"),
        (lambda: Choice(("a", "a")), "needs distinct options"),
        (
            lambda: Space("?", {"a": Int(1, 2, when={"b": 1}), "b": Int(1, 2)}, no_recipe),
            "come first",
        ),
        (
            lambda: Space("?", {"a": Int(1, 2)}, no_recipe, known=({"a": 3},)),
            "a=3 is outside 1 to 2",
        ),
        (
            lambda: Space(
                "?", {"a": Choice(("x",)), "b": Int(1, 2, when={"a": ("x", "z")})}, no_recipe
            ),
            "hyperparameter 'b' depends on a = z, which cannot be",
        ),
        (lambda: Space("?", {"a": Int(1, 2)}, no_recipe, grid=True), "takes choices only"),
        (
            lambda: Space("?", {"a": Choice((1, 2))}, no_recipe, known=({"a": 1},), grid=True),
            "are its combinations",
        ),
        (
            lambda: Space("?", {"a": Int(1, 9)}, no_recipe, laptop={"b": Int(1, 2)}),
            "no hyperparameter 'b' to narrow: a",
        ),
    ],
)
def test_bad_knobs_and_spaces(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    "options",
    [("a", "größer"), (1, 2.5), (True, False), (np.float64(0.1), 1e300), (0, -(2**63) + 1, "x")],
    ids=str,
)
def test_a_choice_survives_the_ledger(options):
    knob = Choice(options)
    kept = [json.loads(json.dumps(option)) for option in options]
    assert all(knob.holds(option) for option in kept)
    assert [knob.parse(str(option)) for option in options] == kept


# --- scales and names ---


def test_scales():
    laptop, full = spaces.SCALES["laptop"], spaces.SCALES["full"]
    assert (full.epochs, full.train_steps, full.battery_steps, full.data) == (
        60,
        None,
        20,
        "cifar10",
    )
    assert laptop.data == "digits" and laptop.epochs < full.epochs
    changed = spaces.scale("laptop", epochs=2, trials=3)
    assert changed == replace(laptop, epochs=2, trials=3) and isinstance(changed, Scale)
    for scale in (laptop, full):
        assert scale.draws >= 5 and scale.votes > scale.draws
        battery = scale.battery()
        first: list[Any] = [next(members(attack)) for _, attack in battery.attacks]
        assert [attack.steps for attack in first] == [scale.battery_steps] * 6
        assert (battery.draws, battery.votes) == (adv.margin_battery().draws, scale.votes)
        watched: list[Any] = [attack for _, attack in scale.watch().attacks]
        assert {attack.steps for attack in watched} == {scale.watch_steps}


def test_the_score_chooses_the_battery_of_trials_alone():
    report, margin = (spaces.scale("laptop", score=score) for score in ("report", "margin"))
    sizes = {"steps": report.battery_steps, "votes": report.votes}
    assert report.battery() == adv.report_battery(**sizes, draws=report.draws)
    assert margin.battery() == adv.margin_battery(**sizes)
    assert margin.watch() == report.watch() and margin.reference() == report.reference()
    assert spaces.scale("laptop").score == spaces.DEFAULT_SCORE
    for name in spaces.names():
        if name.startswith("report_"):
            assert spaces.load(name).scale["score"] == "report"


def test_a_scale_caps_the_steps_and_leaves_the_rest():
    recipe = adv.Recipe(net=adv.BaseNet(), augment=adv.Augment(flip=0.5))
    small = spaces.SCALES["laptop"].apply(recipe)
    assert isinstance(recipe.curriculum, adv.Curriculum)
    assert isinstance(small.curriculum, adv.Curriculum)
    steps = [small.curriculum(epoch / 6).attack.steps for epoch in range(6)]
    assert steps == [1] * 6
    eps = [recipe.curriculum(t).attack.ball for t in (0, 0.5)]
    assert [small.curriculum(t).attack.ball for t in (0, 0.5)] == eps
    assert (small.net, small.augment, small.optimizer) == (
        recipe.net,
        recipe.augment,
        recipe.optimizer,
    )
    assert spaces.SCALES["full"].apply(recipe).curriculum == recipe.curriculum


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: spaces.scale("labtop"), "no scale 'labtop': did you mean 'laptop'?"),
        (lambda: spaces.scale("x"), "no scale 'x'; there are: laptop, full"),
        (lambda: spaces.scale("full", score="margn"), "no score 'margn': did you mean 'margin'?"),
        (lambda: spaces.load("rse_sigma"), "no space 'rse_sigma': did you mean 'rse_sigmas'?"),
        (lambda: spaces.load("_space"), "; there are: architecture, "),
        (lambda: spaces.load(""), "no space ''; there are: "),
    ],
)
def test_names_that_are_not_known(ask, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        ask()
    assert "\n" not in str(error.value)


def test_defaults_of_the_scales_as_text():
    laptop, full = spaces.SCALES["laptop"], spaces.SCALES["full"]
    said = spaces.default_text("epochs")
    assert said == f"{laptop.epochs} on laptop, {full.epochs} on full"
    assert spaces.default_text("cpus") == "1"


UNUSABLE = {
    "no_module": ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'"),
    "no_syntax": ("def", "SyntaxError: "),
    "no_bytes": ("x = '\0'", "SyntaxError: "),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "two_lines": ("raise KeyError('a\\nb')", "KeyError: "),
    "no_space": ("", "it has no `space = Space(...)`"),
    "no_true_space": ("space = 3", "it has no `space = Space(...)`"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_that_cannot_be_used_is_named_in_one_line(name, tmp_path, monkeypatch):
    text, said = UNUSABLE[name]
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(spaces, "__path__", [*spaces.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=re.escape(f"cannot use spaces/{name}.py: ")) as error:
        spaces.load(name)
    assert said in str(error.value) and "\n" not in str(error.value)
    sys.modules.pop(f"spaces.{name}", None)
    assert name in spaces.names() and spaces.load("smoke").knobs


@pytest.mark.parametrize("name", ["a=b", "\udc80", "", "learning rate"])
def test_a_name_that_is_no_argument_is_refused_where_nets_are_built(name, monkeypatch):
    space = Space("?", {name: Int(1, 2)}, no_recipe)  # a recorded table may call it so
    monkeypatch.setattr(spaces, "_import", lambda _: SimpleNamespace(space=space))
    with pytest.raises(ValueError, match=r"cannot use spaces/smoke.py: .* argument of build"):
        spaces.load("smoke")
