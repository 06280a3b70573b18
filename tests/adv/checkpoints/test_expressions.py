"""Recipes as expressions: what is written can be parsed again, and nothing else can."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields, is_dataclass

import pytest

import adv
from adv import (
    AWP,
    GAT,
    LIET,
    PGI,
    RSE,
    SGD,
    AdamW,
    Augment,
    BaseNet,
    BigNet,
    Curriculum,
    GradAlign,
    Latest,
    Linf,
    Net,
    NuAT,
    OneCycle,
    Piecewise,
    Ramp,
    Recipe,
)
from adv.checkpoints.expressions import parse, to_expression

RECIPES = [
    Recipe(),
    Recipe(net=BigNet(width=2), defences=(RSE(0.2, 0.1),), epochs=5),
    Recipe(
        net=BaseNet("gelu", dropout=0.3),
        defences=(RSE(1 / 3, 0.0), RSE(1e-9)),
        optimizer=SGD(0.05, decay=Piecewise((0.0, 0.5), (1.0, 0.1))),
        curriculum=Curriculum(eps=8 / 255, steps=Ramp(1, 7, "cosine"), most_steps=None),
        augment=Augment(flip=0.5, crop=4, jitter=0.1),
    ),
    Recipe(optimizer=AdamW(decay=OneCycle())),
    Recipe(objective=AWP(NuAT()), curriculum=Curriculum(Ramp(0.0, 0.03, until=0.3), kind="fgsm")),
    Recipe(objective=GAT(Piecewise((0.0, 0.85), (10.0, 40.0))), smoothing=0.6, ema=0.9995),
    Recipe(objective=LIET(Ramp(0.0, 200.0), refresh=10)),
    Recipe(objective=PGI(5.0, momentum=0.0, reset=1.0)),
    Recipe(objective=GradAlign(0.5), ema=Latest(5, every=50)),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_a_recipe_is_parsed_again(recipe):
    text = to_expression(recipe)
    assert "\n" not in text
    assert parse(text) == recipe
    assert repr(parse(text)) == repr(recipe)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", -3),
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("('a', 1.5, None, True)", ("a", 1.5, None, True)),
        ("()", ()),
        (" Linf(8e-3)\n", Linf(0.008)),
        ("BigNet(\n  2,\n  activation='relu',\n)", BigNet(2, "relu")),
    ],
)
def test_values_and_literals(text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "not an expression"),
        ("BigNet(", "not an expression"),
        ("(" * 100_000, "not an expression"),
        ("-" * 100_000 + "1", "not an expression"),
        ("\0", "not an expression"),
        ("BigNett()", "adv has no value called 'BigNett': did you mean 'BigNet'?"),
        ("train(1)", "adv has no value called 'train'"),
        ("load('digits')", "adv has no value called 'load'"),
        ("Net()", "adv has no value called 'Net'"),
        ("__import__('os')", "adv has no value called '__import__'"),
        ("open('x', 'w')", "adv has no value called 'open'"),
        ("BigNet(depth=3)", "BigNet: .*unexpected keyword argument 'depth'"),
        ("BigNet(widht=3)", "argument 'widht': did you mean 'width'?"),
        ("BigNet(2, x=3)", "argument 'x'$"),
        ("BigNet(1, width=2)", "multiple values for argument 'width'$"),
        ("BigNet(*(1,))", "neither a value of adv nor a literal"),
        ("BigNet(**x)", "neither a value of adv nor a literal"),
        ("BigNet().__class__", "neither a value of adv nor a literal"),
        ("os.system('x')", "neither a value of adv nor a literal"),
        ("[x for x in (1,)]", "neither a value of adv nor a literal"),
        ("lambda: 1", "neither a value of adv nor a literal"),
        ("2 ** 99999999", "neither a value of adv nor a literal"),
        ("BigNet", "neither a value of adv nor a literal"),
        ("b'x'", "neither a value of adv nor a literal"),
        ("-True", "not a number"),
        ("-'a'", "not a number"),
        ("RSE(-1.0)", "a sigma is 0 or more"),
        ("'\\ud800' + 1", "neither"),
    ],
)
def test_nothing_else_is_parsed(text, hint):
    with pytest.raises(ValueError, match=hint) as error:
        parse(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@dataclass(frozen=True)
class Mine(Net):
    width: int = 1

    def __call__(self, classes, shape=None):
        raise NotImplementedError


COMPLEX = AdamW(lr=1 + 0j)  # type: ignore[arg-type]  # no real number


@pytest.mark.parametrize(
    "recipe", [Recipe(net=Mine()), Recipe(optimizer=COMPLEX)], ids=["class", "number"]
)
def test_what_cannot_be_parsed_is_not_written(recipe):
    with pytest.raises(ValueError, match=r"'Mine'|neither"):
        to_expression(recipe)


def test_every_value_with_defaults_is_parsed_again():
    """New values of the library can be part of a recipe without any change here."""
    read_again = []
    for name in dir(adv):
        found = getattr(adv, name)
        if isinstance(found, type) and is_dataclass(found):
            settings = [field for field in fields(found) if field.init]
            if all(s.default is not MISSING or s.default_factory is not MISSING for s in settings):
                assert parse(repr(found())) == found(), name
                read_again.append(name)
    assert {"Recipe", "BigNet", "RSE", "PNI", "AdamW", "Augment", "TRADES"} <= set(read_again)
