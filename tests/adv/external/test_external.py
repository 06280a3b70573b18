"""Nets of other projects in a recipe: they work as ours do, or one line says why not."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator

from adv import (
    PGD,
    Battery,
    Curriculum,
    External,
    Linf,
    Recipe,
    Split,
    build,
    evaluate,
    is_random,
    restore,
    save,
    size_of,
    train,
)
from adv.training.rehearsal import rehearse

THEIRS = Path(__file__).parent.parent / "their_nets.py"
BATTERY = Battery((("pgd2", PGD(Linf(0.05), 2)),), draws=2, votes=3)
CURRICULUM = Curriculum(eps=0.05, steps=1)


def their(name, **settings):
    kwargs = settings.pop("kwargs", {})
    return External(f"{THEIRS}:{name}", kwargs, **settings)


def make_split(n=17, channels=3):
    """Return images for two batches of 8 and one image more."""
    images = torch.randint(
        256, (n, channels, 8, 8), generator=seeded_generator(), dtype=torch.uint8
    )
    return Split(images, torch.arange(n) % 10)


CONVERTED = "are converted to float32"
WORKS: dict[str, dict[str, Any]] = {
    "Plain": {},
    "Views": {},
    "InPlace": {"warns": "in place"},
    "Dictionary": {},
    "Tuple": {},
    "Object": {},
    "AuxiliaryInTraining": {},
    "FunctionalDropout": {"random": True},
    "Dropout": {},
    "Lazy": {},
    "OnePixelMaps": {},
    "CastsItself": {},
    "NoConvolution": {},
    "Grouped": {},
    "Standardised": {},
    "scripted": {},
    "traced": {},
    "in_training_mode": {},
    "parallel": {},
    "double": {"warns": CONVERTED},
    "bfloat16": {"warns": CONVERTED},
    "half": {"warns": CONVERTED},
    "channels_last": {},
    "exported": {},
    "any_keyword": {"kwargs": {"name": "plain"}},
    "fixed_classes": {"kwargs": {"name": "plain"}},
    "instance": {},
    "one channel": {"source": "Plain", "channels": 1, "mean": 0.5, "std": 0.25},
    "five channels": {"source": "Plain", "channels": 5},
    "normalised": {"source": "Plain", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.2)},
}


@pytest.mark.filterwarnings("ignore:.torch.jit.*:FutureWarning")  # going, not gone
@pytest.mark.parametrize("name", WORKS)
def test_conformance(name, tmp_path):
    """Trained, resumed, saved, restored and evaluated, with the same values each time."""
    row: dict[str, Any] = dict(WORKS[name])
    warns, channels = row.pop("warns", ""), row.pop("channels", 3)
    random, source = row.pop("random", False), row.pop("source", name)
    recipe = Recipe(
        net=their(source, **row), epochs=2, batch=8, curriculum=CURRICULUM, frozen_layers=0.0
    )
    data = make_split(channels=channels)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        first, last = train_twice(recipe, data)
        save(tmp_path / "net.safetensors", last, recipe, classes=[str(i) for i in range(10)])
        loaded = restore(tmp_path / "net.safetensors", trust_code=True)
        scores = [evaluate(net, data, BATTERY) for net in (last, last, loaded.net)]
    said = {str(one.message) for one in caught}
    assert bool(said) == bool(warns) and all(warns in text for text in said), said
    assert is_random(loaded.net) == random
    assert loaded.recipe == recipe
    for one, other in zip(first.state_dict().values(), last.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert len({score.ok.numpy().tobytes() for score in scores}) == 1


def train_twice(recipe, data):
    """Return the nets of a training in one go, and of one that was resumed after an epoch."""
    *_, whole = train(recipe, data, classes=10, seed=0)
    early = next(train(recipe, data, classes=10, seed=0))
    *_, resumed = train(recipe, data, classes=10, seed=0, state=early.state())
    return whole.net, resumed.net


REFUSED = {
    "elsewhere": "cannot be moved to the CPU",
    "no_module": "returns a int, not a torch.nn.Module",
    "raises": "fails: RuntimeError: no luck",
    "leaves": "fails: SystemExit",
    "Needs": "missing 1 required positional argument: 'depth'",
    "TwoTensors": "returns a dict with the keys a, b, in which no logits are found",
    "Text": "returns a str, in which no logits are found",
    "Wide": "returns [2, 11], expected [2, 10], for images [2, 3, 8, 8]",
    "Maps": "returns [2, 4, 3, 3], expected [2, 10]",
    "Squeezed": "returns [10], expected [1, 10]",
    "Endless": "are not finite",
    "OtherSize": "Input height (8) doesn't match model (224)",
    "Detached": "no gradient to its images",
    "NoWeights": "no weight to train",
    "Plian": "has no 'Plian': did you mean 'Plain'?",
    "SIZE": "SIZE is a int, and nothing to call",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_cannot_be_trained_is_refused_in_one_line(name):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the text is checked
        rehearse(Recipe(net=their(name)), 10, (3, 8, 8))
    assert REFUSED[name] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("net", "names no callable: write package.module:callable or path.py:callable"),
        ("nowhere.py:Net", "no file "),
        (
            "no_such_package.nets:Net",
            "cannot import no_such_package.nets: ModuleNotFoundError: No module named",
        ),
        ("torch.nn:Lniear", "torch.nn has no 'Lniear': did you mean 'Linear'?"),
        ("a b:c", "is not a Python file"),
        ("a:b c", "names no callable"),
    ],
)
def test_references_that_name_nothing(source, hint):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the text is checked
        External(source)(10)
    assert hint in str(error.value)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"kwargs": {"a": object()}}, "is a literal"),
        ({"mean": 0.5}, "mean and std are given together"),
        ({"mean": 0.5, "std": 0}, "std is above 0"),
        ({"mean": (), "std": 1}, "a number for each channel"),
    ],
)
def test_settings_that_cannot_be(settings, hint):
    with pytest.raises(ValueError, match=hint):
        External("torch.nn:Linear", **settings)


def test_other_numbers_than_channels():
    net = External(f"{THEIRS}:Plain", mean=(0.1, 0.2), std=(1.0, 1.0))
    with pytest.raises(ValueError, match="mean has 2 numbers, and the images have 3 channels"):
        net(10, (3, 8, 8))


def test_the_normalisation_is_of_the_given_numbers():
    plain, normalised = (
        build(Recipe(net=net), 10, 0, (3, 8, 8))
        for net in (their("Plain"), their("Plain", mean=(0.5, 0.4, 0.3), std=0.2))
    )
    x = torch.rand(4, 3, 8, 8, generator=seeded_generator())
    with torch.no_grad():
        expected = plain.eval()((x - torch.tensor([0.5, 0.4, 0.3]).reshape(3, 1, 1)) / 0.2)
        assert torch.allclose(normalised.eval()(x), expected, atol=1e-6)


def test_code_of_a_checkpoint_is_run_only_if_it_is_trusted(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(THEIRS.read_text())
    recipe = Recipe(net=External(f"{file}:Plain"))
    path = tmp_path / "net.safetensors"
    net = build(recipe, 10, 0, (3, 8, 8))
    save(path, net, recipe, classes=[str(i) for i in range(10)])
    file.write_text("raise RuntimeError('this file was run')")
    with pytest.raises(ValueError, match=r"names code, .*mine.py:Plain, which is run only if you"):
        restore(path)
    with pytest.raises(ValueError, match="this file was run"):
        restore(path, trust_code=True)
    file.write_text(THEIRS.read_text() + "# changed\n")
    with pytest.warns(UserWarning, match="the source of .*mine.py:Plain has changed since"):
        restore(path, trust_code=True)


def test_a_shared_module_is_never_trained_itself():
    one, other = (build(Recipe(net=their("instance")), 10, seed, (3, 8, 8)) for seed in (0, 1))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with torch.no_grad():
        next(one.parameters()).add_(1)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in before.items())


def test_equal_seeds_give_equal_nets_and_leave_torchs_generator_alone():
    before = torch.get_rng_state()
    one, other, third = (build(Recipe(net=their("Lazy")), 10, s, (3, 8, 8)) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    weights = [torch.cat([w.flatten() for w in net.parameters()]) for net in (one, other, third)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_sizes():
    size = size_of(their("Plain"), 10, (3, 8, 8))
    assert size.parameters == (4 * 27 + 4) + 2 * 4 + (36 * 10 + 10)
    assert size.multiply_adds == 9 * 4 * 27 + 36 * 10


def test_a_recipe_of_a_net_of_others_is_an_expression():
    from adv.checkpoints.expressions import parse, to_expression

    net = their(
        "Plain", kwargs={"width": 8, "deep": {"a": [1, (2.5, None)], "b": True}}, mean=0.5, std=1
    )
    recipe = replace(Recipe(net=net), frozen_layers=0.5, init="weights.pth")
    assert parse(to_expression(recipe)) == recipe
    assert len({net, their("Plain")}) == 2
