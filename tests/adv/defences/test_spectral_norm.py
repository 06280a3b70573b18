"""Norms of layers against explicit matrices, and the two kinds of spectral normalisation."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from adv import (
    PNI,
    RSE,
    WRN,
    AdamW,
    BaseNet,
    BigNet,
    Curriculum,
    MCDropout,
    Projection,
    Ramp,
    Recipe,
    SpectralNorm,
    Split,
    TestNoise,
    ViT,
    build,
    layer_norms,
    lipschitz_bound,
    train,
)
from adv.defences.operator_norm import (
    Operator,
    input_sizes,
    kernel_operator,
    linear_operator,
    operator_norm,
)
from adv.defences.spectral_norm import SpectralDivision
from adv.defences.weight_transforms import (
    TransformedConv2d,
    add_transform,
    effective_weight,
    weight_layers,
)
from adv.runtime.random_layers import Dropout


def convolution(
    inputs: int, outputs: int, kernel: int, *, fill: str = "random", **how: Any
) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, bias=False, **how)
    with torch.no_grad():
        layer.weight.normal_(generator=seeded_generator(inputs + outputs + kernel))
        if fill == "blur":
            layer.weight.abs_()
    return layer


def divide_by_norm(layer: nn.Conv2d, operator: Operator, bound: float) -> TransformedConv2d:
    divided = add_transform(layer, SpectralDivision(operator, layer.weight.detach(), bound))
    assert isinstance(divided, TransformedConv2d)
    return divided


def matrix(layer: nn.Conv2d, weight: torch.Tensor, size: int) -> torch.Tensor:
    """The operator written out: what the layer makes of each unit image, in columns."""
    n = layer.in_channels * size * size
    with torch.no_grad():
        columns = layer._conv_forward(
            torch.eye(n).reshape(n, layer.in_channels, size, size), weight, None
        )
    return columns.flatten(1).T.double()


def svd_norm(layer: nn.Conv2d, size: int) -> float:
    return float(torch.linalg.svdvals(matrix(layer, effective_weight(layer).detach(), size))[0])


SHAPES = [
    ((3, 12, 5), {}, 9),
    ((2, 4, 3), {"padding": 1}, 8),
    ((4, 4, 3), {"padding": 1, "stride": 2}, 9),
    ((4, 6, 3), {"padding": 2, "dilation": 2, "groups": 2}, 7),
    ((3, 5, 1), {}, 6),
    ((2, 2, 5), {"padding": 2, "stride": 2}, 10),
    ((6, 6, 3), {"padding": 1, "groups": 6}, 8),
]


@pytest.mark.parametrize(("sizes", "how", "side"), SHAPES, ids=str)
@pytest.mark.parametrize("fill", ["random", "blur"])
def test_the_norm_of_a_convolution_is_that_of_its_matrix(sizes, how, side, fill):
    layer = convolution(*sizes, fill=fill, **how)
    operator = linear_operator(layer, (1, sizes[0], side, side))
    norm = operator_norm(operator, layer.weight.detach())
    assert norm == pytest.approx(svd_norm(layer, side), rel=1e-4)
    x = torch.randn(operator.size, generator=seeded_generator())
    y = operator.matvec(layer.weight, x)
    other = torch.randn(y.shape, generator=seeded_generator(1))
    back = operator.rmatvec(layer.weight, other)
    assert (y * other).sum().item() == pytest.approx((x * back).sum().item(), rel=1e-3, abs=1e-3)
    if how.get("groups", 1) == 1:
        kernel = operator_norm(kernel_operator(layer), layer.weight.detach())
        assert kernel * 0.999 <= norm <= kernel * sizes[2] * 1.001


def test_a_kernel_that_blurs_has_nearly_k_times_the_norm_that_its_matrix_shows():
    """The worst case of the seed's 1-Lipschitz claim: patches overlap and add up."""
    layer = convolution(1, 1, 3, padding=1)
    nn.init.ones_(layer.weight)
    ratio = svd_norm(layer, 20) / operator_norm(kernel_operator(layer), layer.weight.detach())
    assert 2.9 < ratio <= 3


@pytest.mark.parametrize("how", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_a_padding_whose_norm_is_not_known(how):
    with pytest.raises(ValueError, match="zeros as padding"):
        SpectralNorm("convolution")(nn.Sequential(nn.Conv2d(3, 2, 3, **how)))


# --- the two kinds ---


@pytest.mark.parametrize(("sizes", "how", "side"), SHAPES, ids=str)
def test_the_convolutions_kind_sets_the_true_norm(sizes, how, side):
    layer = convolution(*sizes, **how)
    operator = linear_operator(layer, (1, sizes[0], side, side))
    layer = divide_by_norm(layer, operator, 1.5)
    assert svd_norm(layer.eval(), side) == pytest.approx(1.5, rel=1e-4)


def test_the_kernels_kind_is_torchs():
    ours = convolution(5, 7, 3)
    theirs: Any = spectral_norm(convolution(5, 7, 3), n_power_iterations=99)
    assert torch.equal(ours.weight, theirs.parametrizations.weight.original)
    ours = divide_by_norm(ours, kernel_operator(ours), 1.0)
    x = torch.randn(2, 5, 6, 6, generator=seeded_generator())
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    (ours(x) ** 2).sum().backward()
    (theirs(x) ** 2).sum().backward()  # the gradient goes through the norm
    assert ours.weight.grad is not None
    assert torch.allclose(
        ours.weight.grad, theirs.parametrizations.weight.original.grad, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["kernel", "convolution"])
def test_training_follows_the_norm_of_a_weight_that_moves(kind):
    """A step of power iteration for each pass, warm: evaluation alone would keep the old norm."""
    layer = convolution(4, 4, 3, padding=1)
    operator = kernel_operator(layer) if kind == "kernel" else linear_operator(layer, (1, 4, 8, 8))
    layer = divide_by_norm(layer, operator, 1.0)
    with torch.no_grad():
        layer.weight.add_(torch.randn(layer.weight.shape, generator=seeded_generator(9)))
    x = torch.randn(1, 4, 8, 8, generator=seeded_generator())
    layer.eval()(x)
    assert operator_norm(operator, effective_weight(layer).detach()) > 1.05
    layer.train()
    for _ in range(20):
        layer(x)
    assert operator_norm(operator, effective_weight(layer.eval()).detach()) == pytest.approx(
        1, rel=1e-3
    )


def test_two_passes_may_come_before_one_backward():
    net = build(Recipe(net=BaseNet(), defences=(SpectralNorm("convolution"),)), 10, 0).train()
    x = torch.rand(2, 3, 32, 32, generator=seeded_generator())
    (net(x).sum() + net(x + 0.1).sum()).backward()
    for weight in net.parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all()


def test_a_net_in_bfloat16_keeps_its_norms():
    net = build(Recipe(net=BaseNet(), defences=(SpectralNorm("convolution"),)), 10, 0)
    plain = copy.deepcopy(net).train()
    half: Any = copy.deepcopy(net).train()
    x = torch.rand(2, 3, 32, 32, generator=seeded_generator())
    plain(x)
    with torch.autocast("cpu", torch.bfloat16):
        half(x)
    for key, value in plain.named_buffers():
        assert torch.equal(half.get_buffer(key), value), key
    with torch.autocast("cpu", torch.bfloat16):
        assert effective_weight(half[1]).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda: SpectralNorm("conv"),  # type: ignore[arg-type]  # no such name
            "a kernel or a convolution, got 'conv'",
        ),
        (lambda: SpectralNorm(bound=0), "above 0, got 0"),
        (lambda: SpectralNorm(bound=math.nan), "above 0, got nan"),
        (lambda: SpectralNorm()(nn.ReLU()), "SpectralNorm needs a net with a convolution or"),
    ],
)
def test_settings_that_are_none(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


# --- whole nets ---


def product_by_svd(net: nn.Module) -> float:
    sizes = input_sizes(net, lambda module: isinstance(module, nn.Conv2d | nn.Linear))
    norms = [
        svd_norm(layer, sizes[name][-1])
        if isinstance(layer, nn.Conv2d)
        else float(torch.linalg.svdvals(effective_weight(layer).detach().double())[0])
        for name, layer in weight_layers(net, "").items()
    ]
    return math.prod(norms)


def make_tiny_net() -> nn.Sequential:
    """Return a net whose matrices are small enough to write out, on the images of every net."""
    return nn.Sequential(
        nn.AvgPool2d(4),
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 5, 3, stride=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5, 10)),
    )


@pytest.mark.parametrize("defence", [None, SpectralNorm(), SpectralNorm("convolution", 2.0)])
def test_the_bound_is_the_product_of_the_true_norms(defence):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain = make_tiny_net()
        net: Any = plain if defence is None else defence(plain)
    net[2].weight.data.fill_(3.0)
    net[2].running_var.fill_(4.0)
    assert lipschitz_bound(net) == pytest.approx(product_by_svd(net) * 1.5, rel=1e-3)
    if defence is not None and defence.kind == "convolution":
        assert lipschitz_bound(net) == pytest.approx(1.5 * 8, rel=1e-3)
    if defence is not None:
        norms = layer_norms(net)
        assert list(norms) == ["1", "2", "4", "7"]
        assert defence.figures(net) == {
            "largest_norm": max(norms.values()),
            "lipschitz_bound": lipschitz_bound(net),
        }


def test_no_two_images_come_further_apart_than_the_bound():
    net: Any = build(Recipe(net=BaseNet(), defences=(SpectralNorm("convolution"),)), 10, 0).eval()
    bound = lipschitz_bound(net) / net[0].std.min()
    assert lipschitz_bound(net) == pytest.approx(1, rel=1e-3)
    x = torch.rand(64, 3, 32, 32, generator=seeded_generator())
    y = x + torch.randn(x.shape, generator=seeded_generator(1)) * 0.01
    with torch.no_grad():
        apart = (net(x) - net(y)).norm(dim=1) / (x - y).flatten(1).norm(dim=1)
    assert apart.max() <= bound


def test_the_kernels_kind_is_not_1_lipschitz():
    """What the seed report claimed of torch's spectral_norm: already an untrained net shows it."""
    net = build(Recipe(net=BaseNet(), defences=(SpectralNorm(),)), 10, 0)
    kernels = [
        operator_norm(kernel_operator(layer), effective_weight(layer.eval()).detach())
        for layer in weight_layers(net, "").values()
    ]
    assert kernels == pytest.approx([1] * 5, rel=1e-3)
    assert lipschitz_bound(net) > 2


@pytest.mark.parametrize(
    ("net", "said"), [(WRN(10, 1), r"not Block \(2\)"), (ViT(1, 64), r"not MaxPool2d")]
)
def test_paths_that_add_up_have_no_product(net, said):
    made = build(Recipe(net=net, defences=(SpectralNorm("convolution"),)), 10, 0)
    with pytest.raises(ValueError, match=said):
        lipschitz_bound(made)
    figures = SpectralNorm("convolution").figures(made)
    assert list(figures) == ["largest_norm"]
    norms, layers = layer_norms(made), weight_layers(made, "")
    assert [norms[name] for name in layers] == pytest.approx([1] * len(layers), rel=0.02)


def test_other_defences_take_part_in_the_bound():
    def bound(*defences):
        return lipschitz_bound(build(Recipe(net=BigNet(), defences=defences), 10, 0))

    plain = bound()
    assert bound(RSE(), TestNoise(0.1)) == pytest.approx(plain)
    assert bound(Projection(5)) == pytest.approx(plain, rel=1e-4)
    assert bound(MCDropout(0.5)) == pytest.approx(4 * plain, rel=1e-4)
    assert bound(PNI()) == bound(PNI()) != pytest.approx(plain)  # of one draw, always the same
    learned: Any = build(Recipe(net=BigNet(), defences=(Projection(5, learnable=True),)), 10, 0)
    with torch.no_grad():
        learned[0][0].basis.mul_(2)
    assert lipschitz_bound(learned) == pytest.approx(4 * plain, rel=1e-4)
    assert not any(m.stochastic for m in learned.modules() if isinstance(m, Dropout))


@pytest.mark.slow
def test_training_keeps_the_norms_and_logs_them():
    images = (torch.rand(256, 3, 32, 32, generator=seeded_generator()) * 255).byte()
    data = Split(images, torch.arange(256).remainder(10))
    defence = SpectralNorm("convolution")
    recipe = Recipe(
        net=BigNet(),
        defences=(defence,),
        optimizer=AdamW(decay=Ramp(1.0, 0.0)),  # the iteration catches up as the weights settle
        curriculum=Curriculum(steps=1),
        epochs=4,
        batch=32,
    )
    *_, last = train(recipe, data, classes=10, seed=0)
    assert last.metrics["lipschitz_bound"] == pytest.approx(1, rel=0.15)  # of five layers
    assert last.metrics["largest_norm"] == pytest.approx(1, rel=0.05)
