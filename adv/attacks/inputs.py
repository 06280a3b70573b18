"""The images and labels that an attack is called with: checked, and brought to one type."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROUNDING = 1e-6  # how far rounding may carry images out of [0, 1], as undoing a normalisation does
_WHOLE = {torch.int64, torch.int32, torch.int16, torch.int8}
_WHOLE |= {torch.uint8, torch.uint16, torch.uint32, torch.uint64}
_IGNORED = -100  # the label that torch's losses leave out


def check_inputs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return images as detached float32 in [0, 1], and labels as int64 or probabilities.

    Args:
      x: n images, floats in [0, 1]; values outside by at most `ROUNDING` are clamped.
      y: [n] labels of any whole-number type, or [n, k] probabilities.

    Raises:
      ValueError: images outside [0, 1] or not finite, labels that are no classes, or shapes that do
        not match. Whether labels are too large shows when the net answers, see `LabelCheck`.
    """
    for name, given in (("images", x), ("labels", y)):
        if not isinstance(given, Tensor):
            raise ValueError(f"{name} are a tensor, got a {type(given).__name__}: torch.as_tensor")
    if not x.is_floating_point():
        raise ValueError(f"images are floats in [0, 1], got {x.dtype}: divide bytes by 255")
    return _check_range(x.detach().float()), check_labels(y, len(x))


def _check_range(x: Tensor) -> Tensor:
    if not x.numel():
        return x
    low, high = (float(v) for v in torch.aminmax(x))
    if low >= 0 and high <= 1:
        return x
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return x.clamp(0, 1)
    raise ValueError(
        f"images must lie in [0, 1], got {low:.7g} to {high:.7g}: "
        "put the normalisation into the model"
    )


def check_labels(y: Tensor, n: int) -> Tensor:
    """Return labels [n] as int64, or their probabilities [n, k] as they are.

    Raises:
      ValueError: another shape or type, or a label below 0.
    """
    if y.dim() not in (1, 2) or len(y) != n or (y.dim() == 2 and not y.is_floating_point()):
        raise ValueError(f"{n} images need as many labels, got shape {tuple(y.shape)}")
    if y.dim() == 2:
        return y
    if y.dtype not in _WHOLE:
        raise ValueError(f"labels are whole numbers, got {y.dtype}: cast them with y.long()")
    y = y.long()
    least = int(y.min()) if n else 0
    if least < 0:
        ignored = " (torch's ignore_index): leave these images out" if least == _IGNORED else ""
        raise ValueError(f"labels are 0 or more, got {least}{ignored}")
    return y


class LabelCheck(nn.Module):
    """A model that raises ValueError if its logits have too few classes for the labels.

    The largest label is looked at once, since a GPU has to wait for it. A label that is too large
    would make a GPU fail for the rest of the process, or count as fooled.
    """

    def __init__(self, model: nn.Module, y: Tensor) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._columns = y.shape[1] if y.dim() == 2 else None
        self._largest = int(y.max()) if y.dim() == 1 and len(y) else -1

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        check_classes(logits, self._largest, self._columns)
        return logits


def check_classes(logits: Tensor, largest: int, columns: int | None = None) -> None:
    """Raise ValueError unless logits [n, k] have the classes of the labels.

    Args:
      logits: the outputs of a model.
      largest: the largest label.
      columns: the classes of labels that are probabilities; None if they are not.
    """
    if logits.dim() != 2:
        raise ValueError(f"a model returns logits [n, classes], got {tuple(logits.shape)}")
    classes = logits.shape[1]
    if largest >= classes:
        raise ValueError(f"labels lie in 0 to {classes - 1}, got {largest}")
    if columns is not None and columns != classes:
        raise ValueError(f"the model has {classes} classes, the labels have {columns}")
