"""Every defence and objective on nets of others: it works, or says which layer it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator

from adv import (
    AWP,
    GAT,
    LIET,
    MART,
    PGI,
    PNI,
    RSE,
    TRADES,
    Curriculum,
    External,
    GradAlign,
    Latest,
    Madry,
    MCDropout,
    Mixed,
    NuAT,
    Paired,
    Projection,
    Recipe,
    SpectralNorm,
    Split,
    TestNoise,
    Votes,
    certify,
    lipschitz_bound,
    train,
)
from adv.training.rehearsal import rehearse

THEIRS = Path(__file__).parent.parent / "their_nets.py"
SHAPE = (3, 8, 8)
DEFENCES = {
    "RSE": RSE(0.1, 0.1),
    "PNI": PNI(),
    "MCDropout": MCDropout(),
    "TestNoise": TestNoise(0.1),
    "SpectralNorm": SpectralNorm(),
    "SpectralNorm of convolutions": SpectralNorm("convolution"),
    "Projection": Projection(20),
}
REFUSED = {
    ("RSE", "NoConvolution"): "RSE needs a net with a convolution",
    ("MCDropout", "NoConvolution"): "MCDropout needs a net with dropout layers",
    ("MCDropout", "Standardised"): "MCDropout needs a net with dropout layers",
    ("MCDropout", "scripted"): "MCDropout needs a net with dropout layers",
    ("PNI", "Standardised"): r"the weight of a OwnConvolution \(net.conv\) cannot be transformed",
    ("SpectralNorm", "Standardised"): r"a OwnConvolution \(net.conv\) cannot be transformed",
    ("SpectralNorm of convolutions", "Standardised"): "a OwnConvolution",
    ("RSE", "scripted"): "RSE needs a net with a convolution",
    ("PNI", "scripted"): "PNI needs a net with a convolution or a linear layer",
    ("SpectralNorm", "scripted"): "SpectralNorm needs a net with a convolution or a linear layer",
    ("SpectralNorm of convolutions", "scripted"): "SpectralNorm needs a net with a convolution",
}


def make_split():
    images = torch.randint(256, (17, *SHAPE), generator=seeded_generator(), dtype=torch.uint8)
    return Split(images, torch.arange(17) % 10)


@pytest.mark.filterwarnings("ignore:.torch.jit.*:FutureWarning")
@pytest.mark.parametrize("net", ["Grouped", "NoConvolution", "Standardised", "scripted"])
@pytest.mark.parametrize("name", DEFENCES)
def test_defences(name, net):
    recipe = Recipe(net=External(f"{THEIRS}:{net}"), defences=(DEFENCES[name],))
    hint = REFUSED.get((name, net))
    if hint:
        with pytest.raises(ValueError, match=hint):
            rehearse(recipe, 10, SHAPE)
        return
    net = rehearse(recipe, 10, SHAPE).eval()
    x = torch.rand(2, *SHAPE, generator=seeded_generator())
    with torch.no_grad():
        assert Votes(net, 2)(x).isfinite().all()


def test_noise_of_the_first_layer_is_in_pixels():
    """It enters before a normalisation, also before one that the net does itself."""
    cases: tuple[dict[str, Any], ...] = ({}, {"mean": 0.5, "std": 0.1})
    for settings in cases:
        recipe = Recipe(
            net=External(f"{THEIRS}:Plain", **settings), defences=(RSE(0.3, 0.0), TestNoise(0.2))
        )
        names = [name for name, _ in rehearse(recipe, 10, SHAPE).named_modules() if name]
        assert names.index("pixels.0") < names.index("pixels.1.0") < names.index("net")


OBJECTIVES = (
    *(Mixed(), Madry(), Paired(), TRADES(), MART(), AWP(TRADES(), gamma=0.01)),
    *(NuAT(), GAT(), LIET(), PGI(), GradAlign()),
)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
def test_objectives(objective):
    recipe = Recipe(
        net=External(f"{THEIRS}:OnePixelMaps", mean=0.5, std=0.25),
        objective=objective,
        curriculum=Curriculum(eps=0.05, steps=1, kind="fgsm-rs"),
        frozen_layers=0.3,
        ema=Latest(2, 1),
        epochs=2,
        batch=8,
    )
    *_, last = train(recipe, make_split(), classes=10, seed=0)
    assert all(weight.isfinite().all() for weight in last.net.parameters())


def test_certificates_and_bounds():
    net = rehearse(Recipe(net=External(f"{THEIRS}:Plain")), 10, SHAPE)
    found = certify(net, make_split().head(3), 0.25, n=20, alpha=0.05)
    assert len(found.radii) == 3
    with pytest.raises(ValueError, match=r"a sequence of layers, not Plain \(net\)"):
        lipschitz_bound(net)
