"""float32, whatever a net runs in.

A black-box attacker sees differences of a few thousandths: in bfloat16 two in five of the pixels
that NES moves by .001 do not move at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DEVICES = ("cpu", "cuda")
_LOW = (torch.bfloat16, torch.float16)
_CASTS = {Tensor.bfloat16: Tensor.float, Tensor.half: Tensor.float}


class FullPrecision(TorchFunctionMode):
    """Within it every torch function computes in float32, also inside a net that asks for less.

    It undoes an autocast around the net or in its `forward`, casts to bfloat16 or float16, and
    weights kept in them (whose values stay as rounded as they are). A net that is compiled into a
    graph of its own is out of its reach.
    """

    def __enter__(self) -> FullPrecision:
        self._before = {device: torch.is_autocast_enabled(device) for device in _DEVICES}
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
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
