"""A recipe: everything that decides how one net is trained, except its data and its seed.

On a CPU an equal recipe, seed and data give an equal net.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import torch
from torch import nn

from adv.augment import Augment
from adv.data.generated import ImageSource
from adv.defences import Defence
from adv.external import Weights
from adv.models import BigNet, Net
from adv.models.net import make_net
from adv.runtime.image_shape import set_image_shape
from adv.runtime.random_streams import RngStream, attach, derive_seed
from adv.shape import DEFAULT_SHAPE, Shape
from adv.suggestions import suggest
from adv.training.cat import CAT
from adv.training.curriculum import Curriculum
from adv.training.objective import Objective
from adv.training.objectives import Mixed
from adv.training.optimizers import SGD, AdamW
from adv.training.weight_averaging import Latest

AUTOCAST_DTYPES: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""The autocast type of a net in training, by the name of the precision; None: no autocast."""

_LATER = ("init", "frozen_layers")


@dataclass(frozen=True)
class Recipe:
    """All settings of the training of one net.

    Args:
      net: the architecture, a value such as `BigNet(width=2)`, or `External(...)` for a net of
        another project.
      init: the weights to start from, `Weights(path)` or the path alone; None for random ones.
      frozen_layers: share of the net's layers, counted from the input, whose weights and BatchNorm
        statistics stay as they are, in [0, 1).
      defences: transforms of the net, applied in this order.
      optimizer: `AdamW(...)` or `SGD(...)`.
      curriculum: the training attack over time, `Curriculum(...)` or `CAT(...)`.
      objective: the loss to minimise, given that attack.
      augment: the augmentation of the training images.
      epochs: passes over the training split, 1 or more.
      batch: images in an update, 1 or more.
      smoothing: label smoothing (Szegedy et al. 2016), in [0, 1); Pang et al. 2021 advise up to
        0.2, single-step recipes with averaged weights take 0.4 to 0.6.
      ema: decay of the moving average of the weights, in [0, 1); 0 for none; or `Latest(...)`, the
        mean of the latest snapshots. If there is an average, it is the net that is yielded, saved
        and evaluated.
      clip: largest 2-norm of the gradient, above which it is scaled down; None for no limit.
      generated: images that replace a share of each batch, from a file (`Generated`) or generated
        by a recipe of their own (`Synthetic`).
      patience: `adv.watch` stops after so many epochs without a better robust validation accuracy;
        None for never.
      precision: of the net while it trains; "bfloat16" by autocast. Images, perturbations, losses
        and weights are float32 in either case, and so is every evaluation.

    Raises:
      TypeError: `net` is a class, or `defences` a single defence.
      ValueError: a setting is out of its range.
    """

    net: Net = field(default_factory=BigNet)
    defences: tuple[Defence, ...] = ()
    optimizer: AdamW | SGD = field(default_factory=AdamW)
    curriculum: Curriculum | CAT = field(default_factory=Curriculum)
    objective: Objective = field(default_factory=Mixed)
    augment: Augment = field(default_factory=Augment)
    epochs: int = 60
    batch: int = 128
    smoothing: float = 0.0
    ema: float | Latest = 0.0
    clip: float | None = None
    generated: ImageSource | None = None
    patience: int | None = None
    precision: str = "float32"
    init: Weights | str | None = None
    frozen_layers: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.init, str):
            object.__setattr__(self, "init", Weights(self.init))
        if isinstance(self.net, type):
            raise TypeError(f"net is a value such as {self.net.__name__}(), got the class itself")
        if isinstance(self.defences, Defence):
            raise TypeError(f"defences is a tuple such as ({self.defences},), got {self.defences}")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        self._check_shares()
        if self.precision not in AUTOCAST_DTYPES:
            allowed = ", ".join(AUTOCAST_DTYPES)
            near = suggest(str(self.precision), AUTOCAST_DTYPES)
            raise ValueError(f"a precision is one of {allowed}, got {self.precision!r}{near}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"a gradient is clipped to a length above 0, got {self.clip}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is 1 epoch or more, got {self.patience}")

        self._check_objective()

    def _check_shares(self) -> None:
        """Raise ValueError if a setting that lies in [0, 1) does not."""
        for name in ("smoothing", "ema", "frozen_layers"):
            value = getattr(self, name)
            if not isinstance(value, Latest) and not 0 <= value < 1:
                raise ValueError(f"{name} lies in [0, 1), got {value}")

    def __repr__(self) -> str:
        """Return the recipe as an expression, without later settings that have their default.

        States of trainings that began before there were these settings can so be resumed.
        """
        every = [one for one in fields(self) if one.repr]
        shown = [
            f"{one.name}={getattr(self, one.name)!r}"
            for one in every
            if one.name not in _LATER or getattr(self, one.name) != one.default
        ]
        return f"Recipe({', '.join(shown)})"

    def _check_objective(self) -> None:
        """Raise ValueError if the objective cannot be trained with generated images."""
        if self.generated is not None and self.objective.remembers_images():
            raise ValueError(
                "the objective keeps a perturbation for each training image, and generated images "
                "would take their places: choose another objective, or no generated images"
            )

    def gradient_steps(self, images: int) -> int:
        """Return the largest number of passes over a batch that training on `images` images takes.

        A pass is forward and backward. It takes fewer if patience or `CAT` end it early, or if
        `CAT` stays in its first lessons.
        """
        lessons = self.curriculum.lessons(self.epochs)
        steps = sum(self.objective.passes(lesson) for lesson in lessons)
        return round(steps * math.ceil(images / self.batch))


def build(
    recipe: Recipe,
    classes: int,
    seed: int,
    shape: Shape = DEFAULT_SHAPE,
    *,
    initial: bool = False,
) -> nn.Module:
    """Return the untrained net of a recipe, with its defences; the global generator is unchanged.

    Args:
      recipe: of the net; only `net` and `defences` are used, and `init` if `initial` is set.
      classes: number of classes.
      seed: of the weights, and of what random layers draw.
      shape: channels, height and width of the images.
      initial: load the weights of the recipe's `init`: those of the plain net, or of the defended
        one.

    Raises:
      ValueError: the net or a defence cannot be made for such images, or the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` reseeds the GPUs' too
        net = set_image_shape(make_net(recipe.net, classes, shape), shape)
        misfit = _load_initial(recipe, net, classes) if initial else None
        for defence in recipe.defences:
            net = set_image_shape(defence(net), shape)
        if misfit is not None and (not recipe.defences or _load_initial(recipe, net, classes)):
            raise misfit
    attach(net, RngStream(derive_seed(seed, 1)))
    return net


def _load_initial(recipe: Recipe, net: nn.Module, classes: int) -> ValueError | None:
    """Load the weights of a recipe into a net; return why they do not fit, None if they do."""
    if isinstance(recipe.init, Weights):
        try:
            recipe.init.load(net, classes)
        except ValueError as error:
            return error
    return None
