"""Export a net as a folder of the course template: `model.py` and its weights, nothing else needed.

The test script of the template loads `model.py` by its path, creates `Net()`, moves it to a device,
calls `load_for_testing(project_dir)` and passes images in [0, 1]. It never calls `eval()`.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from adv.checkpoints.checkpoint import Checkpoint
from adv.checkpoints.expressions import to_expression
from adv.exporting.source_bundler import bundle
from adv.exporting.templates import MEAN_OF_DRAWS, MODEL, README, SINGLE_DRAW
from adv.external import External
from adv.files import partial_folder
from adv.runtime.frozen import frozen
from adv.runtime.image_shape import image_shape
from adv.runtime.random_streams import is_random, use_seed
from adv.runtime.votes import Votes
from adv.shape import DEFAULT_SHAPE, Shape
from adv.training.recipe import Recipe

_MODEL_IMPORTS = {"os": ("os", ""), "torch": ("torch", ""), "nn": ("torch", "nn")}


def export(checkpoint: Checkpoint, folder: Path | str, *, votes: int = 1) -> None:
    """Write a net as a folder of the course template.

    The folder is loaded and compared with the net before it gets its name.

    Args:
      checkpoint: the net with its recipe, from `restore`.
      folder: where to write; must not exist.
      votes: for a random net, the number of draws whose probabilities each call averages.

    Raises:
      ValueError: the folder exists, `votes` is not 1 although the net is not random, or the recipe
        holds something that cannot be copied.
    """
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        raise ValueError(f"{folder} exists: name another folder")
    if isinstance(checkpoint.recipe.net, External):
        raise ValueError(
            f"the folder would need the code of {checkpoint.recipe.net.source}: export NAME.pt2 or "
            "NAME.onnx"
        )
    if votes < 1:
        raise ValueError(f"votes must be 1 or more, got {votes}")
    if votes > 1 and not is_random(checkpoint.net):
        raise ValueError("the net is not random: votes would have no effect")
    files = _render(checkpoint, votes)
    with partial_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
        _check(partial, checkpoint, votes)


def _render(checkpoint: Checkpoint, votes: int) -> dict[str, bytes]:
    """Return the content of each file of the folder."""
    recipe, defences = checkpoint.recipe, checkpoint.recipe.defences
    shape = image_shape(checkpoint.net)
    title = textwrap.fill(f"A net by Robustune: {' '.join(map(repr, (recipe.net, *defences)))}", 96)
    use = _usage(checkpoint.net, votes)
    model = MODEL.format(
        title=title,
        use=use,
        bundle=_sources(recipe, votes, shape),
        classes=len(checkpoint.classes),
        shape=", ".join(map(str, shape)),
        net=_net_call(recipe, len(checkpoint.classes), shape),
        defences="".join(f"\n            net = {to_expression(d)}(net)" for d in defences),
        votes=f"\n        net = Votes(net, {votes})" if votes > 1 else "",
    )
    weights = "models/default_model.pth"
    readme = README.format(
        title=title,
        weights=weights,
        classes=", ".join(checkpoint.classes),
        use=use.rstrip("\n"),
        recipe=_format_recipe(recipe),
        notes=_notes(checkpoint.metadata),
    )
    prefix = "net.model." if votes > 1 else "net."
    buffer = io.BytesIO()
    state = checkpoint.net.state_dict()
    torch.save({f"{prefix}{k}": v.detach().cpu().contiguous() for k, v in state.items()}, buffer)
    return {
        "model.py": model.encode(),
        weights: buffer.getvalue(),
        "README.txt": readme.encode(),
    }


def _usage(net: nn.Module, votes: int) -> str:
    """Return how to test a random net; "" for a net that is not random."""
    if not is_random(net):
        return ""
    return SINGLE_DRAW if votes == 1 else MEAN_OF_DRAWS.format(votes=votes)


def _net_call(recipe: Recipe, classes: int, shape: Shape) -> str:
    """Return the expression that makes the net; it names the shape only if it is not usual."""
    net = to_expression(recipe.net)
    if shape == DEFAULT_SHAPE:
        return f"{net}({classes})"
    return f"set_image_shape({net}({classes}, {shape}), {shape})"


def _sources(recipe: Recipe, votes: int, shape: Shape) -> str:
    """Return the source of all classes of the recipe's net and defences."""
    values = (recipe.net, *recipe.defences)
    names = {name for value in values for name in _classes(value)}
    names |= {
        ("adv.runtime.random_streams", "attach"),
        ("adv.runtime.random_streams", "RngStream"),
    }
    names |= {("adv.runtime.votes", "Votes")} if votes > 1 else set()
    if shape != DEFAULT_SHAPE:
        names.add(("adv.runtime.image_shape", "set_image_shape"))
    return bundle(sorted(names), {"Net": "Architecture"}, _MODEL_IMPORTS)


def _classes(value: object) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each dataclass that a value is made of."""
    if isinstance(value, tuple):
        for item in value:
            yield from _classes(item)
    elif is_dataclass(value):
        yield type(value).__module__, type(value).__name__
        for field in fields(value):
            yield from _classes(getattr(value, field.name))


def _format_recipe(recipe: Recipe) -> str:
    """Return the recipe for the README, one setting per line."""
    settings = [f"{field.name}={getattr(recipe, field.name)!r}," for field in fields(recipe)]
    wrap = textwrap.TextWrapper(96, initial_indent=" " * 8, subsequent_indent=" " * 12)
    lines = map(wrap.fill, settings)
    return "\n".join(["Recipe(", *lines, "    )"])


def _notes(metadata: Mapping[str, Any]) -> str:
    """Return the space, parameters, data, seed and epoch of the metadata, one per line."""
    keys = ("space", "params", "data", "seed", "epoch")
    lines = [f"    {name:<8}{metadata[name]}" for name in keys if name in metadata]
    return "\n".join([*lines, ""]) if lines else ""


def _check(folder: Path, checkpoint: Checkpoint, votes: int) -> None:
    """Load the folder as a test script does, and compare on the same images with the same noise."""
    model = ModuleType("model")  # not put into sys.modules, as in the test script
    text = (folder / "model.py").read_text()
    exec(compile(text, "model.py", "exec", dont_inherit=True), vars(model))
    net = model.Net()
    net.load_for_testing(project_dir=str(folder))
    x = torch.rand(8, *image_shape(checkpoint.net), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), frozen(checkpoint.net), use_seed(checkpoint.net, 7):
        model.attach(net, model.RngStream(7))
        original = Votes(checkpoint.net, votes) if votes > 1 else checkpoint.net
        expected = original(x).float().log_softmax(1)
        found = net(x)
    if not torch.allclose(expected, found, rtol=1e-4, atol=1e-5):
        gap = float((expected - found).abs().max())
        raise ValueError(f"the exported net differs from the net by {gap:.2g}: not written")
