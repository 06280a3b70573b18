"""Examples of what a net predicts: images, the same images under an attack, and its confusions.

They lie beside the weights as `examples.npz`, for the report. They select nothing.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adv import PGD, Attack, Battery, Linf, Split, evaluate, is_random
from adv.files import write_atomic
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import lend_stream
from adv.runtime.row_streams import RowStream
from adv.runtime.votes import Votes
from search.record.run_folder import EXAMPLES

SHOWN = 8  # images that are kept
ATTACKED = 64  # images behind the confusions under attack
STEPS = 10
SIDE = 64  # pixels that are kept in each direction
NEAR = 8 / 255  # of the battery's radii the one nearest to this is shown
BATCH = 256


def save_examples(
    folder: Path,
    net: nn.Module,
    split: Split,
    name: str,
    battery: Battery,
    classes: Sequence[str],
) -> None:
    """Write the examples of a net to the folder of its trial; nothing if they cannot be made.

    About 50 KB for images of 32x32 pixels. The cost is one pass over the images and an attack of
    `STEPS` steps on `ATTACKED` of them.

    Args:
      folder: of the trial, or of the final training.
      net: on its device.
      split: the images on which it was scored.
      name: of the split, "validation" or "test".
      battery: of the search; its radius nearest to 8/255 is the attack's.
      classes: names of the classes.

    Raises:
      OSError: the file cannot be written.
    """
    with suppress(ValueError, RuntimeError):  # a picture costs no trial its result
        arrays: dict[str, Any] = make_examples(net, split, battery)
        arrays |= {"split": np.array(name), "classes": np.array([c[:60] for c in classes])}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomic(folder / EXAMPLES, buffer.getvalue())


def make_examples(net: nn.Module, split: Split, battery: Battery) -> dict[str, NDArray[Any]]:
    """Return the arrays of the file.

    Returns:
      `images` and `attacked`, uint8 [k, c, h, w], the first `SHOWN` images without and under the
      attack; `labels` [n] and `predicted` [n] of all images; `predicted_attacked` [m] of the first
      `ATTACKED`; `eps`, the radius, and `attack`, its name.
    """
    weak = _short_attack(battery)
    some = split.head(ATTACKED)
    score = evaluate(
        net, some, Battery((("examples", weak),), 2, 5, battery.seed), keep_images=True
    )
    assert score.adversarial is not None
    attacked = score.adversarial[0]
    clean = split.head(SHOWN).images.cpu()
    step = max(1, math.ceil(max(split.shape[1:]) / SIDE))  # pixels are left out, none is averaged
    return {
        "images": clean[..., ::step, ::step].numpy(),
        "attacked": _to_bytes(attacked[: len(clean), :, ::step, ::step]),
        "labels": split.labels.cpu().numpy().astype(np.int32),
        "predicted": _predict(net, split.images, battery),
        "predicted_attacked": _predict(net, attacked, battery),
        "eps": np.array(weak.ball.eps),
        "attack": np.array(type(weak).__name__),
        "norm": np.array(type(weak.ball).__name__),
    }


def _short_attack(battery: Battery) -> Attack:
    """Return PGD of a few steps in the ball of the battery that is nearest to 8/255."""
    balls = [attack.ball for _, attack in battery.attacks if attack.ball.eps > 0]
    ball = min(balls, key=lambda ball: abs(ball.eps - NEAR), default=Linf(NEAR))
    return PGD(ball, steps=STEPS)


def _predict(net: nn.Module, images: Tensor, battery: Battery) -> NDArray[Any]:
    """Return the class of each image, int32 [n]; a random net votes."""
    device, stream = device_of(net), RowStream(battery.seed)
    voter = Votes(net, battery.votes) if is_random(net) else net
    found = []
    with torch.no_grad(), frozen(net), lend_stream(net, stream):
        for part in images.split(BATCH):
            x = part.to(device)
            x = x.float() / 255 if x.dtype == torch.uint8 else x
            found.append(voter(x).argmax(1).cpu())
    return torch.cat(found).numpy().astype(np.int32)


def _to_bytes(images: Tensor) -> NDArray[Any]:
    return (255 * images).round().clamp(0, 255).to(torch.uint8).numpy()
