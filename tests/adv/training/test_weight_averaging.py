"""The average of the weights: its recurrence, its own statistics, and that it shares nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from reproducibility import bit_equal, save_and_load, seeded_generator
from small_nets import BatchNormNet
from torch import nn

from adv import RSE, SGD, TRADES, WRN, Curriculum, Recipe, build, evaluate, train
from adv.evaluation.battery import quick_battery
from adv.training.weight_averaging import Average, Latest, make_average


def recipe(**changes) -> Recipe:
    settings = {
        "net": BatchNormNet(),
        "optimizer": SGD(lr=0.05),
        "curriculum": Curriculum(eps=0.03, steps=1, fraction=1.0),
        "epochs": 3,
        "batch": 20,
        "ema": 0.99,
    }
    return Recipe(**{**settings, **changes})


def jumped(net: nn.Module, seed: int) -> nn.Module:
    """The net elsewhere: other weights, other statistics, one more batch counted."""
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            tensor.data += torch.rand(tensor.shape, generator=seeded_generator(seed))
        else:
            tensor += 1
    return net


@pytest.mark.parametrize("tau", [0.5, 0.15, 0.9995])
def test_the_recurrence(tau):
    """By hand: decays of 1/10, 2/11, 3/12, ... until tau; statistics are not the net's."""
    net: Any = build(recipe(), 10, 0)
    average = Average(net, tau, seed=1)
    expected = {k: v.clone() for k, v in net.state_dict().items()}
    for t in range(12):
        average.update(jumped(net, t))
        decay = min(tau, (1 + t) / (10 + t))
        for name, value in net.state_dict().items():
            if name in dict(net.named_parameters()):
                expected[name] = decay * expected[name] + (1 - decay) * value
            elif name.startswith("0."):  # the normalisation
                expected[name] = value.clone()
    for name, value in average.net.state_dict().items():
        assert torch.allclose(value, expected[name], rtol=1e-5), name
    mean: Any = average.net
    assert torch.equal(mean[0].mean, net[0].mean)
    assert mean[2].running_mean.abs().max() == 0 < net[2].running_mean.abs().max()


def test_the_latest_snapshots_by_hand():
    """Of updates 2, 4, 6, ... the last three count alike; before the first, the net itself."""
    net: Any = build(recipe(), 10, 0)
    average: Any = make_average(net, Latest(count=3, every=2), seed=1)
    seen = []
    for t in range(9):
        average.update(jumped(net, t))
        seen.append(net[1].weight.detach().clone())
        points = seen[1::2][-3:] or [seen[0]]
        mean = sum(points[1:], points[0]) / len(points)
        assert torch.allclose(average.net[1].weight, mean, rtol=1e-5), t
    assert average.net[2].running_mean.abs().max() == 0


def test_a_training_with_the_latest_snapshots_resumes(digits):
    """Bit for bit, with fewer snapshots than it keeps and with all of them."""
    latest = recipe(ema=Latest(count=3, every=2), epochs=5)
    split = digits.train.head(40)
    whole = [epoch.state() for epoch in train(latest, split, classes=10, seed=2)]
    assert [len(state["average"]["snapshots"]) for state in whole] == [1, 2, 3, 3, 3]
    for state in whole[:-1]:
        *_, last = train(latest, split, classes=10, seed=2, state=save_and_load(state))
        assert bit_equal(last.state(), whole[-1])


def test_averages_that_cannot_be():
    assert make_average(build(recipe(), 10, 0), 0.0, seed=1) is None
    for make, said in (
        (lambda: Latest(count=0), "count must be 1 or more, got 0"),
        (lambda: Latest(every=-1), "every must be 1 or more, got -1"),
        (lambda: recipe(ema=1.0), r"ema lies in \[0, 1\), got 1"),
    ):
        with pytest.raises(ValueError, match=said):
            make()


def make_forward(batch: torch.Tensor) -> Callable[[nn.Module], object]:
    """Return a function that passes the batch through a net."""
    return lambda net: net(batch)


def test_statistics_are_the_mean_over_what_it_saw():
    """As if BatchNorm had met the batches with its cumulative momentum; dropout is off."""
    net = build(recipe(net=BatchNormNet(dropout=0.5)), 10, 0)
    average = Average(net, 0.9, seed=1)
    twin = copy.deepcopy(average.net)
    average.update_bn(make_forward(torch.ones(4, 3, 32, 32)), 0)  # an epoch long ago
    batches = torch.rand(3, 4, 3, 32, 32, generator=seeded_generator(1))
    for n, batch in enumerate(batches):
        average.update_bn(make_forward(batch), n)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = None
    for batch in batches:
        twin(batch)
    for mine, theirs in zip(average.net.buffers(), twin.buffers(), strict=True):
        if mine.is_floating_point():
            assert torch.allclose(mine, theirs, rtol=1e-4)
    assert not any(module.training for module in average.net.modules())
    mean: Any = average.net
    assert mean[2].momentum == 0.1


def test_it_sees_what_the_net_saw(digits, monkeypatch):
    """Attacked images and clean ones, of the last batches of an epoch: here two of five."""
    monkeypatch.setattr("adv.training.loop.WINDOW", 2)
    seen, look = [], Average.update_bn

    def spied(self, at, n):
        sizes = []
        handle = self.net.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0]))
        look(self, at, n)
        handle.remove()
        seen.append((n, [len(x) for x in sizes]))

    monkeypatch.setattr(Average, "update_bn", spied)
    list(train(recipe(objective=TRADES(), epochs=2), digits.train.head(100), classes=10, seed=2))
    assert seen == [(0, [20, 20]), (1, [20, 20])] * 2


def test_what_is_no_weight_is_copied():
    """Spectral vectors are of length 1; their mean would not be. They belong to the net."""
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)))
    average = Average(net, 0.9, seed=1)
    for _ in range(3):
        net(torch.rand(2, 4))
        average.update(net)
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, dict(average.net.named_buffers())[name])
    assert not any(mine is theirs for mine, theirs in zip(net.buffers(), average.net.buffers()))  # noqa: B905


def test_the_epochs_net_is_the_average(digits):
    split = digits.train.head(60)
    (plain,) = train(recipe(ema=0.0, epochs=1), split, classes=10, seed=2)
    (epoch,) = train(recipe(epochs=1), split, classes=10, seed=2)
    state = epoch.state()
    assert bit_equal(dict(state["net"]), dict(plain.net.state_dict()))  # as without an average
    assert bit_equal(dict(state["average"]["net"]), dict(epoch.net.state_dict()))
    mean: Any = epoch.net
    assert not torch.equal(mean[1].weight, state["net"]["1.weight"])
    assert not any(module.training for module in epoch.net.modules())


def test_it_draws_numbers_of_its_own(digits):
    """Using the epoch's net as one likes leaves the training as it was."""
    random = recipe(defences=(RSE(0.2, 0.1),))
    split, ends = digits.train.head(40), []
    for used in (False, True):
        for epoch in train(random, split, classes=10, seed=2):
            if used:
                epoch.net(torch.rand(3, 3, 32, 32))
        ends.append(epoch.state())
    assert bit_equal(*ends)


def test_going_on_is_never_having_stopped(digits):
    split = digits.train.head(50)
    whole = [epoch.state() for epoch in train(recipe(), split, classes=10, seed=2)]
    kept = copy.deepcopy(whole)
    for done in (1, 2):
        stored = save_and_load(whole[done - 1])
        for _ in range(2):
            *_, last = train(recipe(), split, classes=10, seed=2, state=stored)
            assert bit_equal(last.state(), whole[-1])
            assert bit_equal(stored, save_and_load(whole[done - 1]))
    assert bit_equal(kept, whole)
    assert whole[0]["average"]["updates"] == 3 and not bit_equal(
        whole[1]["average"], whole[2]["average"]
    )


def estimated_anew(net: nn.Module, images: torch.Tensor) -> nn.Module:
    """The same net with the statistics of its own weights on images."""
    twin = copy.deepcopy(net)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over batches
    twin.train()
    with torch.no_grad():
        for batch in images.split(100):
            twin(batch.float() / 255)
    return twin.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "epochs", "least"),
    [(BatchNormNet(16), 2, 0.7), (BatchNormNet(16), 6, 0.9), (WRN(10, 1), 4, 0.8)],
    ids=["early", "late", "wrn"],
)
def test_an_average_with_batchnorm_judges_as_well(digits, net, epochs, least):
    """Its statistics fit its weights: estimating them anew gains nothing worth having."""
    learning = recipe(net=net, epochs=epochs, batch=25, ema=0.95)
    split, held = digits.train.head(500), digits.validation
    *_, last = train(learning, split, classes=10, seed=0)
    found = {
        name: float((n.eval()(held.images.float() / 255).argmax(1) == held.labels).float().mean())
        for name, n in {"here": last.net, "anew": estimated_anew(last.net, split.images)}.items()
    }
    assert found["here"] > found["anew"] - 0.06 and found["here"] > least


def test_the_average_is_what_is_attacked(digits):
    """A deep net with BatchNorm goes through an evaluation, and its statistics stay."""
    (epoch,) = train(recipe(epochs=1), digits.train.head(60), classes=10, seed=2)
    before = copy.deepcopy(epoch.net.state_dict())
    evaluate(epoch.net, digits.validation.head(10), quick_battery(1))
    assert bit_equal(dict(before), dict(epoch.net.state_dict()))
