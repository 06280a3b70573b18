"""Run a minimum-norm attack and print the robustness curve of a net: `python -m adv curve`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from adv.attacks import Linf, MinimumNorm, Nearest, find_nearest
from adv.cli.display import print_radii
from adv.cli.target import Target, load_target
from adv.cli.target_args import TargetArgs
from adv.evaluation.battery import report_battery
from adv.files import check_writable, write_atomic
from adv.runtime.devices import device_of
from adv.runtime.random_streams import is_random
from adv.terminal.console import open_console, print_line, spinner

_REPORT = tuple(attack.ball.eps for _, attack in report_battery().attacks)
_L2 = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5)


def print_curve(args: TargetArgs, attack: MinimumNorm, save: Path | None) -> None:
    """Search the nearest images that fool a net, and print its accuracy at several radii.

    Args:
      args: the net and the images.
      attack: the search.
      save: write the distances to this .npz.

    Raises:
      ValueError: the net is random.
    """
    if save is not None:
        check_writable(save)
    target = load_target(args, gradient=True)
    if is_random(target.net):
        raise ValueError("the net is random, so no image is the nearest: use evaluate")
    split = target.split.to(device_of(target.net))
    with spinner("searching; Ctrl-C stops"):
        found = find_nearest(attack, target.net, split.images.float() / 255, split.labels)
    _print_table(found, attack, target)
    if save is not None:
        buffer = io.BytesIO()
        distance, label = found.distance.cpu().numpy(), split.labels.cpu().numpy()
        np.savez_compressed(buffer, distance=distance, label=label)
        write_atomic(save, buffer.getvalue())
        print_line(f"\ndistances  {save}")


def _print_table(found: Nearest, attack: MinimumNorm, target: Target) -> None:
    console = open_console()
    console.print(target.title, markup=False)
    console.print(
        f"{len(found.distance)} {target.split_name} images, 95 % Wilson intervals, "
        f"{type(attack).__name__} with {attack.steps} steps\n"
    )
    usual = _REPORT if isinstance(attack.ball, Linf) else _L2
    radii = [0.0, *(eps for eps in usual if eps < found.largest), found.largest]
    print_radii(("eps", "accuracy"), found.curve(radii))
    console.print(f"\narea under the curve up to eps {found.largest:g}  {100 * found.area:.1f} %")
    if isinstance(attack.ball, Linf) and found.largest >= max(_REPORT):
        score = 100 * sum(found.accuracy(eps) for eps in _REPORT)
        console.print(f"aggregated score at the six radii of the report  {score:.1f}, of 600")
