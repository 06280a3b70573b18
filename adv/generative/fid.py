"""The standard FID and Inception score, if the weights of the Inception net are on this machine.

Computed by torch-fidelity (Obukhov et al. 2020), whose figures agree with the original code. The
weights are a download of 91 MB, which is never started here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from adv.data.datasets import Split
from adv.one_line import join_lines

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
SOURCE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + WEIGHTS


def inception_weights_path() -> Path:
    """Return the path at which torch-fidelity keeps the weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def standard_fid(real: Split, generated: Split) -> str:
    """Return one line with both scores of `generated` against all of `real`, or why not."""
    try:
        import torch_fidelity
    except ImportError:
        return "standard FID: not computed, torch-fidelity is not installed (pip install '.[fid]')"
    path = inception_weights_path()
    if not path.is_file():
        return f"standard FID: not computed, put {SOURCE} at {path}"
    try:
        torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity unpickles all
    except Exception:  # zipfile and pickle raise a dozen types
        return f"standard FID: not computed, {path} is damaged: it differs from {SOURCE}"
    try:
        found = torch_fidelity.calculate_metrics(
            input1=ByteImages(generated.images),
            input2=ByteImages(real.images),
            fid=True,
            isc=True,
            isc_splits=min(10, len(generated)),
            cuda=torch.cuda.is_available(),
            feature_extractor_weights_path=str(path),
            save_cpu_ram=True,  # no loader processes: the images are in memory
            verbose=sys.stderr.isatty(),
            cache=False,
        )
    except RuntimeError as error:  # weights of another net
        return f"standard FID: not computed, {path}: {join_lines(str(error), 200)}"
    fid = found["frechet_inception_distance"]
    score, spread = (found[f"inception_score_{kind}"] for kind in ("mean", "std"))
    return (
        f"standard FID {fid:.2f} ({len(generated)} against {len(real)} images), "
        f"Inception score {score:.2f} +- {spread:.2f}"
    )


class ByteImages(Dataset[Tensor]):
    """Images [3, h, w], bytes, one by one, as torch-fidelity reads them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i]
