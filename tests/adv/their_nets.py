"""Tiny nets as other people write them, for images of 8x8 pixels; tests name them by this file."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

SIZE = 8


class Plain(nn.Module):
    """A convolution, BatchNorm and a linear layer."""

    def __init__(self, num_classes, in_channels=3, width=4, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, stride=2, bias=bias)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width * 9, num_classes)

    def features(self, x):
        return F.relu(self.norm(self.conv(x)))

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))


class Views(Plain):
    def forward(self, x):
        return self.fc(self.features(x).view(len(x), -1))


class InPlace(Plain):
    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.25))


class Dictionary(Plain):
    def forward(self, x):
        return {"features": self.features(x), "logits": super().forward(x)}


class Tuple(Plain):
    def forward(self, x):
        return super().forward(x), self.features(x)


class Object(Plain):
    def forward(self, x):
        return SimpleNamespace(logits=super().forward(x), loss=None)


Outputs = namedtuple("Outputs", ["logits", "aux"])


class AuxiliaryInTraining(Plain):
    """As torchvision's GoogLeNet: a named tuple in training, a tensor in evaluation."""

    def forward(self, x):
        logits = super().forward(x)
        return Outputs(logits, logits) if self.training else logits


class FunctionalDropout(Plain):
    """Drops in evaluation too, since nobody passes the mode on."""

    def forward(self, x):
        return self.fc(F.dropout(self.features(x).flatten(1), 0.2))


class Dropout(Plain):
    def forward(self, x):
        return self.fc(F.dropout(self.features(x).flatten(1), 0.2, self.training))


class Lazy(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten())
        self.fc = nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.fc(self.layers(x))


class OnePixelMaps(nn.Module):
    """BatchNorm over maps of one pixel, which refuses a batch of one image in training."""

    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, SIZE), nn.BatchNorm2d(4), nn.Flatten())
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.layers(x))


class CastsItself(nn.Module):
    """In bfloat16, and casts its images itself."""

    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3 * SIZE * SIZE, num_classes).bfloat16()

    def forward(self, x):
        return self.fc(x.flatten(1).bfloat16())


class NoConvolution(nn.Module):
    def __init__(self, num_classes, image_shape):
        super().__init__()
        inputs = image_shape[0] * image_shape[1] * image_shape[2]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, num_classes))

    def forward(self, x):
        return self.layers(x)


class Grouped(nn.Module):
    """Depthwise convolutions, twice."""

    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(6 * 16, num_classes)

    def forward(self, x):
        return self.fc(self.drop(F.relu(self.depthwise(F.relu(self.stem(x)))).flatten(1)))


class OwnConvolution(nn.Conv2d):
    """Standardises its weight in its own forward pass."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


class Standardised(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = OwnConvolution(3, 4, 3)
        self.fc = nn.Linear(4 * 36, num_classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).flatten(1))


def scripted(num_classes):
    return torch.jit.script(Plain(num_classes))


def traced(num_classes):
    return torch.jit.trace(Plain(num_classes).eval(), torch.rand(2, 3, SIZE, SIZE))


def in_training_mode(num_classes):
    return Plain(num_classes).train()


def parallel(num_classes):
    return nn.DataParallel(Plain(num_classes))


def double(num_classes):
    return Plain(num_classes).double()


def bfloat16(num_classes):
    return Plain(num_classes).bfloat16()


def half(num_classes):
    return Plain(num_classes).half()


def channels_last(num_classes):
    return Plain(num_classes).to(memory_format=torch.channels_last)


def exported(num_classes):
    """A program of torch.export, which has no modes."""
    batch = torch.export.Dim("n", min=1, max=64)
    x = torch.rand(2, 3, SIZE, SIZE)
    program = torch.export.export(
        NoConvolution(num_classes, (3, SIZE, SIZE)), (x,), dynamic_shapes=({0: batch},)
    )
    return program.module()


def any_keyword(name, **settings):
    """As timm's and torchvision's: a name, and whatever the net takes."""
    return {"plain": Plain}[name](**settings)


def fixed_classes(name, **settings):
    """Takes keywords, but no class count."""
    if "num_classes" in settings:
        raise TypeError("got an unexpected keyword argument 'num_classes'")
    return Plain(10)


instance = Plain(10)


# Nets that are refused.


def elsewhere(num_classes):
    net = Plain(num_classes)
    net.register_buffer("table", torch.zeros(3, device="meta"))
    return net


def no_module(num_classes):
    return 3


def raises(num_classes):
    raise RuntimeError("no\nluck")


def leaves(num_classes):
    raise SystemExit(0)


class Needs(nn.Module):
    def __init__(self, depth):
        super().__init__()


class TwoTensors(Plain):
    def forward(self, x):
        return {"a": super().forward(x), "b": self.features(x)}


class Text(Plain):
    def forward(self, x):
        return "cat"


class Wide(Plain):
    def __init__(self, num_classes):
        super().__init__(num_classes + 1)


class Maps(Plain):
    def forward(self, x):
        return self.features(x)


class Squeezed(Plain):
    def forward(self, x):
        return super().forward(x).squeeze(0)


class Endless(Plain):
    def forward(self, x):
        return super().forward(x) / 0


class OtherSize(Plain):
    def forward(self, x):
        assert x.shape[-1] == 224, "Input height (8) doesn't match model (224)."
        return super().forward(x)


class Detached(Plain):
    def forward(self, x):
        return super().forward(x.detach())


class NoWeights(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x):
        return x.flatten(1)[:, : self.num_classes]
