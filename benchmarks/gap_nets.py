"""Train sound nets of many kinds, and note how much PGD on the cross-entropy misses on each.

    python benchmarks/gap_nets.py --out runs/gap-nets.csv                  # digits: minutes
    python benchmarks/gap_nets.py --out runs/gap-nets.csv --data FOLDER    # CIFAR-10: an hour

Each net has a row for each radius: what is known of it without a stronger attack (classes, natural
accuracy, smoothing, averaged weights, mean confidence), its accuracy under PGD-20, and what the
stronger attacks of `adv.masking_gap` leave. Rows of `masked` nets are of the first net with its
logits multiplied or its gradients rounded away, which hides its gradients. A net that has its rows
is left alone, so a second run goes on where the first one ended. `gap_prediction.py` reads the
file.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import rich_click as click
import torch
from audit import SmallNet
from audit import _crop as crop
from torch import Tensor, nn

import adv
from adv import (
    GAT,
    MART,
    PGD,
    RSE,
    TRADES,
    AdamW,
    Augment,
    BaseNet,
    Battery,
    BigNet,
    Curriculum,
    Linf,
    Madry,
    Mixed,
    Net,
    NuAT,
    OneCycle,
    Recipe,
    Split,
    TestNoise,
)
from adv.auditing.context import audit_context
from adv.auditing.gradient_masking import measure_gap


@dataclass(frozen=True)
class Row:
    """A net at one radius; accuracies and the confidence in [0, 1].

    Args:
      data: "digits" or "cifar".
      net: its name.
      family: nets of one objective or defence and one data set.
      masked: what hides its gradients; empty for a sound net.
      eps: the radius.
      images: n.
      classes: how many.
      smoothing: of the labels in training.
      averaged: 1 if it is an average of weights.
      one_step: 1 if it was trained with one step of an attack.
      natural: accuracy without an attack.
      confidence: mean of the largest probability, without an attack.
      claimed: accuracy under PGD-20.
      strong: accuracy under the stronger attacks.
    """

    data: str
    net: str
    family: str
    masked: str
    eps: float
    images: int
    classes: int
    smoothing: float
    averaged: int
    one_step: int
    natural: float
    confidence: float
    claimed: float
    strong: float


class Scaled(nn.Module):
    """A net whose logits are multiplied, so that the cross-entropy saturates."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return self.factor * out


class Fading(nn.Module):
    """A net whose pixels take 16 levels; a gradient is left only near a step between two."""

    def forward(self, x: Tensor) -> Tensor:
        rounded = (15 * x).round() / 15
        return rounded + 1e-3 * (x - rounded) ** 3


def recipes(base: Recipe, small: bool) -> Mapping[str, Recipe]:
    """Return the recipes by name; the part before the first comma is the family."""
    whole = base.curriculum
    assert isinstance(whole, Curriculum)
    step = replace(whole, steps=1, pace=1.0)
    kinds = {
        "PGD": base,
        "TRADES": replace(base, objective=TRADES(4.0)),
        "MART": replace(base, objective=MART(4.0)),
        "N-FGSM": replace(base, curriculum=Curriculum(eps=whole.eps, kind="n-fgsm")),
        "half": replace(base, objective=Mixed(), curriculum=replace(whole, fraction=0.5)),
        "NuAT": replace(base, objective=NuAT(), curriculum=replace(step, kind="fgsm", steps=1)),
        "GAT": replace(base, objective=GAT(), curriculum=replace(step, kind="fgsm", steps=1)),
    }
    found: dict[str, Recipe] = {}
    for kind, recipe in kinds.items():
        found[kind] = recipe
        if kind not in ("NuAT", "GAT"):
            found[f"{kind}, smoothing .4"] = replace(recipe, smoothing=0.4)
        if kind in ("PGD", "MART", "N-FGSM"):
            found[f"{kind}, averaged"] = replace(recipe, ema=0.98)
        found[f"{kind}, smoothing .4, averaged"] = replace(recipe, smoothing=0.4, ema=0.98)
    for smoothing in (0.2, 0.6):
        found[f"PGD, smoothing {smoothing}"] = replace(base, smoothing=smoothing)
    for name in ("relu", "silu"):
        net: Net = SmallNet(name, norm=True) if small else BaseNet(activation=name)
        found[f"{name}"] = replace(base, net=net)
        found[f"{name}, smoothing .4"] = replace(base, net=net, smoothing=0.4)
    if small:
        found["RSE"] = replace(base, defences=(RSE(0.4, 0.2),))
        found["test noise"] = replace(base, defences=(TestNoise(0.05),))
        plain = replace(whole, fraction=0.0)
        found["no attack"] = replace(base, objective=Mixed(), curriculum=plain)
    else:
        found["BigNet"] = replace(base, net=BigNet())
        found["BigNet, smoothing .4"] = replace(base, net=BigNet(), smoothing=0.4)
    return found


@click.command()
@click.option("--data", help="A folder with train/<class>/*; without it digits.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--epochs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--train-images", type=click.IntRange(1), default=3000, show_default=True)
@click.option("--images", type=click.IntRange(1), default=400, show_default=True, help="Attacked.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this net; repeatable.")
def main(
    data: str | None, out: Path, epochs: int, train_images: int, images: int, only: tuple[str, ...]
) -> None:
    """Train the nets without rows in --out, and add their rows."""
    torch.set_num_threads(1)
    loaded = adv.load(data or "digits")
    taught, shown = loaded.train.head(train_images), loaded.test.head(images)
    curriculum = Curriculum(eps=0.03, steps=5, pace=0.3, fraction=1.0)
    optimizer = AdamW(lr=2e-3, decay=OneCycle())
    base = Recipe(BaseNet(), (), optimizer, curriculum, Madry(), Augment(flip=0.5), epochs, 50)
    radii = (0.02, 0.03)
    if data is None:
        taught, shown = crop(taught), crop(shown)
        base = replace(
            base,
            net=SmallNet(),
            augment=Augment(),
            curriculum=replace(curriculum, eps=0.1),
            optimizer=AdamW(lr=4e-3),
        )
        radii = (0.06, 0.1)
    known = {(row.data, row.net) for row in read_rows(out)} if out.exists() else set()
    kind = "digits" if data is None else "cifar"
    for classes in (10, 4):
        for name, recipe in recipes(base, data is None).items():
            called = name if classes == 10 else f"{name}, 4 classes"
            first = classes == 10 and name == "PGD"
            if (kind, called) in known or (classes == 4 and name.count(",") > 1):
                continue
            if only and called not in only:
                continue
            began = time.monotonic()
            some = [_first_classes(split, classes) for split in (taught, shown)]
            *_, last = adv.train(recipe, some[0], classes=classes, seed=0)
            net = last.net.eval()
            spoilt = list(hide_gradients(net)) if first else [("", net)]
            rows = []
            for masked, one in spoilt:
                for eps in radii:
                    empty = Row(kind, called, "", masked, eps, 0, classes, *[0] * 7)
                    rows.append(measure(one, some[1], recipe, empty))
            write_rows(out, rows)
            print(f"{called}: {time.monotonic() - began:.0f} s", flush=True)


def measure(net: nn.Module, split: Split, recipe: Recipe, row: Row) -> Row:
    """Return the row with what is known of the net and what was measured at its radius."""
    context = audit_context(net, split, Battery((("pgd20", PGD(Linf(row.eps), 20)),)), row.eps)
    gap = measure_gap(context)
    return replace(
        row,
        family=f"{row.data} {row.net.partition(',')[0]}",
        images=len(split),
        smoothing=recipe.smoothing,
        averaged=int(bool(recipe.ema)),
        one_step=int(isinstance(aim := recipe.curriculum, Curriculum) and aim.kind != "pgd"),
        natural=gap.natural,
        confidence=measure_confidence(net, split),
        claimed=gap.claimed,
        strong=gap.strong,
    )


def measure_confidence(net: nn.Module, split: Split) -> float:
    """Return the mean of the largest probability over the images."""
    with torch.no_grad():
        return float(net(split.images.float() / 255).softmax(1).amax(1).mean())


def hide_gradients(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a net, and the same with gradients that are hidden in some way."""
    yield "", net
    for factor in (30, 300, 3000):
        yield f"logits times {factor}", Scaled(net, factor)
    yield "16 levels", nn.Sequential(Fading(), net)


def _first_classes(split: Split, classes: int) -> Split:
    """Return the images of the first classes."""
    kept = (split.labels < classes).nonzero().flatten()
    return Split(split.images[kept], split.labels[kept])


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file."""
    with path.open(newline="") as file:
        return [Row(**_typed(row)) for row in csv.DictReader(file)]


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    kinds = {"str": str, "int": int, "float": float}
    return {field.name: kinds[str(field.type)](row[field.name]) for field in fields(Row)}


def write_rows(path: Path, rows: list[Row]) -> None:
    """Add rows to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Row)]
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(names)
        for row in rows:
            values = [getattr(row, name) for name in names]
            writer.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in values])


if __name__ == "__main__":
    main()
