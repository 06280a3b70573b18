"""Train a GAN into a file; its state is saved beside it, so that a killed training can resume."""

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

CALIBRATION_SHARE = 0.1  # of the real images, to calibrate the discriminator
OnSegment = Callable[[TrainingSegment], None]


@dataclass(frozen=True, eq=False)
class GANData:
    """The training data of a GAN: real images, the names of their classes, the data set's name."""

    real: Split
    classes: Sequence[str]
    name: str
    seed: int = 0

    @property
    def train(self) -> Split:
        """The images that the nets are trained on."""
        return self.real.head(len(self.real) - self.calibration_count)

    @property
    def calibration(self) -> Split:
        """The last tenth of the images, held out to calibrate the discriminator."""
        return self.real.tail(self.calibration_count)

    @property
    def calibration_count(self) -> int:
        """The number of images held out, at least one."""
        return max(1, round(CALIBRATION_SHARE * len(self.real)))

    @property
    def class_counts(self) -> tuple[int, ...]:
        """The number of images of each class, held-out ones included."""
        return self.real.class_counts(len(self.classes))


def state_path(path: Path) -> Path:
    """Return where the state of a job that writes `path` is kept until the job is done."""
    return path.with_name(f"{path.name}.state")


def make_gan(
    gan: GAN, data: GANData, path: Path, on_segment: OnSegment, *, every: int = 100
) -> TrainedGAN:
    """Train a GAN, or resume a training that was killed, and write it to `path`.

    Args:
      gan: the recipe.
      data: the images.
      path: NAME.safetensors; the state lies in NAME.safetensors.state until the training is done.
      on_segment: called with each segment, after its state is saved.
      every: updates of the generator in a segment.

    Raises:
      ValueError: there are fewer than two images, or the training diverges.
      CheckpointError: the state is damaged, or of another recipe, seed or data.
      DataError: a file cannot be written; earlier files are unchanged.
    """
    if len(data.real) < 2:
        raise ValueError(f"a GAN needs 2 images or more, got {len(data.real)}")
    state_file, device = state_path(path), default_device()
    images = fingerprint(data.real)
    remove_partials(state_file)
    remove_partials(path)
    segments = train_gan(
        gan,
        data.train,
        classes=len(data.classes),
        seed=data.seed,
        device=device,
        state=_load_state(state_file, images, gan, data.seed),
        every=every,
    )
    last = None
    try:
        for segment in segments:
            last = segment
            if not all(map(math.isfinite, segment.metrics.values())):
                state_file.unlink(missing_ok=True)  # resuming would diverge again
                raise ValueError(
                    f"the GAN has diverged by step {segment.number}: try a smaller lr and d_lr"
                )
            _save_state(state_file, {"mark": images, "training": segment.state()})
            on_segment(segment)
        if last is None:  # killed after the last step, before the file was written
            state = _load_state(state_file, images, gan, data.seed)
            count = len(data.classes)
            last = TrainingSegment.of(gan, data.train, classes=count, seed=data.seed, state=state)
        trained = calibrate_gan(last, gan, data.calibration, data.class_counts, data.seed)
        notes = {"classes": list(data.classes), "data": data.name, "seed": data.seed}
        save_gan(path, trained, **notes, real=images)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    state_file.unlink(missing_ok=True)
    return restore_gan(path, device)


def _save_state(path: Path, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def _load_state(path: Path, images: str, gan: GAN, seed: int) -> Any:
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        other, training = saved["mark"], saved["training"]
        started = training["gan"], training["seed"]
    except Exception as error:  # zipfile and pickle raise a dozen types
        raise CheckpointError(f"{path} is damaged: delete it to start anew") from error
    if other != images:
        raise CheckpointError(f"{path} was started with other images: delete it to start anew")
    if started != (repr(gan), seed):
        raise CheckpointError(
            f"{path} was started with another recipe or seed: delete it to start anew"
        )
    return training
