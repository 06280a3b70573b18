"""Export a net as a graph that runs without this program: a `torch.export` program, or ONNX.

The file maps images [n, c, h, w] in [0, 1], for any n, to logits [n, classes]. It is loaded again
and compared with the net before it gets its name: on images, and under an attack through the graph.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from adv.attacks import PGD, Attack, Linf, Square
from adv.checkpoints.checkpoint import Checkpoint
from adv.external.foreign_net import ForeignNet, PixelInput
from adv.files import partial_file
from adv.one_line import join_lines
from adv.runtime.frozen import frozen
from adv.runtime.image_shape import image_shape
from adv.runtime.random_streams import is_declared_random

CHECKED = 64
"""Number of images on which an exported graph is compared with its net."""

_LARGEST_BATCH = 4096
_TOLERANCE = 1e-4  # of logits, relative and absolute
_BALL = Linf(8 / 255)


@dataclass(frozen=True)
class GraphCheck:
    """How far an exported graph agrees with its net.

    Args:
      images: on which both were compared.
      gap: the largest difference of a logit.
      attack: name of the attack that went through the graph.
      fooled: images of the graph that it fools.
      fooled_net: images of the net that it fools.
    """

    images: int
    gap: float
    attack: str
    fooled: int
    fooled_net: int

    def describe(self) -> str:
        """Return the check in a sentence."""
        return (
            f"checked on {self.images} images: logits differ by {self.gap:.1g} at most; "
            f"{self.attack} fools {self.fooled} through the graph, {self.fooled_net} of the net"
        )


def export_graph(checkpoint: Checkpoint, path: Path, images: Tensor | None = None) -> GraphCheck:
    """Write a net as a graph, by the suffix of the path: .pt2 for `torch.export`, .onnx for ONNX.

    Args:
      checkpoint: the net with its recipe, from `restore`.
      path: NAME.pt2 or NAME.onnx; must not exist.
      images: [n, c, h, w] in [0, 1] to compare on, the first `CHECKED` of them; None: noise.

    Returns:
      The comparison of the graph with the net.

    Raises:
      ValueError: in one line: the path exists or has another suffix, the net is random, a package
        is missing, the net has no such graph, or the graph differs from the net. Nothing is
        written.
    """
    if path.suffix not in _WRITERS:
        raise ValueError(f"{path}: a graph is a file .pt2 or .onnx")
    if path.exists() or path.is_symlink():
        raise ValueError(f"{path} exists: name another file")
    net = checkpoint.net.cpu()
    _refuse_random(net)
    if images is None:
        images = torch.rand(CHECKED, *image_shape(net), generator=torch.Generator().manual_seed(0))
    images = images[:CHECKED].cpu().float()
    write, read, attack = _WRITERS[path.suffix]
    with partial_file(path, replace=False) as partial:
        try:
            with frozen(net), warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # torch's, about its own internals
                write(net, images[:2].contiguous(), partial, _describe(checkpoint))
        except ModuleNotFoundError as error:
            raise ValueError(
                f"ONNX needs the package {error.name}: pip install robustune[onnx]"
            ) from error
        except Exception as error:  # tracing may fail in any way
            reason = join_lines(f"{type(error).__name__}: {error}", 200)
            raise ValueError(f"the net cannot be exported as {path.suffix}: {reason}") from error
        graph = ForeignNet(read(partial), PixelInput(), path.name)
        return _compare(net, graph, images, attack)


def load_graph(path: Path) -> nn.Module:
    """Return an exported graph as a net on the CPU; one of ONNX passes no gradient to its images.

    Raises:
      ValueError: the path has another suffix.
    """
    if path.suffix not in _WRITERS:
        raise ValueError(f"{path}: a graph is a file .pt2 or .onnx")
    return ForeignNet(_WRITERS[path.suffix][1](path), PixelInput(), path.name)


def _refuse_random(net: nn.Module) -> None:
    """Raise ValueError if a net is random: its noise would be the same in each process."""
    for name, module in net.named_modules():
        if is_declared_random(module):
            raise ValueError(
                f"the net is random, by {type(module).__name__} ({name or 'the net itself'}): a "
                "graph would hold one fixed sequence of noise; export a folder instead"
            )


def _describe(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what is written beside the graph, as text by key."""
    return {
        "input": "images [n, channels, height, width] in [0, 1]",
        "output": "logits [n, classes]",
        "shape": json.dumps(image_shape(checkpoint.net)),
        "classes": json.dumps(checkpoint.classes),
        "recipe": repr(checkpoint.recipe),
    }


def _write_pt2(net: nn.Module, x: Tensor, path: Path, notes: dict[str, str]) -> None:
    batch = torch.export.Dim("n", min=1, max=_LARGEST_BATCH)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},), strict=False)
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"robustune.json": json.dumps(notes)})


def _read_pt2(path: Path) -> nn.Module:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _write_onnx(net: nn.Module, x: Tensor, path: Path, notes: dict[str, str]) -> None:
    import onnxruntime  # noqa: F401 - missing before anything is written
    import onnxscript  # noqa: F401

    program = torch.onnx.export(
        net,
        (x,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n", min=1, max=_LARGEST_BATCH)},),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(notes)
    program.save(path)


class _OnnxNet(nn.Module):
    """An ONNX file as a net, without a gradient."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        self.session = onnxruntime.InferenceSession(
            path.read_bytes(), providers=["CPUExecutionProvider"]
        )

    def forward(self, x: Tensor) -> Tensor:
        (logits,) = self.session.run(["logits"], {"images": x.detach().cpu().numpy()})
        return torch.from_numpy(logits)


_Writer = Callable[[nn.Module, Tensor, Path, dict[str, str]], None]
_WRITERS: dict[str, tuple[_Writer, Callable[[Path], nn.Module], tuple[str, Attack]]] = {
    ".pt2": (_write_pt2, _read_pt2, ("PGD-10", PGD(_BALL, steps=10))),
    ".onnx": (_write_onnx, _OnnxNet, ("Square with 50 queries", Square(_BALL, queries=50))),
}


def _compare(
    net: nn.Module, graph: ForeignNet, images: Tensor, attack: tuple[str, Attack]
) -> GraphCheck:
    """Compare a graph with its net; raise ValueError unless they agree.

    Both answer for the images at once, one alone, and for images that the attack made against each.
    """
    gap = 0.0
    with torch.no_grad(), frozen(net):
        for some in (images, images[:1]):
            expected, found = net(some).float(), graph(some)
            gap = max(gap, float((expected - found).abs().max()))
            if not torch.allclose(expected, found, rtol=_TOLERANCE, atol=_TOLERANCE):
                raise ValueError(f"the graph differs from the net by {gap:.2g}: not written")
        labels = net(images).argmax(1)
    name, run = attack
    fooled = []
    for model in (net, graph):
        found = run(model, images, labels)
        with torch.no_grad(), frozen(net):
            fooled.append(int((model(found).argmax(1) != labels).sum()))
    if abs(fooled[0] - fooled[1]) > max(1, len(images) // 32):
        raise ValueError(
            f"{name} fools {fooled[1]} of {len(images)} images of the graph, and {fooled[0]} of "
            "the net: not written"
        )
    return GraphCheck(len(images), gap, name, fooled[1], fooled[0])
