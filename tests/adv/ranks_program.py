"""Trains small nets on several ranks, each in a process of its own that a test starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from small_nets import BatchNormNet
from torch.multiprocessing.spawn import start_processes

from adv import (
    AWP,
    CAT,
    GAT,
    LIET,
    MART,
    PGD,
    PGI,
    PNI,
    RSE,
    SGD,
    TRADES,
    AdamW,
    Attack,
    Augment,
    Battery,
    Curriculum,
    GradAlign,
    Latest,
    Linf,
    Madry,
    MCDropout,
    Mixed,
    NuAT,
    Paired,
    Recipe,
    SpectralNorm,
    Split,
    Square,
    evaluate,
    restarts,
    train,
)
from adv.runtime.ranks import ALONE, Ranks, join_ranks

EPS = 8 / 255
PLAIN = Recipe(
    BatchNormNet(),
    optimizer=SGD(lr=0.01),
    curriculum=Curriculum(eps=EPS, steps=2),
    objective=Madry(),
    epochs=1,
    batch=10,  # of 23 images, so the last batch has 3: fewer than four ranks
)
OBJECTIVES = {
    "mixed": Mixed(),
    "madry": Madry(),
    "paired": Paired(),
    "trades": TRADES(),
    "mart": MART(),
    "awp-madry": AWP(Madry()),
    "awp-trades": AWP(TRADES()),
    "nuat": NuAT(),
    "gat": GAT(),
    "grad-align": GradAlign(),
    "liet": LIET(),
    "pgi": PGI(),
}
CASES: Mapping[str, Recipe] = {
    **{name: replace(PLAIN, objective=objective) for name, objective in OBJECTIVES.items()},
    "noise": replace(PLAIN, defences=(RSE(0.1, 0.1), MCDropout(0.2))),
    "noise on weights": replace(PLAIN, defences=(PNI(),)),
    "spectral norm": replace(PLAIN, defences=(SpectralNorm(),)),
    "dropout": replace(PLAIN, net=BatchNormNet(dropout=0.3)),
    "augmentation": replace(PLAIN, augment=Augment(flip=0.5, crop=2, cutmix=0.5, idbh="weak")),
    "averages": replace(PLAIN, ema=0.9, epochs=2),
    "latest": replace(PLAIN, ema=Latest(2, 1), defences=(RSE(0.1, 0.1),)),
    "adam and clip": replace(PLAIN, optimizer=AdamW(lr=1e-4), clip=0.5, smoothing=0.1),
    "one step": replace(PLAIN, curriculum=Curriculum(eps=EPS, kind="n-fgsm")),
    "cat": replace(PLAIN, objective=Mixed(), curriculum=CAT(most=2, held=0.1, patience=1)),
    "bfloat16": replace(PLAIN, precision="bfloat16"),
}


@dataclass(frozen=True)
class OwnNoise(Attack):
    """An attack that is not iterative: it draws for a whole batch at once."""

    ball: Linf

    def __call__(self, model, x, y, *, generator=None):
        noise = torch.rand(x.shape, generator=generator) - 0.5
        return (x + 2 * self.ball.eps * noise.sign() * (noise.abs() > 0.1)).clamp(0, 1)


BATTERY = Battery(
    (
        ("pgd", PGD(Linf(EPS), steps=3)),
        ("pgd-more", restarts(PGD(Linf(2 * EPS), steps=3), 2)),
        ("square", Square(Linf(2 * EPS), queries=20)),
        ("own", OwnNoise(Linf(3 * EPS))),
    )
)


def images(count: int = 23) -> Split:
    """Return random images of 32x32 pixels."""
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=rng, dtype=torch.uint8)
    return Split(pixels, torch.randint(4, (count,), generator=rng))


def outcome(recipe: Recipe, ranks: Ranks) -> dict[str, Any]:
    """Train a net; return its weights, its metrics and its score, and each epoch's state."""
    states = []
    for epoch in train(recipe, images(), classes=4, seed=5, ranks=ranks):
        net, metrics = epoch.net, dict(epoch.metrics)
        states.append(epoch.state())
    ok = [
        evaluate(net, images(30), replace(BATTERY, nested=nested), batch=7, ranks=ranks).ok
        for nested in (False, True)
    ]
    return {
        "net": net.state_dict(),
        "metrics": metrics,
        "ok": torch.cat(ok),
        "states": states,
    }


def resumed(recipe: Recipe, state: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Return the weights after the epochs that follow a state."""
    for epoch in train(recipe, images(), classes=4, seed=5, state=state, ranks=ranks):
        net = epoch.net
    return dict(net.state_dict())


def work(rank: int, count: int, folder: Path, names: tuple[str, ...]) -> None:
    """Be one rank: train each case and save what rank 0 has."""
    torch.set_num_threads(1)
    with join_ranks(rank, count, device="cpu", meet=f"file://{folder}/meet-{count}") as ranks:
        found = {name: outcome(CASES[name], ranks) for name in names}
        if "averages" in names:
            state = found["averages"]["states"][0]
            found["resumed"] = {"net": resumed(CASES["averages"], state, ranks)}
    torch.save(found, folder / f"{count}-{rank}.pt")


def start(
    count: int, folder: Path | None, names: tuple[str, ...] = tuple(CASES)
) -> list[dict[str, Any]]:
    """Run so many ranks; return what each of them found."""
    if count == 1:
        found = {name: outcome(CASES[name], ALONE) for name in names}
        return [found]
    assert folder is not None
    import warm_process  # noqa: F401 - so torch is imported once, not by each rank

    start_processes(work, (count, folder, names), count, start_method="forkserver")
    return [torch.load(folder / f"{count}-{rank}.pt", weights_only=False) for rank in range(count)]
