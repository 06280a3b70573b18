"""The quicker first layers compute what the net computes."""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from torch import nn

from adv import (
    PGD,
    PNI,
    RSE,
    WRN,
    BaseNet,
    BigNet,
    Linf,
    Recipe,
    Split,
    Square,
    build,
    evaluate,
    frozen,
    report_battery,
    restarts,
)
from adv.evaluation.battery import Battery
from adv.models import Normalize
from adv.runtime.fused_cpu import _act_pool, _FusedActPool, activation_of, fused_conv_pool
from adv.runtime.random_streams import use_seed

NETS = {
    "BaseNet": Recipe(net=BaseNet()),
    "BigNet": Recipe(net=BigNet()),
    "SiLU": Recipe(net=BaseNet(activation="silu")),
    "RSE": Recipe(net=BaseNet(), defences=(RSE(0.2, 0.1),)),
}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def build_net(name: str) -> nn.Module:
    net = build(NETS[name], 10, seed=3).eval()
    for module in net.modules():
        if isinstance(module, Normalize):
            module.mean.copy_(torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1))
            module.std.copy_(torch.tensor([0.2, 0.25, 0.3]).reshape(3, 1, 1))
    return net


def quick(net: nn.Module) -> int:
    """How many chains go another way."""
    return sum("forward" in vars(module) for module in net.modules())


def answers(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of a loss with respect to the images."""
    x = x.detach().requires_grad_()
    with use_seed(net, 5):
        logits = net(x)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1)), x)
    return logits, gradient


@contextmanager
def slowly(net):
    """The plain layers, in the memory that the quick ones take."""
    yield torch.contiguous_format


def flat_here_and_there() -> torch.Tensor:
    x = torch.rand(4, 3, 32, 32, generator=seeded_generator())
    x[:2, :, :12] = 1  # equal values for the poolings to choose from
    return x


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", NETS)
def test_the_same_answers_and_gradients(name, layout):
    """Of weights in any layout, what the plain net says in contiguous memory."""
    net, x = build_net(name), flat_here_and_there()
    with frozen(net):
        plain = answers(net, x)
        net.to(memory_format=layout)
        with fused_conv_pool(net) as form:
            assert quick(net) == 1 and form == torch.contiguous_format
            logits, gradient = answers(net, x)
            with torch.no_grad(), use_seed(net, 5):
                assert torch.equal(net(x), logits)
    assert quick(net) == 0
    # For weights in another layout some processors sum in another order.
    slack = 0.0 if layout == torch.contiguous_format else 1e-6
    assert (logits - plain[0]).abs().max() <= slack
    assert (gradient - plain[1]).abs().max() < 2e-6 * plain[1].abs().max()
    assert plain[1].abs().max() > 0


@pytest.mark.parametrize("name", NETS)
def test_the_same_gradients_of_the_weights(name):
    """What a training step takes; the images need none."""
    net, x = build_net(name), flat_here_and_there()
    found = []
    for way in (nullcontext(), fused_conv_pool(net)):
        with way, use_seed(net, 5):
            loss = F.cross_entropy(net(x), torch.arange(4))
            found.append(torch.autograd.grad(loss, list(net.parameters())))
    for a, b in zip(*found, strict=True):
        assert (a - b).abs().max() < 2e-6 * a.abs().max()


ACTS = [nn.ReLU(inplace=True), nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(inplace=True)]


@pytest.mark.parametrize("act", ACTS, ids=repr)
def test_pooling_chooses_and_gives_back_as_torch_does(act):
    """Around the lowest points of the curves, far from them, and of equal values the first."""
    grid = torch.randint(-12, 13, (400, 3, 4, 6), generator=seeded_generator()) / 4
    fine = torch.randn(400, 3, 4, 6, generator=seeded_generator(1)) - 0.8
    for y in (grid, fine, (3 * fine).clamp(min=-3.5)):  # of lower ones, rounding decides in torch
        weight = torch.rand(400, 3, 2, 3, generator=seeded_generator(2))
        leaf, other = y.clone().requires_grad_(), y.clone().requires_grad_()
        plain, ours = (
            F.max_pool2d(act(leaf.clone()), 2),
            _FusedActPool.apply(other, activation_of(act)),
        )
        assert torch.allclose(ours, plain, atol=1e-7, rtol=1e-6)
        assert torch.equal(_act_pool(y, activation_of(act)), ours)
        (plain * weight).sum().backward()
        (ours * weight).sum().backward()
        assert leaf.grad is not None and other.grad is not None
        assert torch.allclose(leaf.grad, other.grad, atol=1e-6)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_any_odd_kernel_with_or_without_bias(kernel):
    net = nn.Sequential(nn.Conv2d(2, 5, kernel, bias=kernel != 3), nn.ReLU(), nn.MaxPool2d(2))
    net.requires_grad_(False)
    for height, width in ((12, 16), (11, 16), (12, 15), (8, 8)):  # squares or not
        x = torch.rand(3, 2, height, width, generator=seeded_generator()).requires_grad_()
        found: list[tuple[torch.Tensor, ...]] = []
        for way in (nullcontext(), fused_conv_pool(net)):
            with way:
                assert quick(net) == len(found)
                y = net(x)
                found.append((y, *torch.autograd.grad((y * y).sum(), x)))
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


def test_further_layers_of_a_chain_that_begins_with_images():
    """Padded, strided, of another padding: these convolutions are torch's own both ways."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.GELU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3, stride=2, bias=False), nn.SiLU(), nn.MaxPool2d((2, 2), 2)),
    ).requires_grad_(False)
    x = torch.rand(3, 3, 32, 32, generator=seeded_generator()).requires_grad_()
    plain = net(x)
    (gradient,) = torch.autograd.grad(plain.square().sum(), x)
    with fused_conv_pool(net):
        ours = net(x)
        (other,) = torch.autograd.grad(ours.square().sum(), x)
    assert torch.equal(ours, plain) and torch.allclose(gradient, other, atol=1e-6)


def test_what_is_otherwise_is_left_alone():
    conv, act, pool = nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(2)
    hooked = copy.deepcopy(act)
    hooked.register_forward_hook(lambda *_: None)

    class Other(nn.Sequential):
        def forward(self, x):
            return super().forward(1 - x)

    class Turned(nn.Conv2d):
        def forward(self, x):
            return -super().forward(x)

    chains = [
        nn.Sequential(*three)
        for three in (
            (nn.Conv2d(3, 4, 5, padding=2), act, pool),
            (nn.Conv2d(8, 4, 5), act, pool),
            (nn.Conv2d(3, 4, 5, stride=2), act, pool),
            (conv, act, nn.MaxPool2d(3)),
            (conv, act, nn.MaxPool2d(2, padding=1)),
            (conv, nn.Tanh(), pool),
            (conv, act),
            (conv, act, nn.MaxPool2d(2, ceil_mode=True)),
            (conv, act, nn.MaxPool2d(2, 1)),
            (conv, hooked, pool),
            (nn.Conv2d(3, 4, 4), act, pool),
            (Turned(3, 4, 5), act, pool),
        )
    ]
    noisy = Recipe(net=BigNet(), defences=(PNI(),))
    others = [Other(conv, act, pool), build(Recipe(net=WRN(10, 1)), 10, seed=0), nn.Flatten()]
    foreign = {chains[-1], others[0]}  # layers of others are handed torch's default format
    for net in (*chains, *others, build(noisy, 10, 0)):
        expected = torch.contiguous_format if net in foreign else torch.channels_last
        with fused_conv_pool(net) as form:
            assert quick(net) == 0 and form == expected


def test_an_autocast_goes_the_plain_way():
    net, x = build_net("BigNet"), torch.rand(2, 3, 32, 32, generator=seeded_generator())
    with torch.autocast("cpu", torch.bfloat16):
        plain = net(x)
        with fused_conv_pool(net) as form:
            assert quick(net) == 0 and form == torch.channels_last
    with (
        fused_conv_pool(net),
        torch.autocast("cpu", torch.bfloat16),
    ):  # of a net that asks for it itself
        assert torch.equal(net(x), plain)


def test_the_net_comes_out_as_it_went_in():
    net = build_net("RSE")
    layers, state = list(net.modules()), copy.deepcopy(net.state_dict())
    with fused_conv_pool(net), fused_conv_pool(net) as form:  # one within another changes nothing
        assert quick(net) == 1 and form == torch.contiguous_format
        assert all(a is b for a, b in zip(net.modules(), layers, strict=True))
    with pytest.raises(RuntimeError, match="size"), fused_conv_pool(net):
        net(torch.rand(2, 5, 32, 32))
    assert quick(net) == 0
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    PGD(Linf(0.03), steps=1)(net, torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    assert all(a is b for a, b in zip(net.modules(), layers, strict=True)) and quick(net) == 0


def test_weights_that_change_are_seen():
    """A training attacks one net again and again: nothing is kept of its weights."""
    net: Any = build_net("BigNet").requires_grad_(False)
    x = torch.rand(2, 3, 32, 32, generator=seeded_generator())
    with fused_conv_pool(net):
        before = net(x)
        net[1].weight.mul_(1.5)
        after = net(x)
    assert (after - before).abs().max() > 1e-3
    assert torch.equal(after, net(x))


@pytest.mark.parametrize("name", ["BaseNet", "BigNet", "RSE"])
def test_no_verdict_changes(monkeypatch, name):
    net = build_net(name)
    images = torch.randint(
        0, 256, (40, 3, 32, 32), generator=seeded_generator(2), dtype=torch.uint8
    )
    images[:, :, :12] = 255  # flat
    split = Split(images, net(images.float() / 255).argmax(1))
    attacks = report_battery(3).attacks[:2]
    attacks += (("r", restarts(PGD(Linf(0.002), 3), 2)), ("s", Square(Linf(0.002), 5)))
    battery = Battery(attacks, draws=2, votes=4)
    ours = evaluate(net, split, battery).ok
    monkeypatch.setattr("adv.evaluation.evaluator.fused_conv_pool", slowly)
    plain = evaluate(net, split, battery).ok
    assert torch.equal(ours, plain)
    assert 0 < int(plain[3].sum()) < 40
