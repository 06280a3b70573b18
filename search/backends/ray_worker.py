"""Run a trial in a Ray worker, and share image tensors with it without a copy.

Reports travel as one line of JSON each, so that Tune neither flattens nor checks them.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search.backends.messages import run_trial
from search.backends.process_tree import adopt_orphans, end_descendants, list_descendants
from search.backends.ray_imports import ray, tune
from search.record.trial import Run

PATIENCE = "600"  # seconds; Tune's own two are too few on a busy machine


def train(config: dict[str, Any], run: Run) -> None:
    """Run one trial in a worker, and send each of its reports to the driver.

    An exception of the run is a message too, so that Tune does not retry it.

    Args:
      config: `task` is a trial, see `messages.encode_trial`.
      run: that trains the trial.
    """
    # How long Tune waits for this function to end before it gives the worker another trial. A trial
    # that is given to a worker that is still busy is lost.
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", PATIENCE)
    try:
        with _contain():
            for message in run_trial(run, config["task"]):
                tune.report({"message": message})
    finally:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()  # the next trial in this worker may be larger


@contextmanager
def _contain() -> Iterator[None]:
    """Undo at the end of a trial what the next one in this worker would notice.

    These are the directory, the environment, and the processes that the trial has started.
    """
    adopt_orphans()
    earlier, folder, environment = list_descendants(), os.getcwd(), dict(os.environ)
    try:
        yield
    finally:
        end_descendants(spare=earlier)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)


@contextmanager
def share_images() -> Iterator[None]:
    """Put byte tensors into Ray's object store as arrays that workers map instead of copying.

    Only byte tensors, which hold images and labels: mapped memory is read-only, and nobody writes
    to those.
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
    return None, tensor.__reduce_ex__(2)  # as without us: a function and its arguments


def _unpack(packed: tuple[Any, Any]) -> Any:
    array, rest = packed
    if array is None:
        return rest[0](*rest[1])
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of read-only memory, which is wanted here
        return torch.from_numpy(array)
