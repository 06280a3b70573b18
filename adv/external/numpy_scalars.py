"""NumPy's numbers in a file of `torch.save`, read without NumPy's own unpickling.

Training code saves an accuracy as `np.float64` beside the weights. `torch.load` with `weights_only`
refuses it; these stand-ins, which take plain numbers only, are read in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np


class _Type:
    """Stands in for `numpy.dtype`: the code of a number's type, such as "f8"."""

    def __init__(self, code: str, *flags: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]|c(8|16)", code):
            raise ValueError(f"not a number: {code!r}")
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">", "|", "=") else "|"


def _scalar(kind: _Type, content: bytes) -> Any:
    """Stands in for NumPy's constructor of a scalar; return a number of Python."""
    if not isinstance(content, bytes):
        raise TypeError("not the bytes of a number")
    (number,) = np.frombuffer(content, np.dtype(kind.order + kind.code)).tolist()
    return number


NUMPY_SCALARS: tuple[tuple[Callable[..., Any], str], ...] = (
    (_Type, "numpy.dtype"),
    (_scalar, "numpy.core.multiarray.scalar"),  # NumPy 1
    (_scalar, "numpy._core.multiarray.scalar"),  # NumPy 2
)
"""Stand-ins and the names that they stand for, for `torch.serialization.safe_globals`."""
