"""A net as a folder of the course template: `model.py` and its weights, and nothing else is needed.

The template's test script loads `model.py` by its path, makes `Net()`, moves it to a device, calls
`load_for_testing(project_dir)` and feeds images in [0, 1]. It never calls `eval()`.
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

from adv.checkpoints.checkpoint import Checkpoint
from adv.checkpoints.expressions import to_expression
from adv.exporting.source_bundler import bundle
from adv.files import partial_folder
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import is_random, use_seed
from adv.runtime.votes import Votes
from adv.training.recipe import Recipe

_MODEL_IMPORTS = {"os": ("os", ""), "torch": ("torch", ""), "nn": ("torch", "nn")}
_MODEL = '''"""{title}

Written by `python -m adv export`; needs torch and nothing else. `Net` at the end is what the test
script of the course template loads.{use}"""

{bundle}


class Net(nn.Module):
    """Images [n, 3, 32, 32] in [0, 1] to log-probabilities [n, {classes}].

    Always in evaluation mode: the test script does not call eval(), and train() changes nothing.
    """

    model_file = "models/default_model.pth"

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # first weights, which load() replaces
            net = {net}({classes}){defended}
        # Noise follows torch.seed() and torch.manual_seed(), called before.
        attach(net, RngStream(torch.initial_seed())){votes}
        self.net = net
        self.eval()

    def train(self, mode=True):
        return super().train(False)

    def forward(self, x):
        return self.net(x).float().log_softmax(1)

    def save(self, model_file):
        torch.save(self.state_dict(), model_file)

    def load(self, model_file):
        device = next(self.parameters()).device
        self.load_state_dict(torch.load(model_file, map_location=device, weights_only=True))

    def load_for_testing(self, project_dir="./"):
        self.load(os.path.join(project_dir, self.model_file))


if __name__ == "__main__":
    net = Net()
    net.load_for_testing(os.path.dirname(os.path.abspath(__file__)))
    print(net, sum(p.numel() for p in net.parameters()), "parameters", sep="\\n")
'''

_README = """{title}

    model.py                    class Net, with all that it needs; imports torch and nothing else
    {weights}    its weights, a state dict

It follows the template of the course: Net() takes no arguments, load_for_testing(project_dir)
loads the weights, images are in [0, 1] (ToTensor and no other transform), and the outputs are the
log-probabilities of

    {classes}

eval() need not be called, and train() changes nothing.{use}

How the net was made

    {recipe}

{notes}
Needs Python 3.10 and torch 2.5, or later. `python model.py` prints the net.
"""

_SINGLE = """
The net is random and each call draws anew, so test it with several samples:
python test_project.py . --num-samples 20
"""
_VOTED = """
The net is random; each call gives the mean probabilities of {votes} draws.
"""


def export(kept: Checkpoint, folder: Path | str, *, votes: int = 1) -> None:
    """Write a net as a folder of the course template.

    The folder is read back and compared with the net before it takes its name.

    Args:
      kept: the net with its recipe, from `restore`.
      folder: where; must not exist.
      votes: of a random net, the draws whose probabilities each call averages.

    Raises:
      ValueError: the folder exists, the net is not random and `votes` is not 1, or the recipe
        holds what cannot be copied.
    """
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        raise ValueError(f"{folder} exists: name another folder")
    if votes < 1:
        raise ValueError(f"votes must be 1 or more, got {votes}")
    if votes > 1 and not is_random(kept.net):
        raise ValueError("the net is not random: votes would change nothing")
    files = _files(kept, votes)
    with partial_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
        _check(partial, kept, votes)


def _files(kept: Checkpoint, votes: int) -> dict[str, bytes]:
    recipe, defences = kept.recipe, kept.recipe.defences
    title = textwrap.fill(f"A net by Robustune: {' '.join(map(repr, (recipe.net, *defences)))}", 96)
    use = (_SINGLE if votes == 1 else _VOTED.format(votes=votes)) if is_random(kept.net) else ""
    model = _MODEL.format(
        title=title,
        use=use,
        bundle=_sources(recipe, votes),
        classes=len(kept.classes),
        net=to_expression(recipe.net),
        defended="".join(f"\n            net = {to_expression(d)}(net)" for d in defences),
        votes=f"\n        net = Votes(net, {votes})" if votes > 1 else "",
    )
    weights = "models/default_model.pth"
    readme = _README.format(
        title=title,
        weights=weights,
        classes=", ".join(kept.classes),
        use=use.rstrip("\n"),
        recipe=_unfolded(recipe),
        notes=_notes(kept.metadata),
    )
    prefix = "net.model." if votes > 1 else "net."
    buffer = io.BytesIO()
    state = kept.net.state_dict()
    torch.save({f"{prefix}{k}": v.detach().cpu().contiguous() for k, v in state.items()}, buffer)
    return {
        "model.py": model.encode(),
        weights: buffer.getvalue(),
        "README.txt": readme.encode(),
    }


def _sources(recipe: Recipe, votes: int) -> str:
    """The source of every class that the recipe's net and defences name."""
    values = (recipe.net, *recipe.defences)
    places = {place for value in values for place in _classes(value)}
    places |= {
        ("adv.runtime.random_streams", "attach"),
        ("adv.runtime.random_streams", "RngStream"),
    }
    places |= {("adv.runtime.votes", "Votes")} if votes > 1 else set()
    return bundle(sorted(places), {"Net": "Architecture"}, _MODEL_IMPORTS)


def _classes(value: object) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each dataclass that a value is made of."""
    if isinstance(value, tuple):
        for item in value:
            yield from _classes(item)
    elif is_dataclass(value):
        yield type(value).__module__, type(value).__name__
        for field in fields(value):
            yield from _classes(getattr(value, field.name))


def _unfolded(recipe: Recipe) -> str:
    """The recipe, a setting a line, for the README."""
    settings = [f"{field.name}={getattr(recipe, field.name)!r}," for field in fields(recipe)]
    indent = {"initial_indent": " " * 8, "subsequent_indent": " " * 12}
    lines = [textwrap.fill(setting, 96, **indent) for setting in settings]  # type: ignore[arg-type]
    return "\n".join(["Recipe(", *lines, "    )"])


def _notes(metadata: Mapping[str, Any]) -> str:
    """What else the metadata says of the training."""
    shown = ("space", "params", "data", "seed", "epoch")
    lines = [f"    {name:<8}{metadata[name]}" for name in shown if name in metadata]
    return "\n".join([*lines, ""]) if lines else ""


def _check(folder: Path, kept: Checkpoint, votes: int) -> None:
    """Load the folder as a test script does, and compare: same images, same noise."""
    model = ModuleType("model")  # not named in sys.modules: the test script does not either
    text = (folder / "model.py").read_text()
    exec(compile(text, "model.py", "exec", dont_inherit=True), vars(model))
    net = model.Net()
    net.load_for_testing(project_dir=str(folder))
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), frozen(kept.net), use_seed(kept.net, 7):
        model.attach(net, model.RngStream(7))
        wanted = (Votes(kept.net, votes) if votes > 1 else kept.net)(x).float().log_softmax(1)
        found = net(x)
    if not torch.allclose(wanted, found, rtol=1e-4, atol=1e-5):
        gap = float((wanted - found).abs().max())
        raise ValueError(f"the exported net differs from the net by {gap:.2g}: not written")
