"""The standard FID and Inception score, where the weights of the Inception net lie on this machine.

By torch-fidelity (Obukhov et al. 2020), whose figures agree with the original code. The weights
are a download of 91 MB, which is never begun here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from adv.data.datasets import Split

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
SOURCE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + WEIGHTS


def weights() -> Path:
    """Where torch-fidelity keeps them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def standard_fid(real: Split, made: Split) -> str:
    """A line: both figures of `made` against all of `real`, or why they were not taken."""
    try:
        import torch_fidelity
    except ImportError:
        return "standard FID: not taken, torch-fidelity is not installed (pip install '.[fid]')"
    path = weights()
    if not path.is_file():
        return f"standard FID: not taken, put {SOURCE} at {path}"
    try:
        torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity unpickles all
    except Exception:  # zipfile and pickle raise a dozen types
        return f"standard FID: not taken, {path} is damaged: it is not what {SOURCE} holds"
    try:
        found = torch_fidelity.calculate_metrics(
            input1=Bytes(made.images),
            input2=Bytes(real.images),
            fid=True,
            isc=True,
            isc_splits=min(10, len(made)),
            cuda=torch.cuda.is_available(),
            feature_extractor_weights_path=str(path),
            save_cpu_ram=True,  # no loader processes: the images are in memory
            verbose=sys.stderr.isatty(),
            cache=False,
        )
    except RuntimeError as error:  # weights of another net
        return f"standard FID: not taken, {path}: {' '.join(str(error).split())[:200]}"
    fid = found["frechet_inception_distance"]
    score, spread = (found[f"inception_score_{kind}"] for kind in ("mean", "std"))
    return (
        f"standard FID {fid:.2f} ({len(made)} against {len(real)} images), "
        f"Inception score {score:.2f} +- {spread:.2f}"
    )


class Bytes(Dataset[Tensor]):
    """Images [3, h, w], bytes, one by one, as torch-fidelity takes them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i]
