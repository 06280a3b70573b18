"""Black-box attacks: queries are counted, and random choices belong to an image."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator
from small_nets import SHAPE, LowPrecisionNet, RecordingNet, self_labelled_problem
from torch import nn

from adv import (
    L2,
    NES,
    PGD,
    RSE,
    BaseNet,
    Battery,
    Hunt,
    Linf,
    Split,
    Square,
    Votes,
    evaluate,
    hunt,
)
from adv.attacks.black_box import MAX_BATCH, query
from adv.attacks.counter_rng import draw_seeds, normal, uniform
from adv.intervals import wilson
from adv.runtime import splitmix64
from adv.runtime.precision import FullPrecision
from adv.runtime.random_layers import Noise

# --- the luck of an image ---


def test_draws_have_the_stated_distributions():
    seed, at = draw_seeds(100, seeded_generator()), torch.arange(100)
    flat, bell = uniform(seed, at, 1001), normal(seed, at, 1001)
    assert flat.shape == bell.shape == (100, 1001) and flat.dtype == bell.dtype == torch.float32
    assert flat.min() >= 0 and flat.max() < 1
    # 100,100 draws: five standard errors of each moment.
    error = 5 / math.sqrt(flat.numel())
    assert abs(flat.mean() - 1 / 2) < error * math.sqrt(1 / 12)
    assert abs(flat.var() - 1 / 12) < error * math.sqrt(1 / 180)
    assert abs(bell.mean()) < error
    assert abs(bell.var() - 1) < error * math.sqrt(2)
    assert abs(bell.pow(4).mean() - 3) < error * math.sqrt(96)
    tenths = torch.histc(flat, 10, 0, 1) / flat.numel()
    assert (tenths - 0.1).abs().max() < error * math.sqrt(0.09)
    assert abs((bell.abs() > 1.959964).float().mean() - 0.05) < error * math.sqrt(0.05 * 0.95)


@pytest.mark.parametrize("draw", [uniform, normal])
def test_draws_of_neighbouring_counters_are_uncorrelated(draw):
    """In seed, in counter and in place: correlations within five standard errors of 0."""
    base = torch.tensor([7])
    rows = [
        draw(base + i, torch.tensor([k]), 20_000)[0] for i, k in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    rows += [torch.roll(rows[0], 1), torch.roll(rows[0], 10_000)]
    together = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert together.abs().max() < 5 / math.sqrt(20_000)


def test_the_hash_is_splitmix64():
    """The first numbers of the published generator, seeded with 1234567."""
    got = splitmix64.splitmix64(1234567 + splitmix64.GOLDEN * torch.arange(1, 4))
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423 - 2**64]
    assert got.tolist() == published


def test_seeds_are_the_generators():
    assert torch.equal(draw_seeds(9, seeded_generator(1)), draw_seeds(9, seeded_generator(1)))
    assert (
        len(
            set(draw_seeds(999, seeded_generator(1)).tolist())
            | set(draw_seeds(999, seeded_generator(2)).tolist())
        )
        == 1998
    )


# --- what a query is ---


def test_queries_are_split_and_need_no_gradient():
    net, x, _ = self_labelled_problem(1)
    recording = RecordingNet(net)
    logits = query(recording, x.expand(MAX_BATCH + 3, *SHAPE))
    assert not logits.requires_grad
    assert [len(part) for part in recording.calls] == [MAX_BATCH, 3]
    assert torch.allclose(logits, net(x).expand(MAX_BATCH + 3, 5), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_queries_are_answered_in_float32_whatever_the_net_runs_in(how, dtype):
    net, x, _ = self_labelled_problem(4)
    low = LowPrecisionNet(net, how, dtype)
    assert low(x).dtype == dtype
    logits = query(low, x)
    assert logits.dtype == torch.float32
    # Weights that are kept in bfloat16 stay rounded; all else is computed in full.
    assert torch.equal(logits, net.float()(x))
    moved = query(low, x + 1e-5) - logits
    assert (moved != 0).all() and moved.abs().max() < 0.1


def cast_inputs(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (args[0].to(torch.bfloat16).float(),)


def cast_forward(module: nn.Linear) -> None:
    plain = module.forward
    vars(module)["forward"] = lambda x: plain(x.to(torch.bfloat16).float())


@pytest.mark.parametrize("change", ["a hook", "another forward", "a weight"])
def test_layers_of_torch_that_were_made_to_round_do_not_round_a_query(change):
    """Only nets that cannot round are asked without looking at each function that they call."""
    net, x, _ = self_labelled_problem(4)
    exact = query(net, x)
    layer = next(module for module in net.modules() if isinstance(module, nn.Linear))
    if change == "a hook":
        layer.register_forward_pre_hook(cast_inputs)
    elif change == "another forward":
        cast_forward(layer)
    else:
        net.to(torch.bfloat16)
        assert query(net, x).dtype == torch.float32
        assert torch.equal(query(net, x), net.float()(x))
        return
    assert not torch.equal(net(x), exact)
    assert torch.equal(query(net, x), exact)


def test_an_autocast_around_an_attack_is_put_aside_and_comes_back():
    net, x, _ = self_labelled_problem(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = query(net, x)
        assert net(x).dtype == torch.bfloat16
    assert net(x).dtype == torch.float32
    assert torch.equal(logits, net(x))


def test_an_error_within_leaves_nothing_behind():
    net, x, _ = self_labelled_problem(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(RuntimeError), FullPrecision():
            net(x[:, :1])
        assert net(x).dtype == torch.bfloat16
    assert net(x).dtype == torch.float32


# --- in an evaluation ---


@pytest.mark.parametrize("attack", [Square(Linf(0.05), 40), NES(Linf(0.08), 300, 50)], ids=repr)
def test_an_evaluation_finds_the_same_in_batches_of_any_size(attack):
    net, x, _ = self_labelled_problem()
    images = (255 * x).round().to(torch.uint8)
    split = Split(images, net(images.float() / 255).argmax(1))
    battery = Battery((("black box", attack),))
    small, whole = (evaluate(net, split, battery, batch=batch) for batch in (7, 64))
    assert torch.equal(small.ok, whole.ok)
    assert 0.1 < whole.mean < 0.9
    x, y = images.float() / 255, split.labels
    alone = hunt(attack, net, x, y, generator=seeded_generator(battery.seed))
    assert alone.accuracy(math.inf) == pytest.approx(whole.mean, abs=0.2)  # other luck


@pytest.mark.parametrize("attack", [Square(Linf(1e-4), 12), NES(Linf(1e-4), 33, 10)], ids=repr)
def test_a_random_net_that_stands_meets_all_queries_in_an_evaluation(attack):
    """Two draws answer each query, and votes of 5 to 20 classify the images before and after."""

    net = RSE(0.1, 0.1)(BaseNet()(10)).eval()
    seen = []
    net.register_forward_hook(lambda _, __, answers: seen.append(len(answers)))
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    labels = Votes(net, 50)(images.float() / 255).argmax(1)
    seen.clear()
    score = evaluate(net, Split(images, labels), Battery((("a", attack),), draws=2, votes=20))
    right = int(score.ok[0].sum())
    queries = attack.steps * getattr(attack, "price", 1)
    spent = right * 2 * queries
    assert right and score.votes == 20
    assert spent + 5 * (4 + right) <= sum(seen) <= spent + 20 * (4 + 2 * right)


# --- hunts ---


@pytest.mark.parametrize(
    "attack",
    [Square(Linf(0.05), 30), Square(L2(0.5), 30), NES(Linf(0.05), 305, 60), NES(L2(0.5), 305, 60)],
    ids=["square-linf", "square-l2", "nes-linf", "nes-l2"],
)
def test_queries_are_counted_one_by_one(attack):
    """An image is queried until it is fooled, and not afterwards."""
    net, x, y = self_labelled_problem()
    y[:5] = (y[:5] + 1) % 5  # wrong without an attack
    recording = RecordingNet(net)
    found = hunt(attack, recording, x, y, generator=seeded_generator())
    assert found.fooled[:5].all() and (found.queries[:5] == 0).all()
    assert torch.equal(found.adv[:5], x[:5])
    stood = int((~found.fooled).sum())
    assert 0 < stood < 59
    spent = attack.steps * getattr(attack, "price", 1)
    assert (found.queries[~found.fooled] == spent).all() and spent in (30, 305)
    assert (found.queries[5:] > 0).all() and found.queries.unique().numel() >= 5
    # All clean images once, then the queries, then a verdict on what still stands.
    assert recording.asked == 64 + int(found.queries.sum()) + stood
    assert torch.equal(net(found.adv).argmax(1) != y, found.fooled)
    assert (attack.ball.distance(found.adv, x) <= attack.ball.eps + 1e-6).all()


def test_accuracy_falls_with_the_budget():
    fooled = torch.tensor([True, True, True, True, False])
    found = Hunt(torch.zeros(5, 1, 1, 1), fooled, torch.tensor([0, 3, 10, 20, 30]))
    shares = [found.accuracy(budget) for budget in (0, 2, 3, 10, 30)]
    assert shares == pytest.approx([0.8, 0.8, 0.6, 0.4, 0.2])
    assert found.median == 10
    curve: list[Any] = [(3, pytest.approx(0.6), *wilson(0.6, 5))]
    assert found.curve([3]) == curve
    none = Hunt(found.adv, torch.zeros(5, dtype=torch.bool), found.queries)
    assert math.isnan(none.median) and none.accuracy(100) == 1


def test_a_random_net_is_not_fooled_by_a_lucky_draw():
    """It is classified once, after all queries: by chance it would be fooled long before."""

    class Coin(nn.Module):
        stochastic = True

        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(1.0)

        def forward(self, x):
            return torch.tensor([1.5, 0.0]) + self.noise(torch.zeros(len(x), 2))

    x, y = torch.rand(50, *SHAPE, generator=seeded_generator()), torch.zeros(50, dtype=torch.long)
    found = hunt(Square(Linf(0.1), 50), Coin(), x, y, generator=seeded_generator())
    fell = found.fooled[found.queries > 0]
    # One pass is wrong with 14 %: two of it, not one in fifty, decide.
    assert fell.float().mean() < 0.35
    assert (found.queries[~found.fooled] == 50).all()


def test_a_random_net_is_attacked_through_votes():
    net = RSE(0.05, 0.05)(BaseNet()(10)).eval()
    x = torch.rand(8, 3, 32, 32, generator=seeded_generator())
    y = Votes(net, 20)(x).argmax(1)
    found = hunt(Square(Linf(0.3), 20), Votes(net, 2), x, y, generator=seeded_generator())
    assert ((found.queries == 20) | (found.queries == 0)).all()


def test_invalid_hunts_are_rejected():
    net, x, y = self_labelled_problem(4)
    with pytest.raises(ValueError, match="count queries"):
        hunt(PGD(Linf(0.1)), net, x, y)
    with pytest.raises(ValueError, match="as many labels"):
        hunt(Square(Linf(0.1)), net, x, y[1:])
    empty = hunt(Square(Linf(0.1)), net, x[:0], y[:0])
    assert empty.adv.shape == (0, *SHAPE)
    nothing = hunt(Square(Linf(0.0)), net, x, y)
    assert torch.equal(nothing.adv, x) and not nothing.fooled.any()
