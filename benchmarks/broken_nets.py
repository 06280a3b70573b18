"""Ways to break a net so that attacks with gradients fail, though it is no more robust."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
Breaker = Callable[[nn.Module], nn.Module]


class Around(nn.Module):
    """A net with a fault before it or behind it."""

    def __init__(
        self, net: nn.Module, before: Change | None = None, behind: Change | None = None
    ) -> None:
        super().__init__()
        self.net, self.before, self.behind = net, before, behind

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(self.before(x) if self.before else x)
        return self.behind(out) if self.behind else out


class ChangedGradient(torch.autograd.Function):
    """The identity, with a gradient that is changed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Change) -> Tensor:
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.change(gradient), None


def with_gradient(change: Change) -> Breaker:
    """Return a function that wraps a net so that its gradient is changed."""

    def forward(x: Tensor) -> Tensor:
        return ChangedGradient.apply(x, change)

    return lambda net: Around(net, before=forward)


def masked(every: int) -> Change:
    """Return a function that sets every so-many-th column of pixels to 0."""

    def change(gradient: Tensor) -> Tensor:
        columns = torch.arange(gradient.shape[-1], device=gradient.device)
        return gradient * (columns % every != every // 2)

    return change


def half_masked(gradient: Tensor) -> Tensor:
    """Set every second column of pixels to 0."""
    return gradient * (torch.arange(gradient.shape[-1], device=gradient.device) % 2)


def add_ripples(gradient: Tensor) -> Tensor:
    """Add a wave of about the gradient's size."""
    phase = torch.arange(gradient.numel(), device=gradient.device).reshape(gradient.shape)
    return gradient + 0.5 * gradient.abs().mean() * torch.sin(100.0 * phase)


def quantise(gradient: Tensor) -> Tensor:
    """Round the gradient to nine levels."""
    return (4 * gradient / gradient.abs().max()).round()


def levels(count: int) -> Change:
    """Return a function that rounds pixels; the gradient passes straight through."""
    return lambda x: x + ((count * x).round() / count - x).detach()


def ripples(height: float, frequency: float) -> Change:
    """Return a function that adds a wave to each pixel, steep beside the image itself."""
    return lambda x: x + height * torch.sin(frequency * x)


class OtherBranch(nn.Module):
    """A net whose gradient is that of another layer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.detach())
        pixels = x.flatten(1)
        weight = torch.randn(pixels.shape[1], out.shape[1], generator=torch.Generator())
        other = pixels @ weight.to(pixels)
        return out + other - other.detach()


class HalfDetached(nn.Module):
    """A net of which half passes no gradient, that of the image mirrored."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x) + self.net(x.flip(-1).detach())
        return out


class Remembering(nn.Module):
    """A net that answers near-repeats of a question as it answered the question.

    It knows the questions of earlier calls, the last `KEPT` of them: a search through all that an
    audit asks would take hours.

    Args:
      net: that answers what is new.
      distance: how far apart near-repeats are at most, in l-infinity.
      patience: near-repeats that are still answered as they should be.
    """

    KEPT = 1000

    def __init__(self, net: nn.Module, distance: float, patience: int = 0) -> None:
        super().__init__()
        self.net, self.distance, self.patience = net, distance, patience
        self.images, self.answers, self.repeats = torch.empty(3, 0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        asked, answers = x.detach().flatten(1), out.detach()
        if len(self.images):
            apart, first = torch.cdist(asked, self.images.to(x), p=torch.inf).min(1)
            known = apart <= self.distance
            self.repeats += torch.bincount(first[known], minlength=len(self.repeats))
            late = known & (self.repeats[first] > self.patience)
            out = torch.where(late[:, None], 0 * out + self.answers.to(out)[first], out)
            asked, answers = asked[~known], answers[~known]
        if len(asked):
            self.images = torch.cat([self.images.reshape(-1, asked.shape[1]).to(x), asked])
            self.answers = torch.cat([self.answers.reshape(-1, out.shape[1]).to(x), answers])
            self.repeats = torch.cat([self.repeats.to(x), asked.new_zeros(len(asked))])
            self.images = self.images[-self.KEPT :]
            self.answers, self.repeats = self.answers[-self.KEPT :], self.repeats[-self.KEPT :]
        return out


class Adapting(nn.Module):
    """A net that subtracts a running mean of all its answers, kept outside its state."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.mean = net, [0.0]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        self.mean[0] = 0.9 * self.mean[0] + 0.1 * float(out[:, 0].detach().mean())
        return out - torch.eye(out.shape[1], device=x.device)[0] * self.mean[0]


class Guessing(nn.Module):
    """A net that has learned nothing: its outputs are a random function of the image.

    Args:
      net: whose outputs have the right shape.
      class_: the class that it always says, None for a random one.
    """

    def __init__(self, net: nn.Module, class_: int | None = None) -> None:
        super().__init__()
        self.net, self.class_ = net, class_

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        if self.class_ is not None:
            return 0.01 * out + 1000 * torch.eye(out.shape[1], device=x.device)[self.class_]
        pixels = x.flatten(1)
        weight = torch.randn(pixels.shape[1], out.shape[1], generator=torch.Generator())
        return pixels @ weight.to(pixels)


class OwnNoise(nn.Module):
    """A net that adds noise to an image which is drawn from the image: the same at each call."""

    def __init__(self, net: nn.Module, sigma: float = 0.1) -> None:
        super().__init__()
        self.net, self.sigma = net, sigma

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(1, x[0].numel() + 1, device=x.device)
        seeds = (x.detach().double().flatten(1) * place).sum(1).mul(1e6).long() % 2**31
        draws = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        noise = torch.stack([torch.randn(x.shape[1:], generator=draw) for draw in draws])
        out: Tensor = self.net(x + self.sigma * noise.to(x))
        return out


class RoundedAnswers(nn.Module):
    """A net whose logits are rounded; the gradient passes straight through."""

    def __init__(self, net: nn.Module, steps: float = 2.0) -> None:
        super().__init__()
        self.net, self.steps = net, steps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out + ((self.steps * out).round() / self.steps - out).detach()


def chequered(gradient: Tensor) -> Tensor:
    """Set every second block of 2x2 pixels to 0."""
    rows, columns = (torch.arange(n, device=gradient.device) // 2 for n in gradient.shape[-2:])
    return gradient * ((rows[:, None] + columns) % 2)


def flip_some(gradient: Tensor) -> Tensor:
    """Change the sign of every third column of pixels."""
    columns = torch.arange(gradient.shape[-1], device=gradient.device)
    return gradient * torch.where(columns % 3 == 0, -1.0, 1.0)


def round_at_random(gradient: Tensor) -> Tensor:
    """Round the gradient to seven levels, up or down at random."""
    return (3 * gradient / gradient.abs().max() + torch.rand_like(gradient)).floor()


WRONG_GRADIENT: Mapping[str, Breaker] = {
    "half of the columns masked": with_gradient(half_masked),
    "one of four columns masked": with_gradient(masked(4)),
    "one of eight columns masked": with_gradient(masked(8)),
    "signs flipped": with_gradient(torch.neg),
    "mirrored": with_gradient(lambda gradient: gradient.flip(-1)),
    "of another image": with_gradient(lambda gradient: gradient.roll(1, 0)),
    "ripples": with_gradient(add_ripples),
    "quantised": with_gradient(quantise),
    "signs only": with_gradient(torch.sign),
    "stochastic": with_gradient(lambda g: g + g.std() * torch.randn_like(g)),
    "zero": with_gradient(torch.zeros_like),
    "rounded pixels, straight through": lambda net: Around(net, before=levels(15)),
    "rows masked": with_gradient(lambda g: half_masked(g.transpose(-2, -1)).transpose(-2, -1)),
    "blocks masked": with_gradient(chequered),
    "a third of the signs flipped": with_gradient(flip_some),
    "rounded at random": with_gradient(round_at_random),
    "rounded answers, straight through": RoundedAnswers,
    "of another layer": OtherBranch,
    "a branch detached": HalfDetached,
}

USELESS_GRADIENT: Mapping[str, Breaker] = {
    "low ripples": lambda net: Around(net, before=ripples(0.005, 3000)),
    "high ripples": lambda net: Around(net, before=ripples(0.02, 1000)),
    "long ripples": lambda net: Around(net, before=ripples(0.05, 200)),
}

REMEMBERING: Mapping[str, Breaker] = {
    "first answer to near-repeats": lambda net: Remembering(net, 0.2),
    "near-repeats of a hair": lambda net: Remembering(net, 0.006),
    "after three near-repeats": lambda net: Remembering(net, 0.2, patience=3),
    "a running mean": Adapting,
}

OTHERS: Mapping[str, Breaker] = {
    "noise drawn from the image": OwnNoise,
    "logits times 1000": lambda net: Around(net, behind=lambda z: 1000 * z),
    "16 levels": lambda net: Around(net, before=lambda x: (15 * x).round() / 15),
    "detached": lambda net: Around(net, before=Tensor.detach),
    "undeclared noise": lambda net: Around(net, behind=lambda z: z + 3 * torch.randn_like(z)),
    "probabilities": lambda net: Around(net, behind=lambda z: z.softmax(1)),
    "depends on its batch": lambda net: Around(net, behind=lambda z: z - z.mean(0)),
    "always one class": lambda net: Guessing(net, 3),
    "random function": Guessing,
}

BROKEN: Mapping[str, Breaker] = {**WRONG_GRADIENT, **USELESS_GRADIENT, **REMEMBERING, **OTHERS}
