"""What a score means, and that no coin flip decides it."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from adv import (
    FGSM,
    L2,
    PGD,
    RSE,
    BaseNet,
    Battery,
    Linf,
    Recipe,
    Score,
    Split,
    Worst,
    build,
    evaluate,
    quick_battery,
    report_battery,
    restarts,
)
from adv.interval import wilson
from adv.randomness import Noise
from adv.score import unpacked


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def score(rows: list[str], eps: tuple[float, ...]) -> Score:
    """A score from rows of 0 and 1, the natural one first."""
    ok = torch.tensor([[mark == "1" for mark in row] for row in rows])
    return Score(tuple(f"a{i}" for i in range(len(eps))), eps, ok)


# --- arithmetic ---

HAND = score(["1110", "1100", "1000"], (0.02, 0.06))


def test_a_table_by_hand():
    assert HAND.images == 4
    assert HAND.natural_accuracy == 0.75
    assert HAND.attacked_accuracies == (0.5, 0.25)
    assert HAND.attacked_score == 75  # percent points, summed; natural accuracy is not in it
    assert HAND.mean == 0.375
    assert HAND.worst == 0.25
    # (0.75 + 0.5) / 2 * 0.02 + (0.5 + 0.25) / 2 * 0.04, over 0.06
    assert HAND.area == pytest.approx((0.0125 + 0.015) / 0.06)
    assert [point[:2] for point in HAND.curve] == [(0, 0.75), (0.02, 0.5), (0.06, 0.25)]


def test_worst_is_counted_for_each_image_and_not_for_each_attack():
    each_stands_once = score(["111", "100", "010", "001"], (0.1, 0.1, 0.1))
    assert each_stands_once.attacked_accuracies == pytest.approx((1 / 3,) * 3)
    assert each_stands_once.worst == 0
    assert score(["0111", "1111"], (0.1,)).worst == 0.75  # wrong without an attack is wrong


def test_area_of_a_straight_curve_is_its_closed_form():
    """Image i of 100 falls at eps i / 1000: R(eps) = 1 - 10 eps, whose area up to 0.1 is half."""
    radii = tuple(i / 1000 for i in range(1, 101))
    ok = torch.stack([torch.arange(1, 101) > i for i in range(101)])
    straight = Score(tuple(map(str, radii)), radii, ok)
    assert straight.area == pytest.approx(0.5)
    backwards = Score(straight.names, radii[::-1], ok[[0, *range(100, 0, -1)]])
    assert backwards.area == pytest.approx(0.5)


def test_area_counts_an_image_until_it_first_falls():
    risen = score(["11", "01", "11"], (0.1, 0.2))
    assert risen.area == score(["11", "01", "01"], (0.1, 0.2)).area == pytest.approx(0.625)


def test_area_takes_the_least_of_several_attacks_at_one_radius():
    assert score(["1111", "1110", "1000"], (0.1, 0.1)).area == pytest.approx((1 + 0.25) / 2)
    assert score(["1100", "1100"], (0.0,)).area == 0.5
    assert score(["11", "11", "01"], (0.0, 0.1)).area == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),  # n / (n + z^2)
    ],
)
def test_wilson_against_the_literature(right, n, low, high):
    assert wilson(right / n, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_equation_and_holds_its_share():
    """The ends are where the share is z standard errors away (Wilson 1927)."""
    for share, n in itertools.product((0.0, 0.1, 0.5, 0.97, 1.0), (1, 10, 1000)):
        low, high = wilson(share, n)
        assert 0 <= low <= share <= high <= 1
        for end in {low, high} - {0.0, 1.0}:
            error = (end * (1 - end) / n) ** 0.5
            assert abs(end - share) == pytest.approx(1.959964 * error, rel=1e-5)
    for share, n in ((-0.1, 5), (1.1, 5), (0.5, 0), (float("nan"), 5)):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            wilson(share, n)


def test_attacks_at_one_radius_are_shown_in_the_order_of_the_battery():
    """A cascade's accuracies fall from row to row, whatever the attacks are called."""
    ok = score(["1111", "1000", "1110", "1100"], (0.3, 0.1, 0.1))
    assert ok.order == [1, 2, 0]
    assert [point[:2] for point in ok.curve] == [(0, 1), (0.1, 0.75), (0.1, 0.5), (0.3, 0.25)]


def test_intervals_hold_their_numbers():
    low, high = HAND.natural_interval
    assert (low, high) == wilson(0.75, 4)
    low, high = HAND.attacked_interval
    assert (low, high) == pytest.approx(tuple(200 * end for end in wilson(0.375, 4)))
    assert low < HAND.attacked_score < high


@pytest.mark.parametrize("n", [1, 7, 8, 64, 1000])
def test_a_packed_table_comes_back(n):
    ok = torch.rand(4, n, generator=seeded()) < 0.5
    whole = Score(("a", "b", "c"), (0.1, 0.2, 0.3), ok, votes=20, draws=5)
    again = unpacked(json.loads(json.dumps(whole.packed())))
    assert torch.equal(again.ok, ok) and again.ok.dtype == torch.bool
    assert (again.names, again.eps, again.votes, again.draws) == (
        whole.names,
        whole.eps,
        20,
        5,
    )
    assert again.attacked_score == whole.attacked_score


# --- batteries ---


def test_the_reports_battery():
    battery = report_battery()
    points = [(a.ball.eps, a.step_size) for _, a in battery.attacks]
    assert points == [
        (0.01, 0.0025),
        (0.02, 0.005),
        (0.03, 0.008),
        (0.04, 0.01),
        (0.06, 0.015),
        (0.1, 0.02),
    ]
    for name, attack in battery.attacks:
        assert isinstance(attack.ball, Linf) and attack.steps == 20 and attack.random_start
        assert name == f"pgd20-{attack.ball.eps:g}"
    assert battery.draws >= 5 and battery.votes > battery.draws
    assert {attack.steps for _, attack in report_battery(3).attacks} == {3}
    assert len(quick_battery().attacks) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attacks": ()}, "different names"),
        ({"attacks": (("a", FGSM(Linf(0.1))), ("a", FGSM(Linf(0.2))))}, "different names"),
        ({"draws": 0}, "1 or more"),
        ({"votes": 0}, "1 or more"),
    ],
)
def test_settings_that_make_no_battery(settings, said):
    with pytest.raises(ValueError, match=said):
        Battery(**{"attacks": (("a", FGSM(Linf(0.1))),), **settings})


# --- deterministic nets ---


class Counting(nn.Module):
    """Counts the images that pass through its net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, x):
        self.seen += len(x)
        return self.net(x)


def crooked_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU()),
            *(nn.Flatten(), nn.Linear(288, 5)),
        )
        net[1].running_mean.uniform_(-0.1, 0.1)
        for weight in net.parameters():
            weight.data *= 2
    return net


def labelled(net: nn.Module, n: int = 60, wrong: int = 10) -> Split:
    """Images with the net's own answers for labels, but for the last few."""
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=seeded(1), dtype=torch.uint8)
    modes = [module.training for module in net.modules()]
    with torch.no_grad():
        labels = net.eval()(images.float() / 255).argmax(1)
    for module, mode in zip(net.modules(), modes, strict=True):
        module.training = mode
    labels[n - wrong :] = (labels[n - wrong :] + 1) % 5
    return Split(images, labels)


def battery(*attacks, **settings) -> Battery:
    return Battery(tuple((f"a{i}", attack) for i, attack in enumerate(attacks)), **settings)


RADII = (0.005, 0.01, 0.02, 0.04)
LADDER = battery(*(PGD(Linf(eps), steps=5) for eps in RADII))


def test_the_table_is_kept_and_nested():
    net = crooked_net()
    found = evaluate(net, labelled(net), LADDER)
    assert found.ok.shape == (5, 60) and found.ok.dtype == torch.bool
    assert (found.names, found.eps, found.votes, found.draws) == (
        ("a0", "a1", "a2", "a3"),
        RADII,
        1,
        1,
    )
    assert found.ok[0].tolist() == [True] * 50 + [False] * 10
    for smaller, larger in itertools.pairwise(found.ok):
        assert (larger <= smaller).all()
    counts = found.ok.sum(1).tolist()
    assert counts[0] > counts[1] > counts[2] > counts[3]


def test_the_order_of_a_battery_does_not_matter_to_nestedness():
    net = crooked_net()
    split = labelled(net)
    attacks = [PGD(Linf(eps), steps=5, random_start=False) for eps in RADII]
    up, down = (evaluate(net, split, battery(*order)) for order in (attacks, attacks[::-1]))
    assert down.eps == RADII[::-1]
    assert torch.equal(down.ok[[0, 4, 3, 2, 1]], up.ok)


def test_norms_are_nested_each_for_itself():
    net = crooked_net()
    split = labelled(net)
    near, far = FGSM(L2(0.001)), FGSM(Linf(0.04))
    both = evaluate(net, split, battery(far, near))
    assert torch.equal(both.ok[2], evaluate(net, split, battery(near)).ok[1])
    assert torch.equal(both.ok[1], evaluate(net, split, battery(far)).ok[1])
    assert both.ok[1].sum() < both.ok[2].sum()


def test_later_attacks_meet_only_what_still_stands():
    net = crooked_net()
    split, counting = labelled(net), Counting(net)
    found = evaluate(counting, split, battery(*(FGSM(Linf(eps)) for eps in RADII)), batch=16)
    standing = found.ok.sum(1).tolist()
    # One pass for every image; then a gradient and a verdict for each that stood before.
    assert counting.seen == 60 + 2 * sum(standing[:-1])
    assert standing[-1] < standing[0] == 50


def test_an_image_leaves_at_the_first_iterate_that_fools():
    net = crooked_net()
    split, counting = labelled(net), Counting(net)
    attack = PGD(Linf(0.03), steps=20, pace=0.1, random_start=False)
    found = evaluate(counting, split, battery(attack))
    spent = counting.seen - 60
    survivors = int(found.ok[1].sum())
    assert 0 < survivors < 50
    assert 21 * survivors < spent < 0.8 * 21 * 50


def by_hand(net, split, attack, start=None) -> list[bool]:
    """Image by image: right at every iterate, from the clean image to the last."""
    stands = []
    for i in range(len(split)):
        clean, y = split.images[i : i + 1].float() / 255, split.labels[i : i + 1]
        adv = clean if start is None else start[i : i + 1]
        right = bool(net(clean).argmax(1) == y)
        for _ in range(attack.steps):
            right &= bool(net(adv).argmax(1) == y)
            x = adv.clone().requires_grad_()
            loss = nn.functional.cross_entropy(net(x), y)
            moved = adv + attack.length * torch.autograd.grad(loss, x)[0].sign()
            adv = (clean + (moved - clean).clamp(-attack.ball.eps, attack.ball.eps)).clamp(0, 1)
        stands.append(right and bool(net(adv).argmax(1) == y))
    return stands


def test_verdicts_are_those_of_the_plain_loop():
    net = crooked_net()
    split = labelled(net)
    for attack in (FGSM(Linf(0.02)), PGD(Linf(0.02), steps=6, random_start=False)):
        found = evaluate(net, split, battery(attack), batch=7)
        expected = by_hand(net.eval(), split, attack)
        assert found.ok[1].tolist() == expected
        assert 0 < sum(expected) < 50
    attack = PGD(Linf(0.02), steps=6)
    start = attack.ball.sample(split.images.float() / 255, seeded(3))
    found = evaluate(net, split, battery(attack, seed=3))
    assert found.ok[1].tolist() == by_hand(net, split, attack, start)


def test_a_cascade_is_its_parts():
    net = crooked_net()
    split = labelled(net)
    ball = Linf(0.02)
    parts = [PGD(ball, steps=k, random_start=False) for k in (1, 4)]
    apart = [evaluate(net, split, battery(part)).ok[1] for part in parts]
    together = evaluate(net, split, battery(Worst((parts[0], Worst((parts[1],))))))
    assert torch.equal(together.ok[1], apart[0] & apart[1])


def test_restarts_start_anew_and_never_help():
    net = crooked_net()
    split = labelled(net)
    one = PGD(Linf(0.015), steps=1)
    counts = [int(evaluate(net, split, battery(restarts(one, n))).ok[1].sum()) for n in (1, 5)]
    assert counts[1] < counts[0]


def test_a_verdict_does_not_depend_on_the_other_images():
    """The same start for an image whichever others still stand: nets are compared in pairs."""
    net = crooked_net()
    split = labelled(net, wrong=0)
    ladder = battery(*(restarts(PGD(Linf(eps), steps=1), 2) for eps in RADII))
    whole = evaluate(net, split, ladder).ok
    labels = split.labels.clone()
    labels[::2] = (labels[::2] + 1) % 5  # every other image is wrong, and never attacked
    part = evaluate(net, Split(split.images, labels), ladder, batch=11).ok
    assert not part[:, ::2].any()
    assert torch.equal(part[:, 1::2], whole[:, 1::2])
    assert 0 < whole[-1].sum() < whole[1].sum() < 60


def test_an_attack_that_is_no_start_and_step():
    """The cascade's parts may be any attack: here one that is called as a whole."""
    from adv import Attack

    class Black(Attack):
        ball = Linf(1.0)

        def __call__(self, model, x, y, *, generator=None):
            return torch.zeros_like(x)

    net = crooked_net()
    split = labelled(net)
    stays = net.eval()(torch.zeros(1, 3, 8, 8)).argmax(1)
    found = evaluate(net, split, battery(FGSM(Linf(1e-6)), Black()))
    assert torch.equal(found.ok[2], found.ok[1] & (split.labels == stays))


# --- random nets ---


class Mean(nn.Module):
    """The mean pixel of each image, less a half, as the logits of two classes."""

    def forward(self, x):
        level = 100 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([level, -level], 1)


class Tape(nn.Module):
    """Keeps what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return x


def two_levels(n: int = 40) -> Split:
    """Images a little brighter or darker than a half: logits of about 2 against -2."""
    labels = torch.arange(n) % 2
    images = torch.where(labels == 0, 133, 122).to(torch.uint8)
    return Split(images.reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous(), labels)


HARMLESS = Linf(0.001)


def test_no_verdict_is_one_pass():
    """Noise as strong as the signal: one pass in five errs, the worst of six nearly always."""
    net, split = nn.Sequential(Mean(), Noise(3.5)), two_levels()
    naive = torch.ones(len(split), dtype=torch.bool)
    singles = []
    for _ in range(6):
        singles.append(net(split.images.float() / 255).argmax(1) == split.labels)
        naive &= singles[-1]
    assert 0.65 < torch.stack(singles).float().mean() < 0.9
    found = evaluate(net, split, battery(restarts(FGSM(HARMLESS), 5), draws=5, votes=60))
    assert naive.float().mean() < 0.45
    assert found.natural_accuracy > 0.95 and found.worst > 0.85
    assert (found.votes, found.draws) == (60, 5)


def test_passes_are_counted_and_no_draw_is_used_twice():
    """Votes for every verdict, draws for every gradient, all fresh."""
    tape = Tape()
    net, split = nn.Sequential(Counting(nn.Identity()), Mean(), Noise(1.0), tape), two_levels()
    found = evaluate(net, split, battery(PGD(HARMLESS, steps=3), draws=4, votes=30), batch=16)
    standing = int(found.ok[0].sum())
    assert found.ok.all() and standing == 40
    assert net[0].seen == 40 * 30 + standing * (3 * 4 + 30)
    drawn = torch.cat(tape.seen).flatten()
    assert len(drawn.unique()) > 0.99 * len(drawn)


def test_a_random_net_is_attacked_through_the_mean_of_its_draws():
    """Which way is up differs from draw to draw: one draw is lost, many find the way."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(4.0)

        def forward(self, x):
            gate = 1 + self.noise(torch.zeros_like(x))
            # The gate decides the gradient; the value is that of the plain net.
            level = 100 * ((gate * (x - x.detach())).mean((1, 2, 3)) + x.mean((1, 2, 3)) - 0.5)
            return torch.stack([level, -level], 1)

    split, ball = two_levels(), Linf(0.05)
    attack = PGD(ball, steps=2, pace=0.5, random_start=False)
    left = [
        evaluate(Gated(), split, battery(attack, draws=draws, votes=1)).attacked_accuracies[0]
        for draws in (1, 200)
    ]
    assert left[0] > 0.6 and left[1] < 0.1


def rse_net() -> nn.Module:
    return build(Recipe(net=BaseNet(dropout=0.5), defences=(RSE(0.2, 0.1),)), 10, seed=1)


@pytest.fixture(scope="module")
def digits_like() -> Split:
    images = torch.randint(0, 256, (16, 3, 32, 32), generator=seeded(2), dtype=torch.uint8)
    net = build(Recipe(net=BaseNet()), 10, seed=1).eval()
    return Split(images, net(images.float() / 255).argmax(1))


def test_the_same_net_gets_the_same_table(digits_like):
    net = rse_net()
    ladder = replace(report_battery(2), draws=2, votes=4)
    first = evaluate(net, digits_like, ladder)
    net(torch.rand(2, 3, 32, 32))  # its own stream goes on; the evaluation's does not care
    again = evaluate(copy.deepcopy(net), digits_like, ladder)
    assert torch.equal(first.ok, again.ok)
    other = evaluate(net, digits_like, replace(ladder, seed=1, votes=1))
    assert not torch.equal(first.ok, other.ok)


def test_the_net_comes_out_as_it_went_in(digits_like):
    net = nn.Sequential(rse_net(), nn.BatchNorm1d(10), nn.Linear(10, 10)).train()
    net[1].eval()
    net[2].bias.requires_grad_(False)
    twin, random = copy.deepcopy(net), torch.get_rng_state()
    evaluate(net, digits_like, replace(report_battery(1), draws=2, votes=3))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(weight.grad is None for weight in net.parameters())
    pairs = zip(net.modules(), twin.modules(), strict=True)
    assert all(a.training == b.training for a, b in pairs)
    pairs = zip(net.parameters(), twin.parameters(), strict=True)
    assert all(a.requires_grad == b.requires_grad for a, b in pairs)
    for name, value in twin.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    x = torch.rand(2, 3, 32, 32, generator=seeded())
    assert torch.equal(net(x), twin(x))  # and its stream draws on from where it was


def test_batch_statistics_are_the_running_ones():
    """In training mode a verdict would depend on the batch."""
    net = crooked_net()
    split = labelled(net)
    tables = [
        evaluate(net.train(mode), split, LADDER, batch=size).ok
        for mode, size in ((True, 60), (True, 3), (False, 60))
    ]
    assert torch.equal(tables[0], tables[1]) and torch.equal(tables[0], tables[2])
    assert tables[0][0].sum() == 50


# --- nets that are broken ---


class Broken(nn.Module):
    def __init__(self, net: nn.Module, how: str) -> None:
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x):
        if self.how == "quantised":
            x = (x * 15).round() / 15
        logits = self.net(x)
        return {
            "quantised": logits,
            "saturated": 1e4 * logits,
            "overflowing": 1e38 * logits * 1e5,
            "not numbers": logits * float("nan"),
            "constant": 0 * logits,
        }[self.how]


@pytest.mark.parametrize(
    "how", ["quantised", "saturated", "overflowing", "not numbers", "constant"]
)
def test_broken_nets_get_a_score(how):
    net = crooked_net()
    split = labelled(net)
    found = evaluate(Broken(net, how), split, battery(FGSM(Linf(0.02)), PGD(L2(0.2), steps=3)))
    assert found.ok.shape == (3, 60)
    assert 0 <= found.attacked_score <= 200 * found.natural_accuracy
    if how == "quantised":  # no gradient: nothing but rounding's luck moves it
        assert found.attacked_accuracies[0] == found.natural_accuracy > 0.5


def test_more_noise_makes_no_score_out_of_nothing():
    """A net of nothing but noise is right as often as chance, and attacks do not change that."""
    net = nn.Sequential(Mean(), Noise(1e4))
    found = evaluate(net, two_levels(200), battery(FGSM(HARMLESS), draws=5, votes=9))
    assert found.natural_accuracy == pytest.approx(0.5, abs=0.12)
    assert found.attacked_accuracies[0] < found.natural_accuracy
