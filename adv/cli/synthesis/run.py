"""The three jobs of `python -m adv synthesize`: train a generator, sample a set, score a set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adv.cli.synthesis.display import print_scores, print_trace, progress_bar
from adv.cli.synthesis.labeller import Labeller, default_labeller
from adv.data.datasets import Data, Split, fingerprint
from adv.files import remove_partials
from adv.generative.baselines import Draw, Gaussian, Mixup
from adv.generative.cache import cache_key
from adv.generative.classifier import features, predict
from adv.generative.ddls import DDLS
from adv.generative.fid import standard_fid
from adv.generative.gan import GAN
from adv.generative.gan_checkpoint import restore_gan
from adv.generative.gan_file import GANData, make_gan, state_path
from adv.generative.metrics import SetScores, score_set
from adv.generative.npz_files import check_new_set, read_samples, write_samples
from adv.generative.sample_grid import check_grid, save_grid
from adv.generative.sample_journal import append_batch, open_journal, read_batches
from adv.generative.sampler import GANSampler, sample_batches, stratified_labels
from adv.generative.training import TrainingSegment
from adv.runtime.devices import default_device
from adv.shape import Shape
from adv.shell import join_command
from adv.terminal.console import print_line

_BATCH = 100


def train_generator(
    gan: GAN, data: Data, images: int | None, seed: int, out: Path, every: int
) -> None:
    """Train a GAN on the training images of a data set, or resume a training that was killed."""
    real = data.train.head(images or len(data.train))
    if (state := state_path(out)).exists():
        print_line(f"resuming from {state}")
    gan_data = GANData(real, data.classes, data.name, seed)
    with progress_bar("training", gan.steps) as advance:

        def show(segment: TrainingSegment) -> None:
            figures = "  ".join(f"{k} {v:.3f}" for k, v in segment.metrics.items())
            line = f"step {segment.number}/{segment.total}  {figures}  {segment.seconds:.1f} s"
            advance(segment.number, line)

        trained = make_gan(gan, gan_data, out, show, every=every)
    for name, odds in trained.odds.items():
        entropy = trained.metadata["surprise"][name]
        print_line(
            f"{name}: log-odds = {odds.slope:.3g} D {odds.shift:+.3g}; cross-entropy of telling "
            f"real from generated: {entropy['calibrated']:.3f} nats, uncalibrated "
            f"{entropy['as it is']:.3f}"
        )
    command = join_command("python", "-m", "adv", "synthesize", "sample", out)
    print_line(f"{out}\nsample it: {command} --count 5000 --out X.npz")


@dataclass(frozen=True)
class SetRequest:
    """The set of images to write: its size, seed and file, and who labels it, if anyone."""

    count: int
    seed: int
    out: Path
    relabel: Labeller | None = None


def sample_gan(path: Path, ema: bool, ddls: DDLS | None, request: SetRequest) -> None:
    """Write a set sampled from a GAN."""
    check_new_set(request.out, request.count)
    trained = restore_gan(path, default_device())
    if request.relabel is not None:
        request.relabel.check(trained.metadata["classes"], str(path))
    sampler = GANSampler(trained, ema, ddls)
    recipe = {
        "source": "gan",
        "gan": trained.metadata["gan"],
        "weights": cache_key(path.read_bytes()),
        "real": trained.metadata.get("real"),
        "data": trained.metadata.get("data"),
        "ema": ema,
        "ddls": None if ddls is None else repr(ddls),
    }
    before = _write(sampler.draw, trained.pixel_format.shape, trained.class_counts, recipe, request)
    if sampler.trace is not None:
        print_trace(sampler.trace, before)


def sample_baseline(
    source: Gaussian | Mixup, data: Data, images: int | None, request: SetRequest
) -> None:
    """Write a set sampled from a baseline that is fitted to real images."""
    check_new_set(request.out, request.count)
    if request.relabel is not None:
        request.relabel.check(data.classes, data.name)
    real = data.train.head(images or len(data.train))
    class_counts = real.class_counts(len(data.classes))
    recipe = {"source": repr(source), "data": data.name, "real": fingerprint(real)}
    _write(source.fit(real), data.shape, class_counts, recipe, request)


def _write(
    draw: Draw,
    shape: Shape,
    class_counts: tuple[int, ...],
    recipe: Mapping[str, Any],
    request: SetRequest,
) -> int:
    """Sample the images that are still missing, and write the set; return how many were there."""
    labels = stratified_labels(
        class_counts, request.count, torch.Generator().manual_seed(request.seed)
    )
    description = {**recipe, "count": request.count, "seed": request.seed, "batch": _BATCH}
    labeller, state = request.relabel, state_path(request.out)
    if labeller is not None:
        description |= {"relabel": labeller.title, "relabel_weights": labeller.digest}
    remove_partials(request.out)
    first = open_journal(state, cache_key(description), shape)
    if before := min(first * _BATCH, request.count):
        print_line(f"resuming from {state}: {before} images")
    try:
        with progress_bar("sampling", request.count) as advance:
            missing = sample_batches(draw, labels, request.seed, _BATCH, first)
            for number, (images, y) in enumerate(missing, first):
                given = y if labeller is None else predict(labeller.net, images)
                append_batch(state, number, (images, given))
                done = number * _BATCH + len(y)
                advance(done, f"image {done}/{request.count}")
        digest = write_samples(request.out, read_batches(state, shape), request.count, description)
        given = torch.cat([y for _, y in read_batches(state, shape)])
    except ValueError:  # a full disk; a chain that would diverge again
        state.unlink(missing_ok=True)
        raise
    state.unlink()
    print_line(f"{request.out}  {request.count} images, hash {digest[:16]}")
    if labeller is not None:
        agreed = float((given == labels).double().mean())
        print_line(
            f"the net agrees with {100 * agreed:.1f} % of the labels that images were sampled for"
        )
    return before


def score_images(
    path: Path, data: Data, net: Labeller | None, *, images: int, fid: bool, grid: Path | None
) -> None:
    """Print the scores of a set beside those of real images that no generator has seen."""
    if grid is not None:
        check_grid(grid)
    if net is not None:
        net.check(data.classes, data.name)
    sample_set = read_samples(path, data.train, len(data.classes))
    if sample_set.recipe:
        print_line(f"recipe   {json.dumps(dict(sample_set.recipe))}")
    print_line(f"hash     {sample_set.digest or 'none: written by another program'}")
    labeller = net or default_labeller(data)
    n = min(images, len(sample_set.split), len(data.train), len(data.validation))
    with progress_bar("scoring", 2) as advance:
        rows = []
        pairs = [("real, held out", data.validation), (path.name, sample_set.split)]
        for number, (title, split) in enumerate(pairs):
            rows.append(_score(title, labeller.net, data, split.head(n)))
            advance(number + 1, f"{title}: {n} images")
    print_scores(rows, labeller.title, n)
    if fid:
        print_line(standard_fid(data.train, sample_set.split))
    if grid is not None:
        save_grid(grid, sample_set.split, len(data.classes))
        print_line(f"grid     {grid}")


def _score(title: str, net: nn.Module, data: Data, generated: Split) -> SetScores:
    real = data.train.head(len(generated))
    both = features(net, real.images), features(net, generated.images)
    agreement = float((predict(net, generated.images) == generated.labels).double().mean())
    return score_set(title, both, agreement, (data.train, data.validation, generated))
