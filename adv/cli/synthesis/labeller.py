"""The classifier that labels or scores generated images: the user's, or our own, trained once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from adv.checkpoints.checkpoint import load_weights, read_checkpoint, save_checkpoint
from adv.cli.synthesis.display import progress_bar
from adv.data.cache_dir import generated_folder
from adv.data.datasets import Data, fingerprint
from adv.generative.cache import cache_key, make_once
from adv.generative.classifier import laptop_recipe, natural_recipe
from adv.runtime.devices import default_device, on_device
from adv.training.loop import train
from adv.training.recipe import build


@dataclass(frozen=True, eq=False)
class Labeller:
    """A classifier that labels or scores images, with the names of its classes by label.

    `title` says where it is from; `digest` is a hash of its file.
    """

    title: str
    net: nn.Module
    classes: tuple[str, ...]
    digest: str

    def check(self, classes: Sequence[str], whose: str) -> None:
        """Raise ValueError unless the labeller has exactly these classes, in this order.

        `whose` names the owner of `classes` in the message.
        """
        if self.classes != tuple(classes):
            raise ValueError(
                f"{self.title} has {len(self.classes)} classes, and {whose} has others"
            )


def default_labeller(data: Data) -> Labeller:
    """Return a BigNet trained on the real images; trained once and kept in the cache."""
    recipe = laptop_recipe(natural_recipe())
    digest = cache_key(recipe, fingerprint(data.train), len(data.classes))

    def make(path: Path) -> None:
        count, device = len(data.classes), default_device()
        with progress_bar("training our own classifier, once", recipe.epochs) as advance:
            for epoch in train(recipe, data.train, classes=count, seed=0, device=device):
                advance(
                    epoch.number, f"our own classifier, once: epoch {epoch.number}/{epoch.total}"
                )
                net = epoch.net
        save_checkpoint(path, net, {"recipe": repr(recipe), "classes": list(data.classes)})

    path = make_once(generated_folder() / f"classifier-{digest}.safetensors", make)
    net = build(recipe, len(data.classes), 0, data.shape)
    trained = on_device(load_weights(net, read_checkpoint(path)[0]))
    return Labeller("our own BigNet", trained, data.classes, digest)
