"""The examples of a net as the page shows them: pictures, accuracy by class, confusions."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adv.evaluation.image_table import unpack
from search.record.run_files import LostNetError, file_inside
from search.record.run_folder import EXAMPLES
from search.record.trial import Trial

TIMES = 10  # by which perturbations are enlarged
MAX_BYTES = 8_000_000  # unpacked; ours have 200 KB, and 8 bytes for each image
MAX_SHOWN = 8
MAX_CLASSES = 20  # up to so many the confusions are a table, of more a list
MAX_LISTED = 12
Array = NDArray[Any]


def read_examples(folder: Path, trial: Trial) -> dict[str, Any] | None:
    """Return the examples of a trial or final training as plain data; None if it has none.

    Args:
      folder: of the run.
      trial: whose weights have the examples beside them.

    Returns:
      `split`, `attack` in words, `classes` their names; `shown`, a list of pictures with labels;
      `rows`, a list of class, images, natural and attacked accuracy in percent; `natural` and
      `attacked`, the confusions: a matrix of counts, or pairs of classes with their counts.
    """
    weights = (trial.result.details.weights if trial.result else None) or ""
    name = f"{weights.rpartition('/')[0]}/{EXAMPLES}"
    try:
        path = file_inside(folder, name)
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                return None
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return _describe(arrays, trial)
    except (LostNetError, OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile):
        return None  # of a run from before there were any, or no file of ours


def _describe(arrays: Mapping[str, Array], trial: Trial) -> dict[str, Any]:
    labels, predicted = arrays["labels"], arrays["predicted"]
    attacked = arrays["predicted_attacked"]
    classes = [str(name) for name in arrays["classes"]]
    for answers in (labels, predicted, attacked):
        if answers.ndim != 1 or (answers < 0).any() or (answers >= len(classes)).any():
            raise ValueError("an answer is no class")
    eps, norm = float(arrays["eps"]), str(arrays["norm"])
    radius = f"{255 * eps:.3g}/255" if norm == "Linf" and eps < 0.5 else f"{eps:.3g}"
    return {
        "split": str(arrays["split"]),
        "attack": f"{arrays['attack']}, {norm} {radius}",
        "classes": classes,
        "shown": _shown(arrays, classes),
        "rows": _class_rows(labels, predicted, classes, trial, eps),
        "images": len(labels),
        "natural": _confusions(labels, predicted, classes),
        "attacked": _confusions(labels[: len(attacked)], attacked, classes),
        "attackedImages": len(attacked),
    }


def _shown(arrays: Mapping[str, Array], classes: list[str]) -> list[dict[str, str]]:
    clean, attacked = arrays["images"][:MAX_SHOWN], arrays["attacked"][:MAX_SHOWN]
    if clean.ndim != 4 or clean.shape != attacked.shape or clean.dtype != np.uint8:
        raise ValueError("the images are no images")
    found = []
    for i, (image, other) in enumerate(zip(clean, attacked, strict=True)):
        change = 128 + TIMES * (other.astype(int) - image.astype(int))
        found.append(
            {
                "label": classes[int(arrays["labels"][i])],
                "before": classes[int(arrays["predicted"][i])],
                "after": classes[int(arrays["predicted_attacked"][i])],
                "image": _to_png(image),
                "change": _to_png(change.clip(0, 255).astype(np.uint8)),
                "attacked": _to_png(other),
            }
        )
    return found


def _to_png(image: Array) -> str:
    """Return an image [c, h, w] as a data URI; of other than 3 channels the first one in grey."""
    from PIL import Image

    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _class_rows(
    labels: Array, predicted: Array, classes: list[str], trial: Trial, eps: float
) -> list[list[Any]]:
    """Return for each class its name, images, natural and attacked accuracy in percent.

    The attacked one is that under the battery at the radius nearest to `eps`, of all images.
    """
    ok = _standing(trial, len(labels), eps)
    rows = []
    for k, name in enumerate(classes):
        mine = labels == k
        if n := int(mine.sum()):
            natural = round(100 * float((predicted[mine] == k).mean()), 1)
            rows.append([name, n, natural, None if ok is None else _percent(ok[mine])])
    return rows


def _standing(trial: Trial, images: int, eps: float) -> Array | None:
    """Return which images stand up to the battery at a radius; None if it was not recorded."""
    table = trial.result.details.table if trial.result else None
    if not table or int(table["images"]) != images:
        return None
    near = min(range(len(table["eps"])), key=lambda i: abs(float(table["eps"][i]) - eps))
    return unpack(table)[1 + near]


def _percent(right: Array) -> float:
    return round(100 * float(right.mean()), 1)


def _confusions(labels: Array, predicted: Array, classes: list[str]) -> list[Any]:
    """Return counts [label][answer]; of many classes the most frequent pairs that differ."""
    k = len(classes)
    if k <= MAX_CLASSES:
        matrix = np.zeros((k, k), dtype=int)
        np.add.at(matrix, (labels, predicted), 1)
        rows: list[Any] = matrix.tolist()
        return rows
    wrong = labels != predicted
    pairs, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:MAX_LISTED]
    return [[classes[pairs[i, 0]], classes[pairs[i, 1]], int(counts[i])] for i in order]
