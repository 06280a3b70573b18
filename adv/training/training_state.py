"""Everything that changes while a net trains, and that training resumes from bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adv.data.datasets import Split
from adv.models.net import FittedModule
from adv.runtime.foreign_nets import memory_format_of
from adv.runtime.random_streams import RngStream, attach, derive_seed
from adv.training.frozen_layers import freeze_layers
from adv.training.image_fetcher import ImageFetcher
from adv.training.recipe import Recipe, build
from adv.training.weight_averaging import make_average


class TrainingState:
    """The net, its optimizer and average, the curriculum, and every random generator.

    Args:
      recipe: how the net is trained.
      data: training images; its labels are on the device to train on.
      classes: number of classes.
      seed: of the weights and of every generator.
      device: where to train.
      resumes: a state is restored next, so that the initial weights of the recipe are not read.

    Attributes:
      data: the images that the curriculum trains on; it may hold some out. Images that do not fit
        on the device are on the host.
      images: brings those of a batch to the device.
      pool: generated images, None for a recipe without.
      epoch: number of the epoch that was begun last, from 1; 0 before the first.
      memory: what the objective keeps from one update to the next.
      stream: what the random modules of the net draw from.
      order, augmentation, starts, choice: CPU generators for the order of the images, for their
        augmentation, for the starts of attacks and for the choice of generated images.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Split,
        classes: int,
        seed: int,
        device: torch.device,
        *,
        resumes: bool = False,
    ) -> None:
        self.recipe, self.classes, self.seed = recipe, classes, seed
        self.curriculum = recipe.curriculum.start(data)
        self.data = self.curriculum.split
        source = recipe.generated
        self.pool = None if source is None else source.pool(self.data, classes)
        self.epoch = 0
        self.device = self.data.labels.device
        stays = self.data.images.device != self.device
        self.images = ImageFetcher(self.data.images, self.device, ahead=stays)
        self.net = self._build_net(device, initial=not resumes)
        self.optimizer = recipe.optimizer(self.net)
        self.memory = recipe.objective.memory(self.data, classes)
        self.stream = RngStream(derive_seed(seed, 1))
        attach(self.net, self.stream)
        self.order, self.augmentation, self.starts, self.choice = self._generators = [
            torch.Generator().manual_seed(derive_seed(seed, n)) for n in (2, 3, 4, 5)
        ]
        self.average = make_average(self.net, recipe.ema, derive_seed(seed, 6))

    def _build_net(self, device: torch.device, *, initial: bool) -> nn.Module:
        net = build(self.recipe, self.classes, self.seed, self.data.shape, initial=initial)
        for module in net.modules():
            if isinstance(module, FittedModule) and not module.fixed:
                module.fit(self.data.images)
        freeze_layers(net, self.recipe.frozen_layers)
        if not any(weight.requires_grad for weight in net.parameters()):
            raise ValueError("the net has no weight to train")
        return net.to(device).to(memory_format=memory_format_of(net))

    @property
    def eval_net(self) -> nn.Module:
        """The net to evaluate: the average of the weights if there is one, else the net itself."""
        return self.net if self.average is None else self.average.net

    def weights(self) -> dict[str, Any]:
        """Return a copy of the state of the net, of its average and of its optimizer."""
        return copy.deepcopy(
            {
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state(),
            }
        )

    def restore_weights(self, weights: Mapping[str, Any]) -> None:
        """Restore the net, its average and its optimizer from a copy made by `weights`."""
        self.net.load_state_dict(weights["net"])
        # Copied: the optimizer would go on to change the very tensors that it is given.
        self.optimizer.load_state_dict(copy.deepcopy(weights["optimizer"]))
        if self.average is not None:
            self.average.restore(weights["average"])

    def state(self) -> dict[str, Any]:
        """Return a copy of all that training resumes from after the current epoch."""
        return {
            "recipe": repr(self.recipe),
            "seed": self.seed,
            "epoch": self.epoch,
            **self.weights(),
            "stream": self.stream.state(),
            "generators": [generator.get_state() for generator in self._generators],
            "generated": self.pool and self.pool.fingerprint,
            "memory": copy.deepcopy(self.memory),
            # The curriculum's; the key keeps its first name, so that earlier files can be read.
            "course": copy.deepcopy(self.curriculum.state()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume after the epoch that `state()` was taken at.

        Raises:
          ValueError: the state belongs to another recipe or seed, or to other generated images.
        """
        if (state["recipe"], state["seed"]) != (repr(self.recipe), self.seed):
            raise ValueError("this state belongs to another recipe or seed")
        if self.pool is not None:
            self.pool.check(state["generated"])
        self.restore_weights(state)
        self.stream.restore(state["stream"])
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved)
        # Earlier states have no memory, nor had their objectives.
        self.recipe.objective.restore_memory(self.memory, state.get("memory", {}))
        self.curriculum.restore(copy.deepcopy(state["course"]))
        self.epoch = int(state["epoch"])


def eval_weights(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the `state_dict` of an epoch's net, given its `Epoch.state()`."""
    weights: Mapping[str, Tensor] = (state["average"] or state)["net"]
    return weights
