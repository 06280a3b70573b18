"""Check that an evaluation has no side effects on the net and on global random generators."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adv.auditing.finding import Finding, exact_interval


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a net and of the global random generators at one moment.

    Args:
      tensors: copies of all parameters and buffers.
      flags: modes of all modules; gradient settings of all parameters.
      generators: states of the global generators.
    """

    tensors: dict[str, Tensor]
    flags: dict[str, tuple[Any, ...]]
    generators: dict[str, Any]


def take_snapshot(model: nn.Module) -> Snapshot:
    """Return a copy of everything that an evaluation could change."""
    named = itertools.chain(model.named_parameters(), model.named_buffers())
    flags: dict[str, tuple[Any, ...]] = {k: (m.training,) for k, m in model.named_modules()}
    for name, weight in model.named_parameters():
        gradient = None if weight.grad is None else float(weight.grad.double().abs().sum())
        flags[f"{name}, gradients"] = (weight.requires_grad, gradient)
    return Snapshot(
        {name: tensor.detach().clone() for name, tensor in named},
        flags,
        {
            "torch's global generator": torch.get_rng_state(),
            "torch's generators on the GPUs": _gpu_states(),
            "numpy's global generator": _numpy_state(),
            "python's global generator": random.getstate(),
        },
    )


def check_side_effects(model: nn.Module, before: Snapshot) -> Finding:
    """Check that the net and the generators are as they were before an evaluation."""
    after = take_snapshot(model)
    changed = [k for k, v in before.tensors.items() if not _equal(v, after.tensors.get(k))]
    changed += [k or "the net's mode" for k, v in before.flags.items() if v != after.flags.get(k)]
    changed += [k for k, v in before.generators.items() if not _same(v, after.generators[k])]
    some = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    found = float(len(changed))
    return Finding(
        "the net is unchanged",
        found,
        0.0,
        exact_interval(found),
        "",
        "an evaluation must not change anything",
        f"An evaluation has changed {some or 'nothing'}.",
        "Evaluating the net changes it, or the random numbers of the whole program: the second "
        "evaluation sees another net than the first.",
    )


@contextmanager
def restore_afterwards(model: nn.Module) -> Iterator[Snapshot]:
    """Restore, at the end, the net and the global generators, whatever the net has changed."""
    before = take_snapshot(model)
    try:
        yield before
    finally:
        named = dict(itertools.chain(model.named_parameters(), model.named_buffers()))
        with torch.no_grad():
            for name, tensor in before.tensors.items():
                if name in named and not _equal(tensor, named[name]):
                    named[name].copy_(tensor)
        for name, module in model.named_modules():
            module.training = before.flags.get(name, (module.training,))[0]
        torch_state, gpu_states, numpy_state, python_state = before.generators.values()
        torch.set_rng_state(torch_state)
        if gpu_states:
            torch.cuda.set_rng_state_all(list(gpu_states))
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _equal(one: Tensor, other: Tensor | None) -> bool:
    """Return whether two tensors are equal, NaN where NaN is."""
    if other is None or one.shape != other.shape:
        return False
    return torch.equal(one, other) or bool((one == other).logical_or(one.isnan()).all())


def _same(one: Any, other: Any) -> bool:
    """Return whether two generator states are equal."""
    if isinstance(one, tuple) and one and isinstance(one[0], Tensor):
        return all(map(torch.equal, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _gpu_states() -> tuple[Tensor, ...]:
    """Return the generator states of all GPUs, if this process uses any."""
    return tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()


def _numpy_state() -> tuple[Any, ...]:
    """Return numpy's generator state in a form that can be compared."""
    state: Any = np.random.get_state()
    kind, keys, *rest = state
    return (kind, tuple(keys.tolist()), *rest)
