"""Recipes that `techniques.py` compares: within a table they differ in one setting each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adv import (
    AWP,
    CAT,
    GAT,
    LIET,
    MART,
    PGI,
    PNI,
    RSE,
    RSLAD,
    SAAD,
    TRADES,
    AdamW,
    Augment,
    BigNet,
    Curriculum,
    GradAlign,
    Latest,
    Madry,
    MCDropout,
    Mixed,
    NuAT,
    OneCycle,
    Paired,
    Projection,
    Ramp,
    Recipe,
    SpectralNorm,
    TestNoise,
)

EPS = 0.03
PLAIN = "plain"
# Training does not see test noise: the weights are those of the plain net, bit for bit.
SAME_WEIGHTS = {"test noise 0.1": PLAIN}
TEACHERS = {f"{pupil}, taught by PGD-5": "PGD-5" for pupil in ("RSLAD", "SAAD")}


def tables(epochs: int, teacher: Path | str = "PGD-5.safetensors") -> dict[str, dict[str, Recipe]]:
    """Return the recipes of each table.

    Unless a row says otherwise: AdamW, one cycle with its peak at 2e-3, flips.

    Args:
      epochs: of each training.
      teacher: the checkpoint of the row that teaches another.
    """
    half = Recipe(
        net=BigNet(),
        optimizer=AdamW(lr=2e-3, decay=OneCycle()),
        curriculum=Curriculum(eps=EPS, steps=7, pace=0.008 / EPS, fraction=0.5),
        augment=Augment(flip=0.5),
        epochs=epochs,
    )
    whole = replace(
        half,
        objective=Madry(),
        curriculum=Curriculum(eps=EPS, steps=5, pace=0.3, fraction=1.0),
        batch=64,
    )
    return {
        "defences": _defences(half),
        "training": _training(whole),
        "augmentation": _augmentation(whole),
        "cheap": _cheap(replace(whole, smoothing=0.4, ema=0.9995), teacher),
    }


def _defences(base: Recipe) -> dict[str, Recipe]:
    dropped = replace(base, net=BigNet(dropout=0.2))
    return {
        PLAIN: base,
        "RSE(0.2, 0.1)": replace(base, defences=(RSE(0.2, 0.1),)),
        "PNI": replace(base, defences=(PNI(),)),
        "dropout 0.2": dropped,
        "dropout 0.2 kept on": replace(dropped, defences=(MCDropout(),)),
        "test noise 0.1": replace(base, defences=(TestNoise(0.1),)),
        "spectral, kernel": replace(base, defences=(SpectralNorm("kernel"),)),
        "spectral, convolution": replace(base, defences=(SpectralNorm("convolution"),)),
        "projection 200": replace(base, defences=(Projection(200),)),
    }


def _training(base: Recipe) -> dict[str, Recipe]:
    one_step = {kind: Curriculum(eps=EPS, kind=kind) for kind in ("fgsm", "fgsm-rs", "n-fgsm")}
    half = Curriculum(eps=EPS, steps=5, pace=0.3, fraction=0.5)
    return {
        "Madry": base,
        "Mixed, half": replace(base, objective=Mixed(), curriculum=half),
        "Paired": replace(base, objective=Paired()),
        "TRADES, beta 6": replace(base, objective=TRADES()),
        "MART, beta 5": replace(base, objective=MART()),
        "AWP(Madry)": replace(base, objective=AWP(Madry())),
        "average, 0.995": replace(base, ema=0.995),
        "smoothing 0.1": replace(base, smoothing=0.1),
        "FGSM": replace(base, curriculum=one_step["fgsm"]),
        "FGSM-RS": replace(base, curriculum=one_step["fgsm-rs"]),
        "N-FGSM": replace(base, curriculum=one_step["n-fgsm"]),
        "CAT, patience 1": replace(base, curriculum=CAT(EPS, most=5, patience=1)),
        "ReLU": replace(base, net=BigNet(activation="relu")),
        "SiLU": replace(base, net=BigNet(activation="silu")),
    }


def _augmentation(base: Recipe) -> dict[str, Recipe]:
    kinds = {
        "nothing": Augment(),
        "flip": Augment(flip=0.5),
        "flip, crop 4": Augment(flip=0.5, crop=4),
        "flip, jitter 0.2": Augment(flip=0.5, jitter=0.2),
        "flip, cutout 16": Augment(flip=0.5, cutout=16),
        "flip, erasing 0.5": Augment(flip=0.5, erasing=0.5),
        "flip, CutMix": Augment(flip=0.5, cutmix=1.0),
        "IDBH weak": Augment(idbh="weak"),
        "IDBH strong": Augment(idbh="strong"),
    }
    return {name: replace(base, augment=kind) for name, kind in kinds.items()}


def _cheap(base: Recipe, teacher: Path | str) -> dict[str, Recipe]:
    """Return recipes of one step, and taught ones, beside PGD; labels and weights as published."""
    noisy = replace(base, curriculum=Curriculum(eps=EPS, kind="n-fgsm"))
    plain = replace(base, curriculum=Curriculum(eps=EPS, kind="fgsm"))
    rising = Curriculum(eps=Ramp(0.0, EPS, until=0.3), kind="n-fgsm")
    return {
        "PGD-5": base,
        "N-FGSM": noisy,
        "N-FGSM, eps rises": replace(base, curriculum=rising),
        "N-FGSM, not smoothed": replace(noisy, smoothing=0.0),
        "N-FGSM, smoothing 0.6": replace(noisy, smoothing=0.6),
        "N-FGSM, no average": replace(noisy, ema=0.0),
        "N-FGSM, latest snapshots": replace(noisy, ema=Latest()),
        "FGSM-PGI": replace(plain, objective=PGI()),
        "LIET": replace(plain, objective=LIET()),
        "NuAT": replace(plain, objective=NuAT()),
        "GAT": replace(plain, objective=GAT()),
        "gradient alignment": replace(plain, objective=GradAlign()),
        "RSLAD, taught by PGD-5": replace(base, objective=RSLAD(teacher)),
        "SAAD, taught by PGD-5": replace(base, objective=SAAD(teacher)),
    }
