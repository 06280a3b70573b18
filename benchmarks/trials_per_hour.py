"""Measure trials per hour on one GPU: one at a time, and packed in four ways, 1 to 16 at once.

    python benchmarks/trials_per_hour.py --data cifar10 --device cuda
    python benchmarks/trials_per_hour.py --images 64 --batch 32 --steps 2 --at-once 1 2

A trial is one of `rse_sigmas` at full scale: BigNet with RSE, 60 epochs of 45,000 images, PGD with
25 steps on average on half of each batch. Each way trains one epoch of --images to warm up and one
that counts, all trials side by side; trials per hour are extrapolated from that.

processes  each trial in its own process, as `launch.py --gpus-per-trial 0.25` starts them
mps        the same under CUDA MPS, whose kernels run side by side (needs nvidia-cuda-mps-control)
threads    each trial in a thread of one process, on its own CUDA stream
fused      one training with stacked weights and vmapped passes (`stacked_training.py`)

Ways and numbers take turns in each of --rounds; the table shows the median, the minimum and the
maximum. Memory is not checked: a way that runs out of it is left out, with the reason. A run on a
CPU shows that all ways work and says nothing about a GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # a spawned process has no script's folder

import torch
import torch.multiprocessing as mp
from stacked_training import Replica, StackedTraining

from adv import RSE, BigNet, Curriculum, Recipe, Split, load, train
from adv.evaluation.attack_speed import machine

EPOCHS, IMAGES = 60, 45_000
WAYS = ("processes", "mps", "threads", "fused")
PATIENCE = 900.0


def trial(number: int, job: argparse.Namespace, split: Split, barrier: Any) -> None:
    """Train one epoch, wait for the other trials, train another one."""
    own = torch.cuda.Stream() if job.device == "cuda" else None
    with torch.cuda.stream(own) if own else nullcontext():
        recipe = Recipe(
            net=BigNet(),
            defences=(RSE(0.2, 0.1),),
            curriculum=Curriculum(eps=0.055, steps=job.steps),
            epochs=2,
            batch=job.batch,
        )
        epochs = train(recipe, split, classes=10, seed=number, device=job.device)
        for _ in range(2):
            next(epochs)
            if own:
                own.synchronize()
            barrier.wait(PATIENCE)


def in_process(number: int, job: argparse.Namespace, split: Split, barrier: Any) -> None:
    torch.set_num_threads(1)
    try:
        trial(number, job, split, barrier)
    except BaseException:
        barrier.abort()  # or the others wait for it
        raise


def side_by_side(count: int, start: Callable[[int], Any], barrier: Any) -> float:
    """Return the seconds of the second epoch of `count` trials."""
    workers = [start(number) for number in range(count)]
    try:
        barrier.wait(PATIENCE)
        began = time.perf_counter()
        barrier.wait(PATIENCE)
        return time.perf_counter() - began
    except threading.BrokenBarrierError:
        raise RuntimeError("a trial failed; its error stands above") from None
    finally:
        for worker in workers:
            worker.join(30)


def processes(count: int, job: argparse.Namespace, split: Split) -> float:
    context = mp.get_context("spawn")
    barrier = context.Barrier(count + 1)

    def start(number: int) -> Any:
        made = context.Process(target=in_process, args=(number, job, split, barrier), daemon=True)
        made.start()
        return made

    return side_by_side(count, start, barrier)


def threads(count: int, job: argparse.Namespace, split: Split) -> float:
    barrier = threading.Barrier(count + 1)

    def start(number: int) -> threading.Thread:
        made = threading.Thread(target=in_process, args=(number, job, split, barrier), daemon=True)
        made.start()
        return made

    return side_by_side(count, start, barrier)


def mps(count: int, job: argparse.Namespace, split: Split) -> float:
    with mps_server():
        return processes(count, job, split)


@contextmanager
def mps_server() -> Iterator[None]:
    """Run CUDA MPS for the processes started inside; its pipe and log get their own folder."""
    if shutil.which("nvidia-cuda-mps-control") is None:
        raise RuntimeError("nvidia-cuda-mps-control is not installed")
    with tempfile.TemporaryDirectory(prefix="robustune-mps-") as folder:
        ours = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ.update(ours)
        try:
            subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
            try:
                yield
            finally:
                subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)
        finally:
            for name in ours:
                del os.environ[name]


def fused(count: int, job: argparse.Namespace, split: Split) -> float:
    together = StackedTraining([Replica()] * count, job.steps, job.device)
    data = split.to(job.device)
    generator = torch.Generator(job.device).manual_seed(0)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        for ids in torch.randperm(len(data)).to(job.device).split(job.batch):
            x, y = data.images[ids].float() / 255, data.labels[ids]
            shape = (count, round(len(x) / 2), *x.shape[1:])
            starts = 2 * torch.rand(shape, generator=generator, device=job.device) - 1
            together.step(x, y, starts)
        if job.device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return seconds


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, cifar10 or a folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--images", type=int, default=12_800, help="images in a timed epoch")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=25, help="steps of PGD")
    parser.add_argument("--rounds", type=int, default=3)
    job = parser.parse_args(words)
    split = load(job.data).train.head(job.images)
    job.images = len(split)
    at = machine(torch.device(job.device))
    print(
        f"{at['device']}, torch {at['torch']}; {job.images} images, batches of {job.batch}, "
        f"PGD-{job.steps}, {job.rounds} rounds\n"
    )
    cells = measure(job, split)
    print(f"| trials an hour | {' | '.join(f'{n} at once' for n in job.at_once)} |")
    print("|---" * (1 + len(job.at_once)) + "|")
    for way in job.ways:
        print(f"| {way} | {' | '.join(cells[way, n] for n in job.at_once)} |")


def measure(job: argparse.Namespace, split: Split) -> dict[tuple[str, int], str]:
    """Return the cells of the table: trials per hour for each way and number, or why not."""
    run = {"processes": processes, "mps": mps, "threads": threads, "fused": fused}
    rates: dict[tuple[str, int], list[float]] = {}
    cells: dict[tuple[str, int], str] = {}
    for _ in range(job.rounds):
        for cell in [(way, n) for n in job.at_once for way in job.ways]:
            if cell in cells:
                continue
            try:
                seconds = run[cell[0]](cell[1], job, split)
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                cells[cell] = "none"
                print(f"{cell[0]}, {cell[1]} at once: {error}", file=sys.stderr)
            else:
                whole = seconds * EPOCHS * IMAGES / job.images
                rates.setdefault(cell, []).append(cell[1] * 3600 / whole)
    for cell, found in rates.items():
        if cell not in cells:
            low, high = min(found), max(found)
            cells[cell] = f"{statistics.median(found):.3g} ({low:.3g} to {high:.3g})"
    return cells


if __name__ == "__main__":
    main()
