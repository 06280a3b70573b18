"""What an evaluation leaves behind: it must be nothing."""

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

from adv.auditing.finding import Finding, exact


@dataclass(frozen=True, eq=False)
class Traces:
    """A net as it was, and the global generators of random numbers."""

    tensors: dict[str, Tensor]
    flags: dict[str, tuple[Any, ...]]
    generators: dict[str, Any]


def traces(model: nn.Module) -> Traces:
    """A copy of all that an evaluation could change."""
    named = itertools.chain(model.named_parameters(), model.named_buffers())
    flags: dict[str, tuple[Any, ...]] = {k: (m.training,) for k, m in model.named_modules()}
    for name, weight in model.named_parameters():
        slope = None if weight.grad is None else float(weight.grad.double().abs().sum())
        flags[f"{name}, gradients"] = (weight.requires_grad, slope)
    return Traces(
        {name: tensor.detach().clone() for name, tensor in named},
        flags,
        {
            "torch's global generator": torch.get_rng_state(),
            "torch's generators on the GPUs": _gpu_states(),
            "numpy's global generator": _numpy_state(),
            "python's global generator": random.getstate(),
        },
    )


def left(model: nn.Module, before: Traces) -> Finding:
    """Whether the net and the generators are as they were before an evaluation."""
    after = traces(model)
    changed = [k for k, v in before.tensors.items() if not _equal(v, after.tensors.get(k))]
    changed += [k or "the net's mode" for k, v in before.flags.items() if v != after.flags.get(k)]
    changed += [k for k, v in before.generators.items() if not _same(v, after.generators[k])]
    some = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    found = float(len(changed))
    return Finding(
        "the net is left as it was", found, 0.0, exact(found), "",
        "an evaluation only looks",
        f"After an evaluation {'nothing has' if not changed else 'this has'} changed"
        f"{f': {some}' if changed else ''}.",
        "Evaluating the net changes it, or the random numbers of the whole program: the second "
        "evaluation meets another net than the first.",
    )  # fmt: skip


@contextmanager
def untouched(model: nn.Module) -> Iterator[Traces]:
    """Put back, at the end, whatever a net has changed about itself or the global generators."""
    before = traces(model)
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
    if other is None or one.shape != other.shape:
        return False
    return torch.equal(one, other) or bool((one == other).logical_or(one.isnan()).all())


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and one and isinstance(one[0], Tensor):
        return all(map(torch.equal, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _gpu_states() -> tuple[Tensor, ...]:
    """Of all GPUs, if this process uses any."""
    return tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()


def _numpy_state() -> tuple[Any, ...]:
    """Numpy's state in a form that compares."""
    state: Any = np.random.get_state()
    kind, keys, *rest = state
    return (kind, tuple(keys.tolist()), *rest)
