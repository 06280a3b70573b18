"""What `python -m adv synthesize` does once it knows what is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
import torch
from torch import nn

from adv.cli.synthesis.display import bar, print_scores, print_trace
from adv.cli.synthesis.labeller import Judge, own_judge
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

_BATCH = 100


def train_one(gan: GAN, data: Data, images: int | None, seed: int, out: Path, every: int) -> None:
    """Train a GAN on the training images of a data set, or go on with one that was killed."""
    real = data.train.head(images or len(data.train))
    if (kept := state_path(out)).exists():
        click.echo(f"going on from {kept}")
    work = GANData(real, data.classes, data.name, seed)
    with bar("training", gan.steps) as tell:

        def told(segment: TrainingSegment) -> None:
            figures = "  ".join(f"{k} {v:.3f}" for k, v in segment.metrics.items())
            line = f"step {segment.number}/{segment.total}  {figures}  {segment.seconds:.1f} s"
            tell(segment.number, line)

        trained = make_gan(gan, work, out, told, every=every)
    for name, odds in trained.odds.items():
        surprise = trained.metadata["surprise"][name]
        click.echo(
            f"{name}: log-odds = {odds.slope:.3g} D {odds.shift:+.3g}; real or made? "
            f"{surprise['calibrated']:.3f} nats, uncalibrated {surprise['as it is']:.3f}"
        )
    click.echo(f"{out}\nsample it: python -m adv synthesize sample {out} --count 5000 --out X.npz")


@dataclass(frozen=True)
class Wish:
    """A set of images that is wanted: how many, of which seed, where, named by which net."""

    count: int
    seed: int
    out: Path
    relabel: Judge | None = None


def sample_gan(path: Path, ema: bool, ddls: DDLS | None, wish: Wish) -> None:
    """Draw a set from a GAN."""
    check_new_set(wish.out, wish.count)
    trained = restore_gan(path, default_device())
    if wish.relabel is not None:
        wish.relabel.check(trained.metadata["classes"], str(path))
    chains = GANSampler(trained, ema, ddls)
    recipe = {
        "source": "gan",
        "gan": trained.metadata["gan"],
        "weights": cache_key(path.read_bytes()),
        "real": trained.metadata.get("real"),
        "data": trained.metadata.get("data"),
        "ema": ema,
        "ddls": None if ddls is None else repr(ddls),
    }
    before = _write(chains.draw, trained.class_counts, recipe, wish)
    if chains.trace is not None:
        print_trace(chains.trace, before)


def sample_baseline(source: Gaussian | Mixup, data: Data, images: int | None, wish: Wish) -> None:
    """Draw a set from what a generator has to beat."""
    check_new_set(wish.out, wish.count)
    if wish.relabel is not None:
        wish.relabel.check(data.classes, data.name)
    real = data.train.head(images or len(data.train))
    class_counts = tuple(real.labels.bincount(minlength=len(data.classes)).tolist())
    recipe = {"source": repr(source), "data": data.name, "real": fingerprint(real)}
    _write(source.fit(real), class_counts, recipe, wish)


def _write(draw: Draw, class_counts: tuple[int, ...], recipe: Mapping[str, Any], wish: Wish) -> int:
    """Draw what is not drawn yet, and write the set; says how many images were drawn before."""
    labels = stratified_labels(class_counts, wish.count, torch.Generator().manual_seed(wish.seed))
    notes = {**recipe, "count": wish.count, "seed": wish.seed, "batch": _BATCH}
    judge, state = wish.relabel, state_path(wish.out)
    if judge is not None:
        notes |= {"relabel": judge.title, "relabel_weights": judge.mark}
    remove_partials(wish.out)
    first = open_journal(state, cache_key(notes))
    if before := min(first * _BATCH, wish.count):
        click.echo(f"going on from {state}: {before} images")
    try:
        with bar("sampling", wish.count) as tell:
            todo = sample_batches(draw, labels, wish.seed, _BATCH, first)
            for number, (images, y) in enumerate(todo, first):
                given = y if judge is None else predict(judge.net, images)
                append_batch(state, number, (images, given))
                done = number * _BATCH + len(y)
                tell(done, f"image {done}/{wish.count}")
        digest = write_samples(wish.out, read_batches(state), wish.count, notes)
        given = torch.cat([y for _, y in read_batches(state)])
    except ValueError:  # a full disk, which gets all back; a walk that would run away again
        state.unlink(missing_ok=True)
        raise
    state.unlink()
    click.echo(f"{wish.out}  {wish.count} images, hash {digest[:16]}")
    if judge is not None:
        agreed = float((given == labels).double().mean())
        click.echo(f"the net names {100 * agreed:.1f} % as they were drawn for")
    return before


def score_one(
    path: Path, data: Data, net: Judge | None, *, images: int, fid: bool, grid: Path | None
) -> None:
    """Print how good a set is, beside real images that no generator has seen."""
    if grid is not None:
        check_grid(grid)
    if net is not None:
        net.check(data.classes, data.name)
    held = read_samples(path, data.train, len(data.classes))
    if held.recipe:
        click.echo(f"recipe   {json.dumps(dict(held.recipe))}")
    click.echo(f"hash     {held.digest or 'none: written elsewhere'}")
    judge = net or own_judge(data)
    n = min(images, len(held.split), len(data.train), len(data.validation))
    with bar("scoring", 2) as tell:
        rows = []
        pairs = [("real, held out", data.validation), (path.name, held.split)]
        for number, (title, split) in enumerate(pairs):
            rows.append(_row(title, judge.net, data, split.head(n)))
            tell(number + 1, f"{title}: {n} images")
    print_scores(rows, judge.title, n)
    if fid:
        click.echo(standard_fid(data.train, held.split))
    if grid is not None:
        save_grid(grid, held.split, len(data.classes))
        click.echo(f"grid     {grid}")


def _row(title: str, judge: nn.Module, data: Data, made: Split) -> SetScores:
    real = data.train.head(len(made))
    told = features(judge, real.images), features(judge, made.images)
    right = float((predict(judge, made.images) == made.labels).double().mean())
    return score_set(title, told, right, (data.train, data.validation, made))
