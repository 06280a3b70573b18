"""Training: schedules in closed form, a step by hand, and going on as if it had never stopped."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from reproducibility import bit_equal, save_and_load, seeded_generator

from adv import (
    AWP,
    FGSM,
    FGSMRS,
    L1,
    L2,
    MART,
    NFGSM,
    PGD,
    RSE,
    SGD,
    TRADES,
    AdamW,
    Augment,
    BaseNet,
    Curriculum,
    Linf,
    Madry,
    OneCycle,
    Piecewise,
    Ramp,
    Recipe,
    Split,
    build,
    train,
)
from adv.models import Normalize
from adv.runtime.random_streams import derive_seed
from adv.training.curriculum import ATTACK_KINDS, AttackKind
from adv.training.schedules import value_at

# --- schedules ---


def test_ramps():
    assert [Ramp(1, 5)(t) for t in (0, 0.25, 0.5, 1)] == [1, 2, 3, 5]
    assert [Ramp(1, 5, until=0.5)(t) for t in (0, 0.25, 0.5, 0.9)] == [1, 3, 5, 5]
    cosine = Ramp(0, 2, "cosine")
    assert [cosine(t) for t in (0, 1 / 3, 0.5, 1)] == pytest.approx([0, 0.5, 1, 2])
    assert [Ramp(3, 1)(t) for t in (0, 0.5, 1)] == [3, 2, 1]


def test_pieces():
    steps = Piecewise((0, 0.5, 0.75), (1, 0.1, 0.01))
    assert [steps(t) for t in (0, 0.49, 0.5, 0.74, 0.75, 1)] == [1, 1, 0.1, 0.1, 0.01, 0.01]


def test_one_cycle():
    cycle = OneCycle(0.25)
    assert [cycle(t) for t in (0, 0.125, 0.25, 0.625, 1)] == [0, 0.5, 1, 0.5, 0]


def test_a_number_is_a_schedule():
    assert value_at(0.3, 0.7) == 0.3 and value_at(2, 0) == 2 and value_at(Ramp(0, 1), 0.5) == 0.5


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Ramp(0, 1, "steep"),  # type: ignore[arg-type]  # no such name
            "linear or cosine, got 'steep'",
        ),
        (lambda: Ramp(0, 1, until=0), r"in \(0, 1\], got 0"),
        (lambda: Piecewise((), ()), "needs one start"),
        (lambda: Piecewise((0, 0.5), (1,)), "needs one start"),
        (lambda: Piecewise((0.1,), (1,)), "starts go up from 0"),
        (lambda: Piecewise((0, 0.5, 0.2), (1, 2, 3)), "starts go up from 0"),
        (lambda: OneCycle(0), "peak lies inside"),
        (lambda: Curriculum(fraction=1.5)(0), r"fraction lies in \[0, 1\], got 1.5"),
        (lambda: Curriculum(eps=-1)(0), "eps is a radius"),
        (lambda: Curriculum(kind="free"), "kind is one of pgd, fgsm, fgsm-rs, n-fgsm, got 'free'"),
        (lambda: Recipe(epochs=0), "epochs must be 1 or more, got 0"),
        (lambda: Recipe(batch=0), "batch must be 1 or more, got 0"),
        (lambda: Recipe(precision="half"), "one of float32, bfloat16, got 'half'"),
    ],
)
def test_settings_that_make_no_schedule(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_the_reports_curriculum_at_each_of_60_epochs():
    """eps from 0.01 by 0.0015 an epoch; steps from 10, one more every other epoch."""
    for epoch in range(60):
        lesson = Curriculum()(epoch / 60)
        assert isinstance(lesson.attack, PGD) and isinstance(lesson.attack.ball, Linf)
        assert lesson.attack.ball.eps == pytest.approx(0.01 + 0.0015 * epoch)
        assert lesson.attack.steps == 10 + epoch // 2
        assert lesson.attack.length == pytest.approx(lesson.attack.ball.eps / 4)
        assert lesson.fraction == 0.5 and lesson.attack.random_start


def test_every_setting_of_a_curriculum_is_a_schedule():
    curriculum = Curriculum(
        eps=Piecewise((0, 0.5), (0.0, 0.03)),
        steps=Ramp(1, 9, "cosine"),
        pace=Ramp(1, 0.5),
        fraction=Ramp(0, 1, until=0.5),
    )
    first, middle, late = (curriculum(t) for t in (0, 0.5, 0.75))
    assert (first.attack.ball.eps, first.attack.steps, first.fraction) == (0, 1, 0)
    assert (middle.attack.ball.eps, middle.attack.steps, middle.fraction) == (0.03, 5, 1)
    assert isinstance(late.attack, PGD) and late.attack.pace == 0.625


def test_kinds_of_one_step():
    """Whatever the steps say, one is taken, of the length that is usual or wanted."""
    made: dict[str, Any] = {
        kind: Curriculum(eps=0.04, kind=kind)(0).attack for kind in ("fgsm", "fgsm-rs", "n-fgsm")
    }
    ball = Linf(0.04)
    assert made == {"fgsm": FGSM(ball), "fgsm-rs": FGSMRS(ball), "n-fgsm": NFGSM(ball)}
    assert {attack.steps for attack in made.values()} == {1}
    assert [made[kind].pace for kind in made] == [1.0, 1.25, 1.0]
    later = Curriculum(pace=Ramp(1, 2), kind="n-fgsm")(0.5).attack
    assert isinstance(later, NFGSM) and later.pace == 1.5
    assert Curriculum(kind="fgsm").cap_steps(1)(0) == Curriculum(kind="fgsm")(0)


def test_a_kind_of_attack_is_added_by_one_row(monkeypatch):
    row = AttackKind(0.5, lambda ball, pace, _: FGSMRS(ball, pace))
    monkeypatch.setitem(ATTACK_KINDS, "half-step", row)
    assert Curriculum(eps=0.1, kind="half-step")(0).attack == FGSMRS(Linf(0.1), 0.5)
    with pytest.raises(ValueError, match="pgd, fgsm, fgsm-rs, n-fgsm, half-step, got 'halfstep'"):
        Curriculum(kind="halfstep")


@pytest.mark.parametrize(
    ("steps", "pace", "cap", "expected"),
    [
        (10, 0.25, None, (10, 0.25)),
        (10, 0.25, 10, (10, 0.25)),
        (10, 0.25, 5, (5, 0.5)),  # 10 * 0.25 = 5 * 0.5
        (10, 0.25, 1, (1, 1.0)),  # a step longer than the radius is none
        (40, 0.25, 3, (3, 2.5 / 3)),  # 2.5 radii in all, and not ten
        (10, 1.25, 5, (5, 1.25)),  # never shorter than it was
    ],
)
def test_fewer_steps_are_longer(steps, pace, cap, expected):
    attack = Curriculum(steps=steps, pace=pace, most_steps=cap)(0).attack
    assert isinstance(attack, PGD)
    assert attack.steps == expected[0] and attack.pace == pytest.approx(expected[1])


def test_gradient_steps_of_the_report():
    """60 epochs of a mean of 24.5 steps on half the images, and one step to learn."""
    recipe = Recipe(epochs=60, batch=100)
    assert recipe.gradient_steps(1000) == 60 * 10 * (1 + 24.5 / 2)


@pytest.mark.parametrize(
    ("objective", "passes"),
    [(Madry(), 1 + 4), (TRADES(), 2 + 4), (MART(), 2 + 4), (AWP(TRADES(), warmup=0.5), 3 + 4)],
)
def test_gradient_steps_of_the_objectives(objective, passes):
    recipe = Recipe(objective=objective, curriculum=Curriculum(steps=4), epochs=2, batch=100)
    assert recipe.gradient_steps(1000) == 2 * 10 * passes


def test_schedules_as_published():
    """Pang et al. 2021 and Rice et al. 2020 by their epochs; the cyclic one of Wong et al. 2020."""
    pang = Piecewise((0, 100 / 110, 105 / 110), (1, 0.1, 0.01))
    assert [pang(e / 110) for e in (0, 99, 100, 104, 105, 109)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    rice = Piecewise((0, 0.5, 0.75), (1, 0.1, 0.01))
    assert [rice(e / 200) for e in (99, 100, 149, 150)] == [1, 0.1, 0.1, 0.01]
    assert [OneCycle(0.5)(t) for t in (0, 0.25, 0.5, 0.75)] == [0, 0.5, 1, 0.5]


# --- one step ---


@pytest.mark.parametrize("fraction", [0, 0.25, 0.5, 1])
@pytest.mark.parametrize("size", [16, 9])
def test_exactly_the_fraction_is_attacked(digits, monkeypatch, fraction, size):
    seen = []

    def spy(self, model, x, y, *, generator=None):
        seen.append(len(x))
        return x

    monkeypatch.setattr("adv.PGD.__call__", spy)
    recipe = Recipe(net=BaseNet(), curriculum=Curriculum(fraction=fraction), epochs=1, batch=size)
    (epoch,) = train(recipe, digits.train.head(3 * size), classes=10, seed=0)
    assert seen == ([round(fraction * size)] * 3 if fraction else [])
    assert epoch.metrics["fraction"] == fraction
    assert ("clean_accuracy" in epoch.metrics) == (fraction < 1)
    assert ("attacked_accuracy" in epoch.metrics) == (fraction > 0)


def by_hand(recipe: Recipe, split, seed: int):
    """One epoch of one batch, written out: order, attack, loss, gradient, update."""
    net = build(recipe, 10, seed)
    pixels = split.images.float() / 255
    norm = next(module for module in net.modules() if isinstance(module, Normalize))
    norm.mean.copy_(pixels.mean((0, 2, 3)).reshape(3, 1, 1))
    norm.std.copy_(pixels.std((0, 2, 3), correction=0).reshape(3, 1, 1))
    order = torch.randperm(len(split), generator=seeded_generator(derive_seed(seed, 2)))
    x, y = pixels[order], split.labels[order]
    eps, step, k = 0.03, 0.0075, len(x) // 2
    start = x[:k] + eps * (
        2 * torch.rand(x[:k].shape, generator=seeded_generator(derive_seed(seed, 4))) - 1
    )
    adv = start.clamp(0, 1)
    for _ in range(2):
        adv.requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net(adv), y[:k], reduction="sum"), adv)
        adv = torch.min(torch.max(adv.detach() + step * grad.sign(), x[:k] - eps), x[:k] + eps)
        adv = adv.clamp(0, 1)
    loss = F.cross_entropy(net(torch.cat([adv, x[k:]])), y)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    settings = recipe.optimizer
    with torch.no_grad():
        for weight, gradient in zip(net.parameters(), gradients, strict=True):
            if isinstance(settings, AdamW):  # the first step: both means are the gradient's
                weight.mul_(1 - settings.lr * value_at(settings.weight_decay, 0))
                weight.sub_(settings.lr * gradient / (gradient.abs() + 1e-8))
            else:  # Nesterov's first step
                gradient = gradient + value_at(settings.weight_decay, 0) * weight
                weight.sub_(settings.lr * (1 + settings.momentum) * gradient)
    return net, loss.item()


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1, weight_decay=0.01), AdamW(lr=1e-3)], ids=repr)
def test_one_step_is_the_one_written_by_hand(digits, optimizer):
    recipe = Recipe(
        net=BaseNet(),
        optimizer=optimizer,
        curriculum=Curriculum(eps=0.03, steps=2),
        epochs=1,
        batch=32,
    )
    split = digits.train.head(32)
    expected, loss = by_hand(recipe, split, seed=6)
    (epoch,) = train(recipe, split, classes=10, seed=6)
    assert epoch.metrics["loss"] == pytest.approx(loss, rel=1e-5)
    untrained = build(recipe, 10, 6).state_dict()
    for name, weight in epoch.net.state_dict().items():
        # AdamW divides by the gradient: where that is 0 to rounding, the sign is anyone's.
        close = torch.isclose(weight, expected.state_dict()[name], atol=2e-6, rtol=1e-5)
        assert close.float().mean() > 0.999, name
        assert not torch.equal(weight, untrained[name])


def test_the_rate_follows_its_schedule(digits):
    recipe = Recipe(
        net=BaseNet(),
        optimizer=SGD(lr=0.2, decay=Piecewise((0, 0.5), (1.0, 0.1))),
        curriculum=Curriculum(fraction=0),
        epochs=4,
        batch=32,
    )
    rates = [e.metrics["lr"] for e in train(recipe, digits.train.head(32), classes=10, seed=0)]
    assert rates == pytest.approx([0.2, 0.2, 0.02, 0.02])


# --- going on ---


def everything(optimizer) -> Recipe:
    return Recipe(
        net=BaseNet(dropout=0.3),
        defences=(RSE(0.1, 0.1),),
        optimizer=optimizer,
        curriculum=Curriculum(eps=Ramp(0.01, 0.1), steps=Ramp(1, 3)),
        augment=Augment(flip=0.5, crop=2, jitter=0.2),
        epochs=3,
        batch=20,
    )


@pytest.mark.parametrize(
    "optimizer", [AdamW(decay=OneCycle()), SGD(lr=0.01, decay=Ramp(1, 0))], ids=["AdamW", "SGD"]
)
def test_going_on_is_never_having_stopped(digits, optimizer):
    recipe, split = everything(optimizer), digits.train.head(50)
    whole = [
        (epoch.state(), dict(epoch.metrics)) for epoch in train(recipe, split, classes=10, seed=2)
    ]
    assert len(whole) == 3 and not bit_equal(whole[1][0]["net"], whole[2][0]["net"])
    for done in (1, 2):
        stored = save_and_load(whole[done - 1][0])
        for _ in range(2):  # the second time from the same object: the first must not spoil it
            gone_on = list(train(recipe, split, classes=10, seed=2, state=stored))
            assert [epoch.number for epoch in gone_on] == list(range(done + 1, 4))
            assert bit_equal(gone_on[-1].state(), whole[-1][0])
            assert dict(gone_on[-1].metrics) == whole[-1][1]
    assert list(train(recipe, split, classes=10, seed=2, state=whole[-1][0])) == []


def test_a_state_is_a_copy(digits):
    recipe, split = everything(AdamW()), digits.train.head(40)
    states, copies = [], []
    for epoch in train(recipe, split, classes=10, seed=2):
        states.append(epoch.state())
        copies.append(copy.deepcopy(states[-1]))
    assert all(bit_equal(a, b) for a, b in zip(states, copies, strict=True))


def test_the_state_of_an_epoch_that_is_gone_is_refused(digits):
    epochs = train(everything(AdamW()), digits.train.head(20), classes=10, seed=2)
    first, second = next(epochs), next(epochs)
    assert second.state()["epoch"] == 2
    with pytest.raises(ValueError, match="epoch 1 is gone"):
        first.state()


@pytest.mark.parametrize("wrong", ["recipe", "seed"])
def test_the_state_of_another_training_is_refused(digits, wrong):
    recipe, split = everything(AdamW()), digits.train.head(20)
    state = next(train(recipe, split, classes=10, seed=2)).state()
    other = replace(recipe, batch=21) if wrong == "recipe" else recipe
    going_on = train(other, split, classes=10, seed=3 if wrong == "seed" else 2, state=state)
    with pytest.raises(ValueError, match="another recipe or seed"):
        next(going_on)


def test_no_images(digits):
    with pytest.raises(ValueError, match="no image to train on"):
        next(train(Recipe(), digits.train.head(0), classes=10, seed=0))


def test_the_global_generator_is_left_alone_and_does_not_matter(digits):
    recipe, split = everything(AdamW()), digits.train.head(40)
    ends = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            for epoch in train(recipe, split, classes=10, seed=2):
                last = epoch
            assert torch.equal(torch.get_rng_state(), before)
        ends.append(last.state())
    assert bit_equal(*ends)


def test_seeds_differ(digits):
    recipe = replace(everything(AdamW()), epochs=1)
    ends = [
        next(train(recipe, digits.train.head(20), classes=10, seed=seed)).state()["net"]
        for seed in (1, 2)
    ]
    assert not bit_equal(*ends)


def test_training_is_in_training_mode_and_attacks_in_evaluation(digits, monkeypatch):
    modes = []
    original = BaseNet.__call__

    def spied(self, classes):
        net: Any = original(self, classes)
        net[-1].register_forward_hook(lambda m, *_: modes.append(m.training))
        return net

    monkeypatch.setattr(BaseNet, "__call__", spied)
    recipe = Recipe(net=BaseNet(), curriculum=Curriculum(steps=3), epochs=2, batch=20)
    for epoch in train(recipe, digits.train.head(20), classes=10, seed=0):
        assert modes == [False] * 3 + [True]
        assert epoch.net.training
        epoch.net.eval()  # a caller that leaves it so does not spoil the next epoch
        modes.clear()
    assert epoch.number == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_net_alone_runs_in_the_precision(digits, monkeypatch, precision):
    """Attack and gradient alike; weights, what they become and what the epoch shows are float32."""
    met = []
    original = BaseNet.__call__

    def spied(self, classes):
        net: Any = original(self, classes)
        net[-1].register_forward_hook(lambda m, _, out: met.append(str(out.dtype)))
        return net

    monkeypatch.setattr(BaseNet, "__call__", spied)
    recipe = Recipe(
        BaseNet(), curriculum=Curriculum(steps=2), epochs=1, batch=20, precision=precision
    )
    (epoch,) = train(recipe, digits.train.head(20), classes=10, seed=0)
    assert met == [f"torch.{precision}"] * 3
    assert {str(weight.dtype) for weight in epoch.net.parameters()} == {"torch.float32"}
    epoch.net(torch.rand(1, 3, 32, 32))
    assert met[-1] == "torch.float32" and not torch.is_autocast_enabled("cpu")


# --- learning ---


def test_learns_digits(digits):
    recipe = Recipe(
        net=BaseNet(),
        optimizer=AdamW(lr=4e-3),
        curriculum=Curriculum(eps=0.03, steps=1, pace=1.0),
        epochs=3,
        batch=32,
    )
    epochs = list(train(recipe, digits.train.head(600), classes=10, seed=0))
    assert [(e.number, e.total) for e in epochs] == [(1, 3), (2, 3), (3, 3)]
    net, split = epochs[-1].net.eval(), digits.validation.head(200)
    right = (net(split.images.float() / 255).argmax(1) == split.labels).float().mean()
    assert right > 0.6
    first, last = epochs[0].metrics, epochs[-1].metrics
    assert 0 < last["loss"] < first["loss"] < 2.5
    assert 0.5 < last["attacked_accuracy"] <= last["clean_accuracy"] + 0.05 <= 1.05
    assert (last["eps"], last["steps"], last["lr"]) == (0.03, 1, 4e-3)
    assert all(epoch.seconds > 0 for epoch in epochs)


def test_metrics_count_every_image_once(digits):
    """A last batch that is smaller weighs less: 50 images in batches of 32."""
    recipe = Recipe(net=BaseNet(), optimizer=SGD(lr=1e-12), epochs=1, batch=32)
    recipe = replace(recipe, curriculum=Curriculum(fraction=0))
    split = digits.train.head(50)
    (epoch,) = train(recipe, split, classes=10, seed=0)
    logits = epoch.net(split.images.float() / 255)
    assert epoch.metrics["loss"] == pytest.approx(F.cross_entropy(logits, split.labels).item())
    right = (logits.argmax(1) == split.labels).float().mean().item()
    assert epoch.metrics["clean_accuracy"] == pytest.approx(right)


def test_a_recipe_refuses_a_class_as_net_and_a_bare_defence():
    with pytest.raises(TypeError, match=r"a value such as BaseNet\(\), got the class itself"):
        Recipe(BaseNet)  # type: ignore[arg-type]  # a class
    with pytest.raises(TypeError, match=r"defences is a tuple such as \(RSE\(.*\),\), got RSE"):
        Recipe(defences=RSE())  # type: ignore[arg-type]  # no tuple


def test_weight_decay_may_follow_a_schedule():
    """Two phases: without decay, then with one so strong that a step leaves hardly any weight."""
    images = torch.randint(0, 256, (8, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    split = Split(images, torch.arange(8))
    decay = Piecewise((0.0, 0.5), (0.0, 900.0))
    recipe = Recipe(BaseNet(), optimizer=AdamW(1e-3, decay), epochs=2, batch=8)
    plain = Recipe(BaseNet(), optimizer=AdamW(1e-3, 0.0), epochs=2, batch=8)

    def sizes(one: Recipe) -> list[float]:
        epochs = train(one, split, classes=10, seed=0)
        return [float(sum(w.detach().abs().sum() for w in e.net.parameters())) for e in epochs]

    two, none = sizes(recipe), sizes(plain)
    assert two[0] == none[0] and two[1] < 0.2 * none[1]


@pytest.mark.parametrize(("norm", "ball"), [("linf", Linf(0.1)), ("l2", L2(0.1)), ("l1", L1(0.1))])
def test_a_curriculum_attacks_in_its_norm(digits, norm, ball):
    curriculum = Curriculum(0.1, 3, norm=norm)
    assert curriculum.lessons(2)[0].attack.ball == ball
    recipe = Recipe(BaseNet(), curriculum=curriculum, epochs=1, batch=8)
    (epoch,) = train(recipe, digits.train.head(8), classes=10, seed=0)
    assert epoch.metrics["eps"] == 0.1 and math.isfinite(epoch.metrics["loss"])
    assert ("norm" in repr(curriculum)) == (norm != "linf")  # earlier states name no norm


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"norm": "l3"}, "one of linf, l2, l1, got 'l3'"),
        ({"norm": "l2", "kind": "n-fgsm"}, "in l2 take pgd"),
    ],
)
def test_norms_that_a_curriculum_has_not(settings, said):
    with pytest.raises(ValueError, match=said):
        Curriculum(0.1, **settings)
