"""FMN and DDN: distances on nets where the nearest image is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from attack_cases import LinearModel, random_batch
from reproducibility import seeded_generator
from small_nets import CountingNet, self_labelled_problem
from torch import nn

from adv import DDN, FMN, L2, Battery, Linf, Nearest, Split, evaluate, find_nearest
from adv.attacks.minimum_norm import NearestState
from adv.runtime.random_layers import Noise

SEARCHES = {
    "fmn-linf": FMN(Linf(1.0)),
    "fmn-l2": FMN(L2(8.0)),
    "ddn-l2": DDN(L2(8.0), 200),
}
each_search = pytest.mark.parametrize("attack", SEARCHES.values(), ids=SEARCHES)


class Classes(nn.Module):
    """Five classes apart by linear logits: the nearest boundary is known."""

    def __init__(self) -> None:
        super().__init__()
        self.w = 0.2 * torch.randn(5, 192, generator=seeded_generator(5))
        self.b = -self.w.sum(1) / 2

    def forward(self, x):
        return x.flatten(1) @ self.w.T + self.b


def dual(attack) -> int:
    return 1 if isinstance(attack.ball, Linf) else 2


@each_search
def test_distances_on_a_linear_net_are_exact(attack):
    """The margin over the dual norm of its weights; 0 where the clean image is wrong."""
    model, (x, y) = LinearModel(), random_batch(12)
    x = 0.3 + 0.4 * x  # away from the pixel limits
    model.b.data -= model.margin(x, y * 0).mean()
    wanted = model.margin(x, y).clamp(min=0) / model.w.detach().flatten().norm(dual(attack))
    found = find_nearest(attack, model, x, y)
    wrong = wanted == 0
    assert wrong.any() and (~wrong).any()
    assert torch.equal(found.distance[wrong], wanted[wrong])
    assert torch.equal(found.adv[wrong], x[wrong])
    ratio = found.distance[~wrong] / wanted[~wrong]
    assert (ratio > 1 - 1e-5).all() and (ratio < 1.005).all(), ratio


@each_search
def test_the_nearest_of_several_boundaries_is_found(attack):
    net, x = Classes(), 0.4 + 0.2 * torch.rand(6, 3, 8, 8, generator=seeded_generator(1))
    logits = net(x)
    y = logits.argmax(1)
    gaps = logits.gather(1, y[:, None]) - logits
    lengths = (net.w[y][:, None] - net.w).norm(dual(attack), dim=2)
    wanted = (gaps / lengths).nan_to_num(math.inf).amin(1)
    ratio = find_nearest(attack, net, x, y).distance / wanted
    assert (ratio > 1 - 1e-4).all() and (ratio < 1.02).all(), ratio


@each_search
def test_the_images_fool_at_their_distances_and_lie_in_the_pixel_range(attack):
    net, x, y = self_labelled_problem(24)
    x = torch.where(x < 0.3, 0.0, torch.where(x > 0.7, 1.0, x))
    y = net(x).argmax(1)
    found = find_nearest(attack, net, x, y)
    assert found.distance.isfinite().all() and (net(found.adv).argmax(1) != y).all()
    assert torch.equal(attack.ball.distance(found.adv, x), found.distance)
    assert found.adv.min() >= 0 and found.adv.max() <= 1


@each_search
def test_what_lies_beyond_the_ball_is_not_found(attack):
    net, x, y = self_labelled_problem(24)
    far = find_nearest(attack, net, x, y)
    middle = far.distance.median().item()
    small = type(attack)(type(attack.ball)(middle), attack.steps)
    near = find_nearest(small, net, x, y)
    lost = near.distance.isinf()
    assert 0 < lost.sum() < 24 and torch.equal(near.adv[lost], x[lost])
    assert (near.distance[~lost] <= middle + 1e-6).all()
    called = small.ball.distance(small(net, x, y), x)
    assert torch.allclose(called[~lost], near.distance[~lost], rtol=0.01)
    assert (called <= middle + 1e-6).all()


def test_an_image_that_falls_at_the_rim_has_fallen():
    """x + 0.1 - x is above 0.1 for many x in float32; such an image fell within the ball."""
    x = torch.linspace(0.3, 0.6, 50).reshape(-1, 1, 1, 1)
    assert ((x + 0.1) - x > 0.1).any()

    class Shifted(nn.Module):
        def forward(self, images):
            moved = (images - x).flatten(1)
            return torch.cat([0 * moved, moved - 0.0999], 1)

    y = torch.zeros(50, dtype=torch.long)
    assert find_nearest(FMN(Linf(0.1), 1), Shifted(), x, y).accuracy(0.1) == 0


@each_search
def test_zero_gradients_leave_images_and_no_distance(attack):
    class Flat(nn.Module):
        def forward(self, x):
            return torch.cat([0 * x[:, :1, 0, 0] + 1, 0 * x[:, :1, 0, 0]], 1)

    x = torch.rand(4, 3, 6, 6, generator=seeded_generator())
    y = torch.zeros(4, dtype=torch.long)
    found = find_nearest(attack, Flat(), x, y)
    assert found.distance.isinf().all() and torch.equal(found.adv, x)
    adv = attack(Flat(), x, y)
    assert torch.isfinite(adv).all() and adv.min() >= 0 and adv.max() <= 1


@each_search
def test_a_flat_spot_is_left_in_random_directions(attack):
    """The slope begins away from the image, in any direction."""

    class Plateau(nn.Module):
        def forward(self, x):
            moved = (x - 0.5).square().sum((1, 2, 3))
            return torch.stack([0 * moved + 0.1, (moved - 0.01).relu()], 1)

    x, y = torch.full((4, 3, 6, 6), 0.5), torch.zeros(4, dtype=torch.long)
    assert find_nearest(attack, Plateau(), x, y).distance.isfinite().all()


def test_the_last_image_is_judged():
    """Each step asks once about its end, and the start is asked about too."""
    net, x, y = self_labelled_problem(5)
    counting = CountingNet(net)
    find_nearest(FMN(Linf(0.5), 7), counting, x, y)
    assert counting.seen == 5 * (1 + 7)


@each_search
def test_an_image_does_not_depend_on_its_batch(attack):
    net, x, y = self_labelled_problem(9)
    begun = attack.start(x, y, seeded_generator())
    ends = []
    for rows in (torch.arange(9), torch.tensor([3])):
        state = attack.prepare(net, begun.keep(rows))
        for _ in range(20):
            state = attack.step(net, state)
        assert isinstance(state, NearestState)
        ends.append(state.distance)
    assert torch.allclose(ends[0][3:4], ends[1], rtol=1e-4)


def test_a_battery_takes_it_as_an_attack():
    net, x, y = self_labelled_problem(24)
    split = Split((255 * x).round().byte(), y)
    x = split.images.float() / 255
    y = net(x).argmax(1)
    attacks = tuple((f"fmn-{eps:g}", FMN(Linf(eps), 30)) for eps in (0.005, 0.01))
    score = evaluate(net, Split(split.images, y), Battery(attacks), batch=7)
    found = find_nearest(FMN(Linf(0.1), 30), net, x, y)
    assert 0 < score.attacked_accuracies[1] < score.attacked_accuracies[0] < 1
    for row, eps in enumerate((0.005, 0.01)):
        assert abs(score.attacked_accuracies[row] - found.accuracy(eps)) <= 1 / 24 + 1e-9


# --- the curve ---


def by_hand() -> Nearest:
    return Nearest(torch.zeros(4, 1), torch.tensor([0.0, 0.1, 0.3, math.inf]), 0.5)


def test_the_curve_by_hand():
    found = by_hand()
    assert [found.accuracy(eps) for eps in (0, 0.05, 0.2, 0.5)] == [0.75, 0.75, 0.5, 0.25]
    assert found.area == pytest.approx((0 + 0.1 + 0.3 + 0.5) / 4 / 0.5)
    ((eps, share, low, high),) = found.curve([0.2])
    assert (eps, share) == (0.2, 0.5) and 0 < low < 0.5 < high < 1
    with pytest.raises(ValueError, match=r"the search went up to eps 0.5, got 0.6"):
        found.accuracy(0.6)


def test_a_random_net_has_no_nearest_image():
    net, x, y = self_labelled_problem(2)
    with pytest.raises(ValueError, match="a random net has no nearest image"):
        find_nearest(FMN(Linf(1.0)), nn.Sequential(Noise(0.1), net), x, y)


def test_a_ball_of_radius_0_is_rejected():
    net, x, y = self_labelled_problem(2)
    with pytest.raises(ValueError, match="a radius above 0"):
        find_nearest(FMN(Linf(0.0)), net, x, y)


@pytest.mark.parametrize("kind", [lambda **s: FMN(L2(1.0), **s), lambda **s: DDN(L2(1.0), **s)])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"step_size": 0.0}, "a finite length above 0, got 0.0"),
        ({"gamma": 1.0}, r"gamma is a share in \(0, 1\), got 1.0"),
    ],
    ids=str,
)
def test_invalid_settings_of_a_search_are_rejected(kind, settings, said):
    with pytest.raises(ValueError, match=said):
        kind(**settings)


def test_ddn_is_for_l2():
    with pytest.raises(ValueError, match=r"DDN searches L2\(eps\), not Linf"):
        DDN(Linf(0.1))  # type: ignore[arg-type]
