"""The contract of every net, their sizes against published tables, and their parts in closed form.

A new net is one row in `NETS`; its size is a row in `SIZES`.
"""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import fields, replace
from typing import Any, TypeVar

import pytest
import torch
from click.testing import CliRunner
from reproducibility import seeded_generator
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adv import (
    PNI,
    RSE,
    WRN,
    BaseNet,
    BigNet,
    MCDropout,
    Projection,
    Recipe,
    ResNet18,
    SpectralNorm,
    TestNoise,
    ViT,
    build,
    is_random,
    size_of,
)
from adv.__main__ import adv as cli
from adv.models import Normalize
from adv.runtime.random_layers import Dropout, Noise
from adv.runtime.random_streams import use_seed

NETS = {
    "BaseNet": BaseNet(),
    "BigNet": BigNet(),
    "BigNet wide": BigNet(width=2),
    "WRN": WRN(10, 1),
    "WRN wide, se": WRN(10, 2, se=0.25),
    "ResNet18": ResNet18(),
    "ViT": ViT(1, 64, 2),
    "ViT deep": ViT(2, 128, 3),
}
DEFENCES = {  # and whether they make a net random
    "RSE": (RSE(0.1, 0.1), True),
    "PNI": (PNI(), True),
    "PNI, each element": (PNI(0.1, "element", "inner"), True),
    "dropout": (MCDropout(0.3), True),
    "test noise": (TestNoise(0.1), True),
    "spectral": (SpectralNorm(), False),
    "spectral, true": (SpectralNorm("convolution"), False),
    "projection": (Projection(200), False),
}
each_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
M = TypeVar("M", bound=nn.Module)
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def images(n: int = 4) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=seeded_generator(n))


def build_module(net, *defences, classes: int = 10) -> Any:
    return build(Recipe(net=net, defences=defences), classes, seed=3)


def fitted(module: nn.Module) -> nn.Module:
    """As before a training: whatever takes something from the images has taken it."""
    data = torch.randint(0, 256, (210, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    for part in module.modules():
        if callable(fit := getattr(part, "fit", None)):
            fit(data)
    return module


def kinds(module: nn.Module, *wanted: type[M]) -> list[M]:
    return [part for part in module.modules() if isinstance(part, wanted)]


# --- the contract ---


@each_net
@pytest.mark.parametrize("classes", [2, 100])
def test_logits_for_each_class(net, classes):
    with torch.no_grad():
        logits = build_module(net, classes=classes).eval()(images(2))
    assert logits.shape == (2, classes) and torch.isfinite(logits).all()
    assert logits.std() > 0


@each_net
@pytest.mark.parametrize(("name", "kind"), ACTIVATIONS.items())
def test_any_activation_everywhere(net, name, kind):
    default = kinds(net(10), *ACTIVATIONS.values())
    found = kinds(replace(net, activation=name)(10), *ACTIVATIONS.values())
    assert len(found) == len(default) >= 2 and {type(part) for part in found} == {kind}


@each_net
def test_normalisation_is_the_first_layer_and_there_is_one(net):
    module = net(10)
    order: list[nn.Module] = []
    for part in module.modules():
        if not list(part.children()):
            part.register_forward_pre_hook(lambda part, _: order.append(part))
    module.eval()(images(1))
    assert isinstance(order[0], Normalize) and len(kinds(module, Normalize)) == 1


@each_net
def test_dropout_is_on_in_training_alone_and_draws_from_the_stream(net):
    assert {part.p for part in kinds(net(10), Dropout)} == {0}
    module = build_module(replace(net, dropout=0.5))
    assert {part.p for part in kinds(module, Dropout)} == {0.5}
    assert not kinds(module, nn.modules.dropout._DropoutNd)  # torch's own draws globally
    assert len({id(part.stream) for part in kinds(module, Dropout)}) == 1
    x, before = images(2), torch.get_rng_state()
    with torch.no_grad():
        with use_seed(module, 5):
            first, second = module.train()(x), module(x)
        with use_seed(module, 5):
            assert torch.equal(module(x), first) and not torch.equal(first, second)
        assert torch.equal(module.eval()(x), module(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert not is_random(module)


@each_net
def test_gradients_reach_everything_and_are_finite(net):
    module, x = build_module(net), images(2).requires_grad_()
    nn.functional.cross_entropy(module(x), torch.arange(2)).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0 and torch.isfinite(x.grad).all()
    for name, weight in module.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().sum() > 0 or "bias" in name, name


@each_net
def test_evaluation_depends_on_the_image_alone(net):
    module, x = build_module(net).eval(), images(3)
    state = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        together = module(x)
        alone = torch.cat([module(x[i : i + 1]) for i in range(3)])
        assert torch.equal(module(x), together)
        assert torch.allclose(together, alone, atol=1e-5)
        assert torch.allclose(module(x.flip(0)), together.flip(0), atol=1e-5)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@each_net
def test_layout_and_precision_change_nothing_that_matters(net):
    module, x = build_module(net).eval(), images(3)
    with torch.no_grad():
        plain = module(x)
        last = copy.deepcopy(module).to(memory_format=torch.channels_last)
        assert torch.allclose(
            last(x.contiguous(memory_format=torch.channels_last)), plain, atol=1e-4
        )
        with torch.autocast("cpu", torch.bfloat16):
            coarse = module(x).float()
    assert (coarse - plain).abs().max() < 0.05 * plain.abs().max()


@each_net
@pytest.mark.parametrize(("defence", "random"), DEFENCES.values(), ids=DEFENCES)
def test_any_defence_applies(net, defence, random):
    if isinstance(net, ResNet18):
        net = WRN(16, 1)  # the same blocks, for a twentieth of the time
    module = fitted(build_module(net, defence)).eval()
    assert is_random(module) == random
    x = images(2).requires_grad_()
    logits = module(x)
    logits.square().sum().backward()
    assert logits.shape == (2, 10) and torch.isfinite(logits).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
    assert all(part.grad is not None for part in module.parameters())
    assert torch.equal(module(x), logits) != random


def test_defences_dropout_and_a_projection_in_one_expression():
    recipe = Recipe(net=WRN(10, 1, dropout=0.2), defences=(RSE(), Projection(50), PNI()))
    module = fitted(build(recipe, 10, seed=0)).train()
    assert is_random(module) and torch.isfinite(module(images())).all()


@each_net
def test_noise_comes_before_every_convolution(net):
    convolutions = len(kinds(net(10), nn.Conv2d))
    sigmas = [noise.sigma for noise in kinds(build_module(net, RSE(0.3, 0.05)), Noise)]
    assert sigmas == [0.3] + [0.05] * (convolutions - 1)


@each_net
def test_a_net_is_a_value(net):
    for value in (net, Recipe(net=net, defences=(RSE(),))):
        assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)
        assert hash(value) == hash(copy.deepcopy(value)) and eval(repr(net)) == net
    for field in fields(net):
        old = getattr(net, field.name)
        new = {str: "silu", float: 0.5}.get(type(old)) or {"depth": 22, "dim": 192}.get(
            field.name, 3
        )
        new = new if new != old else 1
        assert replace(net, **{field.name: new}) != net


@each_net
def test_equal_seeds_make_equal_nets_and_copies_agree(net):
    first, again = (build_module(net).state_dict() for _ in range(2))
    other = build(Recipe(net=net), 10, seed=4).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not all(torch.equal(value, other[key]) for key, value in first.items())
    module = build_module(net).eval()
    with torch.no_grad():
        twin = pickle.loads(pickle.dumps(module))
        assert torch.equal(twin(images(2)), module(images(2)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BaseNet(activation="tanh"), "one of relu, gelu, silu, got 'tanh'"),
        (lambda: BigNet(activation=""), "one of relu, gelu, silu"),
        (lambda: WRN(activation="selu"), "got 'selu': did you mean 'silu'?"),
        *(
            (lambda net=net, p=p: net(dropout=p), r"dropout is a probability in \[0, 1\)")
            for net in (BaseNet, BigNet, WRN, ResNet18, ViT)
            for p in (-0.1, 1.0, math.nan)
        ),
        (lambda: BigNet(width=0), "width must be 1 or more, got 0"),
        (
            lambda: BigNet(width=1.5),  # type: ignore[arg-type]  # no integer
            "width must be 1 or more, got 1.5",
        ),
        (lambda: WRN(15, 2), r"depth must be 6n \+ 4, got 15: the nearest is 16"),
        (lambda: WRN(11, 2), "the nearest is 10"),
        (lambda: WRN(4, 2), "depth must be 10 or more, got 4"),
        (lambda: WRN(16, 0), "width must be 1 or more, got 0"),
        (lambda: WRN(16, 1, se=1.5), r"se is a ratio in \[0, 1\], got 1.5"),
        (lambda: ViT(0, 64), "depth must be 1 or more, got 0"),
        (lambda: ViT(1, 100), "dim must be a multiple of 64, got 100: the nearest is 128"),
        (lambda: ViT(1, 20), "the nearest is 64"),
        (lambda: ViT(1, 64, 4), "convolutions must be 1, 2 or 3, got 4"),
    ],
)
def test_settings_that_make_no_net(make, said):
    with pytest.raises(ValueError, match=said) as error:
        make()
    assert "\n" not in str(error.value)


# --- normalisation ---


def test_normalisation_takes_the_statistics_of_each_channel():
    first = Normalize()
    data = torch.randint(0, 256, (500, 3, 8, 8), generator=seeded_generator(), dtype=torch.uint8)
    data[:, 1] //= 3
    first.fit(data)
    pixels = data.double() / 255
    assert torch.allclose(first.mean.double().flatten(), pixels.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(first.std.double().flatten(), pixels.std((0, 2, 3)), rtol=1e-4)
    normal = first(pixels.float())
    assert torch.allclose(normal.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(normal.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    assert {"mean", "std"} == set(dict(first.named_buffers())) and not list(first.parameters())


def test_normalisation_of_a_constant_channel_is_finite():
    norm = Normalize()
    norm.fit(torch.full((5, 3, 4, 4), 7, dtype=torch.uint8))
    assert torch.isfinite(norm(images())).all()


# --- dropout ---


def test_dropout_drops_in_training_only_and_keeps_the_mean():
    layer, x = Dropout(0.3), torch.ones(200, 500)
    kept = layer(x)
    assert (kept == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert kept.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.allclose(kept[kept > 0], torch.tensor(1 / 0.7))
    assert torch.equal(layer.eval()(x), x)


def test_dropout_follows_each_hidden_linear_layer():
    parts = BigNet(dropout=0.25)(10).children()
    names = [type(module) for module in parts if not isinstance(module, nn.GELU)]
    assert names[-5:] == [nn.Linear, Dropout, nn.Linear, Dropout, nn.Linear]


# --- sizes ---

SIZES = {  # millions of parameters, and of multiply-adds where published
    "BaseNet": (BaseNet(), 0.062006, 0.651720),
    "BigNet": (BigNet(), 0.244962, None),
    "WRN-16-4": (WRN(16, 4), 2.75, 390),
    "WRN-16-8": (WRN(16, 8), 10.96, 1550),
    "WRN-16-10": (WRN(16, 10), 17.12, 2410),
    "WRN-28-10": (WRN(28, 10), 36.48, 5240),
    "WRN-34-10": (WRN(34, 10), 46.16, 6660),
    "PreAct ResNet-18": (ResNet18(), 11.17, 555),
    "CCT-2/3x2": (ViT(2, 128, 2), 0.284, 33),
    "CCT-4/3x2": (ViT(4, 128, 2), 0.482, 46),
    "CCT-6/3x2": (ViT(6, 256, 2), 3.327, 241),
    "CCT-7/3x2": (ViT(7, 256, 2), 3.853, 275),
    "CCT-7/3x1": (ViT(7, 256), 3.760, 947),
}


@pytest.mark.parametrize(("net", "parameters", "multiply_adds"), SIZES.values(), ids=SIZES)
def test_sizes_are_the_published_ones(net, parameters, multiply_adds):
    size = size_of(net)
    assert size.parameters / 1e6 == pytest.approx(parameters, rel=0.003)
    if multiply_adds:
        published = multiply_adds * 1e6
        if isinstance(net, ViT):  # whose table leaves out the two products of attention
            tokens = (32 >> net.convolutions) ** 2
            published += 2 * net.depth * tokens**2 * net.dim
        assert size.multiply_adds == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("net", [BaseNet(), WRN(16, 4, se=0.25), ResNet18(), ViT(2, 128, 3)])
def test_multiply_adds_are_those_that_torch_counts(net):
    shape = (1, 28, 20)
    math = sdpa_kernel(SDPBackend.MATH)  # the counter does not know fused attention on a CPU
    with torch.no_grad(), math, FlopCounterMode(display=False) as counter:
        net(7, shape).eval()(torch.zeros(1, *shape))
    assert size_of(net, 7, shape).multiply_adds == counter.get_total_flops() // 2


@each_net
def test_the_size_is_that_of_the_real_net_and_leaves_the_generator_alone(net):
    before = torch.get_rng_state()
    size = size_of(net, classes=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert size.parameters == sum(weight.numel() for weight in net(7).parameters())


@pytest.mark.parametrize("width", [1, 2, 3])
def test_width_multiplies_every_hidden_dimension_of_bignet(width):
    a, b, c, d = (width * size for size in (12, 32, 240, 168))
    convolutions = (75 * 1 * a + a) + (25 * a * b + b)
    linear = (25 * b * c + c) + (c * d + d) + (d * 10 + 10)
    size = size_of(BigNet(width))
    assert size.parameters == convolutions + linear
    by_hand = 28 * 28 * 75 * a + 10 * 10 * 25 * a * b + 25 * b * c + c * d + d * 10
    assert size.multiply_adds == by_hand


def test_the_reports_wrn_has_13_convolutions_of_3x3():
    with torch.device("meta"):
        convolutions = kinds(WRN(16, 10)(10), nn.Conv2d)
    sides = [convolution.kernel_size for convolution in convolutions]
    assert (sides.count((3, 3)), sides.count((1, 1)), len(sides)) == (13, 3, 16)
    assert not any(convolution.bias is not None for convolution in convolutions)
    assert {c.out_channels for c in convolutions} == {16, 160, 320, 640}


def test_the_sizes_are_shown():
    done = CliRunner().invoke(cli, ["models"])
    assert done.exit_code == 0
    shown = done.output
    for text in (
        "WRN(depth=16, width=10)",
        "17,116,634",
        "2,412.2 M",
        "ResNet18()",
        "silu",
        "ViT(",
    ):
        assert text in shown


def test_the_defaults_are_the_reports():
    assert BaseNet().activation == "relu" and BigNet().activation == "gelu"
    assert (WRN().depth, WRN().width) == (16, 10)


# --- residual nets ---


def test_a_block_is_pre_activation_with_dropout_between_its_convolutions():
    module: Any = WRN(10, 2, dropout=0.3)(10)
    block, order = module[3], []
    for part in block.modules():
        if not list(part.children()):
            part.register_forward_hook(lambda part, *_: order.append(type(part)))
    block(torch.rand(2, 32, 8, 8, generator=seeded_generator()))
    first = [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
    second = [nn.BatchNorm2d, nn.ReLU, Dropout, nn.Conv2d]
    assert order == [*first, *second, nn.Conv2d]  # the last is the shortcut


def test_a_block_that_adds_nothing_is_its_shortcut():
    module: Any = WRN(16, 2)(10)
    block = module[3].eval()  # the second of the first group: no shortcut convolution
    assert block.shortcut is None
    nn.init.zeros_(block.body[-1].weight)
    x = torch.rand(2, 32, 8, 8, generator=seeded_generator())
    assert torch.equal(block(x), x)
    wider = module[4].eval()
    nn.init.zeros_(wider.body[-1].weight)
    ready = torch.relu(x / math.sqrt(1 + 1e-5))
    assert torch.allclose(wider(x), wider.shortcut(ready), atol=1e-6)


@pytest.mark.parametrize("net", [WRN(16, 4), ResNet18()], ids=repr)
def test_he_initialisation_of_the_fan_out(net):
    for convolution in kinds(build_module(net), nn.Conv2d):
        out, _, height, width = convolution.weight.shape
        if convolution.weight.numel() > 5000:
            deviation = math.sqrt(2 / (out * height * width))
            assert convolution.weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_excitation_scales_each_channel_and_an_open_gate_none():
    plain, gated = (build_module(WRN(10, 2, se=se)).eval() for se in (0.0, 0.5))
    weights = {k: v for k, v in gated.state_dict().items() if "gate" not in k}
    plain.load_state_dict(weights)
    for gate in (part for name, part in gated.named_modules() if name.endswith("gate")):
        assert gate[0].out_features == gate[0].in_features / 2
        nn.init.zeros_(gate[2].weight)
        nn.init.constant_(gate[2].bias, 50)  # sigmoid(50) = 1
    with torch.no_grad():
        assert torch.allclose(gated(images()), plain(images()), atol=1e-5)
        nn.init.constant_(gated[2].body[-1].gate[2].bias, -50)
        assert not torch.allclose(gated(images()), plain(images()), atol=1e-3)


# --- the transformer ---


def test_without_positions_the_order_of_the_tokens_does_not_matter():
    module = build_module(ViT(2, 64, 3)).eval()
    tokens, rest = module[2], nn.Sequential(*module[2:])
    maps = torch.rand(3, 64, 4, 4, generator=seeded_generator())
    shuffled = maps.flatten(2)[:, :, torch.randperm(16, generator=seeded_generator())].reshape(
        3, 64, 4, 4
    )
    with torch.no_grad():
        assert not torch.allclose(rest(maps), rest(shuffled), atol=1e-4)
        nn.init.zeros_(tokens.positions)
        assert torch.allclose(rest(maps), rest(shuffled), atol=1e-5)


def test_attention_and_pooling_in_closed_form():
    module = build_module(ViT(1, 64, 3)).eval()
    attention, pool = module[3].attention[1], module[5]
    x = torch.rand(2, 16, 64, generator=seeded_generator())
    query, key, value = attention.project_in(x).chunk(3, dim=2)
    weights = (query @ key.transpose(1, 2) / 8).softmax(2)
    assert torch.allclose(attention(x), attention.project_out(weights @ value), atol=1e-5)
    equal = x[:, :1].expand(-1, 16, -1)
    assert torch.allclose(pool(equal), x[:, 0], atol=1e-6)
    nn.init.zeros_(pool.score.weight)
    assert torch.allclose(pool(x), x.mean(1), atol=1e-6)


def test_heads_see_their_own_part_alone():
    attention = build_module(ViT(1, 128, 3))[3].attention[1].eval()
    nn.init.eye_(attention.project_out.weight)
    x = torch.rand(1, 16, 128, generator=seeded_generator())
    out = attention(x)
    with torch.no_grad():
        attention.project_in.weight[64:128].zero_()  # the queries of the second head
    changed = (attention(x) - out).abs().amax((0, 1)) > 1e-7
    assert not changed[:64].any() and changed[64:].all()
