"""Nets of others: those that need contiguous images, and those that change them in place."""

import warnings
from functools import partial

import pytest
import torch
from torch import nn

from adv import (
    APGD,
    L2,
    NES,
    PGD,
    WRN,
    BaseNet,
    Battery,
    Linf,
    Square,
    Votes,
    Worst,
    audit,
    certify,
    evaluate,
    load,
    report_battery,
)
from adv.attacks.transfer import Transfer
from adv.runtime.foreign_nets import is_ours, memory_format_of, protect_images
from adv.runtime.frozen import frozen

BALL = Linf(0.05)
ATTACKS = {
    "pgd": PGD(BALL, steps=2),
    "pgd l2": PGD(L2(0.5), steps=2),
    "apgd": APGD(BALL, steps=3),
    "square": Square(BALL, queries=6),
    "nes": NES(BALL, queries=11, samples=10),
    "worst": Worst((PGD(BALL, steps=1), Square(BALL, queries=3))),
}
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


class ViewLeNet(nn.Module):
    """Ends in a view, as many small nets of papers do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8 * 16 * 16, 10)

    def forward(self, x):
        x = self.conv(x).relu()
        return self.fc(x.view(x.size(0), -1))


class ViewMLP(nn.Module):
    """Flattens its images by a view."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3072, 10)

    def forward(self, x):
        return self.fc(x.view(x.size(0), -1))


class Shuffling(ViewLeNet):
    """Shuffles its channels by two views, as ShuffleNet does."""

    def forward(self, x):
        x = self.conv(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c * h * w)
        return self.fc(x)


class Recording(nn.Module):
    """Notes the mode, the number and the memory format of the images of each call."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8 * 15 * 15, 10)
        self.calls = []

    def forward(self, x):
        last = x.is_contiguous(memory_format=torch.channels_last)
        self.calls.append((self.training, len(x), "last" if last else "contiguous"))
        return self.fc(nn.functional.max_pool2d(self.conv(x).relu(), 2).flatten(1))


class Drifting(Recording):
    """Answers differently at each call."""

    def forward(self, x):
        return super().forward(x) + len(self.calls)


class Viewing(Recording):
    """Fails on images in channels_last."""

    def forward(self, x):
        logits = super().forward(x)
        return logits + 0 * x.view(len(x), -1).sum()


class Drawing(Recording):
    """Draws from torch's global generator."""

    def forward(self, x):
        return super().forward(x) + torch.rand(())


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3072, 10)

    def forward(self, x):
        return self.fc(((x - 0.5) / 0.5).flatten(1))


class Shifting(Plain):
    """Normalises its argument in place, as torchvision's normalize(inplace=True)."""

    def forward(self, x):
        return self.fc(x.sub_(0.5).div_(0.5).flatten(1))


class ShiftingData(Plain):
    """Changes its argument past autograd's version counter."""

    def forward(self, x):
        x.data.sub_(0.5).div_(0.5)
        return self.fc(x.flatten(1))


class Clamping(Plain):
    """Changes its argument in place to the same values."""

    def forward(self, x):
        return super().forward(x.clamp_(-9, 9).mul_(1))


def make(kind):
    torch.manual_seed(0)
    return kind()


@pytest.fixture(scope="module")
def images():
    return load("digits").validation.head(16)


@pytest.fixture(scope="module")
def pixels(images):
    return images.images.contiguous().float() / 255


VIEWING = pytest.mark.parametrize("kind", [ViewLeNet, ViewMLP, Shuffling])


@VIEWING
@each_attack
def test_a_net_that_views_its_images_can_be_attacked(kind, attack, pixels):
    net = make(kind)
    y = net(pixels).argmax(1)
    for model in (net, Votes(net, 2), nn.Sequential(nn.Identity(), net)):
        adv = attack(model, pixels, y)
        assert adv.is_contiguous() and net(adv).shape == (16, 10)
    assert Transfer(attack, net)(BaseNet()(10), pixels, y).shape == pixels.shape


@VIEWING
def test_a_net_that_views_its_images_can_be_evaluated_and_certified(kind, images):
    net = make(kind)
    score = evaluate(net, images, report_battery(steps=1), batch=5)
    assert score.ok.shape[1] == 16
    assert len(certify(net, images.head(2), 0.1, n0=4, n=8).radii) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ViewLeNet, Shifting, Clamping])
def test_such_a_net_can_be_audited(kind, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert audit(make(kind), images, Battery((("pgd", ATTACKS["pgd"]),)))


CHANGING = pytest.mark.parametrize("kind", [Shifting, ShiftingData, Clamping])


@pytest.mark.filterwarnings("ignore:.*in place")
@CHANGING
@each_attack
def test_a_net_that_changes_its_images_gets_copies(kind, attack, pixels):
    plain, net = make(Plain), make(kind)
    y, given = plain(pixels).argmax(1), pixels.clone()
    for wrap in (lambda model: model, partial(Votes, n=2)):
        adv = attack(wrap(net), given, y)
        assert torch.equal(given, pixels)
        if kind is not ShiftingData:  # whose gradient is that of another function
            assert torch.equal(adv, attack(wrap(plain), pixels, y))


@pytest.mark.filterwarnings("ignore:.*in place")
@CHANGING
def test_its_score_is_that_of_the_same_net_without_changes(kind, images):
    battery = Battery((("square", ATTACKS["square"]), ("pgd", ATTACKS["pgd"])))
    expected = evaluate(make(Plain), images, battery)
    score = evaluate(make(kind), images, battery)
    assert torch.equal(score.ok[0], expected.ok[0])
    if kind is not ShiftingData:
        assert torch.equal(score.ok, expected.ok)


def test_an_in_place_layer_of_torch_at_the_front_gets_copies_too(pixels):
    torch.manual_seed(0)
    net = nn.Sequential(nn.ReLU6(inplace=True), nn.Hardtanh(-0.5, 0.5, inplace=True), nn.Flatten())
    net.append(nn.Linear(3072, 10))
    y, given = torch.zeros(16, dtype=torch.int64), pixels.clone()
    with pytest.warns(UserWarning, match="Sequential changes its images in place: it gets a copy"):
        PGD(BALL, steps=1)(net, given, y)
    assert torch.equal(given, pixels)


@pytest.mark.parametrize("kind", [Shifting, Clamping])
def test_it_is_said_once_for_each_net(kind, images, pixels):
    net, y = make(kind), torch.zeros(16, dtype=torch.int64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ATTACKS["pgd"](net, pixels, y)
        ATTACKS["square"](Votes(net, 2), pixels, y)
        evaluate(net, images, Battery((("pgd", ATTACKS["pgd"]),)))
        assert len(caught) == 1
        ATTACKS["pgd"](make(kind), pixels, y)
        assert len(caught) == 2


def test_a_leaf_that_requires_a_gradient_may_be_handed_over(pixels):
    net, x = make(Shifting), pixels.clone().requires_grad_()
    with frozen(net), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net(x).sum().backward()
    assert torch.equal(x.detach(), pixels) and x.grad.abs().sum() > 0


def test_hooks_are_removed_even_after_an_error_and_are_not_nested(pixels):
    net = make(Shifting)
    with frozen(net):
        with protect_images(net), frozen(Votes(net, 2)):
            assert len(net._forward_pre_hooks) == 1
        assert len(net._forward_pre_hooks) == 1
    with pytest.raises(RuntimeError):
        ATTACKS["pgd"](net, pixels[:, :1], torch.zeros(16, dtype=torch.int64))
    assert not net._forward_pre_hooks and not net._forward_hooks


def test_our_nets_keep_channels_last_and_get_no_hooks():
    for settings in (BaseNet(), WRN(10, 1)):
        net = settings(10)
        assert is_ours(net) and memory_format_of(net) == torch.channels_last
        with frozen(Votes(net, 2)):
            assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.modules())
    assert memory_format_of(make(ViewLeNet)) == torch.contiguous_format
    assert not is_ours(Votes(make(ViewLeNet), 2))


@each_attack
def test_a_net_that_answers_alike_gets_channels_last(attack, pixels):
    net = make(Recording)
    attack(net, pixels, make(Recording)(pixels).argmax(1))
    assert {call[2] for call in net.calls} == {"last"}  # a copy of it was tried


@pytest.mark.parametrize("kind", [Viewing, Drifting, Drawing])
def test_a_net_that_refuses_channels_last_or_answers_differently_stays_contiguous(kind, pixels):
    net = make(kind)
    with frozen(net):
        net(pixels[:3])
        net(pixels[:3])
    assert net.calls == [(False, 3, "contiguous")] * 2


def test_hooks_of_a_layer_do_not_notice_a_trial(pixels):
    net, sizes = make(Recording), []
    net.conv.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    with frozen(net):
        net(pixels)
    assert sizes == [16] and net.calls == [(False, 16, "contiguous")]


def test_a_hook_that_comes_later_gets_contiguous_images_too(pixels):
    net, seen = make(Recording), []
    with frozen(net):
        net(pixels)
    net.conv.register_forward_pre_hook(lambda module, args: seen.append(args[0].is_contiguous()))
    with frozen(net):
        net(pixels)
    assert [call[2] for call in net.calls] == ["last", "contiguous"] and seen == [True]


def test_the_trial_of_a_net_draws_from_no_generator_of_others(pixels):
    net = make(Drawing)
    torch.manual_seed(4)
    with frozen(net):
        first = net(pixels)
    torch.manual_seed(4)
    assert torch.equal(first, net(pixels))


def test_a_net_in_training_or_with_many_weights_stays_contiguous(pixels, monkeypatch):
    net = make(Recording).train()
    with protect_images(net):
        net(pixels)
    assert net.calls == [(True, 16, "contiguous")]
    monkeypatch.setattr("adv.runtime.foreign_nets.MAX_WEIGHTS", 18_000)
    with frozen(net):
        net(pixels)
    assert net.calls[1:] == [(False, 16, "contiguous")]


@each_attack
def test_in_channels_last_it_gets_the_same_adversarial_images(attack, pixels, monkeypatch):
    y = make(Recording)(pixels).argmax(1)
    found = attack(make(Recording), pixels, y)
    monkeypatch.setattr("adv.runtime.foreign_nets.MAX_WEIGHTS", 0)
    expected = attack(make(Recording), pixels, y)
    # The sign of a gradient that is zero but for rounding may differ.
    assert ((found - expected).abs() > 1e-4).float().mean() < 0.01
