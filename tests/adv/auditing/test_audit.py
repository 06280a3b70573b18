"""The audit fails every broken net and passes every sound one."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv import (
    FGSM,
    L2,
    PGD,
    PNI,
    RSE,
    WRN,
    AdamW,
    Battery,
    Curriculum,
    Finding,
    Linf,
    MCDropout,
    Net,
    Recipe,
    SpectralNorm,
    Split,
    Square,
    TestNoise,
    ViT,
    audit,
    build,
    evaluate,
    load,
    margin_battery,
    masking_gap,
    train,
    verdict,
)
from adv.auditing.consistency_checks import check_consistency
from adv.auditing.context import audit_context
from adv.auditing.finding import paired_difference
from adv.models import Normalize
from adv.runtime.random_layers import Dropout
from adv.shape import DEFAULT_SHAPE, Shape

EPS = 0.1
IMAGES = 128
PLAIN = Battery((("pgd10", PGD(Linf(EPS), 10)),))


@dataclass(frozen=True)
class Tiny(Net):
    """A convolution and two linear layers for digits of 8 x 8 pixels."""

    dropout: float = 0.0

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        return nn.Sequential(
            *(Normalize(), nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 64), nn.ReLU()),
            *(Dropout(self.dropout), nn.Linear(64, classes)),
        )


class Digits(NamedTuple):
    train: Split
    validation: Split


@pytest.fixture(scope="module")
def digits():
    """The digits without their black frame: sixteen times less to compute."""
    data = load("digits")
    small = (Split(s.images[..., 12:20, 12:20], s.labels) for s in (data.train, data.validation))
    return Digits(*small)


def trained(digits, *defences, fraction: float = 1.0):
    curriculum = Curriculum(eps=EPS, steps=3, pace=0.5, fraction=fraction)
    recipe = Recipe(Tiny(0.1), defences, AdamW(lr=4e-3), curriculum, epochs=6, batch=50)
    *_, last = train(recipe, digits.train, classes=10, seed=0)
    return last.net.eval()


@pytest.fixture(scope="module")
def hardened(digits):
    return trained(digits)


@pytest.fixture(scope="module")
def undefended(digits):
    return trained(digits, fraction=0.0)


@pytest.fixture(scope="module")
def noisy(digits):
    return trained(digits, RSE(0.4, 0.2))


@pytest.fixture(scope="module")
def overfitted(digits):
    """FGSM training without random start at a large radius overfits to the single step."""
    sizes = (64, 256, 256, 256)
    hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(Grey(), nn.Flatten(), *hidden, nn.Linear(256, 10))
    optimizer = torch.optim.Adam(net.parameters())
    order = torch.Generator().manual_seed(0)
    x, y = digits.train.images.float() / 255, digits.train.labels
    for _ in range(90):  # after 60 epochs rounding decided how far the net had overfitted
        for ids in torch.randperm(len(y), generator=order).split(100):
            adv = FGSM(Linf(0.3))(net, x[ids], y[ids])
            optimizer.zero_grad()
            F.cross_entropy(net(adv), y[ids]).backward()
            optimizer.step()
    return net.eval()


class Grey(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 4 * x[:, 0] - 1


class Around(nn.Module):
    """A net with a fault before it or behind it."""

    def __init__(self, net: nn.Module, before=None, behind=None) -> None:
        super().__init__()
        self.net, self.before, self.behind = net, before, behind

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(self.before(x) if self.before else x)
        return self.behind(out) if self.behind else out


class Killed(torch.autograd.Function):
    """The identity, with a gradient of zero."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


class Peeking(nn.Module):
    """Rounds its input in evaluation only."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x if self.training else x + (levels(x) - x).detach())


def levels(x: Tensor) -> Tensor:
    return (15 * x).round() / 15


def dead(net: nn.Module) -> nn.Module:
    """The last hidden units are pushed below zero for every image."""
    net = copy.deepcopy(net)
    assert isinstance(net, nn.Sequential) and isinstance(net[-4], nn.Linear)
    with torch.no_grad():
        net[-4].bias.sub_(1000)
    return net


BROKEN = {
    "logits times 1000": lambda net: Around(net, behind=lambda out: 1000 * out),
    "16 levels": lambda net: Around(net, before=levels),
    "no gradient": lambda net: Around(net, before=Killed.apply),
    "detached": lambda net: Around(net, before=Tensor.detach),
    "undeclared noise": lambda net: Around(net, behind=lambda z: z + 3 * torch.randn_like(z)),
    "dead units": dead,
    "peeking": Peeking,
}


MASKED = {"zero gradients", "a large radius reaches chance"}
CAUGHT = {
    "logits times 1000": {*MASKED, "masking gap"},
    "16 levels": {*MASKED, "black box is weaker"},
    "no gradient": {*MASKED, "black box is weaker"},
    "detached": {*MASKED, "black box is weaker"},
    "undeclared noise": {"same outputs twice", "the net is unchanged"},
    "dead units": {"dead units", "zero gradients"},
    "peeking": {"same outputs in training mode"},
}


def doubts(net: nn.Module, digits: Digits, battery: Battery = PLAIN, images: int = IMAGES):
    """Return the names of the failed checks, all of which the verdict names."""
    findings = audit(net, digits.validation.head(images), battery, batch=IMAGES)
    failed = {finding.name for finding in findings if not finding.passed}
    assert all(name in verdict(findings) for name in failed)
    assert all(finding.sentence for finding in findings)
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_net_is_caught(name, hardened, digits):
    failed = doubts(BROKEN[name](hardened), digits)
    assert failed >= CAUGHT[name]
    if name != "undeclared noise":  # which changes every answer
        assert {check for check in failed if "the " in check} <= CAUGHT[name]


@pytest.mark.slow
def test_training_that_overfits_to_a_single_step_is_caught(overfitted, digits):
    battery = Battery((("fgsm", FGSM(Linf(0.3))),))
    wanted = {"single step overstates", "more steps", "masking gap"}
    assert doubts(overfitted, digits, battery, len(digits.validation)) >= wanted


@pytest.mark.slow
def test_one_draw_in_the_gradient_is_caught_and_five_pass(noisy, digits):
    assert "more draws in the gradient" in doubts(noisy, digits, replace(PLAIN, draws=1))
    assert doubts(noisy, digits) == set()


@pytest.mark.slow
def test_sound_nets_pass(hardened, undefended, digits):
    assert doubts(hardened, digits) == set()
    assert doubts(undefended, digits) == set()


@pytest.mark.slow
def test_an_l2_ball_two_classes_and_queries_pass(halves):
    battery = Battery((("l2", PGD(L2(0.1), 10)), ("square", Square(L2(0.1), 20))))
    findings = audit(Linear(1.0), halves.head(64), battery, eps=0.1)
    assert [f.name for f in findings if not f.passed] == []
    (steps,) = (f for f in findings if f.name == "more steps")
    assert "With 20 steps" in steps.observation


@pytest.mark.slow
@pytest.mark.parametrize("defence", [PNI(), MCDropout(), TestNoise(0.05)], ids=repr)
def test_sound_random_nets_pass(defence, hardened, digits):
    assert doubts(defence(copy.deepcopy(hardened)), digits) == set()


# --- without training ---


def untrained(*defences) -> nn.Module:
    return build(Recipe(Tiny(), defences), 10, seed=0)


def asked(net: nn.Module, digits: Digits) -> set[str]:
    """Return the names of the failed consistency checks."""
    subject = audit_context(net, digits.validation.head(32), PLAIN, EPS)
    return {finding.name for finding in check_consistency(subject) if not finding.passed}


class Between(nn.Module):
    """A net with a function of its own before the last layer's outputs."""

    def __init__(self, net: nn.Module, change) -> None:
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self, self.net(x))


class Claimed(Between):
    stochastic = True


def noise(module: nn.Module, out: Tensor) -> Tensor:
    return out + torch.randn_like(out)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda m, z: z, set()),
        (lambda m, z: z.log_softmax(1), set()),
        (lambda m, z: z.softmax(1), {"outputs are logits"}),
        (lambda m, z: z / 0, {"outputs are logits"}),
        (lambda m, z: F.dropout(z, 0.5, m.training), set()),
        (lambda m, z: F.dropout(z, 0.5), {"same outputs twice", "same outputs under attack"}),
        (lambda m, z: z if m.training else 2 * z, {"same outputs in training mode"}),
        (lambda m, z: 2 * z if torch.is_grad_enabled() else z, {"same outputs under attack"}),
        (lambda m, z: z - z.mean(0), {"same outputs in another batch"}),
    ],
)
def test_consistency_checks_catch_their_faults(change, wanted, digits):
    failed = asked(Between(untrained(), change).eval(), digits)
    assert failed >= wanted and bool(failed) == bool(wanted)


@pytest.mark.parametrize(
    ("change", "meaning"),
    [(lambda m, z: z.softmax(1), "Cross-entropy takes logits"), (lambda m, z: z / 0, "diverged")],
    ids=["probabilities", "not finite"],
)
def test_outputs_that_are_not_logits_are_distinguished(change, meaning, digits):
    subject = audit_context(
        Between(untrained(), change).eval(), digits.validation.head(8), PLAIN, EPS
    )
    assert meaning in next(check_consistency(subject)).sentence


@pytest.mark.parametrize(
    "net", [WRN(10, 1, dropout=0.1, se=0.25), ViT(1, 64, dropout=0.1)], ids=repr
)
@pytest.mark.parametrize("defence", [SpectralNorm(), PNI(), MCDropout(), TestNoise(0.1)], ids=repr)
def test_our_own_nets_are_consistent(net, defence):
    whole = load("digits").validation.head(4)
    model = build(Recipe(net, (defence,)), 10, seed=0).train()
    assert {
        f.name for f in check_consistency(audit_context(model, whole, PLAIN, EPS)) if not f.passed
    } == set()


@pytest.mark.parametrize("defences", [(), (RSE(),)], ids=["deterministic", "random"])
@pytest.mark.parametrize(("eps", "row"), [(0.012, 1), (0.1, 6)])
def test_the_claim_is_what_the_whole_battery_says_at_that_radius(defences, eps, row, digits):
    net = untrained(*defences).eval()
    images = digits.validation.head(32).images
    split = Split(images, net(images.float() / 255).argmax(1))
    battery = margin_battery(2, votes=4)
    whole = evaluate(net, split, battery)
    claim = audit_context(net, split, battery, eps).claim  # with what falls in smaller balls
    assert claim.eps == (whole.eps[row - 1],)
    assert torch.equal(claim.ok, whole.ok[[0, row]])
    assert 0 < claim.worst < 1


def test_a_net_without_gradient_gets_findings_under_a_battery_of_several_radii(digits):
    net = Between(untrained(), lambda _, logits: logits.detach()).eval()
    found = audit(net, digits.validation.head(16), margin_battery(2), eps=EPS)
    assert "gradient against differences" in {one.name for one in found if not one.passed}


def test_declared_noise_has_to_come_from_the_stream(digits):
    assert asked(untrained(RSE()), digits) == set()
    assert "same outputs twice" in asked(Claimed(untrained(), noise), digits)


@pytest.mark.parametrize("kind", ["kernel", "torch"])
def test_spectral_norms_may_move_in_training(kind, digits):
    net = untrained() if kind == "torch" else untrained(SpectralNorm(kind))
    if kind == "torch":
        for layer in [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
            nn.utils.parametrizations.spectral_norm(layer)
    before = copy.deepcopy(net.state_dict())
    assert asked(net, digits) == set()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())


def test_dead_units_are_counted_by_layer(digits):
    assert asked(dead(untrained()), digits) == {"dead units"}


class Counting(nn.Module):
    """Count the calls in a buffer."""

    asked: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("asked", torch.zeros(()))
        self.last = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        return self.last(x.flatten(1))


def test_the_net_and_the_generators_are_restored(digits):
    net = Between(Counting(), noise).train()
    seen = torch.get_rng_state()
    findings = audit(net, digits.validation.head(8), Battery((("one", PGD(Linf(EPS), 1)),)))
    (left,) = (finding for finding in findings if finding.name == "the net is unchanged")
    assert (
        left.figure == 2
        and "net.asked" in left.observation
        and "global generator" in left.observation
    )
    assert net.net.asked == 0 and net.training and torch.equal(torch.get_rng_state(), seen)
    assert not left.passed and left.meaning in left.sentence


class Linear(nn.Module):
    """A linear net, whose worst perturbation is known; its logits are `scale` times as large."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 192, generator=seeded()))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * ((x - 0.5).flatten(1) @ self.weight.T)

    def labels(self, images: Tensor) -> Tensor:
        return self(images.float() / 255).argmax(1)

    def standing(self, images: Tensor, eps: float) -> float:
        """Return the exact accuracy in the ball, clipped to [0, 1]."""
        x = images.float() / 255
        slope = (self.weight[1] - self.weight[0]).reshape(1, 3, 8, 8)
        toward = torch.where(self.labels(images)[:, None, None, None] == 1, -slope, slope)
        adv = (x + eps * toward.sign()).clamp(0, 1)
        return float((self.labels((255 * adv)) == self.labels(images)).double().mean())


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def halves():
    """Random images around the border of `Linear`, labelled by it."""
    images = torch.randint(0, 256, (200, 3, 8, 8), generator=seeded(), dtype=torch.uint8)
    return Split(images, Linear(1).labels(images))


def test_the_masking_gap_reveals_saturation(halves):
    eps, battery = 0.02, Battery((("pgd", PGD(Linf(0.02), 10)), ("far", PGD(Linf(0.2), 1))))
    honest, saturated = Linear(1.0), Linear(1e6)
    truth = honest.standing(halves.images, eps)
    assert 0.1 < truth < 0.9
    gap = masking_gap(honest, halves, battery, eps=0.03)
    assert (gap.eps, gap.images, gap.flagged) == (eps, 200, False)
    assert gap.claimed == gap.strong == pytest.approx(truth) and gap.gap == 0
    hidden = masking_gap(saturated, halves, battery, eps=0.03)
    assert hidden.claimed > truth + 0.1 and hidden.strong == pytest.approx(truth)
    assert hidden.flagged and hidden.interval[0] < hidden.gap < hidden.interval[1]


def test_a_known_score_is_not_measured_again(halves):
    battery = Battery((("pgd", PGD(Linf(0.02), 10)), ("far", PGD(Linf(0.2), 1))))
    net, half = Linear(1e6), halves.head(100)
    score = evaluate(net, halves, battery)
    assert masking_gap(net, halves, battery, score=score) == masking_gap(net, halves, battery)
    gap = masking_gap(net, half, battery, score=score)
    assert gap.claimed == float(score.ok[:2, :100].all(0).double().mean()) and gap.images == 100
    for other in (replace(battery, attacks=battery.attacks[:1]), None):
        with pytest.raises(ValueError, match="another battery"):
            masking_gap(net, half, other, score=score)


def test_the_gap_of_a_random_net_is_measured_once(digits):
    gap = masking_gap(untrained(RSE()), digits.validation.head(20), PLAIN)
    assert -0.3 < gap.gap < 0.3 and gap.interval[0] < gap.gap < gap.interval[1]


def test_wrong_use_raises_errors(halves):
    with pytest.raises(ValueError, match="no image"):
        audit(Linear(1), halves.head(0))
    with pytest.raises(ValueError, match="radius 0"):
        masking_gap(Linear(1), halves, Battery((("none", PGD(Linf(0.0), 1)),)))


# --- figures ---


def test_a_difference_by_hand():
    """7 up and 2 down of 50 + 2 (Bonett, Price 2012): 5/52 +- z sqrt((9/52 - (5/52)^2) / 52)."""
    more, less = torch.zeros(2, 50, dtype=torch.bool)
    more[:6], less[6:7] = True, True
    figure, (low, high) = paired_difference(more, less)
    assert figure == pytest.approx(0.1)
    assert (low, high) == pytest.approx((-0.01386, 0.20617), abs=1e-4)
    mirrored: Any = (-figure, (pytest.approx(-high), pytest.approx(-low)))
    assert paired_difference(less, more) == mirrored
    same, (low, high) = paired_difference(more, more)
    assert same == 0 and low == -high < 0


def test_the_interval_of_a_difference_holds_it_19_times_of_20():
    """2,000 draws of 128 pairs, 6 % up and 3 % down; 95 % within three standard errors."""
    kind = torch.rand(2000, 128, generator=seeded())
    held = 0
    for row in kind:
        _, (low, high) = paired_difference(row < 0.06, row > 0.97)
        held += low <= 0.03 <= high
    assert held / 2000 > 0.95 - 3 * (0.05 * 0.95 / 2000) ** 0.5


def finding(low: float, figure: float, limit: float) -> Finding:
    return Finding("zero gradients", figure, limit, (low, 1.0), "%", "why", "Seen.", "Meaning.")


def test_a_check_fails_only_where_the_whole_interval_lies_above_its_limit():
    good, bad = finding(0.04, 0.1, 0.05), finding(0.06, 0.1, 0.05)
    assert good.passed and not bad.passed and not finding(math.nan, 0.1, 0.05).passed
    assert (good.sentence, bad.sentence) == ("Seen.", "Seen. Meaning.")
    assert verdict([good]) == "No check speaks against this score: all 1 passed."
    assert "1 of 2 checks failed: zero gradients (10.0 %). Meaning." in verdict([good, bad])
    assert pickle.loads(pickle.dumps(bad)) == bad and len({good, bad}) == 2
