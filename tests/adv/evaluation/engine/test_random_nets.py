"""Random nets: two verdicts in a run, noise that does not depend on the batch, fewer passes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from evaluation_cases import RADII, battery, random_conv_net, split_labelled_by
from reproducibility import seeded_generator
from small_nets import CountingNet
from torch import nn

from adv import (
    APGD,
    NES,
    PGD,
    PNI,
    RSE,
    BaseNet,
    Linf,
    MCDropout,
    Recipe,
    Split,
    Square,
    TestNoise,
    Votes,
    Worst,
    build,
    evaluate,
    frozen,
)
from adv.evaluation.engine import continuous_batching
from adv.evaluation.engine.progress import Progress
from adv.evaluation.engine.random_net import RandomNet
from adv.evaluation.engine.verdicts import add_evidence, is_clearly_fooled
from adv.runtime.random_layers import Dropout, Noise
from adv.runtime.random_streams import lend_stream
from adv.runtime.row_streams import RowStream

SMALL = (0.002, 0.004, 0.008, 0.016)
LADDER = battery(*(PGD(Linf(eps), steps=8) for eps in SMALL), draws=5, votes=12)
DEFENCES = {
    "rse": (RSE(0.1, 0.1),),
    "dropout": (MCDropout(),),
    "noise": (TestNoise(0.1),),
    "pni": (PNI(),),
}


def random_net(name: str) -> nn.Module:
    recipe = Recipe(net=BaseNet(dropout=0.3), defences=DEFENCES[name])
    net = build(recipe, 10, seed=1).eval()
    *_, last = net.children()
    assert isinstance(last, nn.Linear)
    last.weight.data *= 30  # so that predictions are clear
    return net


def images_for(net: nn.Module, n: int = 40) -> Split:
    """Return images with the labels that the net itself gives them."""
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=seeded_generator(2), dtype=torch.uint8)
    with torch.no_grad():
        return Split(images, Votes(copy.deepcopy(net), 40)(images.float() / 255).argmax(1))


# --- what a verdict depends on ---


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rse", "dropout", "noise"])
def test_results_do_not_depend_on_the_batch_or_on_the_other_images(name):
    net = random_net(name)
    split = images_for(net)
    whole = evaluate(net, split, LADDER, batch=64).ok
    assert 0 < whole[-1].sum() < whole[0].sum()
    assert torch.equal(evaluate(net, split, LADDER, batch=7).ok, whole)
    labels = split.labels.clone()
    labels[::3] = (labels[::3] + 1) % 10  # these fall at once, or later: the others do not mind
    part = evaluate(net, Split(split.images, labels), LADDER, batch=16).ok
    same = labels == split.labels
    assert torch.equal(part[:, same], whole[:, same])


def test_noise_on_weights_is_shared_by_a_batch():
    """It differs between draws all the same, and the table is the same for the same batch."""
    net = random_net("pni")
    split = images_for(net, 12)
    tables = [evaluate(net, split, LADDER, batch=8).ok for _ in range(2)]
    assert torch.equal(*tables)
    asked, x = RandomNet(net, RowStream(), 5, 12, 64), split.images.float() / 255
    with frozen(net), lend_stream(net, asked.stream), torch.no_grad():
        asked(x)
    assert len(asked.answers.flatten(1).unique(dim=0)) == 5


def test_queries_about_a_random_net_share_its_usual_batch():
    net = random_net("pni")
    split = images_for(net, 80)
    asked = battery(Square(Linf(0.03), 3), draws=2, votes=2)
    default, usual, larger = (evaluate(net, split, asked, batch=b).ok for b in (None, 64, 128))
    assert torch.equal(default, usual)
    assert not torch.equal(default, larger)


@pytest.mark.parametrize("name", ["rse", "dropout", "noise"])
def test_small_batches_take_several_draws_at_once(name):
    net, keys = random_net(name), torch.arange(3)
    x = torch.rand(3, 3, 32, 32, generator=seeded_generator())
    found, calls = [], []
    for batch in (1, 2, 64):
        asked = RandomNet(net, RowStream(), 5, 12, batch)
        asked._repeats = False
        counter = net.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
        with frozen(net), lend_stream(net, asked.stream), torch.no_grad():
            asked.seed_noise(keys)
            asked(x)
        found.append(asked.answers)
        counter.remove()
    assert calls == [3] * 5 + [9, 6] + [15]
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-4)
    assert (found[0][0] - found[0][1]).abs().max() > 1e-3  # draws differ


class Shortcut(nn.Module):
    """Dropout between two convolutions, with a shortcut around them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.dropout, self.linear = Dropout(0.5), nn.Linear(4 * 32 * 32, 10)
        self.dropout.stochastic = True

    def forward(self, x):
        x = self.stem(x)
        return self.linear((x + self.conv(self.dropout(x))).flatten(1))


@pytest.mark.parametrize("name", ["rse", "dropout", "noise", "shortcut"])
def test_the_first_random_layer_repeats_images_where_no_answer_changes(name):
    net = Shortcut().eval() if name == "shortcut" else random_net(name)
    x = torch.rand(6, 3, 32, 32, generator=seeded_generator())
    found, asked_about = [], []
    for repeats in (False, None):
        asked = RandomNet(net, RowStream(), 5, 12, 64)
        asked._repeats = repeats
        with frozen(net), lend_stream(net, asked.stream):
            asked.seed_noise(torch.arange(6))
            asked(x[:6])
            asked.seed_noise(torch.arange(6))
            counter = net.register_forward_pre_hook(
                lambda _, args: asked_about.append(len(args[0]))
            )
            image = x.clone().requires_grad_()
            asked(image)[:, 0].sum().backward()
            counter.remove()
        found.append((asked.answers, image.grad))
    assert asked_about == [30, 30 if name == "shortcut" else 6]
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_images_are_not_repeated_before_two_are_there_to_try_it_on():
    net = random_net("dropout")
    asked = RandomNet(net, RowStream(), 5, 12, 64)
    with frozen(net), lend_stream(net, asked.stream), torch.no_grad():
        asked.seed_noise(torch.arange(1))
        asked(torch.rand(1, 3, 32, 32))
        assert asked._repeats is None
        asked.seed_noise(torch.arange(2))
        asked(torch.rand(2, 3, 32, 32))
    assert asked._repeats is True


# --- without noise ---

WITHOUT_NOISE = {
    "pgd": battery(PGD(Linf(0.02), steps=6)),
    "apgd": battery(APGD(Linf(0.02), steps=6)),
    "square": battery(Square(Linf(0.04), queries=12)),
    "nes": battery(NES(Linf(0.03), queries=33, samples=10)),
    "cascade": battery(
        PGD(Linf(0.01), steps=4, loss="margin"), Worst((APGD(Linf(0.02), 5), PGD(Linf(0.02), 5)))
    ),
    "radii": battery(*(PGD(Linf(eps), steps=6) for eps in RADII)),
}


@pytest.mark.parametrize("name", WITHOUT_NOISE)
def test_a_net_whose_noise_is_zero_gets_the_deterministic_verdicts(name):
    net = random_conv_net()
    split, chosen = split_labelled_by(net), WITHOUT_NOISE[name]
    plain = evaluate(net, split, chosen, batch=16).ok
    silent = evaluate(nn.Sequential(Noise(0.0), net), split, chosen, batch=16).ok
    assert torch.equal(silent, plain)
    assert plain[-1].sum() < plain[0].sum()


# --- what is saved ---


def test_fooled_images_leave_and_votes_end_when_they_are_clear():
    net = random_net("rse")
    split, counted = images_for(net), CountingNet(net)
    standing = evaluate(counted, split, replace(LADDER, votes=20), batch=16).ok.sum(1).tolist()
    plainly = len(split) * 20 + sum(standing[:-1]) * (8 * 5 + 20)
    assert counted.seen < 0.6 * plainly


def test_votes_answer_as_all_of_them_would():
    net = random_net("noise")
    split = images_for(net, 60)
    x = split.images.float() / 255
    asked, keys = RandomNet(net, RowStream(), 5, 20, 64), torch.arange(60)
    with frozen(net), lend_stream(net, asked.stream), torch.no_grad():
        asked.seed_noise(keys)
        short = asked.ask_votes(x, split.labels)[0].argmax(1)
        asked.seed_noise(keys)
        full = asked._draw(x, 20).exp().sum(0).argmax(1)
    assert (short == full).float().mean() > 0.97


def test_no_more_votes_are_spent_on_images_that_count_as_right_unless_they_are_clearly_wrong():
    net = random_net("noise")
    split = images_for(net, 60)
    x, doubted = split.images.float() / 255, torch.arange(60) < 30
    labels = (split.labels + (torch.arange(60) % 3 == 0)) % 10
    asked, keys = RandomNet(net, RowStream(), 5, 20, 64), torch.arange(60)
    with frozen(net), lend_stream(net, asked.stream), torch.no_grad():
        asked.seed_noise(keys)
        sums, leads = asked.ask_votes(x, labels)
        asked.seed_noise(keys)
        fewer, fewer_leads = asked.ask_votes(x, labels, doubted)
    given_up = fewer.sum(1) < sums.sum(1) - 1  # each vote adds 1
    assert given_up.any() and (fewer_leads[given_up] > 0).all() and doubted[given_up].all()
    assert (leads[doubted] < 0).any()
    assert torch.allclose(fewer[~given_up], sums[~given_up], atol=1e-3)
    assert torch.allclose(fewer_leads[~given_up], leads[~given_up], rtol=0.01)


def test_an_image_that_fools_is_tried_in_the_next_smaller_ball():
    """All images fall in all balls, but the net is asked for gradients in one run only."""
    net = nn.Sequential(Level(), Noise(0.01))
    grey = torch.full((8, 3, 4, 4), 128, dtype=torch.uint8)
    split = Split(grey, torch.zeros(8).long())  # the level is 100 / 510 above the boundary
    chosen = battery(*(PGD(Linf(eps), 6, pace=2.0) for eps in RADII), draws=5, votes=20)
    asked = []
    net.register_forward_pre_hook(
        lambda _, args: asked.append(len(args[0]) * torch.is_grad_enabled())
    )
    found = evaluate(net, split, chosen).ok
    assert found[0].all() and not found[1:].any()
    assert 0 < sum(asked) <= len(split) * 5 * 3  # draws, steps


def test_evidence_is_that_of_the_last_steps_that_fooled():
    draws = torch.zeros(5, 3, 2)
    draws[:, :, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[:, None]  # the net says class 1
    labels = torch.tensor([0, 1, 0])
    fooled = torch.tensor([True, False, True])
    evidence = add_evidence(torch.zeros(3, 3, dtype=torch.float64), draws, labels, fooled)
    assert evidence.tolist() == [[5, -15, 55], [0, 0, 0], [5, -15, 55]]
    assert is_clearly_fooled(evidence).tolist() == [True, False, True]  # 3 / .71 errors
    draws[:, 0] = -draws[:, 0]  # a step that does not fool image 0 ends its evidence
    evidence = add_evidence(evidence, draws, labels, torch.tensor([False, False, True]))
    assert evidence.tolist() == [[0, 0, 0], [0, 0, 0], [10, -30, 110]]
    unclear = torch.tensor([[5.0, -5.0, 45.0], [4.0, -8.0, 16.0]])  # it spreads; too few draws
    assert not is_clearly_fooled(unclear.double()).any()


# --- bias ---


class Level(nn.Module):
    """The mean pixel of each image, less a half, as the logits of two classes."""

    def forward(self, x):
        level = 100 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([level, -level], 1)


def test_two_verdicts_cost_no_accuracy(monkeypatch):
    """With a radius that changes nothing, a net loses hardly more than by one verdict a run.

    Most images lie so near the boundary that votes often differ: one verdict costs 8 points.
    """
    n = 1500
    grey = torch.randint(126, 142, (n,), generator=seeded_generator(3), dtype=torch.uint8)
    split = Split(grey.reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous(), torch.zeros(n).long())
    net = nn.Sequential(Level(), Noise(6.0))
    chosen = battery(PGD(Linf(1e-7), steps=20, step_size=1e-8), draws=5, votes=20)
    lost = []
    for early in (True, False):
        if not early:
            monkeypatch.setattr(
                continuous_batching, "is_clearly_fooled", lambda e: torch.zeros(len(e)).bool()
            )
        found = evaluate(net, split, chosen, batch=500).ok.float().mean(1)
        lost.append(float(found[0] - found[1]))
    assert 0.05 < lost[1] <= lost[0] < lost[1] + 0.004


# --- which radius is next ---


def follow(progress: Progress, image: int, stands_in: float, radii) -> list[int]:
    """Return the runs that an image meets which stands in balls up to a radius."""
    met, run = [], int(progress.at[image])
    while run >= 0:
        met.append(run)
        fooled = torch.tensor([radii[run] > stands_in])
        run = int(progress.record(torch.tensor([image]), torch.tensor([run]), fooled))
    return met


@pytest.mark.parametrize("searching", [False, True])
def test_an_image_finds_the_first_run_that_fools_it(searching):
    radii = [0.1, 0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.6]
    for image, stands in enumerate((0.0, 0.1, 0.25, 0.3, 0.5, 0.9)):
        progress = Progress(radii, 9, torch.arange(6), searching=searching)
        met = follow(progress, image, stands, radii)
        first = next((n for n, eps in enumerate(radii) if eps > stands), len(radii))
        assert progress.fooled_by[image] == first
        if searching:  # from the largest ball but one down to that in which it stands
            fooling = [eps for eps in (0.5, 0.4, 0.3, 0.2, 0.1) if eps > stands]
            standing = [eps for eps in (0.5, 0.4, 0.3, 0.2, 0.1) if eps <= stands][:1]
            largest = [0.6] if stands >= 0.5 else []
            assert list(dict.fromkeys(radii[run] for run in met)) == fooling + standing + largest
        else:
            assert met == list(range(min(first + 1, 8)))
    done = Progress(radii, 3, torch.tensor([1]), searching=searching)
    assert done.is_open(7)
    follow(done, 1, 0.25, radii)
    assert not any(done.is_open(run) for run in range(8))


# --- the images that are kept ---


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rse", "pni"])
def test_kept_images_fool_as_is_said(name):
    net = random_net(name)
    split = images_for(net)
    plain, kept = (evaluate(net, split, LADDER, keep_images=keep) for keep in (False, True))
    assert torch.equal(plain.ok, kept.ok) and kept.adversarial is not None
    clean = split.images.float() / 255
    judge, agree = Votes(net, 100), []
    for (_, attack), adv, ok in zip(LADDER.attacks, kept.adversarial, kept.ok[1:], strict=True):
        change = (adv - clean).abs().flatten(1).amax(1)
        assert (change <= attack.ball.eps + 1e-6).all() and (change[kept.ok[0]] > 0).all()
        with torch.no_grad():
            right = judge(adv).argmax(1) == split.labels
        agree.append((right == ok)[kept.ok[0]])
    # An image stops where votes begin to say that it is fooled: more votes may differ.
    assert torch.cat(agree).float().mean() > 0.75
