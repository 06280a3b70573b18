"""The hinge loss of GANs (Lim and Ye 2017; Miyato et al. 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def d_loss(real: Tensor, made: Tensor) -> Tensor:
    """E relu(1 - D(x)) + E relu(1 + D(G(z))): the discriminator's, from its answers [n]."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def g_loss(made: Tensor) -> Tensor:
    """-E D(G(z)): the generator's."""
    return -made.mean()
