"""float32, whatever a net runs in; and what a GPU may make of float32.

A black-box attacker sees differences of a few thousandths: in bfloat16 two in five of the pixels
that NES moves by .001 do not move at all, and TF32, which keeps ten bits of a factor, rounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DEVICES = ("cpu", "cuda")
_LOW = (torch.bfloat16, torch.float16)
_CASTS = {Tensor.bfloat16: Tensor.float, Tensor.half: Tensor.float}


@contextmanager
def conv_precision(kind: Literal["tf32", "ieee"]) -> Iterator[None]:
    """What float32 convolutions are on CUDA within it; matrix products are in full float32.

    Said, because torch's own settings differ between the two and are anyone's to change: nets are
    trained and evaluated with TF32 convolutions, queries are answered without. They come out as
    they went in.
    """
    cudnn: Any = torch.backends.cudnn
    where = (cudnn.conv, torch.backends.cuda.matmul)
    before = [place.fp32_precision for place in where]
    try:
        for place, wanted in zip(where, (kind, "ieee"), strict=True):
            place.fp32_precision = wanted
        yield
    finally:
        for place, kept in zip(where, before, strict=True):
            place.fp32_precision = kept


class FullPrecision(TorchFunctionMode):
    """Within it every torch function computes in float32, also inside a net that asks for less.

    No TF32 either. It undoes an autocast around the net or in its `forward`, casts to bfloat16 or
    float16, and weights kept in them (whose values stay as rounded as they are). A net that is
    compiled into a graph of its own is out of its reach.
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
        named = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return _CASTS.get(func, func)(*map(_wide, args), **named)


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in _LOW:
        return value.float()
    if isinstance(value, torch.dtype) and value in _LOW:
        return torch.float32
    return value
