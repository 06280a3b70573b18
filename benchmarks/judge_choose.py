"""Choose a line-up of cheap attacks greedily: what fools most for each gradient spent.

    python benchmarks/judge_choose.py NET.safetensors ... --data FOLDER --out runs/judge

Every candidate attacks each net (none random) alone at the report's six radii; the results are kept
in --out. Beginning with nothing, the candidate is added that fools most (image, radius) pairs for
each gradient on what still stands (AutoAE, arXiv 2211.12713), until no candidate fools another. The
first table gives after each addition the gradients for each image and the mean accuracy above the
union of all candidates, in points; the second what each candidate leaves alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich_click as click
import torch
from judge import find
from markdown_report import command, machine, table

import adv
from adv import APGD, PGD, Attack, Ball, Battery, Square
from adv.attacks.probability_margin import ProbabilityMargin

RADII = tuple(attack.ball.eps for _, attack in adv.report_battery().attacks)


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate on all nets.

    Args:
      cost: gradients for each image at each radius; a query counts as a third of one.
      stands: [nets, radii, images] booleans.
    """

    cost: float
    stands: np.ndarray


def make_candidates(ball: Ball) -> dict[str, tuple[Attack, float]]:
    """Return attacks on one ball, each with its gradients for an image that no step fools."""
    found: dict[str, tuple[Attack, float]] = {"PGD 20": (PGD(ball, 20), 20)}
    for loss in ("ce", "margin", "mifpe"):
        for steps in (10, 20):
            attack = PGD(ball, steps, pace=2.0, loss=loss, schedule="cosine")
            found[f"PGD {loss} cosine {steps}"] = attack, steps
    for first in ("right", "wrong"):
        for steps in (10, 20):
            found[f"PMA {first} {steps}"] = ProbabilityMargin(ball, steps, first), steps
    for target in (1, 2, 3):
        for steps in (10, 20):
            aimed = APGD(ball, steps, loss="dlr-targeted", target=target, order="distance")
            found[f"APGD MALT {target} {steps}"] = aimed, steps
            margin = PGD(
                ball, steps, pace=2.0, loss="margin-targeted", target=target, schedule="cosine"
            )
            found[f"PGD margin target {target} {steps}"] = margin, steps
    found["APGD dlr 20"] = APGD(ball, 20, loss="dlr"), 20
    found["Square 50"] = Square(ball, queries=50), 50 / 3
    return found


@click.command()
@click.argument("nets", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", default="cifar10", show_default=True, help="What adv.load knows.")
@click.option("--images", type=click.IntRange(2), default=200, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.")
def main(nets: tuple[Path, ...], data: str, images: int, out: Path) -> None:
    """Attack every net with every candidate, and print the greedy line-up."""
    torch.set_num_threads(1)
    part = adv.load(data).test.head(images)
    balls = [attack.ball for _, attack in adv.report_battery().attacks]
    tables: dict[str, list[np.ndarray]] = {}
    natural = []
    for path in nets:
        net = adv.restore(path).net.eval()
        for name in make_candidates(balls[0]):
            attacks = ((f"{ball.eps:g}", make_candidates(ball)[name][0]) for ball in balls)
            kept = out / path.stem / f"{name.replace(' ', '-')}.json"
            ok = find(kept, net, Battery(tuple(attacks)), part).ok
            tables.setdefault(name, []).append(ok[1:])
        natural.append(np.broadcast_to(ok[0], ok[1:].shape))
    trials = {
        name: Trial(make_candidates(balls[0])[name][1], np.stack(rows))
        for name, rows in tables.items()
    }
    print(f"`{command(sys.argv[1:])}`: {len(part)} test images; {machine('cpu', ())}\n")
    print(f"{len(nets)} nets\n\n{format_line_up(np.stack(natural), trials)}")
    print(f"\n{format_alone(np.stack(natural), trials)}")


def format_alone(natural: np.ndarray, trials: Mapping[str, Trial]) -> str:
    """Return a table of what each candidate leaves above the union of all, the strongest first."""
    union = find_union(natural, trials)
    apart = {name: 100 * (one.stands & natural).mean((0, 2)) for name, one in trials.items()}
    rows = [
        [
            name,
            f"{trials[name].cost:g}",
            f"{(shares - 100 * union.mean((0, 2))).mean():+.2f}",
            f"{(shares - 100 * union.mean((0, 2))).max():+.2f}",
        ]
        for name, shares in sorted(apart.items(), key=lambda item: item[1].sum())
    ]
    return table(["attack alone", "steps", "above the union", "worst radius"], rows)


def find_union(natural: np.ndarray, trials: Mapping[str, Trial]) -> np.ndarray:
    """Return [nets, radii, images] booleans: what stands against all candidates."""
    return np.logical_and.reduce([trial.stands for trial in trials.values()]) & natural


def format_line_up(natural: np.ndarray, trials: Mapping[str, Trial]) -> str:
    """Return the table of the greedy line-up.

    Args:
      natural: [nets, radii, images] booleans, which images are correct without an attack.
      trials: the candidates by name.
    """
    union = find_union(natural, trials)
    standing, spent, rows = natural.copy(), 0.0, []
    while (standing & ~union).any():
        name = max(trials, key=lambda one: count_falls(standing, trials[one]) / trials[one].cost)
        cost, fallen = trials[name].cost, count_falls(standing, trials[name])
        after = standing & trials[name].stands
        spent += cost * after.mean() * len(RADII)
        standing = after
        apart = 100 * (standing.mean((0, 2)) - union.mean((0, 2)))
        rows.append(
            [
                name,
                f"{fallen:,}",
                f"{spent:,.0f}",
                f"{apart.mean():+.2f}",
                " ".join(f"{value:+.2f}" for value in apart),
            ]
        )
    heads = ["attack", "falls", "gradients", "above the union", "at each radius"]
    return table(heads, rows)


def count_falls(standing: np.ndarray, trial: Trial) -> int:
    """Return how many of what stands falls to a candidate."""
    return int((standing & ~trial.stands).sum())


if __name__ == "__main__":
    main()
