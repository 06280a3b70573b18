"""How many broken nets does the audit catch, and how many sound ones does it fail?

    python benchmarks/audit.py                      # minutes on a laptop
    python benchmarks/audit.py --images 256 --only masked
    python benchmarks/audit.py --break ViT --only masked

Small nets are trained on the digits (8 x 8 pixels, without their black frame) in the ways of
`HONEST`, and one of them is broken in each way of `benchmarks/broken_nets.py`. Each is audited
under PGD-10 at eps 0.1. A broken net is caught if a check fails, a sound one is a false alarm if
one does. The output is two Markdown tables, which name the checks that failed.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import rich_click as click
from broken_nets import BROKEN
from markdown_report import table
from torch import nn

import adv
from adv import (
    MART,
    PGD,
    PNI,
    RSE,
    TRADES,
    WRN,
    AdamW,
    Battery,
    Curriculum,
    Linf,
    MCDropout,
    Net,
    Recipe,
    SpectralNorm,
    Split,
    TestNoise,
    ViT,
    audit,
    train,
)
from adv.intervals import wilson
from adv.models import Normalize
from adv.runtime.random_layers import Dropout
from adv.shape import DEFAULT_SHAPE, Shape

EPS = 0.1
BATTERY = Battery((("pgd10", PGD(Linf(EPS), 10)),))
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky": nn.LeakyReLU,
    "elu": nn.ELU,
    "hardswish": nn.Hardswish,
}


@dataclass(frozen=True)
class SmallNet(Net):
    """Two convolutions and two linear layers for digits of 8 x 8 pixels.

    `activation` is one of `ACTIVATIONS`; `norm` adds batch normalisation after the convolutions.
    """

    activation: str = "relu"
    norm: bool = False
    dropout: float = 0.1

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        activate = ACTIVATIONS[self.activation]
        norms = [nn.BatchNorm2d(width) if self.norm else nn.Identity() for width in (16, 32)]
        return nn.Sequential(
            *(Normalize(), nn.Conv2d(3, 16, 3, padding=1), norms[0], activate(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3), norms[1], activate(), nn.Flatten(), nn.Linear(128, 64)),
            *(activate(), Dropout(self.dropout), nn.Linear(64, classes)),
        )


@dataclass(frozen=True)
class MaxNet(Net):
    """Three convolutions, each followed by max-pooling of 3x3 pixels which overlaps; no ReLU."""

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        layers = [
            layer
            for before, after in ((shape[0], 16), (16, 32), (32, 32))
            for layer in (nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(3, 1, 1))
        ]
        last = nn.Linear(32 * shape[1] * shape[2], classes)
        return nn.Sequential(Normalize(), *layers, nn.Flatten(), last)


BASE = Recipe(
    SmallNet(), (), AdamW(lr=4e-3), Curriculum(eps=EPS, steps=3, pace=0.5), epochs=6, batch=50
)
HONEST: Mapping[str, Recipe] = {
    "PGD-3": BASE,
    "PGD-3, half the radius": replace(BASE, curriculum=replace(BASE.curriculum, eps=EPS / 2)),
    "undefended": replace(BASE, curriculum=replace(BASE.curriculum, fraction=0.0)),
    "one step": replace(BASE, curriculum=replace(BASE.curriculum, steps=1, pace=1.0)),
    "TRADES": replace(BASE, objective=TRADES(4.0)),
    "MART": replace(BASE, objective=MART(3.0)),
    "smoothing .2": replace(BASE, smoothing=0.2),
    "smoothing .4": replace(BASE, smoothing=0.4),
    "averaged weights": replace(BASE, ema=0.98),
    "GELU": replace(BASE, net=SmallNet("gelu")),
    "SiLU": replace(BASE, net=SmallNet("silu")),
    "leaky ReLU": replace(BASE, net=SmallNet("leaky")),
    "ELU": replace(BASE, net=SmallNet("elu")),
    "hardswish": replace(BASE, net=SmallNet("hardswish")),
    "batch normalisation": replace(BASE, net=SmallNet(norm=True)),
    "overlapping max-pooling": replace(BASE, net=MaxNet()),
    "spectral norms": replace(BASE, defences=(SpectralNorm(bound=2.0),)),
    "ViT": replace(BASE, net=ViT(2, 64)),
    "ViT, undefended": replace(
        BASE, net=ViT(2, 64), curriculum=replace(BASE.curriculum, fraction=0.0)
    ),
    "ViT with dropout": replace(BASE, net=ViT(2, 64, dropout=0.1), defences=(MCDropout(),)),
    "WRN with squeeze-excitation": replace(BASE, net=WRN(10, 1, se=0.25)),
    "RSE": replace(BASE, defences=(RSE(0.4, 0.2),)),
    "PNI": replace(BASE, defences=(PNI(),)),
    "dropout kept on": replace(BASE, defences=(MCDropout(),)),
    "test noise": replace(BASE, defences=(TestNoise(0.05),)),
}


@click.command()
@click.option("--images", type=click.IntRange(1), default=128, show_default=True, help="Audited.")
@click.option("--epochs", type=click.IntRange(1), default=BASE.epochs, show_default=True)
@click.option("--only", default="", metavar="TEXT", help="Nets whose name contains this.")
@click.option(
    "--break",
    "broken",
    default="PGD-3",
    show_default=True,
    type=click.Choice(list(HONEST)),
    help="The sound net that is broken in all ways.",
)
def main(images: int, epochs: int, only: str, broken: str) -> None:
    """Audit sound and broken nets, and print which checks failed."""
    data = adv.load("digits")
    taught, shown = (_crop(split) for split in (data.train, data.validation.head(images)))
    for title, nets in (
        ("false alarms on sound nets", _sound_nets(taught, epochs, only)),
        ("hits on broken nets", _broken_nets(taught, epochs, only, HONEST[broken])),
    ):
        rows = []
        for name, net in nets:
            began = time.monotonic()
            failed = [f.name for f in audit(net, shown, BATTERY) if not f.passed]
            rows.append((name, ", ".join(failed) or "none", f"{time.monotonic() - began:.0f} s"))
            click.echo("  ".join(rows[-1]), err=True)
        if not rows:
            continue
        hits = sum(failed != "none" for _, failed, _ in rows)
        low, high = wilson(hits / len(rows), len(rows))
        interval = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
        print(f"{title}: {hits} of {len(rows)} ({interval}), {len(shown)} images each\n")
        print(table(("net", "failed checks", "time"), rows) + "\n")


def _sound_nets(taught: Split, epochs: int, only: str) -> Iterator[tuple[str, nn.Module]]:
    """Train and yield the sound nets."""
    for name, recipe in HONEST.items():
        if only in name:
            yield name, _train(recipe, taught, epochs)


def _broken_nets(
    taught: Split, epochs: int, only: str, recipe: Recipe
) -> Iterator[tuple[str, nn.Module]]:
    """Train one net, break it in all ways, and yield the results."""
    chosen = {name: breaker for name, breaker in BROKEN.items() if only in name}
    sound = _train(recipe, taught, epochs) if chosen else nn.Identity()
    for name, breaker in chosen.items():
        yield name, breaker(copy.deepcopy(sound)).eval()


def _train(recipe: Recipe, taught: Split, epochs: int) -> nn.Module:
    *_, last = train(replace(recipe, epochs=epochs), taught, classes=10, seed=0)
    return last.net.eval()


def _crop(split: Split) -> Split:
    """Return the digits without their black frame: sixteen times less to compute."""
    return Split(split.images[..., 12:20, 12:20], split.labels)


if __name__ == "__main__":
    main()
