"""What `python -m adv synthesize` does once it knows what is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
import torch
from torch import nn

from adv.checkpoint import default_device
from adv.data import Data, Split
from adv.generative.baselines import Gaussian, Mixup
from adv.generative.cache import fingerprint, key, once
from adv.generative.chains import Chains, batches, dealt
from adv.generative.classifier import classifier, features, named, natural, small
from adv.generative.ddls import DDLS
from adv.generative.display import bar, print_scores, print_trace
from adv.generative.gan import GAN
from adv.generative.grid import save_grid
from adv.generative.inception import standard_fid
from adv.generative.kept import restore_gan
from adv.generative.making import Work, make_gan, state_of
from adv.generative.samples import fresh, read_samples, write_samples
from adv.generative.scores import Row, scored
from adv.generative.training import Stretch
from adv.places import generated_folder
from adv.subject import on_device

_BATCH = 100


def train_one(gan: GAN, data: Data, images: int | None, seed: int, out: Path, every: int) -> None:
    """Train a GAN on the training images of a data set, or go on with one that was killed."""
    real = data.train.head(images or len(data.train))
    if (kept := state_of(out)).exists():
        click.echo(f"going on from {kept}")
    work = Work(real, data.classes, data.name, seed)
    with bar("training", gan.steps) as tell:

        def told(stretch: Stretch) -> None:
            figures = "  ".join(f"{k} {v:.3f}" for k, v in stretch.metrics.items())
            line = f"step {stretch.number}/{stretch.total}  {figures}  {stretch.seconds:.1f} s"
            tell(stretch.number, line)

        trained = make_gan(gan, work, out, told, every=every)
    for name, odds in trained.odds.items():
        surprise = trained.card["surprise"][name]
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
    relabel: tuple[str, nn.Module] | None = None


def sample_gan(path: Path, ema: bool, ddls: DDLS | None, wish: Wish) -> None:
    """Draw a set from a GAN."""
    fresh(wish.out, wish.count)
    trained = restore_gan(path, default_device())
    chains = Chains(trained, ema, ddls)
    recipe = {
        "source": "gan",
        "gan": trained.card["gan"],
        "weights": key(path.read_bytes()),
        "real": trained.card.get("real"),
        "data": trained.card.get("data"),
        "ema": ema,
        "ddls": None if ddls is None else repr(ddls),
    }
    _write(chains.draw, trained.shares, recipe, wish)
    if chains.trace is not None:
        print_trace(chains.trace)


def sample_baseline(source: Gaussian | Mixup, data: Data, images: int | None, wish: Wish) -> None:
    """Draw a set from what a generator has to beat."""
    fresh(wish.out, wish.count)
    real = data.train.head(images or len(data.train))
    shares = tuple(real.labels.bincount(minlength=len(data.classes)).tolist())
    recipe = {"source": repr(source), "data": data.name, "real": fingerprint(real)}
    _write(source.fitted(real), shares, recipe, wish)


def _write(
    draw: Callable[..., torch.Tensor],
    shares: tuple[int, ...],
    recipe: Mapping[str, Any],
    wish: Wish,
) -> None:
    labels = dealt(shares, wish.count, torch.Generator().manual_seed(wish.seed))
    notes = {**recipe, "count": wish.count, "seed": wish.seed, "batch": _BATCH}
    if wish.relabel is not None:
        notes["relabel"] = wish.relabel[0]
    agreed = done = 0
    with bar("sampling", wish.count) as tell:

        def chunks() -> Any:
            nonlocal agreed, done
            for images, y in batches(draw, labels, wish.seed, _BATCH):
                given = y if wish.relabel is None else named(wish.relabel[1], images)
                agreed += int((given == y).sum())
                done += len(y)
                tell(done, f"image {done}/{wish.count}")
                yield images, given

        digest = write_samples(wish.out, chunks(), wish.count, notes)
    click.echo(f"{wish.out}  {wish.count} images, hash {digest[:16]}")
    if wish.relabel is not None:
        click.echo(f"the net names {100 * agreed / wish.count:.1f} % as they were drawn for")


def score_one(
    path: Path, data: Data, net: tuple[str, nn.Module] | None, most: int, grid: Path | None
) -> None:
    """Print how good a set is, beside real images that no generator has seen."""
    if grid is not None and grid.exists():
        raise ValueError(f"{grid} exists: name another file")
    held = read_samples(path, data.train, len(data.classes))
    if held.recipe:
        click.echo(f"recipe   {json.dumps(dict(held.recipe))}")
    click.echo(f"hash     {held.digest or 'none: written elsewhere'}")
    name, judge = net or ("our own BigNet", _own(data))
    n = min(most, len(held.split), len(data.train), len(data.validation))
    with bar("scoring", 2) as tell:
        rows = []
        pairs = [("real, held out", data.validation), (path.name, held.split)]
        for number, (title, split) in enumerate(pairs):
            rows.append(_row(title, judge, data, split.head(n)))
            tell(number + 1, f"{title}: {n} images")
    print_scores(rows, name, n)
    click.echo(standard_fid(data.train, held.split))
    if grid is not None:
        save_grid(grid, held.split, len(data.classes))
        click.echo(f"grid     {grid}")


def _row(title: str, judge: nn.Module, data: Data, made: Split) -> Row:
    real = data.train.head(len(made))
    told = features(judge, real.images), features(judge, made.images)
    right = float((named(judge, made.images) == made.labels).double().mean())
    return scored(title, told, right, (data.train, data.validation, made))


def _own(data: Data) -> nn.Module:
    """A BigNet on the real images, trained once and kept in the cache."""
    recipe = small(natural())
    from adv.checkpoint import load_weights, read_checkpoint, save_checkpoint
    from adv.recipe import build

    mark = key(recipe, fingerprint(data.train), len(data.classes))

    def make(path: Path) -> None:
        click.echo("training our own classifier, once", err=True)
        net = classifier(recipe, data.train, len(data.classes), 0, default_device())
        save_checkpoint(path, net, {"recipe": repr(recipe), "classes": list(data.classes)})

    path = once(generated_folder() / f"classifier-{mark}.safetensors", make)
    net = build(recipe, len(data.classes), 0)
    return on_device(load_weights(net, read_checkpoint(path)[0]))
