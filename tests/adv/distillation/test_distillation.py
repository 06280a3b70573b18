"""Distillation beside its formulas, and which teachers and files are refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from reproducibility import bit_equal, save_and_load, seeded_generator
from small_nets import BatchNormNet
from torch import Tensor, nn

import adv
from adv import ARD, PGD, RSE, RSLAD, SAAD, SGD, BaseNet, Batch, Curriculum, Lesson, Linf, Recipe
from adv.checkpoints.expressions import parse, to_expression

CLASSES = tuple("abcdefghij")
ATTACK = PGD(Linf(0.03), steps=2)


def write_teacher(path, recipe: Recipe | None = None, classes=CLASSES, seed: int = 1) -> str:
    recipe = recipe or Recipe(net=BaseNet())
    net = adv.build(recipe, len(classes), seed)
    adv.save(path, net, recipe, classes=classes, seed=seed)
    return str(path)


@pytest.fixture
def teacher(tmp_path) -> str:
    return write_teacher(tmp_path / "teacher.safetensors")


def make_problem(objective, digits) -> tuple[nn.Module, Batch]:
    """Return a student without noise, in training mode, and a batch of 12 images."""
    split = digits.train.head(12)
    batch = Batch(
        *(split.images.float() / 255, split.labels, Lesson(ATTACK)),
        generator=seeded_generator(1),
        memory=objective.memory(split, 10),
    )
    return adv.build(Recipe(net=BatchNormNet()), 10, 3), batch


def kl(first: Tensor, second: Tensor) -> Tensor:
    """By its definition, from logits."""
    p, q = first.softmax(1), second.softmax(1)
    return (p * (p.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize("alpha", [1.0, 0.75])
def test_ard_by_hand(teacher, digits, alpha):
    objective = ARD(teacher, alpha, temperature=4.0)
    net, batch = make_problem(objective, digits)
    adversarial = objective.attack(net, batch)
    assert torch.equal(adversarial, ATTACK(net, batch.x, batch.y, generator=seeded_generator(1)))
    outcome = objective.backward(net, batch, adversarial)
    taught = adv.restore(teacher).net(batch.x)
    student = net(adversarial)
    loss = alpha * 16 * kl(taught / 4, student / 4)
    if alpha < 1:
        loss = loss + (1 - alpha) * F.cross_entropy(net(batch.x), batch.y)
    assert outcome.loss.item() == pytest.approx(loss.item(), rel=1e-4)
    assert len(outcome.clean) == (12 if alpha < 1 else 0)
    assert objective.passes(batch.lesson) == 2 + 1 + (alpha < 1)
    assert all(w.grad is not None and w.grad.any() for w in net.parameters())


def test_rslad_by_hand(teacher, digits):
    """Its attack raises the divergence from the teacher's answer, and knows no label."""
    objective = RSLAD(teacher)
    net, batch = make_problem(objective, digits)
    fresh = replace(batch, y=batch.y.roll(1), generator=seeded_generator(1))
    adversarial = objective.attack(net, batch)
    assert torch.equal(adversarial, objective.attack(net, fresh))
    taught = adv.restore(teacher).net(batch.x).detach()

    start = ATTACK.ball.sample(batch.x, seeded_generator(1))
    expected = start
    net.eval()
    for _ in range(2):
        expected = expected.detach().requires_grad_()
        (slope,) = torch.autograd.grad(kl(taught, net(expected)), expected)
        moved = expected.detach() + 0.25 * 0.03 * slope.sign()
        expected = torch.min(torch.max(moved, batch.x - 0.03), batch.x + 0.03).clamp(0, 1)
    assert (adversarial - expected).abs().gt(1e-5).float().mean() < 0.002
    net.train()
    outcome = objective.backward(net, batch, adversarial)
    loss = 5 / 6 * kl(taught, net(adversarial)) + kl(taught, net(batch.x)) / 6
    assert outcome.loss.item() == pytest.approx(loss.item(), rel=1e-4)


def test_saad_by_hand(teacher, digits):
    """Its attack also moves the linearised teacher; images count by the teacher's entropy there."""
    objective = SAAD(teacher, scale=3.0, clean=0.5, weight=2.0)
    net, batch = make_problem(objective, digits)
    adversarial = objective.attack(net, batch)
    tutor, x = adv.restore(teacher).net.eval(), batch.x
    asked = x.clone().requires_grad_()
    logits = tutor(asked)
    true = F.one_hot(batch.y, 10)
    (slope,) = torch.autograd.grad((logits * true).sum(), asked)

    expected = ATTACK.ball.sample(x, seeded_generator(1))
    net.eval()
    for _ in range(2):
        expected = expected.detach().requires_grad_()
        change = (slope * (expected - x)).sum((1, 2, 3))
        apart = kl(logits.detach() + change[:, None] * true, net(expected))
        (gradient,) = torch.autograd.grad(apart, expected)
        moved = expected.detach() + 0.25 * 0.03 * gradient.sign()
        expected = torch.min(torch.max(moved, x - 0.03), x + 0.03).clamp(0, 1)
    assert (adversarial - expected).abs().gt(1e-5).float().mean() < 0.002

    net.train()
    outcome = objective.backward(net, batch, adversarial)
    with torch.no_grad():
        plus, minus = adversarial, 2 * x - adversarial
        answers = tutor(plus).softmax(1)
        entropy = -(answers * answers.log()).sum(1)
        losses = []
        for i in range(12):
            own, tutored = (z(plus)[i] - z(minus)[i] for z in (net, tutor))
            at_x, at_plus = (kl(tutor(z)[i, None], net(z)[i, None]) for z in (x, plus))
            excess = entropy[i] - entropy.min()
            rest = 1 - excess / (entropy - entropy.min()).max()
            bent = kl(tutored[None], own[None])
            losses.append(3 * excess * (at_plus + 2 * bent) + 0.5 * rest * at_x)
    assert outcome.loss.item() == pytest.approx(sum(losses).item() / 12, rel=1e-3)
    assert entropy.max() > entropy.min() and objective.passes(batch.lesson) == 2 + 1 + 2
    assert all(w.grad is not None and w.grad.any() for w in net.parameters())


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(teacher, digits):
    for objective in (ARD(teacher), RSLAD(teacher), SAAD(teacher)):
        _, batch = make_problem(objective, digits)
        net = adv.restore(teacher).net
        outcome = objective.forward(net, batch, batch.x)
        assert outcome.loss.item() == pytest.approx(0, abs=1e-4)


def test_is_a_value_and_an_expression(tmp_path):
    path = tmp_path / "a.safetensors"
    for objective in (ARD(path), adv.AWP(RSLAD("b.safetensors", 0.5)), SAAD(path, weight=1.0)):
        assert pickle.loads(pickle.dumps(objective)) == objective
        recipe = Recipe(objective=objective)
        assert parse(to_expression(recipe)) == recipe


def train_with(path: str, digits, state: Any = None, objective: Any = RSLAD) -> list[dict]:
    recipe = Recipe(
        net=BatchNormNet(),
        optimizer=SGD(0.01),
        curriculum=Curriculum(eps=0.03, steps=1),
        objective=objective(path),
        ema=0.9,
        epochs=2,
        batch=16,
    )
    split = digits.train.head(32)
    return [e.state() for e in adv.train(recipe, split, classes=10, seed=0, state=state)]


def test_a_training_resumes_with_its_teacher_and_no_other(teacher, digits):
    """Bit for bit; once the file is another one, it is refused in one line."""
    for objective in (RSLAD, SAAD):
        first, last = train_with(teacher, digits, objective=objective)
        again = train_with(teacher, digits, save_and_load(first), objective)
        assert bit_equal(again, [last])
    write_teacher(teacher, seed=2)
    with pytest.raises(ValueError, match="is not the teacher that this training began with"):
        train_with(teacher, digits, first, objective)


def test_teachers_that_do_not_fit(tmp_path, digits):
    def refused(path: str, said: str) -> None:
        with pytest.raises(ValueError, match=said) as error:
            RSLAD(path).memory(digits.train.head(4), 10)
        assert "\n" not in str(error.value)

    noisy = Recipe(net=BaseNet(), defences=(RSE(0.1, 0.1),))
    refused(str(tmp_path / "none.safetensors"), "cannot be read: No such file")
    refused(str(tmp_path), "cannot be read: Is a directory")
    refused(write_teacher(tmp_path / "noisy.safetensors", noisy), "is a random net")
    refused(write_teacher(tmp_path / "two.safetensors", classes=("a", "b")), "knows 2 classes")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a checkpoint")
    refused(str(damaged), "not a checkpoint of this program")
    small = replace(digits.train.head(4), images=digits.train.images[:4, :, :7, :7])
    good = write_teacher(tmp_path / "good.safetensors")
    with pytest.raises(ValueError, match="takes no images of size 3x7x7"):
        RSLAD(good).memory(small, 10)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ARD("a", alpha=2), r"alpha lies in \[0, 1\], got 2"),
        (lambda: ARD("a", temperature=0), "a temperature is a number above 0, got 0"),
        (lambda: RSLAD("a", float("nan")), r"lies in \[0, 1\], got nan"),
        (lambda: SAAD("a", scale=-1), "scale is 0 or more, got -1"),
        (lambda: SAAD("a", weight=-1.0), r"a weight is 0 or more, got -1\.0"),
    ],
)
def test_settings_out_of_range(make, said):
    with pytest.raises(ValueError, match=said):
        make()
