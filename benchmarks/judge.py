"""Compare cheap scores with AutoAttack's attacks on many nets: values, ranks, cost.

    python benchmarks/judge.py runs/judge-nets/held-out/*.safetensors --data FOLDER --out runs/judge

Each net (`judge_nets.py` trains some) is scored three times at the report's six radii: by the
report's battery (PGD), by the margin battery and by AutoAttack's attacks, the reference, in the
version for random nets where a net is random. Results are kept in --out, and a second run goes on
from there.

The tables give each score, its mean and worst difference from the reference in points at a radius,
gradients for each image, processor seconds of one thread; then over all nets the mean difference
with its 95 % interval (nets drawn anew 2,000 times), the rank correlations of the scores, and the
nets on the front of natural accuracy and score. `accuracies.csv` in --out has the accuracies of
each net at each radius, in percent, as `gap_calibration.py` and `judge_table.py` read them.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
import torch
from markdown_report import command, machine, table
from scipy import stats
from torch import Tensor, nn

import adv
from adv import Attack, Battery, Score, Split, Worst, evaluate
from adv.files import write_atomic
from adv.runtime.random_streams import is_random

REFERENCE = "AutoAttack"


@dataclass(frozen=True)
class Result:
    """One net under one battery.

    Args:
      score: `Score.to_dict`.
      gradients: images that passed the net to get a gradient, for each image evaluated.
      forwards: other images that passed the net, for each image evaluated.
      seconds: of processor time.
    """

    score: dict[str, object]
    gradients: float
    forwards: float
    seconds: float

    @property
    def ok(self) -> np.ndarray:
        """Booleans [1 + radii, images]: which images are correct, row 0 without an attack."""
        return Score.from_dict(self.score).ok.numpy()

    @property
    def shares(self) -> np.ndarray:
        """The attacked accuracy at each radius."""
        return self.ok[1:].mean(1)


@click.command()
@click.argument("nets", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", default="cifar10", show_default=True, help="What adv.load knows.")
@click.option("--images", type=click.IntRange(2), default=200, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.")
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="AutoAttack.")
@click.option("--queries", type=click.IntRange(0), default=5000, show_default=True)
@click.option("--draws", type=click.IntRange(1), default=20, show_default=True)
@click.option(
    "--nested",
    is_flag=True,
    help="AutoAttack begins in the largest ball in which an image stands, 3 to 4 times sooner; "
    "nested_battery.py compares its verdicts.",
)
@click.option("--again", is_flag=True, help="Evaluate the cheap batteries anew.")
def main(
    nets: tuple[Path, ...], data: str, images: int, out: Path, again: bool, **reference: Any
) -> None:
    """Score every net in each way, and print the tables."""
    torch.set_num_threads(1)
    part = adv.load(data).test.head(images)
    found: dict[str, dict[str, Result]] = {}
    for path in nets:
        net = adv.restore(path).net.eval()
        batteries = {
            "report": adv.report_battery(),
            "margin": adv.margin_battery(),
            REFERENCE: make_reference(is_random(net), **reference),
        }
        found[path.stem] = {
            name: find(out / path.stem / f"{name}.json", net, battery, part, again)
            for name, battery in batteries.items()
        }
    write_accuracies(out / "accuracies.csv", found)
    print(f"`{command(sys.argv[1:])}`: {len(part)} test images; {machine('cpu', ())}\n")
    print(format_nets(found))
    print(f"\n{format_summary(found)}")


def make_reference(random: bool, steps: int, queries: int, draws: int, nested: bool) -> Battery:
    """Return AutoAttack's attacks at each of the report's radii, in its version for the net.

    Args:
      random: the net is random.
      steps: of APGD; AutoAttack's are 100.
      queries: of Square; AutoAttack's are 5,000. 0 leaves it out.
      draws: of a random net in each gradient; AutoAttack's are 20.
      nested: see `adv.Battery`.
    """
    attacks = []
    for _, attack in adv.report_battery().attacks:
        whole = (adv.autoattack_rand if random else adv.autoattack)(attack.ball)
        members = [resize(one, steps, queries) for _, one in whole.attacks]
        attacks.append(
            (f"{attack.ball.eps:g}", Worst(tuple(one for one in members if one is not None)))
        )
    return Battery(tuple(attacks), draws=draws, nested=nested)


def resize(attack: Attack, steps: int, queries: int) -> Attack | None:
    """Return an attack of AutoAttack with so many steps or queries; None: without any."""
    if isinstance(attack, Worst):
        members = (resize(member, steps, queries) for member in attack.attacks)
        return Worst(tuple(member for member in members if member is not None))
    if isinstance(attack, adv.Square):
        return adv.Square(attack.ball, queries=queries) if queries else None
    assert isinstance(attack, adv.APGD)
    return adv.APGD(attack.ball, steps=steps, loss=attack.loss, target=attack.target)


def find(path: Path, net: nn.Module, battery: Battery, part: Split, again: bool = False) -> Result:
    """Return the result of a net under a battery, from its file unless there is none that fits."""
    same = {"battery": repr(battery), "images": len(part)}
    kept = json.loads(path.read_text()) if path.exists() else {}
    if kept.get("same") == same and not (again and path.stem != REFERENCE):
        return Result(**kept["result"])
    result = measure(net, battery, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({"same": same, "result": asdict(result)}).encode())
    print(f"{path.parent.name} {path.stem}: {result.seconds:.0f} s", file=sys.stderr, flush=True)
    return result


def measure(net: nn.Module, battery: Battery, part: Split) -> Result:
    """Evaluate a net under a battery, and count what passes the net."""
    seen = {True: 0, False: 0}

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[torch.is_grad_enabled()] += len(inputs[0])

    hook = net.register_forward_pre_hook(count)
    begun = time.process_time()
    score = evaluate(net, part, battery)
    seconds = time.process_time() - begun
    hook.remove()
    n = len(part)
    return Result(score.to_dict(), seen[True] / n, seen[False] / n, seconds)


def write_accuracies(path: Path, found: Mapping[str, Mapping[str, Result]]) -> None:
    """Write a row for each net and radius."""
    radii = [attack.ball.eps for _, attack in adv.report_battery().attacks]
    with path.open("w", newline="") as file:
        write = csv.writer(file).writerow
        write(
            ["method", "clean_acc", *(f"{name.lower()}_acc" for name in next(iter(found.values())))]
        )
        for net, results in found.items():
            natural = 100 * results[REFERENCE].ok[0].mean()
            for row, eps in enumerate(radii):
                shares = [100 * result.shares[row] for result in results.values()]
                write([f"{net} {eps:g}", *(f"{value:.2f}" for value in (natural, *shares))])


def format_nets(found: Mapping[str, Mapping[str, Result]]) -> str:
    """Return a table with a row for each net and way of scoring it."""
    rows = []
    for net, results in found.items():
        exact = results[REFERENCE].shares
        for name, result in results.items():
            apart = 100 * (result.shares - exact)
            rows.append(
                [
                    net,
                    name,
                    f"{100 * result.ok[0].mean():.1f}",
                    f"{100 * result.shares.sum():.1f}",
                    f"{apart.mean():+.2f}",
                    f"{apart[np.abs(apart).argmax()]:+.1f}",
                    f"{result.gradients:,.0f}",
                    f"{result.forwards:,.0f}",
                    f"{result.seconds:.1f}",
                ]
            )
    heads = ["net", "battery", "natural", "score", "mean diff.", "worst diff."]
    return table([*heads, "gradients", "forwards", "seconds"], rows)


def format_summary(found: Mapping[str, Mapping[str, Result]]) -> str:
    """Return what the scores of all nets together say about each way of scoring."""
    exact = np.stack([results[REFERENCE].shares for results in found.values()])
    natural = np.array([results[REFERENCE].ok[0].mean() for results in found.values()])
    rows = []
    for name in next(iter(found.values())):
        shares = np.stack([results[name].shares for results in found.values()])
        apart = 100 * (shares - exact)
        low, high = bootstrap_mean(apart.mean(1))
        cost = [results[name].seconds / results["report"].seconds for results in found.values()]
        rows.append(
            [
                name,
                f"{apart.mean():+.2f} ({low:+.2f} to {high:+.2f})",
                " ".join(f"{value:+.2f}" for value in apart.mean(0)),
                f"{correlate(shares.sum(1), exact.sum(1)):.3f}",
                f"{float(np.exp(np.mean(np.log(cost)))):.2f} ({min(cost):.2f} to {max(cost):.2f})",
                ", ".join(np.array(list(found))[find_front(natural, shares.sum(1))]),
            ]
        )
    heads = ["battery", "mean diff.", "at each radius", "rank correlation", "times the report's"]
    return f"{len(found)} nets\n\n" + table([*heads, "front"], rows)


def bootstrap_mean(values: np.ndarray, times: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of a mean by drawing the values anew."""
    drawn = np.random.default_rng(0).choice(values, (times, len(values))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def correlate(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return Spearman's rank correlation; not a number where one is constant."""
    if len(ours) < 2 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return float("nan")
    return float(stats.spearmanr(ours, theirs).statistic)


def find_front(natural: np.ndarray, score: np.ndarray) -> Sequence[int]:
    """Return the indices of the nets that no other net beats in both, by natural accuracy."""
    order = sorted(range(len(natural)), key=lambda i: (-natural[i], -score[i]))
    front: list[int] = []
    for index in order:
        if not front or score[index] > score[front[-1]]:
            front.append(index)
    return front


if __name__ == "__main__":
    main()
