"""Do generated images help a robust net, and which kind, in which share?

    python launch.py --space synthetic

BigNet under the report's curriculum, with a share of each batch drawn from a set of generated
images: of a Gaussian fitted to each class, of a conditional BigGAN's last weights (`gan`), of their
moving average (`gan+ema`), of that by discriminator driven latent sampling (`gan+ema+ddls`), or of
`generated.npz` in the folder of generated images (`npz`: any other generator's). `relabel` names
the images by a classifier that was trained on the real ones without attacks. Validation and test
images are always real. The report gave its GAN up because its images did not look real; what
decides here is robust accuracy.

Each set is made once, by the first trial that asks for it, while others that need it wait, and kept
in the cache folder (docs/synthetic.md). On the laptop scale that is a small GAN, which takes a
minute or two of one core, and 2,000 digits; `npz` is left out there unless the file is there. On
the full scale the first trial that needs the GAN trains it for hours on a GPU. On digits and on a
part of CIFAR-10 no source helped beyond its interval (docs/synthetic.md).
"""

from __future__ import annotations

import adv
from adv.data.cache_dir import generated_folder
from spaces import Choice, Float, Params, Space, Value

_FILE = "generated.npz"
_SOURCES = ("none", "gaussian", "gan", "gan+ema", "gan+ema+ddls", "npz")
_MADE: dict[str, Value | tuple[Value, ...]] = {"source": _SOURCES[1:]}


def build(source: str, fraction: float = 0.0, relabel: bool = False) -> adv.Recipe:
    """BigNet under the report's curriculum; `fraction` of each batch comes from `source`."""
    from adv.generative.classifier import natural_recipe

    if source == "none":
        return adv.Recipe(net=adv.BigNet())
    made: adv.Gaussian | adv.FromGAN | adv.Npz
    if source == "gaussian":
        made = adv.Gaussian()
    elif source == "npz":
        made = adv.Npz(_FILE)
    else:
        made = adv.FromGAN(ema="ema" in source, ddls=adv.DDLS() if "ddls" in source else None)
    names = natural_recipe() if relabel else None
    return adv.Recipe(net=adv.BigNet(), generated=adv.Synthetic(made, fraction, relabel=names))


def _laptop() -> Choice:
    """A laptop has no set of another generator, unless it has."""
    there = (generated_folder() / _FILE).is_file()
    return Choice(_SOURCES if there else _SOURCES[:-1])


def _half(source: str) -> Params:
    return {"source": source, "fraction": 0.5, "relabel": False}


space = Space(
    question="Do generated images help a robust net, and which kind, in which share?",
    knobs={
        "source": Choice(_SOURCES),
        "fraction": Float(0.0, 1.0, when=_MADE),
        "relabel": Choice((False, True), when=_MADE),
    },
    build=build,
    known=(
        {"source": "none"},
        *(_half(source) for source in ("gaussian", "gan", "gan+ema", "gan+ema+ddls")),
        {"source": "gaussian", "fraction": 0.7, "relabel": True},
    ),
    laptop={"source": _laptop()},
)
