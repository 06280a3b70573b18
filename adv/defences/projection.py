"""Projection of the images onto a subspace: the report's "learnable PCA"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adv.data.pca import mean_image, principal_components
from adv.defences.defence import Defence, input_layer_name, insert_before
from adv.models.net import FittedModule
from adv.runtime.image_shape import image_shape
from adv.shape import format_shape


@dataclass(frozen=True)
class Projection(Defence):
    """Map x to mean + P P^T (x - mean) on the pixels, before the normalisation.

    P [pixels, rank] starts as the first principal components of the training images, which training
    computes before its first epoch; until then it is random and orthonormal. An attacker loses the
    directions outside its span and no others: a white-box gradient passes through it. With fewer
    than `rank` + 1 images, the directions that they do not span stay random.

    Args:
      rank: from 1 to the number of pixels in all channels, 3072 for 3x32x32.
      learnable: train P with the net, without weight decay (it need not stay orthonormal); the mean
        stays as fitted.
      init: "pca", or "random" to keep the random P; the mean is fitted in either case.

    Raises:
      ValueError: a setting is unknown or out of its range; on a call: the net has no convolution,
        or its images have fewer pixels than `rank`.
    """

    rank: int
    learnable: bool = False
    init: Literal["pca", "random"] = "pca"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"the rank of a projection is 1 or more, got {self.rank}")
        if self.init not in ("pca", "random"):
            raise ValueError(f"a projection starts from pca or random, got {self.init!r}")

    def __call__(self, net: nn.Module) -> nn.Module:
        pixels = math.prod(image_shape(net))
        if self.rank > pixels:
            raise ValueError(
                f"the rank of a projection lies in [1, {pixels}] for images of "
                f"{format_shape(image_shape(net))}, got {self.rank}"
            )
        layer = LowRank(pixels, self.rank, self.learnable, fitted=self.init == "pca")
        insert_before(net, input_layer_name(net, "Projection"), layer)
        return net


class LowRank(FittedModule):
    """The projection layer: a mean [pixels] and a basis [pixels, rank], both in the state dict."""

    mean: Tensor
    basis: Tensor

    def __init__(self, pixels: int, rank: int, learnable: bool, fitted: bool) -> None:
        super().__init__()
        self.fitted = fitted
        self.register_buffer("mean", torch.full((pixels,), 0.5))
        basis = torch.linalg.qr(torch.randn(pixels, rank))[0]
        if learnable:
            self.basis = nn.Parameter(basis)
            self.undecayed = ("basis",)
        else:
            self.register_buffer("basis", basis)

    def forward(self, x: Tensor) -> Tensor:
        # In float32 whatever the net runs in: a pixel's 256 levels need all 8 bits of bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            centred = x.float().flatten(1) - self.mean
            return (self.mean + centred @ self.basis @ self.basis.T).reshape(x.shape)

    def fit(self, images: Tensor) -> None:
        """Take the mean and the principal components of images [n, c, h, w], bytes."""
        if not self.fitted:
            self.mean.copy_(mean_image(images))
            return
        rank = self.basis.shape[1]
        mean, basis = principal_components(images, min(rank, len(images) - 1))
        with torch.no_grad():
            self.mean.copy_(mean)
            if basis.shape[1] < rank:  # so few images span less: the rest stays random
                completed = torch.cat([basis, self.basis.to(basis)], 1)
                basis = torch.linalg.qr(completed)[0][:, :rank]
            self.basis.copy_(basis)

    def extra_repr(self) -> str:
        return f"rank={self.basis.shape[1]}"
