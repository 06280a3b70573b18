"""Attack a net with one attack, print its accuracy, save the images: `python -m adv attack`."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from adv.attacks import NES, Attack, Hunt, Square, Transfer, hunt
from adv.attacks.losses import is_correct
from adv.cli.display import print_queries, print_score
from adv.cli.reached import counts_reached, print_reached
from adv.cli.target import Target, load_target
from adv.cli.target_args import TargetArgs
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.evaluator import evaluate
from adv.evaluation.score import Score
from adv.files import check_writable, write_atomic
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import is_random, use_seed
from adv.runtime.votes import Votes
from adv.shape import format_shape
from adv.terminal.console import print_line, spinner


def attack_target(
    args: TargetArgs,
    name: str,
    make_attack: Callable[[Sequence[str] | None], Attack],
    repeats: tuple[int, int],
    *,
    aim: str | None,
    save: Path | None,
    surrogate: Path | None,
) -> None:
    """Attack a net with one attack and print its accuracy.

    Args:
      args: the net and the images.
      name: of the attack, as printed.
      make_attack: from the names of the net's classes, None before they are known, to the attack.
      repeats: (draws, votes): noise samples of a random net in each gradient and each prediction.
      aim: the value of --target.
      save: write the images that were scored, and the verdicts, to this .npz.
      surrogate: make the images on the net of this checkpoint (a transfer attack).
    """
    if save is not None:
        check_writable(save)
    needs_gradient = surrogate is None and not isinstance(make_attack(None), Square | NES)
    target = load_target(args, gradient=needs_gradient)
    attack = make_attack(target.class_names)
    draws, votes = repeats
    if surrogate is not None:
        other = load_target(
            replace(
                args,
                checkpoint=surrogate,
                net=None,
                net_arg=(),
                mean=None,
                std=None,
                weights=None,
                weights_key=None,
                random=False,
            )
        )
        if other.split.shape != target.split.shape:
            raise ValueError(
                f"{surrogate} takes images of {format_shape(other.split.shape)}, the attacked "
                f"net takes {format_shape(target.split.shape)}: name a source of the same shape"
            )
        attack = Transfer(attack, Votes(other.net, draws) if is_random(other.net) else other.net)
        name = f"transfer-{name}"
    battery = Battery(((f"{name}-{attack.ball.eps:.4g}", attack),), draws=draws, votes=votes)
    if isinstance(attack, Square | NES):
        with spinner("attacking; Ctrl-C stops"):
            score, found = _count_queries(target, attack, battery)
        print_score(score, target)
        if not is_random(target.net):  # a random net is always asked the full number of queries
            print_queries(found, attack.queries)
    else:
        with spinner("attacking; Ctrl-C stops"):
            score = evaluate(
                target.net,
                target.split,
                battery,
                keep_images=save is not None or counts_reached(aim),
            )
        print_score(score, target)
    print_reached(score, target, aim, battery.seed)
    if save is not None:
        _save_images(save, target.split, score)


def _count_queries(target: Target, attack: Square | NES, battery: Battery) -> tuple[Score, Hunt]:
    """Return the score that `evaluate` gives for a query-based attack, and its query counts."""
    net, split = target.net, target.split.to(device_of(target.net))
    x, y = split.images.float() / 255, split.labels
    random = is_random(net)
    with torch.no_grad(), frozen(net), use_seed(net, battery.seed):
        attacked = Votes(net, battery.draws) if random else net
        generator = torch.Generator().manual_seed(battery.seed)
        found = hunt(attack, attacked, x, y, generator=generator)
        predictor = Votes(net, battery.votes) if random else net
        logits = [torch.cat([predictor(b) for b in i.split(256)]) for i in (x, found.adv)]
    natural, attacked_ok = (is_correct(outputs, y) for outputs in logits)
    score = Score(
        names=(battery.attacks[0][0],),
        eps=(attack.ball.eps,),
        ok=torch.stack([natural, natural & attacked_ok]).cpu(),
        votes=battery.votes if random else 1,
        draws=battery.draws if random else 1,
        adversarial=found.adv[None].cpu(),
    )
    return score, found


def _save_images(path: Path, split: Split, score: Score) -> None:
    """Write an .npz: `clean` and `adversarial`, float32 in [0, 1], `label`, and `correct`.

    `correct` [2, n] tells which images were classified correctly without and under the attack. It
    is saved because a random net may judge the same images differently when asked again.
    """
    assert score.adversarial is not None
    clean = split.images.cpu().float().numpy() / 255
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        clean=clean,
        adversarial=score.adversarial[0].numpy(),
        label=split.labels.cpu().numpy(),
        correct=score.ok.numpy(),
    )
    write_atomic(path, buffer.getvalue())
    print_line(f"\nimages   {path}")
