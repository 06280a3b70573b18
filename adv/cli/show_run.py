"""Evaluate a net and write a page about it: `python -m adv show`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from adv.cli.battery_flags import BatteryArgs
from adv.cli.show_page import NetPage, Shown, render_page
from adv.cli.target import load_target
from adv.cli.target_args import TargetArgs
from adv.evaluation.evaluator import evaluate
from adv.evaluation.predictions import predict
from adv.evaluation.score_table import HEAD, format_rows
from adv.files import check_writable, partial_folder, write_atomic
from adv.net_plots import count_confusions
from adv.runtime.random_streams import is_random
from adv.terminal.console import print_line, spinner

NEAR = 8 / 255  # pictures are of the attack whose radius is nearest to this


def show_target(args: TargetArgs, battery: BatteryArgs, out: Path, shown: int) -> None:
    """Evaluate a net and write the page.

    Args:
      args: the net and the images.
      battery: the attacks.
      out: NAME.html, or a folder.
      shown: how many images.

    Raises:
      ValueError: the net cannot be read, or the standard AutoAttack is asked for a random one.
    """
    is_page = out.suffix.lower() in (".html", ".htm")
    if is_page:
        check_writable(out)
    target = load_target(args, gradient=True)
    if is_random(target.net) and battery.kind == "autoattack":
        raise ValueError("the net is random: --battery rand is AutoAttack for random nets")
    built = battery.build(target.class_names)
    with spinner("attacking; Ctrl-C stops"):
        score = evaluate(target.net, target.split, built, keep_images=True)
        assert score.adversarial is not None
        radii = [attack.ball.eps for _, attack in built.attacks]
        pictured = min(range(len(radii)), key=lambda i: abs(radii[i] - NEAR))
        attacked = score.adversarial[pictured]
        clean = target.split.images.cpu()
        seed = {"votes": score.votes, "seed": built.seed}
        page = NetPage(
            title=target.title,
            split=target.split_name,
            score=score,
            class_names=target.class_names,
            labels=target.split.labels.cpu(),
            predicted=predict(target.net, clean, **seed),
            predicted_attacked=predict(target.net, attacked, **seed),
            attack=pictured,
            random=is_random(target.net),
            pictures=[
                Shown.of(n, clean[n].float() / 255, attacked[n])
                for n in range(min(shown, len(clean)))
            ],
        )
    if is_page:
        write_atomic(out, render_page(page))
        print_line(str(out))
    else:
        _write_folder(page, out)
        print_line(str(out / "index.html"))


def _write_folder(page: NetPage, out: Path) -> None:
    with partial_folder(out) as folder:
        (folder / "images").mkdir()
        for shown in page.pictures:
            for kind, content in shown.files().items():
                (folder / "images" / f"{shown.number:04d}-{kind}.png").write_bytes(content)
        write_atomic(folder / "index.html", render_page(page))
        write_atomic(folder / "accuracies.csv", _csv([HEAD, *format_rows(page.score.rows)]))
        for name, predicted in (
            ("confusion.csv", page.predicted),
            ("confusion-attacked.csv", page.predicted_attacked),
        ):
            write_atomic(folder / name, _csv(_confusion_rows(page, predicted)))


def _confusion_rows(page: NetPage, predicted: Tensor) -> list[Sequence[Any]]:
    names = page.class_names
    counts = count_confusions(page.labels, predicted, len(names)).tolist()
    return [
        ["true", *names],
        *([name, *row] for name, row in zip(names, counts, strict=True)),
    ]


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
