"""Compare techniques on one net: trained alike, attacked alike.

    python benchmarks/techniques.py --table defences --data FOLDER --out runs/defences
    python benchmarks/techniques.py --table training --data FOLDER --out runs/training
    python benchmarks/techniques.py --table cheap --seeds 3 --data FOLDER --out runs/cheap

BigNet on an image folder (or `cifar10`), with the same seed in every row; `technique_recipes.py`
has the recipes. Nets are evaluated at eps 0.03 on test images, random ones with 20 votes. Intervals
are Wilson's, 95 %; differences from the first row are taken image by image. Every epoch, trained
net and column is kept in --out, and a second run goes on from there; `--train-only` and `--only
NAME` (repeatable) do a part; `--queries` shortens the longest one, AutoAttack's Square. With
`--seeds` each seed has a folder of its own in --out. The Markdown table shows what is there so far.
Seconds are processor time of training.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rich_click as click
import torch
from technique_recipes import EPS, SAME_WEIGHTS, TEACHERS, tables
from technique_table import result_path, table
from torch import nn

import adv
from adv import PGD, Battery, Linf, Recipe, Split, Square
from adv.checkpoints.checkpoint import load_weights
from adv.files import write_atomic
from adv.runtime.devices import default_device

BALL = Linf(EPS)
TABLES = tuple(tables(1))
ATTACKED = ("natural", "PGD-20", "AutoAttack-rand")
COLUMNS = {
    "defences": ("natural", "PGD-20, one draw", "PGD-20, 20 draws", "AutoAttack-rand", "audit"),
    "training": ATTACKED,
    "augmentation": ATTACKED,
    "cheap": ("natural", "AutoAttack", "seconds"),
}


@click.command()
@click.option("--table", "which", type=click.Choice(TABLES), default=TABLES[0], show_default=True)
@click.option("--data", required=True, help="A folder with train/<class>/*, or cifar10.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for all results."
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--images", type=click.IntRange(1), default=1000, show_default=True, help="Test images."
)
@click.option("--train-images", type=click.IntRange(1), help="Default: all.")
@click.option(
    "--queries",
    type=click.IntRange(1),
    default=5000,
    show_default=True,
    help="Of AutoAttack's Square.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="From --seed.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this row; repeatable.")
@click.option("--train-only", is_flag=True, help="Train only.")
def main(
    which: str, data: str, out: Path, only: tuple[str, ...], train_only: bool, **settings: Any
) -> None:
    """Train and evaluate what is missing in --out, and print the table."""
    rows = tables(settings["epochs"])[which]
    if wrong := set(only) - set(rows):
        raise click.BadParameter(f"{', '.join(sorted(wrong))}: there are {', '.join(rows)}")
    loaded = adv.load(data)
    train = loaded.train.head(settings["train_images"] or len(loaded.train))
    test = loaded.test.head(settings["images"])
    seeds = range(settings["seed"], settings["seed"] + settings["seeds"])
    folders = tuple(out / f"seed-{seed}" if len(seeds) > 1 else out for seed in seeds)
    for seed, folder in zip(seeds, folders, strict=True):
        teacher = result_path(folder, next(iter(rows)), "safetensors")
        recipes = tables(settings["epochs"], teacher)[which]
        work = Comparison(folder, train, loaded.classes, recipes, seed, data)
        same = {"epochs": settings["epochs"], "seed": seed}
        check_settings(folder, {"data": loaded.fingerprint, "train": len(train), **same})
        for name in only or rows:
            net = work.net_of(name).to(default_device()).eval()
            if not train_only:
                work.evaluate(name, net, test, COLUMNS[which], settings["queries"])
    print(table(folders, tuple(rows), COLUMNS[which], len(test)))


def check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that was started with other settings."""
    path = out / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise click.BadParameter(f"{path} has other settings: {path.read_text()}")
    write_atomic(path, json.dumps(settings).encode())


@dataclass(frozen=True, eq=False)
class Comparison:
    """The settings that all rows share, and where results are kept."""

    out: Path
    data: Split
    classes: tuple[str, ...]
    rows: dict[str, Recipe]
    seed: int
    name: str

    def net_of(self, name: str) -> nn.Module:
        """Return the net of a row after its last epoch; load it if it exists."""
        how, path = self.rows[name], result_path(self.out, name, "safetensors")
        if not path.exists() and name in SAME_WEIGHTS:
            net = adv.build(how, len(self.classes), self.seed)
            values = self.net_of(SAME_WEIGHTS[name]).state_dict().values()
            load_weights(net, dict(zip(net.state_dict(), values, strict=True)))
            self._save(name, net)
        elif not path.exists():
            if name in TEACHERS:
                self.net_of(TEACHERS[name])
            self._train(name)
        return adv.restore(path).net

    def evaluate(
        self, name: str, net: nn.Module, test: Split, columns: tuple[str, ...], queries: int
    ) -> None:
        """Evaluate the columns of a row that are missing."""
        path = result_path(self.out, name, "json")
        attacked = tuple(column for column in columns if column != "seconds")
        evaluate_row(net, test, path, attacked, queries)
        if "seconds" in columns:
            metadata = adv.restore(result_path(self.out, name, "safetensors")).metadata
            seconds = sum(epoch["processor_seconds"] for epoch in metadata["log"])
            row = json.loads(path.read_text())
            row["seconds"] = {"cell": f"{seconds:.0f}", "value": seconds}
            write_atomic(path, json.dumps(row).encode())

    def _save(self, name: str, net: nn.Module, **notes: Any) -> None:
        path, how = result_path(self.out, name, "safetensors"), self.rows[name]
        adv.save(path, net, how, classes=self.classes, seed=self.seed, data=self.name, **notes)

    def _train(self, name: str) -> None:
        kept = result_path(self.out, name, "state")
        at = torch.load(kept, weights_only=True) if kept.exists() else {"log": [], "state": None}
        log, began = at["log"], time.process_time()
        for epoch in adv.train(
            self.rows[name],
            self.data,
            classes=len(self.classes),
            seed=self.seed,
            device=default_device(),
            state=at["state"],
        ):
            took = {"seconds": epoch.seconds, "processor_seconds": time.process_time() - began}
            log.append({**took, **epoch.metrics})
            said = "  ".join(f"{key} {value:.4g}" for key, value in log[-1].items())
            click.echo(f"{name}  epoch {epoch.number}/{epoch.total}  {said}", err=True)
            if epoch.number < epoch.total:
                buffer = io.BytesIO()
                torch.save({"log": log, "state": epoch.state()}, buffer)
                write_atomic(kept, buffer.getvalue())
            began = time.process_time()
        self._save(name, epoch.net, log=log)
        kept.unlink(missing_ok=True)


def evaluate_row(
    net: nn.Module, test: Split, path: Path, columns: tuple[str, ...], queries: int
) -> None:
    """Evaluate the columns of a row that are missing."""
    row = json.loads(path.read_text()) if path.exists() else {}
    for column in columns:
        how = {"images": len(test), **({"queries": queries} if column == "AutoAttack" else {})}
        if how.items() <= row.get(column, {}).items():
            continue
        began = time.perf_counter()
        found = _autoattack(queries)(net, test) if "queries" in how else JUDGES[column](net, test)
        row[column] = {**found, **how, "seconds": time.perf_counter() - began}
        click.echo(f"{path.stem}  {column}: {row[column]['cell']}", err=True)
        write_atomic(path, json.dumps(row).encode())


Column = Callable[[nn.Module, Split], dict[str, Any]]


def _accuracy_under(battery: Battery) -> Column:
    def judge(net: nn.Module, test: Split) -> dict[str, Any]:
        score = adv.evaluate(net, test, battery)
        low, high = adv.intervals.wilson(score.worst, len(test))
        cell = f"{100 * score.worst:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        return {"cell": cell, "score": score.to_dict()}

    return judge


def _pgd(draws: int) -> Column:
    attack = PGD(BALL, steps=20, step_size=0.008)
    return _accuracy_under(Battery((("a", attack),), draws=draws, votes=20))


def _autoattack(queries: int) -> Column:
    battery = adv.autoattack(BALL)
    attacks = [
        (name, replace(attack, queries=queries) if isinstance(attack, Square) else attack)
        for name, attack in battery.attacks
    ]
    return _accuracy_under(replace(battery, attacks=tuple(attacks)))


def _audit(net: nn.Module, test: Split) -> dict[str, Any]:
    findings = adv.audit(net, test.head(256), eps=BALL.eps)
    doubts = [finding.name for finding in findings if not finding.passed]
    return {"cell": ", ".join(doubts) or "no doubt", "findings": [repr(f) for f in findings]}


JUDGES: dict[str, Column] = {
    "natural": _accuracy_under(Battery((("none", PGD(Linf(0), steps=1)),))),
    "PGD-20": _pgd(1),
    "PGD-20, one draw": _pgd(1),
    "PGD-20, 20 draws": _pgd(20),
    "AutoAttack-rand": _accuracy_under(adv.autoattack_rand(BALL)),
    "audit": _audit,
}


if __name__ == "__main__":
    main()
