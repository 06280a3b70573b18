"""A trained GAN as a safetensors file, with the metadata that its nets are rebuilt from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adv.checkpoints.checkpoint import (
    CheckpointError,
    check_finite,
    load_weights,
    read_checkpoint,
    serialize_checkpoint,
)
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
    """A trained GAN with its nets in evaluation mode.

    `generators` and `odds` (which turn the discriminator's outputs for that generator into
    log-odds) have the keys "plain" and "ema". `class_counts` are the real images of each class.
    """

    gan: GAN
    pixel_format: PixelFormat
    generators: Mapping[str, Generator]
    discriminator: Discriminator
    odds: Mapping[str, Calibration]
    class_counts: tuple[int, ...]
    metadata: Mapping[str, Any]


def calibrate_gan(
    segment: TrainingSegment, gan: GAN, held_out: Split, class_counts: tuple[int, ...], seed: int
) -> TrainedGAN:
    """Turn the end of a training into a GAN to sample from, its discriminator calibrated.

    Args:
      segment: the last segment of the training.
      gan: the recipe.
      held_out: real images that the GAN was not trained on, to calibrate the discriminator.
      class_counts: real images of each class.
      seed: the seed of the training.
    """
    pixel_format = segment.pixel_format
    generators = {"plain": segment.generator(ema=False), "ema": segment.generator(ema=True)}
    discriminator = segment.discriminator
    odds, entropies = {}, {}
    for name, generator in generators.items():
        outputs = _outputs(generator, discriminator, pixel_format, held_out, derive_seed(seed, 5))
        odds[name] = fit_calibration(*outputs)
        losses = [round(which.cross_entropy(*outputs), 4) for which in (Calibration(), odds[name])]
        entropies[name] = {"as it is": losses[0], "calibrated": losses[1]}
    metadata = {"surprise": entropies, "held": len(held_out), "steps": segment.number}
    return TrainedGAN(gan, pixel_format, generators, discriminator, odds, class_counts, metadata)


def save_gan(path: Path, trained: TrainedGAN, **notes: Any) -> None:
    """Write a GAN, whole or not at all; `notes` (data, classes, seed) go into the metadata.

    Raises:
      OSError: the file cannot be written.
    """
    nets = {**trained.generators, "discriminator": trained.discriminator}
    weights = {
        f"{name}.{key}": value.clone()
        for name, net in nets.items()
        for key, value in net.state_dict().items()
    }
    metadata = {
        **trained.metadata,
        **notes,
        "gan": repr(trained.gan),
        "pixel_format": asdict(trained.pixel_format),
        "odds": {name: asdict(one) for name, one in trained.odds.items()},
        "shares": list(trained.class_counts),
    }
    write_atomic(path, serialize_checkpoint(weights, metadata))


def restore_gan(path: Path, device: torch.device | str = "cpu") -> TrainedGAN:
    """Return the GAN that `save_gan` wrote.

    Raises:
      CheckpointError: no such file, it holds a classifier, it is damaged, or its weights do not
        fit or are not finite.
    """
    weights, metadata = read_checkpoint(path)
    if "gan" not in metadata:
        what = "a classifier" if "recipe" in metadata or "space" in metadata else "something else"
        raise CheckpointError(f"{path} holds {what}, not a GAN (adv synthesize train writes one)")
    check_finite(path, weights)
    try:
        gan, pixel_format = parse(metadata["gan"]), _read_pixel_format(metadata)
        odds = {name: Calibration(**metadata["odds"][name]) for name in ("plain", "ema")}
        class_counts = tuple(int(share) for share in metadata["shares"])
        generator, discriminator = gan.nets(pixel_format, len(class_counts), 0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata does not say how it was made") from error
    generators = {"plain": generator, "ema": copy.deepcopy(generator)}
    nets = {**generators, "discriminator": discriminator}
    for name, net in nets.items():
        try:
            load_weights(net, _weights_of(name, weights))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        net.to(device).to(memory_format=torch.channels_last).eval()
    return TrainedGAN(gan, pixel_format, generators, discriminator, odds, class_counts, metadata)


def _read_pixel_format(metadata: Mapping[str, Any]) -> PixelFormat:
    """Return the pixel format; earlier files hold [side, channels] of an image of 32x32 pixels."""
    if "canvas" in metadata:
        side, channels = metadata["canvas"]
        return PixelFormat(side, side, channels)
    found = dict(metadata["pixel_format"])
    channels, height, width = found.pop("shape")
    return PixelFormat(**found, shape=(channels, height, width))


def _weights_of(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the net `name`, without that prefix."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): v for key, v in weights.items() if key.startswith(prefix)}


@torch.no_grad()
def _outputs(
    generator: Generator,
    discriminator: nn.Module,
    pixel_format: PixelFormat,
    held_out: Split,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Return the outputs for held-out images, and for as many generated ones of their classes."""
    device = device_of(generator)
    draws = torch.Generator().manual_seed(seed)
    real, generated = [], []
    with frozen(discriminator), frozen(generator):
        for images, y in zip(
            held_out.images.split(_BATCH), held_out.labels.to(device).split(_BATCH), strict=True
        ):
            z = torch.randn(len(y), generator.latent, generator=draws).to(device)
            real.append(discriminator(pixel_format.to_floats(images.to(device)), y))
            generated.append(discriminator(generator(z, y), y))
    return torch.cat(real).cpu(), torch.cat(generated).cpu()
