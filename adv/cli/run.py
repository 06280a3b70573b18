"""What `python -m adv` does once it knows what is wanted: train, attack, save, show."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
import torch
from torch import Tensor

from adv.attacks import NES, Attack, Hunt, Square, Transfer, hunt
from adv.attacks.losses import correct
from adv.checkpoints.checkpoint import save_checkpoint
from adv.checkpoints.expressions import parse
from adv.cli.display import progress, show, show_queries, waiting
from adv.cli.source import Source
from adv.cli.target import Subject, meet
from adv.data.datasets import Split, load
from adv.evaluation.battery import Battery
from adv.evaluation.evaluator import evaluate
from adv.evaluation.score import Score
from adv.files import check_writable, write_atomic
from adv.runtime.devices import default_device, device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import drawing, is_random
from adv.runtime.votes import Votes
from adv.suggestions import suggest
from adv.training.early_stopping import watch
from adv.training.loop import train
from adv.training.recipe import Recipe


def train_one(recipe: Recipe, scale: Any, card: Mapping[str, Any], seed: int, out: Path) -> None:
    """Train a recipe on the data of a scale and keep its best epoch in `out`.

    `card` says which point of which space the recipe is.
    """
    check_writable(out)
    data = load(scale.data)
    held = data.validation.tail(scale.watch_images)
    images = data.train.head(scale.train_images or len(data.train))
    card = {
        **card,
        "recipe": repr(recipe),
        "seed": seed,
        "scale": asdict(scale),
        "data": scale.data,
        "classes": list(data.classes),
    }
    epochs = train(recipe, images, classes=len(data.classes), seed=seed, device=default_device())
    with progress(recipe.epochs) as tell:
        for seen in watch(epochs, held, scale.watch(), patience=recipe.patience):
            epoch = seen.epoch
            if seen.is_best:
                save_checkpoint(out, epoch.net, {**card, "epoch": epoch.number})
            tell(epoch, seen.score, seen.is_best)
    if epoch.number < epoch.total:
        click.echo(f"\nended after {epoch.number} of {epoch.total} epochs: no more came of it")
    click.echo(f"\n{out}\njudge it: python -m adv evaluate {out}")


def judge(source: Source, kind: str, battery: Callable[[int | None], Battery]) -> None:
    """Judge a net by the battery called `kind`, made for its number of classes.

    Raises:
      ValueError: AutoAttack's standard line-up for a random net.
    """
    subject = meet(source)
    random = is_random(subject.net)
    if random and kind == "autoattack":
        raise ValueError("the net is random: --battery rand is AutoAttack's line-up for such nets")
    with waiting():
        score = evaluate(subject.net, subject.part, battery(subject.classes))
    show(score, subject)
    if random and kind != "rand":
        click.echo("\nthe net is random: --battery rand attacks it harder")
    elif not random and kind == "rand":
        click.echo("\nthe net is not random: --battery autoattack attacks it harder")


def attack_one(
    source: Source,
    name: str,
    made: Attack,
    times: tuple[int, int],
    *,
    save: Path | None,
    made_on: Path | None,
) -> None:
    """Attack a net with one attack, through (draws, votes) of a random one.

    The images are made on the net of the checkpoint `made_on`, where there is one.
    """
    if save is not None:
        check_writable(save)
    subject = meet(source)
    draws, votes = times
    if made_on is not None:
        other = meet(replace(source, checkpoint=made_on, module=None, weights=None, random=False))
        made = Transfer(made, Votes(other.net, draws) if is_random(other.net) else other.net)
        name = f"transfer-{name}"
    battery = Battery(((f"{name}-{made.ball.eps:.4g}", made),), draws=draws, votes=votes)
    if isinstance(made, Square | NES):
        with waiting():
            score, found = hunted(subject, made, battery)
        show(score, subject)
        if not is_random(subject.net):  # of a random one all queries are spent
            show_queries(found, made.queries)
    else:
        with waiting():
            score = evaluate(subject.net, subject.part, battery, keep_images=save is not None)
        show(score, subject)
    if save is not None:
        assert score.adversarial is not None
        save_images(save, subject.part, score.adversarial[0])


def hunted(subject: Subject, attack: Square | NES, battery: Battery) -> tuple[Score, Hunt]:
    """What `evaluate` would find with one attack that counts queries, and the queries."""
    net, part = subject.net, subject.part.to(device_of(subject.net))
    x, y = part.images.float() / 255, part.labels
    random = is_random(net)
    with torch.no_grad(), frozen(net), drawing(net, battery.seed):
        attacked = Votes(net, battery.draws) if random else net
        generator = torch.Generator().manual_seed(battery.seed)
        found = hunt(attack, attacked, x, y, generator=generator)
        judge = Votes(net, battery.votes) if random else net
        logits = [torch.cat([judge(b) for b in i.split(256)]) for i in (x, found.adv)]
    right = [correct(told, y) for told in logits]
    ok = torch.stack([right[0], right[0] & right[1]]).cpu()
    names, eps = (battery.attacks[0][0],), (attack.ball.eps,)
    score = Score(names, eps, ok, *((battery.votes, battery.draws) if random else ()))
    return replace(score, adversarial=found.adv[None].cpu()), found


def save_images(path: Path, split: Split, adversarial: Tensor) -> None:
    """Write `clean`, `adversarial` (float32 in [0, 1]) and `label` as one .npz."""
    clean = split.images.cpu().float().numpy() / 255
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, clean=clean, adversarial=adversarial.numpy(), label=split.labels.cpu().numpy()
    )
    write_atomic(path, buffer.getvalue())
    click.echo(f"\nimages   {path}")


def typed_recipe(text: str, epochs: int | None) -> Recipe:
    """The recipe that was typed, with other epochs where they are given."""
    recipe = parse(text)
    if not isinstance(recipe, Recipe):
        raise ValueError(f"--recipe is a Recipe(...), not a {type(recipe).__name__}")
    return recipe if epochs is None else replace(recipe, epochs=epochs)


def point(space: Any, pairs: tuple[str, ...]) -> dict[str, Any]:
    """The point that `KNOB=VALUE` pairs name; what is left out is as in the first known point."""
    given: dict[str, str] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in space.knobs:
            near = suggest(name, space.knobs) or ":"
            raise ValueError(f"--set {pair}{near} The knobs are {', '.join(space.knobs)}")
        given[name] = text
    params: dict[str, Any] = {}
    for name, knob in space.knobs.items():
        if name not in dict(space.active(params)):
            continue
        if name in given:
            params[name] = knob.parse(given[name])
        elif usual := [known[name] for known in space.known if name in known]:
            params[name] = usual[0]
        else:
            raise ValueError(f"--set {name}=VALUE is missing: {knob}")
    space.check({**params, **{k: v for k, v in given.items() if k not in params}})
    return params
