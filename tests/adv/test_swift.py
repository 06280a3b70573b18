"""The quicker first layers compute what the net computes."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hand import seeded
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
from adv.battery import Battery
from adv.models import Normalize
from adv.randomness import drawing
from adv.swift import Block, swift

NETS = {
    "BaseNet": Recipe(net=BaseNet()),
    "BigNet": Recipe(net=BigNet()),
    "SiLU": Recipe(net=BaseNet(activation="silu")),
    "RSE": Recipe(net=BaseNet(), defences=(RSE(0.2, 0.1),)),
}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def made(name: str) -> nn.Module:
    net = build(NETS[name], 10, seed=3).eval()
    for module in net.modules():
        if isinstance(module, Normalize):
            module.mean.copy_(torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1))
            module.std.copy_(torch.tensor([0.2, 0.25, 0.3]).reshape(3, 1, 1))
    return net


def blocks(net: nn.Module) -> int:
    return sum(isinstance(module, Block) for module in net.modules())


def answers(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of a loss with respect to the images."""
    x = x.detach().requires_grad_()
    with drawing(net, 5):
        logits = net(x)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1)), x)
    return logits, gradient


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", NETS)
def test_the_same_answers_and_gradients(name, layout):
    net = made(name).to(memory_format=layout)
    x = torch.rand(4, 3, 32, 32, generator=seeded()).contiguous(memory_format=layout)
    with frozen(net):
        plain = answers(net, x)
        with swift(net):
            assert blocks(net) == 1
            quick = answers(net, x)
    assert blocks(net) == 0
    for a, b in zip(plain, quick, strict=True):
        assert (a - b).abs().max() < 2e-6 * a.abs().max()
        assert a.abs().max() > 0


def test_of_equal_values_the_first_gets_the_gradient():
    """As in torch's pooling; on images with flat parts there are many."""
    from adv.swift import _largest

    y = torch.randint(0, 3, (5, 4, 8, 8), generator=seeded()).float()
    weight = torch.rand(5, 4, 4, 4, generator=seeded(1))
    groups = torch.cat([y[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1).requires_grad_()
    y.requires_grad_()
    (plain,) = torch.autograd.grad((F.max_pool2d(y, 2) * weight).sum(), y)
    (quick,) = torch.autograd.grad((_largest(groups) * weight).sum(), groups)
    back = [plain[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    assert torch.equal(quick, torch.cat(back, 1))


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_any_odd_kernel_with_or_without_bias(kernel):
    net = nn.Sequential(nn.Conv2d(2, 5, kernel, bias=kernel != 3), nn.ReLU(), nn.MaxPool2d(2))
    x = torch.rand(3, 2, 12, 16, generator=seeded())
    net.requires_grad_(False)
    plain = net(x)
    with swift(net):
        assert blocks(net) == 1
        assert torch.allclose(net(x), plain, atol=1e-6)
        odd = x[:, :, :11]  # what does not split into squares goes the plain way
        assert torch.equal(net(odd), F.max_pool2d(F.relu(net[0].conv(odd)), 2))


def test_what_is_otherwise_is_left_alone():
    conv, act, pool = nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(2)
    hooked = copy.deepcopy(act)
    hooked.register_forward_hook(lambda *_: None)
    for chain in (
        (nn.Conv2d(3, 4, 5, padding=2), act, pool), (nn.Conv2d(8, 4, 5), act, pool),
        (nn.Conv2d(3, 4, 5, stride=2), act, pool), (conv, act, nn.MaxPool2d(3)),
        (conv, act, nn.MaxPool2d(2, padding=1)), (conv, nn.Tanh(), pool), (conv, act),
        (conv, hooked, pool), (nn.Conv2d(3, 4, 4), act, pool),
    ):  # fmt: skip
        net = nn.Sequential(*chain)
        with swift(net):
            assert list(net) == list(chain)
    noisy = Recipe(net=BigNet(), defences=(PNI(),))
    for net in (build(Recipe(net=WRN(10, 1)), 10, seed=0), build(noisy, 10, 0), nn.Flatten()):
        with swift(net):
            assert blocks(net) == 0


def test_the_net_comes_out_as_it_went_in():
    net = made("RSE")
    layers, state = list(net.modules()), copy.deepcopy(net.state_dict())
    with swift(net), swift(net):  # one within another changes nothing
        assert blocks(net) == 1
    with pytest.raises(RuntimeError, match="size"), swift(net):
        net(torch.rand(2, 5, 32, 32))
    assert all(a is b for a, b in zip(net.modules(), layers, strict=True))
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    PGD(Linf(0.03), steps=1)(net, torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    assert all(a is b for a, b in zip(net.modules(), layers, strict=True))


def test_weights_that_change_are_seen():
    """A training attacks one net again and again: nothing is kept of its weights."""
    net, x = made("BigNet").requires_grad_(False), torch.rand(2, 3, 32, 32, generator=seeded())
    with swift(net):
        before = net(x)
        net.get_submodule("1").conv.weight.mul_(1.5)
        after = net(x)
    assert (after - before).abs().max() > 1e-3
    assert torch.allclose(after, net(x), atol=1e-5)


@pytest.mark.parametrize("name", ["BaseNet", "BigNet", "RSE"])
def test_no_verdict_changes(monkeypatch, name):
    net = made(name)
    images = torch.randint(0, 256, (40, 3, 32, 32), generator=seeded(2), dtype=torch.uint8)
    images[:, :, :12] = 255  # flat
    split = Split(images, net(images.float() / 255).argmax(1))
    attacks = report_battery(3).attacks[:2]
    attacks += (("r", restarts(PGD(Linf(0.002), 3), 2)), ("s", Square(Linf(0.002), 5)))
    battery = Battery(attacks, draws=2, votes=4)
    quick = evaluate(net, split, battery).ok
    monkeypatch.setattr("adv.evaluation.swift", frozen)
    plain = evaluate(net, split, battery).ok
    assert torch.equal(quick, plain)
    assert 0 < int(plain[3].sum()) < 40
