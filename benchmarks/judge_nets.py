"""Train the nets on which `judge.py` compares scores: many recipes, some of them held out.

    python benchmarks/judge_nets.py --data FOLDER --out runs/judge-nets

Each net is trained at eps 0.03 with one change to a base recipe (BigNet, PGD with 5 steps). A net
whose file exists is left alone, so a second run goes on where the first one ended. Nets of the
group `fit` are for choosing a score, those of `held-out` for testing the choice: no recipe is in
both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import rich_click as click

import adv
from adv import (
    MART,
    PNI,
    RSE,
    TRADES,
    AdamW,
    Augment,
    BaseNet,
    BigNet,
    Curriculum,
    Madry,
    MCDropout,
    Mixed,
    NuAT,
    OneCycle,
    Recipe,
    SpectralNorm,
    TestNoise,
)

EPS = 0.03
BASE = Recipe(
    net=BigNet(),
    objective=Madry(),
    optimizer=AdamW(lr=2e-3, decay=OneCycle()),
    curriculum=Curriculum(eps=EPS, steps=5, pace=0.3, fraction=1.0),
    augment=Augment(flip=0.5),
    batch=64,
)
HALF = replace(BASE, objective=Mixed(), curriculum=replace(BASE.curriculum, fraction=0.5))
N_FGSM = replace(BASE, curriculum=Curriculum(eps=EPS, kind="n-fgsm"))
SILU = replace(BASE, net=BigNet(activation="silu"))

FIT: Mapping[str, Recipe] = {
    "madry": BASE,
    "trades": replace(BASE, objective=TRADES()),
    "mart": replace(BASE, objective=MART()),
    "smoothed": replace(BASE, smoothing=0.4),
    "averaged": replace(BASE, ema=0.995),
    "averaged-smoothed": replace(BASE, ema=0.995, smoothing=0.1),
    "n-fgsm": N_FGSM,
    "mixed": HALF,
    "spectral": replace(HALF, defences=(SpectralNorm("kernel"),)),
    "relu": replace(BASE, net=BigNet(activation="relu")),
    "base-net": replace(BASE, net=BaseNet()),
    "rse": replace(HALF, defences=(RSE(0.1, 0.1),)),
    "pni": replace(HALF, defences=(PNI(),)),
    "dropout": replace(HALF, net=BigNet(dropout=0.2), defences=(MCDropout(),)),
}
HELD_OUT: Mapping[str, Recipe] = {
    "trades-silu": replace(SILU, objective=TRADES(beta=3.0)),
    "mart-silu": replace(SILU, objective=MART(), smoothing=0.1),
    "n-fgsm-smoothed": replace(N_FGSM, net=BigNet(activation="silu"), smoothing=0.6),
    "averaged-silu": replace(SILU, ema=0.995),
    "nuat": replace(BASE, objective=NuAT(), curriculum=Curriculum(eps=EPS, kind="fgsm")),
    "base-net-trades": replace(BASE, net=BaseNet(activation="silu"), objective=TRADES()),
    "spectral-silu": replace(SILU, defences=(SpectralNorm("kernel"),)),
    "rse-strong": replace(HALF, defences=(RSE(0.2, 0.1),)),
    "test-noise": replace(HALF, defences=(TestNoise(0.1),)),
}
GROUPS = {"fit": FIT, "held-out": HELD_OUT}


@click.command()
@click.option("--data", required=True, help="A folder with train/<class>/*, or cifar10.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the nets.")
@click.option("--epochs", type=click.IntRange(1), default=6, show_default=True)
@click.option("--train-images", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="Only this net; repeatable.")
def main(data: str, out: Path, epochs: int, train_images: int, only: tuple[str, ...]) -> None:
    """Train the nets that are missing in --out/fit and --out/held-out."""
    known = [name for group in GROUPS.values() for name in group]
    if wrong := set(only) - set(known):
        raise click.BadParameter(f"{', '.join(sorted(wrong))}: there are {', '.join(known)}")
    loaded = adv.load(data)
    part = loaded.train.head(train_images)
    for group, recipes in GROUPS.items():
        (out / group).mkdir(parents=True, exist_ok=True)
        for name, recipe in recipes.items():
            path = out / group / f"{name}.safetensors"
            if path.exists() or (only and name not in only):
                continue
            sized = replace(recipe, epochs=epochs)
            began = time.monotonic()
            for epoch in adv.train(sized, part, classes=len(loaded.classes), seed=0):
                last = epoch
            adv.save(path, last.net, sized, classes=loaded.classes, seed=0, data=data)
            words = "  ".join(f"{key} {value:.3f}" for key, value in last.metrics.items())
            print(f"{group}/{name}: {time.monotonic() - began:.0f} s  {words}", flush=True)


if __name__ == "__main__":
    main()
