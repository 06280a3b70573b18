"""Every defence on one net, trained alike and attacked alike: what is left once one looks closely.

    python benchmarks/defences.py --data FOLDER --out runs/defences

BigNet on an image folder (or `cifar10`): half of each batch attacked by PGD-7 (eps 0.03, step
0.008), AdamW on one cycle with its peak at 2e-3, flips, the same seed. Judged at eps 0.03 on test
images, 20 votes for a random net, 95 % Wilson intervals. What is done is kept in --out: each epoch
of a training, each trained net, each column of the table. A second run goes on from there;
`--train-only` and `--only NAME` (repeated) do a part of it. The table is printed as Markdown from
what there is.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
import torch
from torch import nn

import adv
from adv import (
    PGD,
    PNI,
    RSE,
    AdamW,
    Augment,
    Battery,
    BigNet,
    Curriculum,
    Defence,
    Linf,
    MCDropout,
    OneCycle,
    Projection,
    Recipe,
    SpectralNorm,
    Split,
    TestNoise,
)
from adv.checkpoint import (
    default_device,
    load_weights,
    write_whole,
)

BALL = Linf(0.03)
PLAIN = "plain"
NETS: dict[str, tuple[BigNet, tuple[Defence, ...]]] = {
    PLAIN: (BigNet(), ()),
    "RSE(0.2, 0.1)": (BigNet(), (RSE(0.2, 0.1),)),
    "PNI": (BigNet(), (PNI(),)),
    "dropout 0.2": (BigNet(dropout=0.2), ()),
    "dropout 0.2 kept on": (BigNet(dropout=0.2), (MCDropout(),)),
    "test noise 0.1": (BigNet(), (TestNoise(0.1),)),
    "spectral, kernel": (BigNet(), (SpectralNorm("kernel"),)),
    "spectral, convolution": (BigNet(), (SpectralNorm("convolution"),)),
    "projection 200": (BigNet(), (Projection(200),)),
}
# Training does not see test noise: the weights are those of the plain net, bit for bit.
SAME_WEIGHTS = {"test noise 0.1": PLAIN}
COLUMNS = ("natural", "PGD-20, one draw", "PGD-20, 20 draws", "AutoAttack-rand", "audit")


@click.command()
@click.option("--data", required=True, help="A folder with train/<class>/*, or cifar10.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where all is kept.")
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--images", type=click.IntRange(1), default=1000, show_default=True, help="Of test.")
@click.option("--train-images", type=click.IntRange(1), help="Default: all.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="One row; may be repeated.")
@click.option("--train-only", is_flag=True, help="Attack nothing yet.")
def main(data: str, out: Path, only: tuple[str, ...], train_only: bool, **settings: Any) -> None:
    """Train what is not trained, judge what is not judged, print the table."""
    if wrong := set(only) - set(NETS):
        raise click.BadParameter(f"{', '.join(sorted(wrong))}: there are {', '.join(NETS)}")
    names = only or tuple(NETS)
    loaded = adv.load(data)
    train = loaded.train.head(settings["train_images"] or len(loaded.train))
    test = loaded.test.head(settings["images"])
    work = Work(out, train, loaded.classes, settings["epochs"], settings["seed"], data)
    settle(out, {"data": loaded.fingerprint, "train": len(train), **work.settings})
    for name in names:
        net = work.trained(name)
        if not train_only:
            judged(name, net.to(default_device()).eval(), test, out)
    print(table(out, len(test)))


def recipe(name: str, epochs: int) -> Recipe:
    """The same for all rows, but for the net's dropout and the defences."""
    net, defences = NETS[name]
    return Recipe(
        net=net,
        defences=defences,
        optimizer=AdamW(lr=2e-3, decay=OneCycle()),
        curriculum=Curriculum(eps=0.03, steps=7, pace=0.008 / 0.03, fraction=0.5),
        augment=Augment(flip=0.5),
        epochs=epochs,
    )


def settle(out: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on in a folder that was begun with other settings."""
    path = out / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise click.BadParameter(f"{path} has other settings: {path.read_text()}")
    write_whole(path, json.dumps(settings).encode())


@dataclass(frozen=True, eq=False)
class Work:
    """What all trainings share."""

    out: Path
    data: Split
    classes: tuple[str, ...]
    epochs: int
    seed: int
    name: str

    @property
    def settings(self) -> dict[str, int]:
        """What has to be the same when a folder is gone on with."""
        return {"epochs": self.epochs, "seed": self.seed}

    def trained(self, name: str) -> nn.Module:
        """The net of a row after its last epoch, from the folder if it is there."""
        how, path = recipe(name, self.epochs), file(self.out, name, "safetensors")
        if not path.exists() and name in SAME_WEIGHTS:
            net = adv.build(how, len(self.classes), self.seed)
            values = self.trained(SAME_WEIGHTS[name]).state_dict().values()
            load_weights(net, dict(zip(net.state_dict(), values, strict=True)))
            self._save(name, net, how)
        elif not path.exists():
            self._train(name, how)
        return adv.restore(path).net

    def _save(self, name: str, net: nn.Module, how: Recipe, **notes: Any) -> None:
        path = file(self.out, name, "safetensors")
        adv.save(path, net, how, classes=self.classes, seed=self.seed, data=self.name, **notes)

    def _train(self, name: str, how: Recipe) -> None:
        kept = file(self.out, name, "state")
        at = torch.load(kept, weights_only=True) if kept.exists() else {"log": [], "state": None}
        log = at["log"]
        for epoch in adv.train(
            how,
            self.data,
            classes=len(self.classes),
            seed=self.seed,
            device=default_device(),
            state=at["state"],
        ):
            log.append({"seconds": epoch.seconds, **epoch.metrics})
            said = "  ".join(f"{key} {value:.4g}" for key, value in log[-1].items())
            click.echo(f"{name}  epoch {epoch.number}/{epoch.total}  {said}", err=True)
            if epoch.number < epoch.total:
                buffer = io.BytesIO()
                torch.save({"log": log, "state": epoch.state()}, buffer)
                write_whole(kept, buffer.getvalue())
        self._save(name, epoch.net, how, log=log)
        kept.unlink(missing_ok=True)


def judged(name: str, net: nn.Module, test: Split, out: Path) -> None:
    """Fill the columns of a row that are missing."""
    path = file(out, name, "json")
    row = json.loads(path.read_text()) if path.exists() else {}
    for column in COLUMNS:
        done = row.get(column, {}).get("images") == len(test)
        if done or (judge := JUDGES[column]()) is None:
            continue
        began = time.perf_counter()
        found = judge(net, test)
        row[column] = {**found, "images": len(test), "seconds": time.perf_counter() - began}
        click.echo(f"{name}  {column}: {row[column]['cell']}", err=True)
        write_whole(path, json.dumps(row).encode())


Judge = Callable[[nn.Module, Split], dict[str, Any]]


def _battery(attack: Any, draws: int) -> Judge:
    def judge(net: nn.Module, test: Split) -> dict[str, Any]:
        score = adv.evaluate(net, test, Battery((("a", attack),), draws=draws, votes=20))
        return {"cell": _cell(score.worst, len(test)), "score": score.packed()}

    return judge


def _natural(net: nn.Module, test: Split) -> dict[str, Any]:
    score = adv.evaluate(net, test, Battery((("none", PGD(Linf(0), steps=1)),)))
    return {"cell": _cell(score.natural_accuracy, len(test)), "score": score.packed()}


def _autoattack(net: nn.Module, test: Split) -> dict[str, Any]:
    score = adv.evaluate(net, test, adv.autoattack_rand(BALL))
    return {"cell": _cell(score.worst, len(test)), "score": score.packed()}


def _audit(net: nn.Module, test: Split) -> dict[str, Any]:
    findings = adv.audit(net, test.head(256), eps=BALL.eps)
    doubts = [finding.name for finding in findings if not finding.passed]
    return {"cell": ", ".join(doubts) or "no doubt", "findings": [repr(f) for f in findings]}


def _once_there(name: str, judge: Judge) -> Judge | None:
    return judge if hasattr(adv, name) else None


JUDGES: dict[str, Callable[[], Judge | None]] = {
    "natural": lambda: _natural,
    "PGD-20, one draw": lambda: _battery(PGD(BALL, steps=20, step_size=0.008), 1),
    "PGD-20, 20 draws": lambda: _battery(PGD(BALL, steps=20, step_size=0.008), 20),
    "AutoAttack-rand": lambda: _once_there("autoattack_rand", _autoattack),
    "audit": lambda: _once_there("audit", _audit),
}


def _cell(share: float, n: int) -> str:
    low, high = adv.interval.wilson(share, n)
    return f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def file(out: Path, name: str, kind: str) -> Path:
    """Where something of a row is kept."""
    return out / f"{''.join(c if c.isalnum() else '-' for c in name)}.{kind}"


def table(out: Path, images: int) -> str:
    """The table in Markdown: accuracies in percent, with intervals."""
    lines = [f"| BigNet, {images} test images | {' | '.join(COLUMNS)} |"]
    lines.append("|---" * (1 + len(COLUMNS)) + "|")
    for name in NETS:
        path = file(out, name, "json")
        row = json.loads(path.read_text()) if path.exists() else {}
        cells = [row[column]["cell"] if column in row else "" for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
