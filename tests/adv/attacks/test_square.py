"""Square: its schedule, its moves, and recorded results of torchattacks beside it."""

from __future__ import annotations

import math

import pytest
import recorded
import torch
from reproducibility import seeded_generator
from small_nets import RecordingNet, self_labelled_problem
from torch import nn

from adv import L2, Linf, Square, frozen, hunt
from adv.attacks import square_proposals
from adv.attacks.attack import State
from adv.attacks.square import SquareState

BALLS = pytest.mark.parametrize("ball", [Linf(0.05), L2(0.5)], ids=repr)


def published_share(tried: int, queries: int) -> float:
    """The schedule as the paper's section 4.1 lists it: p halves at these of 10,000 iterations."""
    tried = int(tried / queries * 10_000)
    for least, share in (
        (8000, 512),
        (6000, 256),
        (4000, 128),
        (2000, 64),
        (1000, 32),
        (500, 16),
        (200, 8),
        (50, 4),
        (10, 2),
    ):
        if tried > least:
            return 0.8 / share
    return 0.8


@pytest.mark.parametrize("queries", [7, 100, 5000, 10_000, 20_000])
def test_squares_shrink_on_the_published_schedule(queries):
    attack = Square(Linf(0.1), queries)
    tried = torch.arange(queries)
    shares = 0.8 / 2 ** attack.stage(tried)
    assert shares.tolist() == pytest.approx([published_share(int(i), queries) for i in tried])


def test_sides_in_pixels():
    """The side is the root of the share of the image; for L2 it is odd, and 3 at least."""
    assert Square(Linf(0.1)).sides(32, 32) == (29, 20, 14, 10, 7, 5, 4, 3, 2, 1)
    assert Square(L2(1.0)).sides(32, 32) == (29, 21, 15, 11, 7, 5, 5, 3, 3, 3)
    assert Square(Linf(0.1), p=0.05).sides(32, 32)[:3] == (7, 5, 4)
    assert Square(Linf(0.1), p=1.0).sides(4, 32)[0] == 4


@pytest.fixture(scope="module", params=[Linf(0.05), L2(0.5)], ids=repr)
def search(request):
    """Run the attack by hand, and return all queries and all best images."""
    net, x, y = self_labelled_problem(16, (3, 16, 16))
    attack = Square(request.param, 60)
    recording = RecordingNet(net)
    states = [attack.start(x, y, seeded_generator())]
    with frozen(recording):
        for _ in range(attack.steps):
            states.append(attack.step(recording, states[-1]))
    return attack, net, x, y, states, recording.calls


def test_margins_never_rise_and_are_those_of_the_images_held(search):
    _, net, _, y, states, _ = search
    held = torch.stack([state.margin for state in states])
    assert (held[1:] <= held[:-1]).all() and held[0].isinf().all()
    assert (held[-1] < held[1]).float().mean() > 0.9
    for state in states[1::10]:
        logits = net(state.adv).detach()
        right = logits[torch.arange(16), y]
        logits[torch.arange(16), y] = -math.inf
        assert torch.allclose(state.margin, right - logits.amax(1), atol=1e-5)
        assert torch.equal(state.fooled, net(state.adv).argmax(1) != y)
    assert torch.equal(states[-1].queries, torch.full((16,), 60))


def test_every_query_lies_in_the_ball(search):
    attack, _, x, _, _, asked = search
    for tried in asked:
        assert (attack.ball.distance(tried, x) <= attack.ball.eps + 1e-6).all()
        assert tried.min() >= 0 and tried.max() <= 1


def test_a_query_changes_one_square_of_the_published_size(search):
    attack, _, x, _, states, asked = search
    if isinstance(attack.ball, L2):
        return
    assert torch.equal(asked[0], states[0].adv)
    moved = (asked[0] - x).abs()
    assert ((moved - 0.05).abs() < 1e-6).logical_or((asked[0] == 0) | (asked[0] == 1)).all()
    assert (asked[0] - x).sign().unique().tolist() == [-1, 1]
    seen = set()
    for i in range(1, 60):
        side = attack.sides(16, 16)[int(attack.stage(torch.tensor(i - 1)))]
        for image in range(16):
            changed = (asked[i][image] != states[i].adv[image]).any(0)
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            if len(rows):
                assert rows.max() - rows.min() < side and columns.max() - columns.min() < side
                seen.add((int(rows.min()), int(rows.max())))
    assert (0, 0) in seen and (15, 15) in seen  # squares reach all borders


def test_two_bumps_lie_side_by_side_and_are_of_length_1():
    for side in (3, 5, 8, 29):
        table = square_proposals._bumps((side, 31), torch.device("cpu"))
        for pattern in table[:, 0]:
            assert pattern.norm() == pytest.approx(1, abs=1e-5)
            assert (pattern[side:] == 0).all() and (pattern[:, side:] == 0).all()
        upper, lower = table[0, 0, : side // 2, :side], table[0, 0, side // 2 : side, :side]
        assert (upper > 0).all() and (lower < 0).all()
        assert torch.equal(table[1, 0], table[0, 0].T)
    # Three rows: 1 + 1/4 in the middle of the lower two, 1/4 around it.
    low = table.new_tensor([[0.25] * 3, [0.25, 1.25, 0.25]])
    three = square_proposals._bumps((3,), torch.device("cpu"))[0, 0, 1:]
    assert torch.allclose(three / three[0, 0], low / 0.25)


def test_the_bumps_are_those_of_torchattacks():
    found = recorded.read("square")
    for side in (1, 3, 6, 21):
        ours = square_proposals._bumps((side,), torch.device("cpu"))
        for lying in (0, 1):
            theirs = torch.from_numpy(found[f"bump {side} {lying}"])
            assert theirs.shape == (side, side)
            assert torch.allclose(ours[lying, 0], theirs, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.5)], ids=repr)
def test_square_is_not_weaker_than_that_of_torchattacks(ball):
    """The same net, images and number of queries; two seeds of each, 300 images, half a point."""
    net, x, y = recorded.make_square_problem()
    norm = {Linf: "linf", L2: "l2"}[type(ball)]
    theirs = recorded.read("square")[f"right {norm}"]
    assert theirs.shape == (2, 300) and recorded.BALLS[norm] == ball
    right = {"ours": 0.0, "theirs": float(theirs.mean())}
    for seed in range(2):
        found = hunt(Square(ball, 400), net, x, y, generator=seeded_generator(seed))
        right["ours"] += found.accuracy(400) / 2
    assert right["ours"] <= right["theirs"] + 0.005, right
    assert 0.02 < right["ours"] < 0.6


@BALLS
def test_random_choices_of_an_image_do_not_depend_on_its_batch(ball):
    """Alone, in a batch, or beside images at other steps, its queries and result are the same."""
    net, x, y = self_labelled_problem(6)
    attack = Square(ball, 40)
    whole = attack.start(x, y, seeded_generator())
    alone = whole.keep(torch.tensor([2]))
    together = whole
    with frozen(net):
        for _ in range(20):
            alone = attack.step(net, alone)
        ahead: State = SquareState(
            **{
                k: _joined(v, getattr(together.keep(torch.tensor([4])), k))
                for k, v in vars(alone).items()
            }
        )
        for _ in range(10):
            ahead = attack.step(net, ahead)
        for _ in range(30):
            together = attack.step(net, together)
    assert isinstance(ahead, SquareState) and ahead.queries.tolist() == [30, 10]
    assert torch.equal(ahead.adv[0], together.adv[2])
    assert not torch.equal(whole.adv[0] - x[0], whole.adv[1] - x[1])
    other = attack.start(x, y, seeded_generator(1))
    assert not torch.equal(other.adv, whole.adv)


def _joined(a, b):
    return torch.cat([a, b]) if isinstance(a, torch.Tensor) else a


@pytest.mark.parametrize(("ball", "most"), [(Linf(0.1), 0.2), (L2(1.0), 0.4)], ids=repr)
def test_square_needs_no_gradient(ball, most):
    """It works where gradients are masked: with rounded inputs, or without any gradient."""
    net, x, _ = self_labelled_problem()

    class Coarse(nn.Module):
        def forward(self, x):
            with torch.inference_mode():
                return net((15 * x).round() / 15)

    coarse = Coarse()
    y = coarse(x).argmax(1)
    found = hunt(Square(ball, 150), coarse, x, y, generator=seeded_generator())
    assert found.accuracy(150) < most < 0.9 < found.accuracy(0)
    assert torch.equal(coarse(found.adv).argmax(1) != y, found.fooled)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 7, 12), (2, 3, 3)], ids=str)
@BALLS
def test_images_of_any_size(ball, shape):
    net, x, y = self_labelled_problem(3, shape)
    adv = Square(ball, 15)(net, x, y, generator=seeded_generator())
    assert (ball.distance(adv, x) <= ball.eps + 1e-6).all() and not torch.equal(adv, x)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"queries": 0}, "queries must be 1 or more, got 0"),
        ({"p": 0.0}, r"p is a share of the image in \(0, 1\], got 0.0"),
        ({"p": 1.5}, r"got 1.5"),
        ({"p": math.nan}, "got nan"),
        ({"ball": None}, r"L2\(eps\) or L1\(eps\), not None"),
    ],
)
def test_invalid_square_settings_are_rejected(settings, said):
    with pytest.raises(ValueError, match=said):
        Square(**{"ball": Linf(0.1), **settings})
