"""Do generated images help a robust net, and which kind, in which share?

    python launch.py --space synthetic

BigNet with the report's curriculum, and a share of each batch from a set of generated images: from
a Gaussian fitted to each class, from the last weights of a conditional BigGAN (`gan`) or their
moving average (`gan+ema`), from the latter by discriminator driven latent sampling
(`gan+ema+ddls`), or from `generated.npz` in the folder of generated images (`npz`, of any other
generator). `relabel` labels the images by a classifier that was trained on the real ones without
attacks. Validation and test images are always real. The report gave its GAN up because its images
did not look real; here robust accuracy decides.

Each set is generated once, by the first trial that needs it, while other trials that need it wait,
and is kept in the cache folder (docs/synthetic.md). On the laptop scale that is a small GAN, which
takes a minute or two of one core, and 2,000 digits; `npz` is left out there unless the file exists.
On the full scale the first trial that needs the GAN trains it for hours on a GPU. On digits and on
a part of CIFAR-10 no source improved on real images by more than its interval (docs/synthetic.md).
"""

from __future__ import annotations

import adv
from adv.data.cache_dir import generated_folder
from spaces import Choice, Float, Params, Space, Value

_FILE = "generated.npz"
_SOURCES = ("none", "gaussian", "gan", "gan+ema", "gan+ema+ddls", "npz")
_GENERATED: dict[str, Value | tuple[Value, ...]] = {"source": _SOURCES[1:]}


def build(source: str, fraction: float = 0.0, relabel: bool = False) -> adv.Recipe:
    """Return BigNet with the report's curriculum, `fraction` of each batch from `source`."""
    from adv.generative.classifier import natural_recipe

    if source == "none":
        return adv.Recipe(net=adv.BigNet())
    images: adv.Gaussian | adv.FromGAN | adv.Npz
    if source == "gaussian":
        images = adv.Gaussian()
    elif source == "npz":
        images = adv.Npz(_FILE)
    else:
        images = adv.FromGAN(ema="ema" in source, ddls=adv.DDLS() if "ddls" in source else None)
    labeller = natural_recipe() if relabel else None
    generated = adv.Synthetic(images, fraction, relabel=labeller)
    return adv.Recipe(net=adv.BigNet(), generated=generated)


def _laptop_sources() -> Choice:
    """Return the sources without `npz`, unless its file exists."""
    exists = (generated_folder() / _FILE).is_file()
    return Choice(_SOURCES if exists else _SOURCES[:-1])


def _half(source: str) -> Params:
    return {"source": source, "fraction": 0.5, "relabel": False}


space = Space(
    question="Do generated images help a robust net, and which kind, in which share?",
    knobs={
        "source": Choice(_SOURCES),
        "fraction": Float(0.0, 1.0, when=_GENERATED),
        "relabel": Choice((False, True), when=_GENERATED),
    },
    build=build,
    known=(
        {"source": "none"},
        *(_half(source) for source in ("gaussian", "gan", "gan+ema", "gan+ema+ddls")),
        {"source": "gaussian", "fraction": 0.7, "relabel": True},
    ),
    laptop={"source": _laptop_sources()},
    scale={"image_size": ""},  # generators draw images of 32 x 32
)
