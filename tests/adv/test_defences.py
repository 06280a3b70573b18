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
from torch import nn

import adv
from adv import (
    PNI,
    RSE,
    WRN,
    BigNet,
    Curriculum,
    MCDropout,
    Projection,
    Recipe,
    ResNet18,
    SpectralNorm,
    Split,
    TestNoise,
    ViT,
    build,
    is_random,
    train,
)
from adv.checkpoint import load_weights, read_checkpoint, save_checkpoint
from adv.defences.pni import WeightNoise
from adv.defences.projection import LowRank
from adv.defences.spectral import Normed
from adv.defences.weights import transform, weighted
from adv.modes import frozen
from adv.optimizers import undecayed
from adv.randomness import Dropout, Noise, drawing

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


class Foreign(nn.Module):
    """A net that is not ours: attributes, BatchNorm, torch's own dropout, no normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.block = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)))
        self.drop = nn.Dropout(0.0)
        self.out = nn.Linear(6, 10)

    def forward(self, x):
        return self.out(self.drop(self.block(self.stem(x)).mean((2, 3))))


NETS = {
    "BigNet": BigNet(),
    "WRN": WRN(10, 1, se=0.25),
    "ViT": ViT(1, 64, convolutions=3),
    "Foreign": lambda classes: Foreign(),
}
each_net = pytest.mark.parametrize("net", NETS)
two_nets = pytest.mark.parametrize("net", ["Foreign", "WRN"])
each_defence = pytest.mark.parametrize("name", DEFENCES)


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(n))


def made(net: str, *defences: adv.Defence, seed: int = 0) -> nn.Module:
    return build(Recipe(net=NETS[net], defences=defences), 10, seed).eval()


def drawn(net: nn.Module, seed: int = 1, x: torch.Tensor | None = None) -> torch.Tensor:
    """What a twin of the net says with a stream of that seed."""
    twin = copy.deepcopy(net) if net.training else net
    with torch.no_grad(), drawing(twin, seed):
        return twin(images() if x is None else x)


# --- the contract ---


@each_defence
def test_a_defence_is_a_value(name):
    defence = DEFENCES[name][0]
    assert pickle.loads(pickle.dumps(defence)) == defence == copy.deepcopy(defence)
    assert eval(repr(defence), vars(adv) | {n: getattr(adv, n) for n in adv.__all__}) == defence
    assert len({defence, copy.copy(defence), RSE(0.7, 0.7)}) == 2


@each_net
@each_defence
def test_a_defence_says_when_it_draws(net, name):
    """The random ones do not hang on the mode: those that do are random in evaluation."""
    defence, in_evaluation, in_training = DEFENCES[name]
    plain = made(net)
    module = NETS[net](10)
    assert defence(module) is module
    module = made(net, defence)
    assert is_random(module) == in_evaluation and not is_random(plain)
    for mode, random in ((False, in_evaluation), (True, in_training)):
        module.train(mode)
        assert torch.equal(drawn(module), drawn(module))
        assert torch.equal(drawn(module), drawn(module, 2)) != random
    assert drawn(module.eval()).shape == (2, 10)
    with frozen(module):
        assert torch.equal(drawn(module), drawn(module, 2)) != in_evaluation


@each_net
@each_defence
def test_a_defended_net_is_saved_copied_and_pickled(net, name, tmp_path):
    defence = DEFENCES[name][0]
    module = made(net, defence).train()
    module(images())  # what a forward pass changes is saved too
    module.eval()
    save_checkpoint(tmp_path / "a.safetensors", module, {})
    saved = load_weights(made(net, defence, seed=5), read_checkpoint(tmp_path / "a.safetensors")[0])
    for twin in (saved, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(drawn(twin.eval()), drawn(module))
        assert list(twin.state_dict()) == list(module.state_dict())
        for weight, other in zip(twin.parameters(), module.parameters(), strict=True):
            assert weight.data_ptr() != other.data_ptr()
    assert not torch.equal(drawn(made(net, defence, seed=5)), drawn(module))


@two_nets
@each_defence
def test_evaluation_changes_nothing(net, name):
    module = made(net, DEFENCES[name][0])
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
    module = made(net, DEFENCES[name][0]).train()
    nn.functional.cross_entropy(module(images(8)), torch.arange(8)).backward()
    for key, weight in module.named_parameters():
        assert torch.isfinite(weight.grad).all(), key
    reached = [weight.grad.abs().sum() > 0 for weight in module.parameters()]
    assert sum(reached) > 0.9 * len(reached)


@two_nets
@each_defence
def test_a_defended_net_runs_in_channels_last_and_bfloat16(net, name):
    defence, random, _ = DEFENCES[name]
    module = made(net, defence)
    wanted = drawn(module)
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)
    laid = images().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        half = drawn(last, x=laid).float()
    if random:  # which element gets which draw may hang on the layout
        assert torch.isfinite(half).all() and half.std() < 10 * wanted.std()
    else:
        assert torch.allclose(drawn(last, x=laid), wanted, atol=1e-4, rtol=1e-3)
        assert torch.allclose(half, wanted, atol=0.1 * float(wanted.abs().max()))


@each_defence
def test_only_what_a_defence_learns_is_not_decayed(name):
    module = made("BigNet", DEFENCES[name][0])
    spared = undecayed(module)
    learned = [
        k for k, v in module.named_parameters() if k.rpartition(".")[2] in ("alpha", "basis")
    ]
    assert len(spared) == len(learned) == {"PNI": 5, "PNI-channel": 5, "PNI-element-inner": 3,
                                           "Projection-learnable": 1}.get(name, 0)  # fmt: skip
    figures = DEFENCES[name][0].figures(module)
    assert all(isinstance(k, str) and math.isfinite(v) for k, v in figures.items())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: PNI(0), "alpha starts above 0, got 0"),
        (lambda: PNI(math.nan), "alpha starts above 0"),
        (lambda: PNI(granularity="layers"), "layer, channel or element, got 'layers'"),
        (lambda: PNI(where="outer"), "all or inner, got 'outer'"),
        (lambda: PNI()(nn.ReLU()), "PNI needs a net with a convolution or a linear layer"),
        (lambda: PNI(where="inner")(nn.Sequential(nn.Linear(2, 2))), "three layers or more"),
        (lambda: MCDropout(0), r"in \(0, 1\), got 0"),
        (lambda: MCDropout(1.0), r"in \(0, 1\), got 1.0"),
        (lambda: MCDropout()(BigNet()(10)), r"dropout is 0; give it one, or MCDropout\(p\)"),
        (lambda: MCDropout(0.5)(nn.Sequential(nn.ReLU())), "a net with dropout layers"),
        (lambda: TestNoise(0), "above 0, got 0"),
        (lambda: TestNoise(math.inf), "above 0, got inf"),
        (lambda: TestNoise(1)(nn.Sequential(nn.Linear(2, 2))), "TestNoise needs a net with a conv"),
        (lambda: Projection(0), r"in \[1, 3072\], got 0"),
        (lambda: Projection(3073), r"in \[1, 3072\], got 3073"),
        (lambda: Projection(5, init="svd"), "pca or random, got 'svd'"),
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
@pytest.mark.parametrize(("a", "b"), permutations(range(len(TOGETHER)), 2))
def test_two_defences_compose_in_both_orders(net, a, b):
    module = made(net, TOGETHER[a], TOGETHER[b])
    assert drawn(module).shape == (2, 10) and torch.isfinite(drawn(module)).all()
    assert is_random(module) == bool({0, 1, 2, 3} & {a, b})
    kinds = {
        RSE: Noise,
        PNI: WeightNoise,
        MCDropout: Dropout,
        TestNoise: Noise,
        Projection: LowRank,
        SpectralNorm: Normed,
    }
    for one in (TOGETHER[a], TOGETHER[b]):
        assert any(isinstance(m, kinds[type(one)]) for m in module.modules())
    clean = len(weighted(made(net), ""))
    if PNI in (type(TOGETHER[a]), type(TOGETHER[b])):
        assert sum(isinstance(m, WeightNoise) for m in module.modules()) == clean


def test_all_at_once_in_reverse_too_and_on_the_big_one():
    for order in (TOGETHER, TOGETHER[::-1]):
        for net in NETS:
            assert torch.isfinite(drawn(made(net, *order))).all()
    module = build(Recipe(net=ResNet18(dropout=0.1), defences=TOGETHER), 10, seed=0).eval()
    assert torch.isfinite(module(images(1))).all()


def test_an_image_meets_first_what_was_applied_first():
    def path(*defences):
        met: list[str] = []
        module = made("BigNet", *defences)
        for part in module.modules():
            if not [*part.children()]:
                part.register_forward_hook(lambda m, *_: met.append(type(m).__name__))
        module(images())
        return met[:4]

    assert path(Projection(5), RSE()) == ["LowRank", "Noise", "Normalize", "Conv2d"]
    assert path(RSE(), Projection(5)) == ["Noise", "LowRank", "Normalize", "Conv2d"]


# --- PNI ---


def test_pni_noise_is_gaussian_of_the_weights_deviation_times_alpha():
    """200 draws of 1,000 weights: 200,000 normal values; the first layer's mean is not 0."""
    weight = torch.randn(50, 20, generator=torch.Generator().manual_seed(3)) * 0.4 + 1
    layer = WeightNoise(torch.full((1,), 0.25))
    noise = torch.stack([layer(weight) - weight for _ in range(200)]).detach() / weight.std()
    n = noise.numel()
    assert abs(noise.mean().item()) < 4 * 0.25 / math.sqrt(n)
    assert noise.std().item() == pytest.approx(0.25, rel=4 / math.sqrt(2 * n))
    inside = (noise.abs() < 0.25).float().mean().item()
    assert inside == pytest.approx(0.6827, abs=4 * math.sqrt(0.6827 * 0.3173 / n))
    for a, b in ((noise[:-1], noise[1:]), (noise[:, :-1], noise[:, 1:])):
        together = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert abs(together.item()) < 4 / math.sqrt(n)


def test_pni_gradient_in_closed_form():
    """d/dw is that of the noisy weight, as the deviation counts as a constant; d/dalpha = n std."""
    for shape in ((1,), (5, 1), (5, 7)):
        weight = torch.randn(5, 7, requires_grad=True)
        layer = WeightNoise(torch.full(shape, 0.3))
        back = torch.randn(5, 7)
        noisy = layer(weight)
        (noisy * back).sum().backward()
        noise = (noisy - weight).detach() / 0.3
        assert torch.allclose(weight.grad, back)
        wanted = (noise * back).sum_to_size(shape) if shape != (1,) else (noise * back).sum()[None]
        assert torch.allclose(layer.alpha.grad, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("granularity", "shapes"),
    [
        ("layer", [(1,)] * 5),
        ("channel", [(12, 1, 1, 1), (32, 1, 1, 1), (240, 1), (168, 1), (10, 1)]),
        ("element", [(12, 3, 5, 5), (32, 12, 5, 5), (240, 800), (168, 240), (10, 168)]),
    ],
)
def test_pni_has_one_alpha_for_each_layer_channel_or_element(granularity, shapes):
    module = made("BigNet", PNI(0.1, granularity))
    alphas = {k: v for k, v in module.named_parameters() if k.endswith("alpha")}
    assert [tuple(alpha.shape) for alpha in alphas.values()] == shapes
    assert all((alpha == 0.1).all() for alpha in alphas.values())
    inner = made("BigNet", PNI(0.1, granularity, where="inner"))
    left = [k for k, _ in inner.named_parameters() if k.endswith("alpha")]
    assert left == [*alphas][1:-1]
    plain = made("BigNet").state_dict()
    assert all(torch.equal(plain[k], module.state_dict()[k]) for k in plain)  # nothing is renamed


def test_pni_noises_weights_not_biases_and_draws_once_for_a_batch():
    module = made("BigNet", PNI())
    alike = images(1).expand(6, -1, -1, -1)
    out = drawn(module, x=alike)
    assert torch.allclose(out, out[:1].expand(6, -1), atol=1e-5)
    biases = [m.bias.clone() for m in weighted(module, "").values()]
    with torch.no_grad():
        for layer in weighted(module, "").values():
            layer.weight.zero_()  # no weight, no deviation, no noise
    assert torch.equal(drawn(module), drawn(module, 2))
    assert all(
        torch.equal(a, m.bias) for a, m in zip(biases, weighted(module, "").values(), strict=True)
    )


def test_pni_never_asks_the_device_for_a_number(monkeypatch):
    module = made("BigNet", PNI())
    for name in ("item", "tolist", "__float__", "__bool__", "cpu"):

        def refuse(*_, name=name):
            raise AssertionError(f"{name} waits for the device")

        monkeypatch.setattr(torch.Tensor, name, refuse)
    with pytest.raises(AssertionError, match="item waits"):
        torch.ones(1).item()
    module(images())


def test_pni_reports_its_alphas():
    module = made("BigNet", PNI())
    assert PNI().figures(module) == {"pni_alpha": 0.25}
    alphas = [m.alpha for m in module.modules() if isinstance(m, WeightNoise)]
    with torch.no_grad():
        for i, alpha in enumerate(alphas):
            alpha.fill_((-1) ** i * 0.1 * i)
    assert PNI().figures(module)["pni_alpha"] == pytest.approx(0.2)


def test_a_layer_of_an_unknown_kind_is_refused():
    class Own(nn.Linear):
        pass

    with pytest.raises(ValueError, match="the weight of a Own cannot be transformed"):
        PNI()(nn.Sequential(Own(2, 2)))


def test_transforms_apply_in_the_order_of_their_coming():
    class Times(nn.Module):
        def forward(self, weight):
            return weight * 3

    class Plus(nn.Module):
        def forward(self, weight):
            return weight + 1

    layer = nn.Linear(2, 1, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.tensor([[1.0, 1.0]])
    transform(layer, Plus())
    assert layer(x).item() == 4
    transform(layer, Times())
    assert layer(x).item() == 12 and (layer.weight == 1).all()


# --- dropout and noise at test time ---


def test_dropout_kept_on_drops_as_in_training():
    module = build(Recipe(net=BigNet(dropout=0.4), defences=(MCDropout(),)), 10, seed=0)
    twin = copy.deepcopy(module)
    assert torch.equal(drawn(module.train()), drawn(twin.eval()))
    assert [m.p for m in module.modules() if isinstance(m, Dropout)] == [0.4, 0.4]
    layer = next(m for m in twin.modules() if isinstance(m, Dropout))
    kept = layer(torch.ones(200, 500))
    assert (kept == 0).float().mean().item() == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / 1e5))
    assert torch.allclose(kept[kept > 0], torch.tensor(1 / 0.6))


def test_dropout_of_a_foreign_net_comes_to_draw_from_the_stream():
    module = made("Foreign", MCDropout(0.5))
    assert isinstance(module.drop, Dropout) and not isinstance(module.drop, nn.Dropout)


def test_test_noise_is_on_the_pixels():
    """200,704 values; sigma is in pixel units although the net normalises behind it."""
    module = made("BigNet", TestNoise(0.1))
    x, seen = images(64), []
    module[0][1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module(x)
    noise = seen[0] - x
    assert noise.std().item() == pytest.approx(0.1, rel=4 / math.sqrt(2 * noise.numel()))
    module.train()(x)
    assert torch.equal(seen[1], x)


DATA = Split((images(96) * 255).byte(), torch.arange(96).remainder(10))


def trained(*defences):
    recipe = Recipe(net=BigNet(), defences=defences, curriculum=Curriculum(steps=2), epochs=1)
    *_, last = train(recipe, DATA, classes=10, seed=3)
    return last.net.eval()


@pytest.mark.slow
def test_training_does_not_know_of_test_noise():
    plain, noisy, both = trained(), trained(TestNoise(0.3)), trained(TestNoise(0.3, training=True))
    pairs = [*zip(plain.parameters(), noisy.parameters(), both.parameters(), strict=True)]
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not any(torch.equal(a, c) for a, _, c in pairs)
    assert is_random(noisy) and not torch.equal(noisy(images()), noisy(images()))


# --- projection ---


@pytest.mark.slow
@pytest.mark.parametrize("learnable", [False, True])
def test_training_fits_a_projection_before_its_first_step(learnable):
    net = trained(Projection(7, learnable))
    layer = next(m for m in net.modules() if isinstance(m, LowRank))
    pixels = DATA.images.flatten(1).double() / 255
    assert torch.allclose(layer.mean.double(), pixels.mean(0), atol=1e-6)
    centred = pixels - pixels.mean(0)
    best = torch.linalg.svd(centred, full_matrices=False)[2][:7]
    both = layer.basis.double() @ layer.basis.double().T
    if learnable:
        assert isinstance(layer.basis, nn.Parameter)
        assert not torch.allclose(both, best.T @ best, atol=1e-6)  # it has moved,
        assert torch.allclose(both, best.T @ best, atol=0.1)  # from there
    else:
        assert torch.allclose(both, best.T @ best, atol=1e-5)


def test_a_projection_is_one():
    layer = LowRank(11, learnable=False, fitted=True)
    layer.fit(DATA.images)
    x = images()
    once = layer(x)
    assert torch.allclose(layer(once), once, atol=1e-5)
    assert torch.allclose(layer.basis.T @ layer.basis, torch.eye(11), atol=1e-5)
    lost = (x - once).flatten(1)
    assert torch.allclose(lost @ layer.basis, torch.zeros(2, 11), atol=1e-4)
    assert torch.linalg.matrix_rank((once.flatten(1) - layer.mean).double(), atol=1e-4) <= 11
    whole = LowRank(95, learnable=False, fitted=True)
    whole.fit(DATA.images)  # 96 images span 95 directions around their mean
    pixels = DATA.images.float() / 255
    assert torch.allclose(whole(pixels), pixels, atol=1e-5)


def test_a_rank_beyond_the_images_keeps_random_directions_beside_theirs():
    layer = LowRank(200, learnable=True, fitted=True)
    layer.fit(DATA.images)
    basis = layer.basis.detach()
    assert torch.allclose(basis.T @ basis, torch.eye(200), atol=1e-4)
    pixels = DATA.images.float() / 255
    assert torch.allclose(layer(pixels).detach(), pixels, atol=1e-4)


def test_a_random_projection_keeps_its_directions():
    kept = LowRank(5, learnable=True, fitted=False)
    before = kept.basis.detach().clone()
    kept.fit(DATA.images)
    assert torch.equal(kept.basis, before) and not (kept.mean == 0.5).all()
    assert torch.allclose(before.T @ before, torch.eye(5), atol=1e-5)


def test_fitting_twice_gives_the_same():
    a, b = (LowRank(20, learnable=False, fitted=True) for _ in range(2))
    for layer in (a, b):
        layer.fit(DATA.images)
    assert torch.equal(a.basis, b.basis) and torch.equal(a.mean, b.mean)
