"""A simulated device, whose tensors refuse operations with tensors of the CPU.

What a GPU would refuse is refused here too: an operation between a tensor of the device and one of
the CPU (but for single numbers, copies, and indices that come from the CPU). Values are
computed by the CPU. The device goes by the name "meta", which autograd takes anywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
MOVES = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)


_REAL_GENERATOR, _REAL_AUTOCAST = torch.Generator, torch.autocast
_device_generators: list[torch.Generator] = []


class _Generator:
    """Make generators, and remember those of the device."""

    def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:  # type: ignore[misc]
        made = _REAL_GENERATOR("cpu")
        if torch.device(device) == DEVICE:
            _device_generators.append(made)
        return made


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
    return _REAL_AUTOCAST("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


class DeviceTensor(torch.Tensor):
    """A tensor of the device; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> DeviceTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own is no classmethod
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return compute(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]  # torch's has no types
        return f"DeviceTensor({self.held!r})"


class _GlobalFunctions(TorchFunctionMode):
    """Handle the functions for which torch does not ask a tensor's class."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == DEVICE:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        drawn = kwargs.get("generator")
        if drawn is not None:
            here = kwargs.get("device") == DEVICE or any(
                isinstance(arg, DeviceTensor) for arg in args
            )
            if here != any(drawn is one for one in _device_generators):
                raise RuntimeError(f"{func} draws from the generator of another device")
        if func is torch.Tensor.tolist and isinstance(args[0], DeviceTensor):
            return args[0].held.tolist()
        return func(*args, **kwargs)


class SimulatedDevice(TorchDispatchMode):
    """Within it, `device="meta"` is the simulated device, and has generators."""

    def __enter__(self) -> SimulatedDevice:
        self._constants = _GlobalFunctions()
        self._constants.__enter__()
        torch.Generator, torch.autocast = _Generator, _autocast  # type: ignore[misc,assignment]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.Generator, torch.autocast = _REAL_GENERATOR, _REAL_AUTOCAST  # type: ignore[misc]
        self._constants.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU what the device would accept; raise RuntimeError for the rest."""
    leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(leaf, DeviceTensor) for leaf in leaves)
    to = kwargs.get("device")
    if there and func not in MOVES:
        strangers = [x for x in leaves if not isinstance(x, DeviceTensor) and x.dim() > 0]
        if func in INDEXED and isinstance(args[0], DeviceTensor):
            strangers = [x for x in strangers if all(x is not i for i in args[1])]
        if strangers:
            raise RuntimeError(f"{func} of tensors on two devices")
    if to is not None:
        there = torch.device(to) == DEVICE
        kwargs = {**kwargs, "device": "cpu"}
    elif func is aten.copy_.default:
        there = isinstance(args[0], DeviceTensor)
    inner = tree_map(lambda x: x.held if isinstance(x, DeviceTensor) else x, (args, kwargs))
    out = func(*inner[0], **inner[1])
    if there:
        out = tree_map(lambda x: DeviceTensor(x) if isinstance(x, torch.Tensor) else x, out)
        return return_and_correct_aliasing(func, args, kwargs, out)
    return out
