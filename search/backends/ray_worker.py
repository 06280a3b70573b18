"""What a worker does with a trial, and how the run gets there without a copy of the images.

What the run says travels as one line of JSON, so that Tune neither flattens nor checks it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.backends.ray_imports import ray, tune
from search.record.trial import EpochReport, Run, Trial
from search.study import why

PATIENCE = "600"  # seconds; Tune's own two are too few on a machine that is busy


def task(trial: Trial, folder: Path) -> dict[str, Any]:
    """A trial as Tune's configuration."""
    content = {"params": dict(trial.params), "seed": trial.seed, "folder": str(folder)}
    return {"task": json.dumps(content)}


def train(config: dict[str, Any], run: Run) -> None:
    """One trial, in a worker: each thing that the run says goes to the driver as a line of JSON.

    What the run raises is said too, so that Tune never sees a failure which a retry cannot mend.
    """
    content = json.loads(config["task"])
    # Tune waits so long for this to end before it gives the worker another trial: else it is lost.
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", PATIENCE)
    try:
        for message in _messages(run, content):
            tune.report({"message": json.dumps(message, default=str)})
    finally:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()  # the next trial in this worker may be larger


def _messages(run: Run, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        for values in run(task["params"], task["seed"], Path(task["folder"])):
            yield {"values": values.to_json()}
            if values.nonfinite:
                return
    except Exception as error:  # a trial may raise anything
        yield {"failed": why(error)}


def heard(result: dict[str, Any]) -> EpochReport | str:
    """What a trial has said: its values, or why it failed."""
    message = json.loads(result["message"])
    if "failed" in message:
        return str(message["failed"])
    return EpochReport.from_json(message["values"])


@contextmanager
def shared_images() -> Iterator[None]:
    """Put byte tensors into the object store as what workers can map, not copy.

    Only those: they are images and labels, which nobody writes to; mapped memory is read-only.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    ray.util.register_serializer(torch.Tensor, serializer=_pack, deserializer=_unpack)
    try:
        yield
    finally:
        ray.util.deregister_serializer(torch.Tensor)


def _pack(tensor: Any) -> tuple[Any, Any]:
    plain = tensor.is_contiguous() and tensor.device.type == "cpu" and not tensor.requires_grad
    if plain and str(tensor.dtype) == "torch.uint8":
        return tensor.numpy(), None
    return None, tensor.__reduce_ex__(2)  # as ever: a function and its arguments


def _unpack(packed: tuple[Any, Any]) -> Any:
    array, rest = packed
    if array is None:
        return rest[0](*rest[1])
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is read-only is the point
        return torch.from_numpy(array)
