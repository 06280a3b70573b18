"""How large the trials of a search are: a scale resizes any recipe and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adv.shape import parse_image_size
from adv.suggestions import suggest_or_list
from spaces._threat_model import REPORT, make_battery, parse_threat_model

if TYPE_CHECKING:
    from adv import Ball, Battery, Recipe

FIRST_SCORE = "report"
"""The score of a search that recorded none, from before there was a choice."""

RECIPE_EPOCHS = 60
"""The epochs of a recipe that does not say otherwise, and of the full scale."""

DEFAULT_SCORE = "margin"
"""The score of a search whose user names none."""

SCORES: Mapping[str, str] = {
    "report": "PGD on the cross-entropy, as in the report",
    "margin": "PGD on a loss that does not saturate, which ranks nets as AutoAttack does",
}
"""The scores by which a search can rank nets, and the attacks of each in words.

They attack at the radii of the threat model, the report's six unless another is named.
"""


@dataclass(frozen=True)
class Scale:
    """The size of a search: its data, its trials and their evaluation.

    Args:
      name: its name on the command line.
      data: the data set, if the user names none.
      image_size: what its images are resized to, as `adv.load` takes it; "": as they are.
      trials: number of trials, if the user gives none.
      epochs: of each trial, if the user gives none.
      batch: images in a training step.
      train_images: number of training images used, None for all.
      images: validation images on which a trial is scored.
      watch_images: other validation images, on which each epoch is scored to keep the best.
      train_steps: upper bound on the steps of the training attack, None for none.
      watch_steps: steps of the PGD that scores each epoch.
      battery_steps: steps of each PGD of the battery; the report's are 20.
      draws: noise samples of a random net in each gradient of the report's battery; the margin
        battery needs fewer.
      votes: noise samples of a random net in each prediction.
      cpus: cores of a trial.
      gpus: GPUs of a trial, may be a fraction.
      gap_images: the first so many of `images` measure a trial's masking gap; 0 for none.
      test_images: test images on which finalists are attacked strongly.
      final_trainings: the least number of trainings with fresh seeds, if the user gives none; fewer
        in proportion if the user asks for fewer trials. None: 8 or half of the trials. There is one
        for every three trials in any case.
      strong_steps: gradient steps of each attack on finalists; AutoAttack's are 100.
      strong_queries: queries of Square on finalists; AutoAttack's are 5,000.
      strong_draws: noise samples of a random net in each gradient, for finalists; AutoAttack's
        are 20.
      small_sources: use generators of images that two CPU cores can train in minutes.
      score: the attacks at the radii that the threat model names, a name in `SCORES`.
      threat_model: which attacks score a trial, as `--battery` takes it: `spaces.THREAT_MODELS`.

    Raises:
      ValueError: there is no such score or threat model, and the message suggests the nearest one;
        or an image size that is none.
    """

    name: str
    data: str
    trials: int
    epochs: int
    batch: int
    train_images: int | None
    images: int
    watch_images: int
    train_steps: int | None
    watch_steps: int
    battery_steps: int
    draws: int
    votes: int
    cpus: float
    gpus: float
    gap_images: int = 40
    test_images: int = 50
    strong_steps: int = 10
    strong_queries: int = 100
    strong_draws: int = 5
    small_sources: bool = False
    score: str = DEFAULT_SCORE
    threat_model: str = REPORT
    image_size: str = ""
    final_trainings: int | None = None

    def __post_init__(self) -> None:
        parse_threat_model(self.threat_model)
        if self.score not in SCORES:
            raise ValueError(f"no score {self.score!r}{suggest_or_list(self.score, SCORES)}")
        if self.image_size:
            parse_image_size(self.image_size)

    def with_data(self, data: str | None, image_size: str | None) -> Scale:
        """Return the scale with what the user says of the data; None: as it is.

        Its own image size is for its own data set: other data has that of its images.
        """
        name = self.data if data is None else data
        own = self.image_size if name == self.data else ""
        return replace(self, data=name, image_size=own if image_size is None else image_size)

    def fit(self, validation: int, test: int) -> Scale:
        """Return the scale for splits of so many images.

        A validation split that is too small is divided two to one: images that score a trial, and
        others that validate its epochs.
        """
        images, watched = self.images, self.watch_images
        if validation < images + watched:
            images = min(images, max(1, validation * 2 // 3))
            watched = max(1, validation - images)
        tested = min(self.test_images, test)
        return replace(self, images=images, watch_images=watched, test_images=tested)

    def shortfalls(self, validation: int, test: int) -> tuple[str, ...]:
        """Return in words which splits of so many images are smaller than the scale asks for."""
        fitted = self.fit(validation, test)
        uses = {
            "images": "validation images score a trial",
            "watch_images": "validation images validate its epochs",
            "test_images": "test images score a finalist",
        }
        return tuple(
            f"only {have} {what} where {wanted} were planned: intervals are "
            f"{(wanted / have) ** 0.5:.1f} times as wide"
            for name, what in uses.items()
            if (have := getattr(fitted, name)) < (wanted := getattr(self, name))
        )

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the recipe at this scale.

        A recipe is written for the `RECIPE_EPOCHS` of a full training. One with fewer or more takes
        as many of this scale's in proportion, at least one.
        """
        epochs = max(1, round(self.epochs * recipe.epochs / RECIPE_EPOCHS))
        curriculum = recipe.curriculum.cap_steps(self.train_steps)
        sized = replace(recipe, epochs=epochs, batch=self.batch, curriculum=curriculum)
        if self.small_sources and recipe.generated is not None:
            return replace(sized, generated=recipe.generated.small())
        return sized

    def battery(self) -> Battery:
        """Return the battery of the threat model at this scale, which scores a trial."""
        return make_battery(
            self.threat_model, self.score, self.battery_steps, self.draws, self.votes
        )

    def watch(self) -> Battery:
        """Return the cheap battery that scores each epoch, over the balls of the battery."""
        from adv import balls_battery, quick_battery

        if self.threat_model == REPORT:
            return quick_battery(self.watch_steps)
        return balls_battery(self._two_balls(), self.watch_steps)

    def reference(self) -> Battery:
        """Return the battery that scores a trial at a rung, of `watch_steps`.

        It is the report's, or attacks the balls of another threat model.
        """
        from adv import balls_battery, report_battery

        if self.threat_model == REPORT:
            return report_battery(self.watch_steps, draws=self.draws, votes=self.votes)
        balls = self._two_balls()
        return balls_battery(balls, self.watch_steps, draws=self.draws, votes=self.votes)

    def _two_balls(self) -> tuple[Ball, ...]:
        """Return the balls of the battery; of more than two the first and the last."""
        balls = tuple(dict.fromkeys(attack.ball for _, attack in self.battery().attacks))
        return balls if len(balls) < 3 else (balls[0], balls[-1])


LAPTOP = Scale(
    name="laptop",
    data="digits",
    image_size="16",
    trials=16,
    epochs=6,
    batch=64,
    train_images=None,
    images=300,
    watch_images=100,
    train_steps=1,
    watch_steps=3,
    battery_steps=10,
    draws=5,
    votes=12,
    cpus=1,
    gpus=0,
    gap_images=100,
    test_images=360,
    small_sources=True,
)

FULL = Scale(
    name="full",
    data="cifar10",
    trials=48,
    epochs=60,
    batch=128,
    train_images=None,
    images=1000,
    watch_images=512,
    train_steps=None,
    watch_steps=10,
    battery_steps=20,
    draws=5,
    votes=20,
    cpus=1,
    gpus=0.25,
    gap_images=256,
    test_images=1000,
    strong_steps=100,
    strong_queries=5000,
    strong_draws=20,
)

SCALES: Mapping[str, Scale] = {"laptop": LAPTOP, "full": FULL}


def scale(name: str, **changes: Any) -> Scale:
    """Return the scale called `name`, with some of its settings changed.

    Raises:
      ValueError: there is none; the message suggests the nearest one.
    """
    if name not in SCALES:
        raise ValueError(f"no scale {name!r}{suggest_or_list(name, SCALES)}")
    return replace(SCALES[name], **changes)


def default_text(setting: str) -> str:
    """Return a setting of every scale as the help shows it: "6 on laptop, 60 on full"."""
    values = {name: getattr(scale, setting) for name, scale in SCALES.items()}
    texts = [f"{value} on {name}" for name, value in values.items()]
    return ", ".join(texts) if len(set(values.values())) > 1 else str(values["laptop"])
