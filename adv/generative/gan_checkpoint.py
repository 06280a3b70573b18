"""A trained GAN as a file: safetensors, with the metadata that says how its nets are made again."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as packed
from torch import Tensor, nn

from adv.checkpoints.checkpoint import CheckpointError, check_finite, load_weights, read_checkpoint
from adv.checkpoints.expressions import parse
from adv.data.datasets import Split
from adv.files import write_atomic
from adv.generative.calibration import Calibration, fit_calibration
from adv.generative.gan import GAN
from adv.generative.networks import Discriminator, Generator
from adv.generative.pixel_range import PixelFormat
from adv.generative.training import TrainingSegment
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import derive_seed

_BATCH = 250


@dataclass(frozen=True, eq=False)
class TrainedGAN:
    """A trained GAN, its nets in evaluation mode.

    `generators` and `odds` (what the discriminator's answers mean for it) have the keys "plain" and
    "ema". `class_counts` says how often each class was among the real images.
    """

    gan: GAN
    pixel_format: PixelFormat
    generators: Mapping[str, Generator]
    discriminator: Discriminator
    odds: Mapping[str, Calibration]
    class_counts: tuple[int, ...]
    metadata: Mapping[str, Any]


def calibrate_gan(
    segment: TrainingSegment, gan: GAN, held: Split, class_counts: tuple[int, ...], seed: int
) -> TrainedGAN:
    """What a training came to.

    Args:
      segment: the last one.
      gan: its recipe.
      held: real images that it was not trained on, to calibrate the discriminator by.
      class_counts: images of each class among those it was trained on.
      seed: of the training.
    """
    pixel_format = segment.pixel_format
    made = {"plain": segment.generator(ema=False), "ema": segment.generator(ema=True)}
    discriminator = segment.discriminator
    odds, surprise = {}, {}
    for name, generator in made.items():
        answers = _answers(generator, discriminator, pixel_format, held, derive_seed(seed, 5))
        odds[name] = fit_calibration(*answers)
        told = [round(which.cross_entropy(*answers), 4) for which in (Calibration(), odds[name])]
        surprise[name] = {"as it is": told[0], "calibrated": told[1]}
    metadata = {"surprise": surprise, "held": len(held), "steps": segment.number}
    return TrainedGAN(gan, pixel_format, made, discriminator, odds, class_counts, metadata)


def save_gan(path: Path, trained: TrainedGAN, **notes: Any) -> None:
    """Write it whole or not at all; `notes` (data, classes, seed) go into the metadata."""
    nets = {**trained.generators, "discriminator": trained.discriminator}
    weights = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, net in nets.items()
        for key, value in net.state_dict().items()
    }
    metadata = {
        **trained.metadata,
        **notes,
        "gan": repr(trained.gan),
        "canvas": [trained.pixel_format.side, trained.pixel_format.channels],
        "odds": {name: asdict(one) for name, one in trained.odds.items()},
        "shares": list(trained.class_counts),
    }
    write_atomic(path, packed(weights, metadata={"card": json.dumps(metadata)}))


def restore_gan(path: Path, device: torch.device | str = "cpu") -> TrainedGAN:
    """What `save_gan` wrote.

    Raises:
      CheckpointError: no such file, a classifier, damaged, or weights of another architecture or
        that are not finite.
    """
    weights, metadata = read_checkpoint(path)
    if "gan" not in metadata:
        what = "a classifier" if "recipe" in metadata or "space" in metadata else "something else"
        raise CheckpointError(f"{path} holds {what}, wanted is a GAN (adv synthesize train)")
    check_finite(path, weights)
    try:
        gan, pixel_format = parse(metadata["gan"]), PixelFormat(*metadata["canvas"])
        odds = {name: Calibration(**metadata["odds"][name]) for name in ("plain", "ema")}
        class_counts = tuple(int(share) for share in metadata["shares"])
        generator, discriminator = gan.nets(pixel_format, len(class_counts), 0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata does not say how it was made") from error
    made = {"plain": generator, "ema": copy.deepcopy(generator)}
    nets = {**made, "discriminator": discriminator}
    for name, net in nets.items():
        try:
            load_weights(net, _under(name, weights))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        net.to(device).to(memory_format=torch.channels_last).eval()
    return TrainedGAN(gan, pixel_format, made, discriminator, odds, class_counts, metadata)


def _under(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{name}."
    return {key.removeprefix(start): v for key, v in weights.items() if key.startswith(start)}


@torch.no_grad()
def _answers(
    generator: Generator,
    discriminator: nn.Module,
    pixel_format: PixelFormat,
    held: Split,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The discriminator's answers to held-out images, and to as many generated ones."""
    device = device_of(generator)
    draws = torch.Generator().manual_seed(seed)
    real, made = [], []
    with frozen(discriminator), frozen(generator):
        for images, y in zip(
            held.images.split(_BATCH), held.labels.to(device).split(_BATCH), strict=True
        ):
            z = torch.randn(len(y), generator.latent, generator=draws).to(device)
            real.append(discriminator(pixel_format.to_floats(images.to(device)), y))
            made.append(discriminator(generator(z, y), y))
    return torch.cat(real).cpu(), torch.cat(made).cpu()
