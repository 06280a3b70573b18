"""The contract of a defence: a value that changes any net, composes, is saved, and says its noise.

One row for each defence. RSE's own cases stand in test_models.py, the norms of SpectralNorm in
test_spectral.py.
"""

from __future__ import annotations

import copy
import math
import pickle
from itertools import permutations

import pytest
import torch
from defence_cases import NETS, build_defended, images, outputs_with_seed
from torch import nn

import adv
from adv import (
    PNI,
    RSE,
    BigNet,
    MCDropout,
    Projection,
    Recipe,
    ResNet18,
    SpectralNorm,
    TestNoise,
    build,
    is_random,
)
from adv.checkpoints.checkpoint import load_weights, read_checkpoint, save_checkpoint
from adv.defences.pni import WeightNoise
from adv.defences.projection import LowRank
from adv.defences.spectral_norm import SpectralDivision
from adv.defences.weight_transforms import weight_layers
from adv.runtime.frozen import frozen
from adv.runtime.random_layers import Dropout, Noise
from adv.training.optimizers import find_undecayed

# The two flags: random in evaluation, random in training.
DEFENCES = {
    "RSE": (RSE(0.1, 0.1), True, True),
    "PNI": (PNI(), True, True),
    "PNI-channel": (PNI(0.1, "channel"), True, True),
    "PNI-element-inner": (PNI(0.1, "element", where="inner"), True, True),
    "MCDropout": (MCDropout(0.3), True, True),
    "TestNoise": (TestNoise(0.1), True, False),
    "TestNoise-training": (TestNoise(0.1, training=True), True, True),
    "SpectralNorm": (SpectralNorm(), False, False),
    "SpectralNorm-convolution": (SpectralNorm("convolution", 2.0), False, False),
    "Projection": (Projection(20), False, False),
    "Projection-learnable": (Projection(20, learnable=True), False, False),
    "Projection-random": (Projection(20, init="random"), False, False),
}


each_net = pytest.mark.parametrize("net", NETS)


two_nets = pytest.mark.parametrize("net", ["Foreign", "WRN"])


each_defence = pytest.mark.parametrize("name", DEFENCES)


# --- the contract ---


@each_defence
def test_a_defence_is_a_value(name):
    defence = DEFENCES[name][0]
    assert pickle.loads(pickle.dumps(defence)) == defence == copy.deepcopy(defence)
    assert eval(repr(defence), vars(adv) | {n: getattr(adv, n) for n in dir(adv)}) == defence
    assert len({defence, copy.copy(defence), RSE(0.7, 0.7)}) == 2


@each_net
@each_defence
def test_a_defence_says_when_it_draws(net, name):
    """The random ones do not hang on the mode: those that do are random in evaluation."""
    defence, in_evaluation, in_training = DEFENCES[name]
    plain = build_defended(net)
    module = NETS[net](10)
    assert defence(module) is module
    module = build_defended(net, defence)
    assert is_random(module) == in_evaluation and not is_random(plain)
    for mode, random in ((False, in_evaluation), (True, in_training)):
        module.train(mode)
        assert torch.equal(outputs_with_seed(module), outputs_with_seed(module))
        assert torch.equal(outputs_with_seed(module), outputs_with_seed(module, 2)) != random
    assert outputs_with_seed(module.eval()).shape == (2, 10)
    with frozen(module):
        assert torch.equal(outputs_with_seed(module), outputs_with_seed(module, 2)) != in_evaluation


@each_net
@each_defence
def test_a_defended_net_is_saved_copied_and_pickled(net, name, tmp_path):
    defence = DEFENCES[name][0]
    module = build_defended(net, defence).train()
    module(images())  # what a forward pass changes is saved too
    module.eval()
    save_checkpoint(tmp_path / "a.safetensors", module, {})
    saved = load_weights(
        build_defended(net, defence, seed=5), read_checkpoint(tmp_path / "a.safetensors")[0]
    )
    for twin in (saved, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(outputs_with_seed(twin.eval()), outputs_with_seed(module))
        assert list(twin.state_dict()) == list(module.state_dict())
        for weight, other in zip(twin.parameters(), module.parameters(), strict=True):
            assert weight.data_ptr() != other.data_ptr()
    assert not torch.equal(
        outputs_with_seed(build_defended(net, defence, seed=5)), outputs_with_seed(module)
    )


@two_nets
@each_defence
def test_evaluation_changes_nothing(net, name):
    module = build_defended(net, DEFENCES[name][0])
    before = copy.deepcopy(module.state_dict())
    around = torch.get_rng_state()
    x = images().requires_grad_()
    with frozen(module):
        loss = module(x).logsumexp(1).sum()
    (slope,) = torch.autograd.grad(loss, x)
    assert torch.isfinite(slope).all() and slope.abs().sum() > 0
    after = module.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert torch.equal(around, torch.get_rng_state())


@two_nets
@each_defence
def test_gradients_are_finite_and_reach_every_weight(net, name):
    module = build_defended(net, DEFENCES[name][0]).train()
    nn.functional.cross_entropy(module(images(8)), torch.arange(8)).backward()
    reached = []
    for key, weight in module.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key
        reached.append(bool(weight.grad.abs().sum() > 0))
    assert sum(reached) > 0.9 * len(reached)


@two_nets
@each_defence
def test_a_defended_net_runs_in_channels_last_and_bfloat16(net, name):
    defence, random, _ = DEFENCES[name]
    module = build_defended(net, defence)
    wanted = outputs_with_seed(module)
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)
    laid = images().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        half = outputs_with_seed(last, x=laid).float()
    if random:  # which element gets which draw may hang on the layout
        assert torch.isfinite(half).all() and half.std() < 10 * wanted.std()
    else:
        assert torch.allclose(outputs_with_seed(last, x=laid), wanted, atol=1e-4, rtol=1e-3)
        assert torch.allclose(half, wanted, atol=0.1 * float(wanted.abs().max()))


@each_defence
def test_only_what_a_defence_learns_is_not_decayed(name):
    module = build_defended("BigNet", DEFENCES[name][0])
    spared = find_undecayed(module)
    learned = [
        k for k, v in module.named_parameters() if k.rpartition(".")[2] in ("alpha", "basis")
    ]
    assert (
        len(spared)
        == len(learned)
        == {"PNI": 5, "PNI-channel": 5, "PNI-element-inner": 3, "Projection-learnable": 1}.get(
            name, 0
        )
    )
    figures = DEFENCES[name][0].figures(module)
    assert all(isinstance(k, str) and math.isfinite(v) for k, v in figures.items())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: PNI(0), "alpha starts above 0, got 0"),
        (lambda: PNI(math.nan), "alpha starts above 0"),
        (
            lambda: PNI(granularity="layers"),  # type: ignore[arg-type]  # no such name
            "layer, channel or element, got 'layers'",
        ),
        (lambda: PNI(where="outer"), "all or inner, got 'outer'"),  # type: ignore[arg-type]  # no such name
        (lambda: PNI()(nn.ReLU()), "PNI needs a net with a convolution or a linear layer"),
        (lambda: PNI(where="inner")(nn.Sequential(nn.Linear(2, 2))), "three layers or more"),
        (lambda: MCDropout(0), r"in \(0, 1\), got 0"),
        (lambda: MCDropout(1.0), r"in \(0, 1\), got 1.0"),
        (lambda: MCDropout()(BigNet()(10)), r"dropout is 0; give it one, or MCDropout\(p\)"),
        (lambda: MCDropout(0.5)(nn.Sequential(nn.ReLU())), "a net with dropout layers"),
        (lambda: TestNoise(0), "above 0, got 0"),
        (lambda: TestNoise(math.inf), "above 0, got inf"),
        (lambda: TestNoise(1)(nn.Sequential(nn.Linear(2, 2))), "TestNoise needs a net with a conv"),
        (lambda: Projection(0), "1 or more, got 0"),
        (lambda: Projection(3073)(BigNet()(10)), r"in \[1, 3072\] .*, got 3073"),
        (
            lambda: Projection(5, init="svd"),  # type: ignore[arg-type]  # no such name
            "pca or random, got 'svd'",
        ),
    ],
)
def test_settings_that_make_no_defence(wrong, said):
    with pytest.raises(ValueError, match=said) as error:
        wrong()
    assert "\n" not in str(error.value)


# --- composition ---


TOGETHER = (
    RSE(0.1, 0.1),
    PNI(),
    MCDropout(0.2),
    TestNoise(0.1),
    Projection(9),
    SpectralNorm(),
    SpectralNorm("convolution"),
)


@pytest.mark.parametrize("net", ["Foreign"])
@pytest.mark.parametrize(("a", "b"), list(permutations(range(len(TOGETHER)), 2)))
def test_two_defences_compose_in_both_orders(net, a, b):
    module = build_defended(net, TOGETHER[a], TOGETHER[b])
    assert (
        outputs_with_seed(module).shape == (2, 10)
        and torch.isfinite(outputs_with_seed(module)).all()
    )
    assert is_random(module) == bool({0, 1, 2, 3} & {a, b})
    kinds = {
        RSE: Noise,
        PNI: WeightNoise,
        MCDropout: Dropout,
        TestNoise: Noise,
        Projection: LowRank,
        SpectralNorm: SpectralDivision,
    }
    for one in (TOGETHER[a], TOGETHER[b]):
        assert any(isinstance(m, kinds[type(one)]) for m in module.modules())
    clean = len(weight_layers(build_defended(net), ""))
    if PNI in (type(TOGETHER[a]), type(TOGETHER[b])):
        assert sum(isinstance(m, WeightNoise) for m in module.modules()) == clean


def test_all_at_once_in_reverse_too_and_on_the_big_one():
    for order in (TOGETHER, TOGETHER[::-1]):
        for net in NETS:
            assert torch.isfinite(outputs_with_seed(build_defended(net, *order))).all()
    module = build(Recipe(net=ResNet18(dropout=0.1), defences=TOGETHER), 10, seed=0).eval()
    assert torch.isfinite(module(images(1))).all()


def test_an_image_meets_first_what_was_applied_first():
    def path(*defences):
        met: list[str] = []
        module = build_defended("BigNet", *defences)
        for part in module.modules():
            if not [*part.children()]:
                part.register_forward_hook(lambda m, *_: met.append(type(m).__name__))
        module(images())
        return met[:4]

    assert path(Projection(5), RSE()) == ["LowRank", "Noise", "Normalize", "Conv2d"]
    assert path(RSE(), Projection(5)) == ["Noise", "LowRank", "Normalize", "Conv2d"]
