"""Training goes on from given weights, and layers keep theirs where the recipe says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reproducibility import seeded_generator
from safetensors.torch import save_file

from adv import (
    RSE,
    Curriculum,
    External,
    Recipe,
    Split,
    Weights,
    build,
    restore,
    save,
    train,
)
from adv.models import Normalize
from adv.training.frozen_layers import freeze_layers, is_frozen

THEIRS = Path(__file__).parent.parent / "their_nets.py"
SHAPE = (3, 8, 8)
PLAIN = External(f"{THEIRS}:Plain")
CURRICULUM = Curriculum(eps=0.05, steps=1)
NAMES = [str(i) for i in range(10)]


def make_net(classes=10, seed=5):
    return build(Recipe(net=PLAIN), classes, seed, SHAPE).net


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(make_net().state_dict(), path)
    return path


def initial_net(recipe):
    return build(recipe, 10, 0, SHAPE, initial=True)


def assert_equal_weights(net, other):
    for name, value in other.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_a_training_starts_from_given_weights(file):
    recipe = Recipe(net=PLAIN, init=str(file))
    assert recipe.init == Weights(str(file))
    assert_equal_weights(initial_net(recipe).net, make_net())
    other = build(recipe, 10, 0, SHAPE).get_submodule("net.conv")
    assert not torch.equal(other.get_parameter("weight"), make_net().conv.weight)


@pytest.mark.parametrize("suffix", ["pth", "pt"])
def test_half_precision_and_another_layout(tmp_path, suffix):
    net = make_net()
    path = tmp_path / f"weights.{suffix}"
    torch.save({"model": {f"module.{n}": v.half() for n, v in net.state_dict().items()}}, path)
    loaded = initial_net(Recipe(net=PLAIN, init=str(path))).net
    assert loaded.conv.weight.dtype == torch.float32
    assert torch.equal(loaded.conv.weight, net.conv.weight.half().float())


def test_a_head_of_another_class_count(tmp_path):
    path = tmp_path / "hundred.safetensors"
    save_file(make_net(classes=100).state_dict(), path)
    with pytest.raises(ValueError, match=r"fc\.weight \[100, 36\] for \[10, 36\].*--new-head"):
        initial_net(Recipe(net=PLAIN, init=Weights(str(path))))
    recipe = Recipe(net=PLAIN, init=Weights(str(path), new_head=True))
    with pytest.warns(UserWarning, match=r"the head \(fc\.weight, fc\.bias\) of .* does not fit"):
        net = initial_net(recipe).net
    assert torch.equal(net.conv.weight, make_net(classes=100).conv.weight)
    assert net.fc.weight.shape == (10, 36)


def test_a_backbone_without_a_head(tmp_path):
    path = tmp_path / "backbone.pth"
    weights = {n: v for n, v in make_net().state_dict().items() if not n.startswith("fc")}
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r"missing: fc\.weight, fc\.bias.*--new-head"):
        initial_net(Recipe(net=PLAIN, init=str(path)))
    with pytest.warns(UserWarning, match="the head"):
        net = initial_net(Recipe(net=PLAIN, init=Weights(str(path), new_head=True))).net
    assert torch.equal(net.conv.weight, make_net().conv.weight)


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({f"layer{i}.weight": torch.zeros(2) for i in range(5)}, path)
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the text is checked
        initial_net(Recipe(net=PLAIN, init=str(path)))
    said = str(error.value)
    assert "missing: conv.weight, conv.bias, norm.weight and 5 more" in said
    assert "unexpected: layer0.weight, layer1.weight, layer2.weight and 2 more" in said
    assert "\n" not in said


def test_weights_that_are_not_finite(tmp_path):
    weights = make_net().state_dict()
    weights["conv.bias"][1] = float("nan")
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"conv\.bias is not finite"):
        initial_net(Recipe(net=PLAIN, init=str(tmp_path / "bad.pth")))


@pytest.mark.parametrize("defences", [(), (RSE(0.1, 0.1),)])
def test_a_checkpoint_of_ours_with_its_normalisation(tmp_path, defences):
    """Fine-tuning keeps the statistics that the net was trained with; so do defended nets."""
    recipe = Recipe(defences=defences, curriculum=CURRICULUM, epochs=1)
    images = torch.randint(200, (20, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    data = Split(images, torch.arange(20) % 10)
    (epoch,) = train(recipe, data, classes=10, seed=0)
    save(tmp_path / "net.safetensors", epoch.net, recipe, classes=NAMES)
    tuned = Recipe(
        defences=defences,
        curriculum=CURRICULUM,
        epochs=1,
        init=str(tmp_path / "net.safetensors"),
    )
    brighter = Split(images + 50, data.labels)
    (after,) = train(tuned, brighter, classes=10, seed=1)
    before, now = (
        next(m for m in net.modules() if isinstance(m, Normalize)) for net in (epoch.net, after.net)
    )
    assert torch.equal(before.mean, now.mean)
    save(tmp_path / "tuned.safetensors", after.net, tuned, classes=NAMES)
    (tmp_path / "net.safetensors").unlink()
    assert_equal_weights(restore(tmp_path / "tuned.safetensors").net, after.net)


def test_plain_weights_before_a_defence(file):
    recipe = Recipe(net=PLAIN, defences=(RSE(0.1, 0.1),), init=str(file))
    net = initial_net(recipe)
    assert torch.equal(net.net.fc.weight, make_net().fc.weight)


def test_a_resumed_training_needs_no_file(file):
    images = torch.randint(256, (16, *SHAPE), generator=seeded_generator(), dtype=torch.uint8)
    data = Split(images, torch.arange(16) % 10)
    recipe = Recipe(net=PLAIN, init=str(file), epochs=2, batch=8, curriculum=CURRICULUM)
    *_, whole = train(recipe, data, classes=10, seed=0)
    state = next(train(recipe, data, classes=10, seed=0)).state()
    file.unlink()
    *_, resumed = train(recipe, data, classes=10, seed=0, state=state)
    assert_equal_weights(resumed.net, whole.net)
    with pytest.raises(ValueError, match="no weights at"):
        next(train(recipe, data, classes=10, seed=0))


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_frozen_layers_keep_their_weights_and_statistics(file, ema):
    images = torch.randint(256, (16, *SHAPE), generator=seeded_generator(), dtype=torch.uint8)
    data = Split(images, torch.arange(16) % 10)
    recipe = Recipe(
        net=PLAIN,
        init=str(file),
        frozen_layers=0.67,  # the convolution and its BatchNorm
        epochs=2,
        batch=8,
        ema=ema,
        curriculum=CURRICULUM,
    )
    *_, last = train(recipe, data, classes=10, seed=0)
    found, start = last.net.get_submodule("net").state_dict(), make_net().state_dict()
    for name, value in start.items():
        kept = torch.equal(found[name], value)
        assert kept == (not name.startswith("fc")), name


def test_a_layer_is_left_to_train():
    net = make_net()
    freeze_layers(net, 0.99)
    assert [is_frozen(layer) for layer in (net.conv, net.norm, net.fc)] == [True, True, False]
