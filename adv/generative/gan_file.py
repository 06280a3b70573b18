"""Trains a GAN into a file, keeping its state beside it, so that a killed training goes on."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adv.checkpoints.checkpoint import CheckpointError
from adv.data.datasets import Split, fingerprint
from adv.data.names import DataError
from adv.files import remove_partials, write_atomic
from adv.generative.gan import GAN
from adv.generative.gan_checkpoint import TrainedGAN, calibrate_gan, restore_gan, save_gan
from adv.generative.training import TrainingSegment, train_gan
from adv.runtime.devices import default_device

HELD = 0.1  # of the real images, to calibrate the discriminator by
Tell = Callable[[TrainingSegment], None]


@dataclass(frozen=True, eq=False)
class GANData:
    """What a GAN is trained on: real images, the names of their classes, the data set's name."""

    real: Split
    classes: Sequence[str]
    data: str
    seed: int = 0

    @property
    def train(self) -> Split:
        """The images that it is trained on."""
        return self.real.head(len(self.real) - self.calibration_count)

    @property
    def calibration(self) -> Split:
        """The last tenth, which it does not see: the discriminator is calibrated by them."""
        return self.real.tail(self.calibration_count)

    @property
    def calibration_count(self) -> int:
        """At least one."""
        return max(1, round(HELD * len(self.real)))

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Images of each class among all."""
        return tuple(self.real.labels.bincount(minlength=len(self.classes)).tolist())


def state_path(path: Path) -> Path:
    """Where the state of a training into `path` is kept until it is done."""
    return path.with_name(f"{path.name}.state")


def make_gan(gan: GAN, work: GANData, path: Path, tell: Tell, *, every: int = 100) -> TrainedGAN:
    """Train, or go on with what a killed training left, and write the GAN to `path`.

    Args:
      gan: how.
      work: on what.
      path: NAME.safetensors; beside it NAME.safetensors.state, until it is done.
      tell: is told each segment, after its state is kept.
      every: updates of the generator in a segment.

    Raises:
      ValueError: fewer than two images, or the training diverges.
      CheckpointError: the state is damaged, or of another recipe, seed or data.
      DataError: a file cannot be written; what was there stays.
    """
    if len(work.real) < 2:
        raise ValueError(f"a GAN needs 2 images or more, got {len(work.real)}")
    kept, device = state_path(path), default_device()
    mark = fingerprint(work.real)
    remove_partials(kept)
    remove_partials(path)
    segments = train_gan(
        gan,
        work.train,
        classes=len(work.classes),
        seed=work.seed,
        device=device,
        state=_load_state(kept, mark, gan, work.seed),
        every=every,
    )
    last = None
    try:
        for segment in segments:
            last = segment
            if not all(map(math.isfinite, segment.metrics.values())):
                kept.unlink(missing_ok=True)  # going on would diverge again
                raise ValueError(
                    f"the GAN has diverged by step {segment.number}: try a smaller lr and d_lr"
                )
            _save_state(kept, {"mark": mark, "training": segment.state()})
            tell(segment)
        if last is None:  # it was killed between its last step and its end
            state = _load_state(kept, mark, gan, work.seed)
            count = len(work.classes)
            last = TrainingSegment.of(gan, work.train, classes=count, seed=work.seed, state=state)
        trained = calibrate_gan(last, gan, work.calibration, work.class_counts, work.seed)
        notes = {"classes": list(work.classes), "data": work.data, "seed": work.seed}
        save_gan(path, trained, **notes, real=mark)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    kept.unlink(missing_ok=True)
    return restore_gan(path, device)


def _save_state(path: Path, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def _load_state(path: Path, mark: str, gan: GAN, seed: int) -> Any:
    if not path.exists():
        return None
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        other, training = kept["mark"], kept["training"]
        begun = training["gan"], training["seed"]
    except Exception as error:  # zipfile and pickle raise a dozen types
        raise CheckpointError(f"{path} is damaged: delete it to begin anew") from error
    if other != mark:
        raise CheckpointError(f"{path} was begun with other images: delete it to begin anew")
    if begun != (repr(gan), seed):
        raise CheckpointError(
            f"{path} was begun with another recipe or seed: delete it to begin anew"
        )
    return training
