"""The L1 ball: its projection, and PGD, APGD and Square in it, on problems known by hand."""

from typing import Any

import pytest
import recorded
import torch
from attack_cases import SHAPE, LinearModel, random_batch
from reproducibility import seeded_generator
from torch import Tensor

from adv import APGD, DDN, FMN, L1, PGD, Square
from adv.attacks.apgd_l1 import stage_ends
from adv.attacks.l1 import project_l1
from adv.attacks.square_l1 import pyramids

BALL = L1(4.0)
ATTACKS = {
    "pgd": PGD(BALL, steps=20),
    "pgd-cosine": PGD(BALL, steps=20, loss="margin", schedule="cosine", pace=2.0),
    "apgd": APGD(BALL, steps=50),
    "apgd-targeted": APGD(BALL, steps=20, loss="ce-targeted", target=1),
    "square": Square(BALL, queries=60),
}
each = pytest.mark.parametrize("name", ATTACKS)


def bisect(change: Tensor, clean: Tensor, eps: float) -> Tensor:
    """Return the projection by bisection for the multiplier, in double precision."""
    size, room = change.double().abs(), torch.where(change > 0, 1 - clean, clean).double()
    low, high = torch.zeros(len(change), 1).double(), size.amax(1, keepdim=True)
    for _ in range(80):
        middle = (low + high) / 2
        over = torch.minimum((size - middle).clamp(min=0), room).sum(1, keepdim=True) > eps
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    inside = torch.minimum(size, room)
    found = torch.minimum((size - high).clamp(min=0), room)
    return torch.where(inside.sum(1, keepdim=True) <= eps, inside, found).copysign(change).float()


@pytest.mark.parametrize("eps", [0.0, 0.01, 1.0, 5.0, 1e4])
@pytest.mark.parametrize("scale", [1e-3, 0.3, 3.0, 30.0])
def test_the_projection_is_the_nearest_point_of_ball_and_box(eps, scale):
    draw = seeded_generator()
    clean = torch.rand(20, 60, generator=draw)
    clean[:5] = clean[:5].round()  # pixels at the ends of the box
    change = scale * torch.randn(20, 60, generator=draw)
    change[3] = 0
    found = project_l1(change, clean, eps)
    assert torch.allclose(found, bisect(change, clean, eps), atol=2e-6 * max(1, scale))
    assert (found.abs().sum(1) <= eps * (1 + 1e-6) + 1e-6).all()
    assert ((clean + found).clamp(0, 1) - clean - found).abs().amax() < 1e-6
    again = project_l1(found, clean, eps)
    assert torch.allclose(again, found, atol=1e-6)


def test_each_image_has_a_radius_of_its_own_and_by_hand():
    change = torch.tensor([[0.5, -0.2, 0.1], [0.5, -0.2, 0.1], [2.0, -0.2, 0.1]])
    clean = torch.tensor([[0.4, 0.4, 0.4], [0.4, 0.4, 0.4], [0.9, 0.4, 0.4]])
    found = project_l1(change, clean, torch.tensor([0.3, 10.0, 0.3]))
    # A threshold of .2 leaves (.3, 0, 0). A pixel without room gives what it cannot take to others.
    expected = torch.tensor([[0.3, 0.0, 0.0], [0.5, -0.2, 0.1], [0.1, -0.15, 0.05]])
    assert torch.allclose(found, expected, atol=1e-6)
    ball = L1(0.3)
    both = ball.project(clean + change, clean, torch.tensor([0.3, 10.0, 0.3]))
    assert torch.allclose(both - clean, expected, atol=1e-6)
    assert torch.allclose(ball.distance(both, clean), torch.tensor([0.3, 0.8, 0.3]), atol=1e-6)


def test_samples_fill_the_ball():
    clean = torch.full((4000, 1, 1, 2), 0.5)
    draws = L1(0.4).sample(clean, seeded_generator()) - 0.5
    radius = draws.flatten(1).abs().sum(1)
    assert radius.amax() <= 0.4 + 1e-6
    # Uniform in two dimensions: half the radius holds a quarter of the points, each quadrant too.
    assert float((radius < 0.2).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((draws > 0).all(-1).double().mean()) == pytest.approx(0.25, abs=0.03)
    sphere = (L1(0.1).sample_sphere(clean, seeded_generator()) - 0.5).flatten(1).abs().sum(1)
    assert sphere.amax() <= 0.1 + 1e-6
    assert float((sphere > 0.1 - 1e-6).double().mean()) > 0.97  # few draws lie inside by chance


@each
def test_results_lie_in_the_ball_and_in_the_box(name):
    attack, (x, y) = ATTACKS[name], random_batch()
    x[:, :, :4] = x[:, :, :4].round()
    result = attack(LinearModel(), x, y, generator=seeded_generator())
    assert (BALL.distance(result, x) <= BALL.eps * (1 + 1e-5)).all()
    assert result.amin() >= 0 and result.amax() <= 1
    again = attack(LinearModel(), x, y, generator=seeded_generator())
    assert torch.equal(result, again)
    assert not torch.equal(result, x)


def best_drop(model: LinearModel, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return how far the margin can fall: the steepest pixels first, each up to the box."""
    down = -torch.where(y == 0, 1, -1).reshape(-1, 1, 1, 1) * model.w.detach()
    room = torch.where(down > 0, 1 - x, x).flatten(1)
    slope, order = down.abs().flatten(1).sort(1, descending=True)
    room = room.gather(1, order)
    before = room.cumsum(1) - room
    return (slope * torch.minimum(room, (eps - before).clamp(min=0))).sum(1)


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_apgd_reaches_the_optimum_of_a_linear_model(loss):
    model, (x, y) = LinearModel(), random_batch()
    model.b.data -= model.margin(x, y * 0).mean()
    result = APGD(BALL, steps=100, loss=loss)(model, x, y, generator=seeded_generator())
    fell = model.margin(x, y) - model.margin(result, y)
    share = fell / best_drop(model, x, y, BALL.eps)
    assert share.amin() > 0.97 and share.amax() <= 1 + 1e-4


def test_square_comes_near_the_optimum_without_gradients():
    model, (x, y) = LinearModel(), random_batch()
    model.b.data += 100 * torch.where(y == 0, 1, -1)[0]  # nobody is fooled, so nobody stops
    few, many = (
        model.margin(x, y)
        - model.margin(Square(BALL, queries=n)(model, x, y, generator=seeded_generator()), y)
        for n in (1, 500)
    )
    best = best_drop(model, x, y, BALL.eps)
    assert (many / best).mean() > 2 * (few / best).mean() and (many <= best * (1 + 1e-4)).all()


def test_a_point_outside_its_ball_is_no_result():
    """A net that only fails far out: the first stages visit such points, and must not count."""

    class FailsOutside(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            spent = (images - 0.5).flatten(1).abs().sum(1)
            return torch.stack([1.5 * BALL.eps - spent, spent * 0], 1)

    x = torch.full((4, *SHAPE), 0.5)
    result = APGD(BALL, steps=30)(FailsOutside(), x, torch.zeros(4).long())
    assert (BALL.distance(result, x) <= BALL.eps * (1 + 1e-5)).all()
    attack = APGD(BALL, steps=30)
    state = attack.prepare(
        FailsOutside(), attack.start(x, torch.zeros(4).long(), seeded_generator())
    )
    for _ in range(30):
        state = attack.step(FailsOutside(), state)
        assert not state.fooled.any()


def test_the_stages_take_three_three_and_four_tenths():
    assert stage_ends(100) == (30, 60) and stage_ends(10) == (3, 6)
    assert stage_ends(1) == (0, 0)  # a single step is in the attack's own ball


def test_a_pair_of_pyramids_has_mass_one_and_adds_up_to_little():
    table = pyramids((3, 5, 7), torch.device("cpu"))
    assert torch.allclose(table.abs().sum((2, 3)), torch.tensor(1.0))
    assert torch.equal(table[1], table[0].mT)
    # The middle of a side of 7: 1 + 1/16 + ..., the outermost ring the last term alone.
    column = table[0, 2, 1, :7] / table[0, 2, 1, 0]
    assert torch.equal(column.round(decimals=3), column.flip(0).round(decimals=3))
    assert column[3] > 10


def test_attacks_of_other_norms_refuse_it():
    makes: tuple[Any, ...] = (FMN, DDN)
    for make in makes:
        with pytest.raises(ValueError, match="not L1"):
            make(BALL, 5)


def test_apgd_is_stronger_than_the_attacks_of_foolbox():
    """With a fifth of the steps, on the recorded robust net.

    foolbox 3.3.4 with 100 steps leaves 28 of the 60 digits correct by L1PGD, and 26 by
    SparseL1DescentAttack, which leaves the ball (`benchmarks/other_norms.py`).
    """
    net, part = recorded.read_trained_net("robust").eval(), recorded.read_digits().head(60)
    x, ball = part.images.float() / 255, L1(3.0)
    result = APGD(ball, 20, loss="margin")(net, x, part.labels, generator=seeded_generator())
    assert (ball.distance(result, x) <= ball.eps * (1 + 1e-5)).all()
    with torch.no_grad():
        standing = int((net(result).argmax(1) == part.labels).sum())
    assert standing < 22
