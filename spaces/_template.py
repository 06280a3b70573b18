"""Which noise and which learning rate? A space to begin with: change what you like.

    python launch.py --space-file FILE --serial

A space says what a search varies (`knobs`), and how a configuration becomes a recipe for training
(`build`). As it stands the search takes a minute or two on one core; delete `scale` for its true
size. docs/own-space.md explains each part.
"""

from __future__ import annotations

import adv
from spaces import Float, Int, Space


def build(width: int, sigma: float, lr: float) -> adv.Recipe:
    """Return the recipe of a configuration; each knob is an argument."""
    return adv.Recipe(
        net=adv.BigNet(width=width),  # or BaseNet(), WRN(...), ViT(...); see `python -m adv models`
        defences=(adv.RSE(sigma, sigma),),  # noise before each convolution; () for no defence
        optimizer=adv.AdamW(lr=lr),  # or SGD(...)
        curriculum=adv.Curriculum(),  # the training attack over time, such as Curriculum(eps=0.03)
        objective=adv.Mixed(),  # the loss, given that attack: or TRADES(), MART(), ...
    )


space = Space(
    question="Which noise and which learning rate?",
    knobs={
        # Float, Int and Choice are the kinds. log=True: on a logarithmic scale; and a knob with
        # when={"model": "vit"} exists only where `model` has that value.
        "width": Int(1, 2),
        "sigma": Float(0.0, 0.2),
        "lr": Float(3e-4, 1e-2, log=True),
    },
    build=build,
    # Configurations to try first, such as a published setting.
    known=({"width": 1, "sigma": 0.0, "lr": 1e-3},),
    # What a search does if its command says nothing else.
    data="digits",
    # Smaller than usual, so that it runs at once. Delete it when the space is as you want it.
    scale={"trials": 4, "epochs": 2, "train_images": 256, "images": 60, "watch_images": 20},
)
