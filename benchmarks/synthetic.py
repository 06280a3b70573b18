"""Do generated images help? Train one net with and without them, and attack it.

    python benchmarks/synthetic.py --data digits --out runs/synthetic

A conditional GAN is trained on the first --real training images. Sets of --count images are sampled
from a Gaussian per class, from the GAN's last weights, from their moving average, and from the
average by DDLS; each set is scored and shown as a grid. Then BigNet is trained with Madry's
objective on the same real images, without generated images and with each set at two fractions, and
attacked by PGD-20 with the cross-entropy and with the margin loss; an image counts if it withstands
both. Finished parts are kept in --out, and a second run goes on from there; --minutes ends a run
early. The tables are Markdown, with 95 % intervals: Wilson's, and for differences the normal
interval over images, each image's value being its mean over the seeds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
import torch

import adv
from adv import (
    DDLS,
    GAN,
    PGD,
    AdamW,
    Augment,
    Battery,
    BigNet,
    Curriculum,
    Data,
    Gaussian,
    Generated,
    Linf,
    Madry,
    OneCycle,
    Recipe,
    Score,
)
from adv.checkpoints.expressions import parse
from adv.data.datasets import Split
from adv.files import write_atomic
from adv.generative.classifier import (
    features,
    laptop_recipe,
    natural_recipe,
    predict,
    train_classifier,
)
from adv.generative.gan_checkpoint import restore_gan
from adv.generative.gan_file import GANData, make_gan
from adv.generative.metrics import score_set
from adv.generative.npz_files import read_samples, write_samples
from adv.generative.sample_grid import save_grid
from adv.generative.sampler import GANSampler, sample_batches, stratified_labels
from adv.intervals import Z95, wilson
from adv.runtime.devices import default_device

SETS = ("gaussian", "gan", "gan+ema", "gan+ema+ddls")
TRAINED = ("gaussian", "gan+ema", "gan+ema+ddls")


@click.command()
@click.option("--data", default="digits", show_default=True, help="digits, cifar10 or a folder.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for all results."
)
@click.option("--gan", default=repr(GAN().small()), help="The recipe of the GAN.")
@click.option("--real", type=click.IntRange(2), help="Training images. Default: all.")
@click.option(
    "--net-images", type=click.IntRange(1), help="Of these, images that the nets get. Default: all."
)
@click.option(
    "--count", type=click.IntRange(1), default=2000, show_default=True, help="Images in a set."
)
@click.option("--ddls-steps", type=click.IntRange(1), default=100, show_default=True)
@click.option("--step-size", type=float, default=0.1, show_default=True, help="Step size of DDLS.")
@click.option("--epochs", type=click.IntRange(1), default=15, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True, help="Steps of PGD.")
@click.option("--flip", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@click.option("--eps", type=float, default=0.1, show_default=True)
@click.option(
    "--images", type=click.IntRange(1), default=360, show_default=True, help="Test images."
)
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True)
@click.option("--fraction", "fractions", type=float, multiple=True, default=(0.3, 0.7))
@click.option("--minutes", type=float, default=float("inf"), help="Start nothing new after this.")
def main(data: str, out: Path, minutes: float, **settings: Any) -> None:
    """Run what is missing in --out, and print the tables."""
    loaded = adv.load(data)
    asked = json.dumps({"data": loaded.fingerprint, **settings})
    path = out / "settings.json"
    if path.exists() and path.read_text() != asked:
        raise click.BadParameter(f"{path} has other settings: {path.read_text()}")
    write_atomic(path, asked.encode())
    trial = Trial(out, loaded, settings, time.monotonic() + 60 * minutes)
    for _ in trial.parts():
        if time.monotonic() > trial.until:
            click.echo("time is up: run it again to go on", err=True)
            break
    print(trial.scores())
    print(trial.table())


class LateError(Exception):
    """The time limit is reached."""


@dataclass(frozen=True, eq=False)
class Trial:
    """The sets, nets and scores that are compared, kept in a folder."""

    out: Path
    data: Data
    settings: dict[str, Any]
    until: float

    @property
    def work(self) -> GANData:
        """The images that the GAN and the nets are trained on."""
        real = self.data.train.head(self.settings["real"] or len(self.data.train))
        return GANData(real, self.data.classes, self.data.name)

    @property
    def images(self) -> Split:
        """The images that the nets are trained on."""
        real = self.work.real
        return real.head(self.settings["net_images"] or len(real))

    def parts(self) -> Iterator[None]:
        """Run the missing pieces, one at a time."""
        yield from self._gan()
        for name in SETS:
            self._make_set(name)
            yield
        yield from map(self._score, SETS)
        for seed in range(self.settings["seeds"]):
            for row in self.rows():
                yield self._train_and_attack(*row, seed)

    def rows(self) -> list[tuple[str, float]]:
        """Return the pairs of source and fraction that are compared."""
        pairs = [(name, f) for name in TRAINED for f in self.settings["fractions"]]
        return [("none", 0.0), *pairs]

    def _gan(self) -> Iterator[None]:
        path = self.out / "gan.safetensors"
        if path.exists():
            return
        try:
            make_gan(parse(self.settings["gan"]), self.work, path, self._print_progress)
        except LateError:
            yield

    def _print_progress(self, segment: Any) -> None:
        figures = "  ".join(f"{key} {value:.3f}" for key, value in segment.metrics.items())
        click.echo(
            f"gan {segment.number}/{segment.total} {figures} {segment.seconds:.0f} s", err=True
        )
        if time.monotonic() > self.until:
            raise LateError  # its state is kept already

    def _make_set(self, name: str) -> None:
        path, work = self.out / f"{name}.npz", self.work
        if path.exists():
            return
        began, notes = time.process_time(), {"source": name}
        if name == "gaussian":
            draw = Gaussian().fit(work.real)
        else:
            walk = DDLS(self.settings["ddls_steps"], self.settings["step_size"])
            ddls = walk if "ddls" in name else None
            trained = restore_gan(self.out / "gan.safetensors", default_device())
            chains = GANSampler(trained, "ema" in name, ddls)
            draw = chains.draw
        count = self.settings["count"]
        labels = stratified_labels(work.class_counts, count, torch.Generator().manual_seed(0))
        write_samples(path, sample_batches(draw, labels, 0), count, notes)
        found: dict[str, Any] = {"seconds": time.process_time() - began}
        if "ddls" in name and chains.trace is not None:
            found |= {"energy": chains.trace.energy, "acceptance": chains.trace.acceptance}
            found |= {"odds": asdict(trained.odds["ema"]), **trained.metadata["surprise"]}
        self._keep(f"{name}.made.json", found)
        made = read_samples(path, work.real, len(work.classes))
        save_grid(self.out / f"{name}.png", made.split, len(work.classes), 12)

    def _score(self, name: str) -> None:
        kept = self.out / f"{name}.score.json"
        if kept.exists():
            return
        work = self.work
        recipe = laptop_recipe(natural_recipe())
        net = train_classifier(recipe, self.images, len(work.classes), 0, default_device())
        for title in ("real, held out", *SETS):
            split = self.data.validation
            if title in SETS:
                split = read_samples(self.out / f"{title}.npz", work.real, len(work.classes)).split
            split = split.head(min(1000, len(self.data.validation), len(work.real)))
            told = features(net, work.real.head(len(split)).images), features(net, split.images)
            right = float((predict(net, split.images) == split.labels).double().mean())
            row = score_set(title, told, right, (work.real, self.data.validation, split))
            self._keep(f"{title}.score.json", asdict(row))

    def _train_and_attack(self, name: str, fraction: float, seed: int) -> None:
        kept = f"net-{name}-{fraction}-{seed}.json"
        if (self.out / kept).exists():
            return
        began, work, device = time.process_time(), self.work, default_device()
        made = Generated(self.out / f"{name}.npz", fraction) if fraction else None
        for epoch in adv.train(
            self._recipe(made), self.images, classes=len(work.classes), seed=seed, device=device
        ):
            last = epoch
        attacks = [
            (loss, PGD(Linf(self.settings["eps"]), steps=20, pace=0.2, loss=loss))
            for loss in ("ce", "margin")
        ]
        score = adv.evaluate(
            last.net, self.data.test.head(self.settings["images"]), Battery(tuple(attacks))
        )
        seconds = time.process_time() - began
        self._keep(kept, {"score": score.to_dict(), "seconds": seconds})
        click.echo(
            f"{kept} natural {score.natural_accuracy:.3f} robust {score.worst:.3f}", err=True
        )

    def _recipe(self, made: Generated | None) -> Recipe:
        eps = self.settings["eps"]
        return Recipe(
            net=BigNet(),
            optimizer=AdamW(lr=2e-3, decay=OneCycle()),
            curriculum=Curriculum(eps=eps, steps=self.settings["steps"], fraction=1.0),
            objective=Madry(),
            augment=Augment(flip=self.settings["flip"]),
            epochs=self.settings["epochs"],
            batch=64,
            generated=made,
        )

    def _keep(self, name: str, content: dict[str, Any]) -> None:
        write_atomic(self.out / name, json.dumps(content).encode())

    def _load(self, name: str) -> dict[str, Any] | None:
        path = self.out / name
        return json.loads(path.read_text()) if path.exists() else None

    def scores(self) -> str:
        """Return the scores of the sets as a Markdown table."""
        columns = "own-Frechet | precision | recall | density | coverage | as labelled"
        lines = [f"| set | {columns} | nearest | copies |", "|---" * 9 + "|"]
        for title in ("real, held out", *SETS):
            row = self._load(f"{title}.score.json")
            if row is None:
                continue
            part, memory = row["overlap"], row["memory"]
            shares = [f"{100 * part[key]:.1f}" for key in ("precision", "recall")]
            rest = [f"{part['density']:.2f}", f"{100 * part['coverage']:.1f}"]
            low, high = wilson(row["right"], memory["images"])
            right = f"{100 * row['right']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
            cells = [f"{row['distance']:.2f}", *shares, *rest, right]
            ends = [f"{memory['nearest']:.2f}", str(memory["copies"])]
            lines.append(f"| {title} | {' | '.join([*cells, *ends])} |")
        return "\n".join(lines)

    def table(self) -> str:
        """Return a Markdown table of accuracies, means over seeds, and differences from none."""
        lines = ["| source | fraction | seeds | natural | robust | robust, less none |"]
        lines.append("|---" * 6 + "|")
        seeds = range(self.settings["seeds"])
        for name, fraction in self.rows():
            pairs = [
                (self._score_of(name, fraction, s), self._score_of("none", 0.0, s)) for s in seeds
            ]
            both = [(mine, none) for mine, none in pairs if mine is not None and none is not None]
            if not both:
                continue
            natural, robust = (
                np.mean([_withstand(mine, k) for mine, _ in both], 0) for k in (0, 1)
            )
            gain = robust - np.mean([_withstand(none, 1) for _, none in both], 0)
            half = Z95 * gain.std(ddof=1) / len(gain) ** 0.5
            change = f"{100 * gain.mean():+.1f} ({100 * (gain.mean() - half):+.1f} to "
            change += f"{100 * (gain.mean() + half):+.1f})"
            cells = [_cell(natural), _cell(robust), change if name != "none" else ""]
            each = ", ".join(f"{100 * mine.worst:.1f}" for mine, _ in both)
            lines.append(f"| {name} | {fraction or ''} | {each} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def _score_of(self, name: str, fraction: float, seed: int) -> Score | None:
        found = self._load(f"net-{name}-{fraction}-{seed}.json")
        return None if found is None else Score.from_dict(found["score"])


def _withstand(score: Score, which: int) -> np.ndarray:
    """Return [n] of 0 or 1: correct without an attack, or under both attacks."""
    ok = score.ok[0] if which == 0 else score.ok.all(0)
    return ok.double().numpy()


def _cell(each: np.ndarray) -> str:
    share = float(each.mean())
    low, high = wilson(share, len(each))
    return f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
