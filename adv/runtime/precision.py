"""Full float32 for any net, and the precision in which a GPU computes float32.

A black-box attacker relies on differences of a few thousandths: in bfloat16 two in five of the
pixels that NES moves by .001 do not move at all, and TF32, which keeps ten bits, rounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DEVICES = ("cpu", "cuda")
_SETTLED: set[int] = set()  # ids of models that are known to compute in float32
_LOW = (torch.bfloat16, torch.float16)
_CASTS = {Tensor.bfloat16: Tensor.float, Tensor.half: Tensor.float}
_DOUBLE_CASTS = dict.fromkeys((Tensor.bfloat16, Tensor.half, Tensor.float), Tensor.double)


@contextmanager
def conv_precision(kind: Literal["tf32", "ieee"]) -> Iterator[None]:
    """Compute float32 convolutions on CUDA in this precision, and matrix products in full float32.

    Torch's defaults differ between the two, and anyone may change them. Nets are trained and
    evaluated with TF32 convolutions; queries of black-box attacks are answered without. The
    settings are restored on exit.
    """
    cudnn: Any = torch.backends.cudnn
    backends = (cudnn.conv, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend, precision in zip(backends, (kind, "ieee"), strict=True):
            backend.fp32_precision = precision
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def full_precision(model: nn.Module) -> AbstractContextManager[Any]:
    """Return a context in which a model computes in float32: `FullPrecision`, if it needs that.

    The mode costs 20 microseconds at each torch function, as much as a small net itself. A net of
    layers of torch and of this package alone, with float32 weights and neither hooks nor an
    autocast around it, computes in float32 anyhow.
    """
    exact = id(model) in _SETTLED or _is_all_float32(model)
    return conv_precision("ieee") if exact else FullPrecision()


@contextmanager
def settle_precision(model: nn.Module) -> Iterator[None]:
    """Look at a model once for all calls of `full_precision` in this context, not at each query.

    Its layers must not change meanwhile.
    """
    settled = id(model) not in _SETTLED and _is_all_float32(model)
    if settled:
        _SETTLED.add(id(model))
    try:
        yield
    finally:
        if settled:
            _SETTLED.discard(id(model))


def _is_all_float32(model: nn.Module) -> bool:
    """Return whether nothing in a model can compute with less than float32, but for TF32."""
    if any(torch.is_autocast_enabled(device) for device in _DEVICES):
        return False
    for module in model.modules():
        own = vars(module).get("forward", module)  # a `forward` that somebody has put in its place
        known = all(
            type(part).__module__.startswith(("torch.nn.", "adv.")) for part in (module, own)
        )
        if not known or module._forward_hooks or module._forward_pre_hooks:
            return False
    stored = (*model.parameters(), *model.buffers())
    return not any(values.dtype in _LOW for values in stored)


class FullPrecision(TorchFunctionMode):
    """A context in which every torch function computes in float32, even if a net asks for less.

    TF32 is off, too. It overrides an autocast around the net or in its `forward`, casts to bfloat16
    or float16, and weights stored in them (whose values remain rounded). It cannot reach into a net
    that is compiled to a graph of its own.
    """

    def __enter__(self) -> FullPrecision:
        self._before = {device: torch.is_autocast_enabled(device) for device in _DEVICES}
        self._full = ExitStack()
        self._full.enter_context(conv_precision("ieee"))
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._full.close()
        for device, enabled in self._before.items():
            torch.set_autocast_enabled(device, enabled)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                torch.set_autocast_enabled(device, False)
        named = {name: _to_float32(value) for name, value in (kwargs or {}).items()}
        return _CASTS.get(func, func)(*map(_to_float32, args), **named)


def _to_float32(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in _LOW:
        return value.float()
    if isinstance(value, torch.dtype) and value in _LOW:
        return torch.float32
    return value


class DoublePrecision(TorchFunctionMode):
    """A context in which every torch function computes in float64, for a net that is `double()`.

    Casts to a lower precision and constants in one, which a net may hold outside its state, become
    float64. A function that changes its argument in place keeps that argument's type.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("__"):
            return func(*args, **(kwargs or {}))
        named = {key: _to_float64(value) for key, value in (kwargs or {}).items()}
        return _DOUBLE_CASTS.get(func, func)(*map(_to_float64, args), **named)


def _to_float64(value: Any) -> Any:
    lower = (*_LOW, torch.float32)
    if isinstance(value, Tensor) and value.dtype in lower:
        return value.double()
    if isinstance(value, torch.dtype) and value in lower:
        return torch.float64
    return value
