"""Gradient alignment: where it is 0, 1 and 2, its gradient by differences, and an average."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import BatchNormNet
from torch import Tensor, nn

from adv import FGSM, SGD, Batch, Curriculum, GradAlign, Lesson, Linf, Recipe, ViT, train

SHAPE = (3, 2, 2)


class Quadratic(nn.Module):
    """Two classes whose cross-entropy has a gradient along w(x) = a + b x, channel by channel."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b))

    def forward(self, x: Tensor) -> Tensor:
        rise = (self.a * x + self.b * x**2 / 2).flatten(1).sum(1)
        return torch.stack([-rise, rise], 1)


def batch(x: Tensor, eps: float) -> Batch:
    y = torch.arange(len(x)) % 2
    return Batch(x, y, Lesson(FGSM(Linf(eps))), generator=seeded_generator(4))


@pytest.mark.parametrize(("b", "there", "term"), [(0.0, 0.9, 0.0), (-4.0, 0.9, 2.0)])
def test_alike_and_opposite_gradients(b, there, term):
    """A linear net is aligned everywhere; across the top of a parabola the gradient turns over."""
    net, x = Quadratic(2.0, b), torch.full((6, *SHAPE), 0.1)
    far = torch.full_like(x, there)
    objective, it = GradAlign(0.5), batch(x, 0.1)
    outcome = objective.forward(net, it, torch.cat([x, far]))
    excess = outcome.loss - F.cross_entropy(net(x), it.y)
    assert excess.item() == pytest.approx(0.5 * term, abs=1e-5)


def test_images_without_a_gradient_do_not_count():
    """Of a parabola the top has none: the mean is that of the others, and nothing is NaN."""
    net, x = Quadratic(2.0, -4.0), torch.full((4, *SHAPE), 0.1)
    x[:2] = 0.5
    outcome = GradAlign(1.0).backward(net, batch(x, 0.1), torch.cat([x, torch.full_like(x, 0.9)]))
    excess = outcome.loss - F.cross_entropy(net(x), batch(x, 0.1).y)
    assert excess.item() == pytest.approx(2.0, abs=1e-4)
    assert all(w.grad is not None and w.grad.isfinite() for w in net.parameters())


def make_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def test_its_gradient_is_that_of_the_formula():
    """Both input gradients are differentiated: finite differences of the term, weight by weight."""
    net = make_net()
    x = torch.rand(4, *SHAPE, generator=seeded_generator(2)).double()
    noisy = (x + 0.3 * torch.rand(x.shape, generator=seeded_generator(3))).clamp(0, 1)
    y = torch.tensor([0, 1, 2, 0])

    def term() -> float:
        sides = []
        for images in (x, noisy):
            images = images.clone().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(net(images), y), images)
            sides.append(g.flatten(1))
        return (1 - F.cosine_similarity(sides[0], sides[1], dim=1)).mean().item()

    def loss(weight: float) -> Tensor:
        it = Batch(x, y, Lesson(FGSM(Linf(0.1))))
        # The term is computed in float32: logits are cast, weights and images are not.
        return GradAlign(weight).forward(net, it, torch.cat([x, noisy])).loss

    (loss(1.0) - loss(0.0)).backward()
    assert loss(1.0).item() - loss(0.0).item() == pytest.approx(term(), rel=1e-4)
    for weight in net.parameters():
        assert weight.grad is not None
        values, slope = weight.data.view(-1), weight.grad.view(-1)
        for i in range(0, len(values), 7):
            kept = values[i].item()
            values[i] = kept + 1e-5
            above = term()
            values[i] = kept - 1e-5
            below = term()
            values[i] = kept
            assert slope[i].item() == pytest.approx((above - below) / 2e-5, rel=1e-2, abs=1e-4)


def test_the_noise_is_uniform_in_the_ball():
    net, x = Quadratic(2.0, 0.0), torch.full((64, *SHAPE), 0.5)
    adv, noisy = GradAlign().attack(net, batch(x, 0.1)).split(64)
    assert torch.equal(adv, FGSM(Linf(0.1))(net, x, batch(x, 0.1).y))
    assert (noisy - x).abs().max() <= 0.1 + 1e-6
    assert (noisy - x).std().item() == pytest.approx(0.1 / 3**0.5, rel=0.1)


def test_attention_has_a_second_derivative():
    """Torch's fused attention has none on a CPU."""
    net = ViT(1, 64, 3)(10, (3, 8, 8))
    x = torch.rand(2, 3, 8, 8, generator=seeded_generator())
    GradAlign()(net, batch(x, 0.05))
    gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def test_an_average_of_the_weights_needs_no_gradient(digits):
    """Its statistics come from passes in which autograd is off."""

    recipe = Recipe(
        net=BatchNormNet(),
        optimizer=SGD(0.01),
        curriculum=Curriculum(eps=0.03, kind="fgsm"),
        objective=GradAlign(),
        ema=0.9,
        epochs=1,
        batch=20,
    )
    (epoch,) = train(recipe, digits.train.head(40), classes=10, seed=0)
    assert all(value.isfinite().all() for value in epoch.net.state_dict().values())
    assert all(weight.grad is None for weight in epoch.net.parameters())
