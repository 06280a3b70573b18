"""The weights that a training starts from, or that a net is evaluated with, from a file."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from adv.external.foreign_net import ForeignNet
from adv.external.source import one_line
from adv.external.state_dict import StateDict, compare, read_state_dict
from adv.models.net import FittedModule


@dataclass(frozen=True)
class Weights:
    """A file of weights: a state dict as public code saves it, or a checkpoint of this program.

    It is never unpickled. The weights may be nested under a key such as "state_dict", "model" or
    "ema", have the prefixes of DataParallel and `torch.compile`, and be in half precision.

    Args:
      path: .safetensors, or .pth or .pt from `torch.save`. A relative path starts at the current
        folder, and is made absolute.
      key: the key of the weights in the file, needed if several state dicts in it fit.
      new_head: if the file has the head for another number of classes, or none, start it anew.

    Raises:
      ValueError: the path is empty.
    """

    path: str
    key: str | None = None
    new_head: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("the path of the weights is empty")
        object.__setattr__(self, "path", str(Path(self.path).expanduser().absolute()))

    def load(self, net: nn.Module, classes: int) -> None:
        """Load the weights into a net on the CPU.

        Normalisations and projections that the file has are not fitted to the images any more. A
        warning says if the head starts anew, or if averaged weights beside these were not taken.

        Args:
          net: the net.
          classes: its number of outputs.

        Raises:
          ValueError: in one line: there is no such file, its weights do not fit the net, or are
            not finite. The net is unchanged.
        """
        found, target = self._find(net, classes)
        misfit = compare(found.weights, target, classes)
        if not misfit.only_head:
            raise ValueError(f"{self.path} does not fit the module: {misfit.describe()}")
        head = ", ".join(misfit.head)
        if head and not self.new_head:
            raise ValueError(
                f"{self.path} has the head for another number of classes ({misfit.describe()}): "
                "--new-head starts it anew"
            )
        taken = {name: value for name, value in found.weights.items() if name not in misfit.head}
        for name, value in taken.items():
            if value.is_floating_point() and not value.float().isfinite().all():
                raise ValueError(f"{self.path}: {name} is not finite: the file is damaged")
        try:
            target.load_state_dict(taken, strict=False)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.path} does not fit the module: {one_line(error)}") from error
        for module in target.modules():
            if isinstance(module, FittedModule):
                module.fixed = True
        if head:
            warnings.warn(f"the head ({head}) of {self.path} does not fit: a new one", stacklevel=2)
        if found.ignored:
            others = ", ".join(found.ignored)
            warnings.warn(
                f"weights from {found.key!r} of {self.path}, not from {others}: choose with "
                "--weights-key or --init-key",
                stacklevel=2,
            )

    def _find(self, net: nn.Module, classes: int) -> tuple[StateDict, nn.Module]:
        """Return the state dict, and the part of the net that it belongs to."""
        inner = [net.net] if isinstance(net, ForeignNet) else []
        first: tuple[StateDict, nn.Module] | None = None
        for part in (*inner, net):
            found = read_state_dict(Path(self.path), part, self.key, classes)
            if compare(found.weights, part, classes).only_head:
                return found, part
            first = first or (found, part)
        assert first is not None
        return first

    def sha256(self) -> str:
        """Return the SHA-256 of the file, 64 hex digits.

        Raises:
          ValueError: it cannot be read.
        """
        try:
            with Path(self.path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ValueError(f"no weights at {self.path}: {error.strerror}") from error
