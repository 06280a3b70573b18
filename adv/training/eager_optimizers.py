"""PyTorch's optimizers without its compiler, which they would import when they are first used.

`torch.optim` hides its methods from `torch.compile`, and to do so each imports all of the compiler:
2 to 4 seconds of processor time and 150 MiB in every process that trains. Nothing here is compiled,
so these classes have the methods as they are beneath that wrapping. The arithmetic, the states and
their names are those of the class of the same name in `torch.optim`.
"""

from __future__ import annotations

import inspect

import torch
from torch.optim import Optimizer


class _Eager(Optimizer):
    """The methods that all optimizers share, as torch has them before it wraps them."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class Adam(_Eager, torch.optim.Adam):
    """Adam (Kingma and Ba 2015); arguments as `torch.optim.Adam`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(_Eager, torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019); arguments as `torch.optim.AdamW`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class SGD(_Eager, torch.optim.SGD):
    """Stochastic gradient descent with momentum; arguments as `torch.optim.SGD`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))
