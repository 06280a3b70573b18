"""Problems on which other libraries' attacks were recorded, and the recordings themselves.

`record_peers.py` runs the peers and writes; the tests run ours on the same problems and read.
Nothing here depends on the version of torch or on the processor: random numbers come from numpy's
`RandomState`, whose stream is frozen, and each recording holds a fingerprint of its problem.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adv import L2, BaseNet, BigNet, Linf, Net, Split

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "recorded"
NETS: dict[str, Net] = {"BaseNet": BaseNet(), "BigNet": BigNet()}
BALLS = {"linf": Linf(0.03), "l2": L2(0.5)}
STEP_SIZES = {"linf": 0.008, "l2": 0.1}
STARTS = ("the image", "a random point")
CANDIDATES = 32  # A power of 2: torchattacks averages the loss, and dividing by it is exact.


def read(name: str) -> dict[str, np.ndarray]:
    """The arrays of one recording.

    Raises:
      FileNotFoundError: nothing of that name was recorded.
    """
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def fingerprint(*tensors: Tensor) -> str:
    """A hash of the tensors' values: equal where they are equal bit for bit."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def randomise(net: nn.Module, seed: int, scale: float = 1.0) -> nn.Module:
    """Draw all weights of a net again, within torch's default bounds times `scale`."""
    draw = np.random.RandomState(seed)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = scale / math.sqrt(layer.weight[0].numel())
                for weight in layer.parameters():
                    values = bound * (2 * draw.random_sample(weight.shape) - 1)
                    weight.copy_(torch.from_numpy(values.astype(np.float32)))
    return net.eval()


def make_random_net(name: str) -> nn.Module:
    """BaseNet or BigNet with random weights, for ten classes."""
    return randomise(NETS[name](10), seed=3)


def draw_candidates() -> Tensor:
    """[32, 3, 32, 32] random images in [0, 1]; the pixels of the top rows are at these limits."""
    draw = np.random.RandomState(5)
    x = torch.from_numpy(draw.randint(0, 256, (CANDIDATES, 3, 32, 32))).float() / 255
    x[:, :, :8] = x[:, :, :8].round()
    return x


def read_pgd_images() -> Tensor:
    """[8, 3, 32, 32] images in [0, 1] that the recorded one-step and PGD attacks began with."""
    return torch.from_numpy(read("pgd_images")["images"]).float() / 255


def read_pgd_start(ball: str) -> Tensor:
    """[8, 3, 32, 32] random points in the ball around those images, drawn by torchattacks."""
    return torch.from_numpy(read(f"pgd_start_{ball}")["start"])


def read_pgd_results(net: str, ball: str) -> dict[tuple[str, str], Tensor]:
    """[8, 3, 32, 32] results of PGD in a ball, by library and start.

    Foolbox's are stored as what they differ by from torchattacks', which is next to nothing and
    takes no room in the file; the difference of two close floats is exact, and so is their sum.
    """
    found = read(f"pgd_{net}_{ball}")
    results = {}
    for start in STARTS:
        theirs = torch.from_numpy(found[f"torchattacks, {start}"])
        results["torchattacks", start] = theirs
        results["foolbox", start] = theirs + torch.from_numpy(found[f"foolbox minus, {start}"])
    return results


def read_one_step(net: str) -> dict[str, Tensor]:
    """[8, 3, 32, 32] results of FGSM by library and ball, and "relative", foolbox's PGD-5."""
    found = {
        name: torch.from_numpy(found)
        for name, found in read(f"one_step_{net}").items()
        if found.dtype == np.float32
    }
    return found | {"foolbox linf": found["torchattacks linf"] + found.pop("foolbox minus linf")}


def make_square_problem() -> tuple[nn.Module, Tensor, Tensor]:
    """A net with large random weights, 300 images in [0, 1], and its own answers as labels."""
    net = nn.Sequential(*(nn.Conv2d(3, 16, 3), nn.GELU(), nn.Flatten()), nn.Linear(16 * 14 * 14, 5))
    randomise(net, seed=4, scale=6)
    x = torch.from_numpy(np.random.RandomState(300).random_sample((300, 3, 16, 16))).float()
    with torch.no_grad():
        return net, x, net(x).argmax(1)


def read_trained_net(kind: str) -> nn.Module:
    """A BaseNet trained on digits for some seconds: "robust" against attacks, or "plain"."""
    found = read(f"net_{kind}")
    net = BaseNet()(10)
    weights = {name: torch.from_numpy(found[name]).float() for name in net.state_dict()}
    net.load_state_dict(weights)
    return net.eval()


def read_digits() -> Split:
    """The test digits as they were attacked: [360, 3, 32, 32] bytes."""
    found = read("digits")
    images = torch.from_numpy(found["pixels"])[:, None].expand(-1, 3, -1, -1)
    return Split(images.contiguous(), torch.from_numpy(found["labels"]).long())


PROBLEMS: dict[str, Callable[[], Iterable[Tensor]]] = {
    "one_step_BaseNet": lambda: make_random_net("BaseNet").parameters(),
    "one_step_BigNet": lambda: make_random_net("BigNet").parameters(),
    "square": lambda: [*make_square_problem()[0].parameters(), *make_square_problem()[1:]],
}
"""What is drawn again at every reading, by the recording that holds its fingerprint."""
