"""CONTRIBUTING.md is complete: a toy of each kind works once the files that it lists are touched.

The toys are added to a copy of the project, in which the tests of their kinds are then run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()

ATTACK = '''"""Ascend from the image itself, in steps of half the radius."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State
from adv.attacks.ball import Ball
from adv.attacks.pgd import PGD


@dataclass(frozen=True)
class ToyAttack(Iterative):
    """PGD with half of the radius as its step."""

    ball: Ball
    steps: int = 20

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        return self._pgd.start(x, y, generator)

    def step(self, model: nn.Module, state: State) -> State:
        return self._pgd.step(model, state)

    @property
    def _pgd(self) -> PGD:
        return PGD(self.ball, steps=self.steps, pace=0.5, random_start=False)
'''
NET = '''"""A net of one convolution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from adv.models.net import Net, Normalize, activation, check_settings
from adv.runtime.random_layers import Dropout
from adv.shape import DEFAULT_SHAPE, Shape


@dataclass(frozen=True)
class ToyNet(Net):
    """One convolution and two linear layers."""

    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_settings(self.activation, self.dropout)

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        return nn.Sequential(
            Normalize(shape[0]),
            *(nn.Conv2d(shape[0], 4, 5, stride=3), activation(self.activation)),
            *(nn.AdaptiveAvgPool2d(10), nn.Flatten()),
            *(nn.Linear(400, 16), activation(self.activation), Dropout(self.dropout)),
            nn.Linear(16, classes),
        )
'''
DEFENCE = '''"""Noise on the pixels, in training and in evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from adv.defences.defence import Defence, input_layer_name, insert_before
from adv.runtime.random_layers import Noise


@dataclass(frozen=True)
class ToyDefence(Defence):
    """Gaussian noise before the net."""

    sigma: float = 0.1

    def __call__(self, net: nn.Module) -> nn.Module:
        insert_before(net, input_layer_name(net, "ToyDefence"), Noise(self.sigma))
        return net
'''
SPACE = '''"""How large a learning rate does BaseNet take?

    python launch.py --space toy

The validation split decides.
"""

from __future__ import annotations

import adv
from spaces import Float, Space


def build(lr: float) -> adv.Recipe:
    """BaseNet with a learning rate."""
    return adv.Recipe(net=adv.BaseNet(), optimizer=adv.AdamW(lr=lr))


space = Space(
    question="How large a learning rate does BaseNet take?",
    knobs={"lr": Float(1e-4, 1e-2, log=True)},
    build=build,
    known=({"lr": 1e-3},),
)
'''
SAMPLER = '''"""Propose points of a diagonal of the space, one after the other."""

from __future__ import annotations

import random

from search.record.view import View
from search.samplers.strategy import Observed, ProposeParams, Strategy
from spaces import Params, Space


def build(space: Space, observed: Observed) -> ProposeParams:  # noqa: ARG001
    """Return a function that proposes the next point of the diagonal."""

    def propose(view: View, rng: random.Random) -> Params:  # noqa: ARG001
        return space.at([len(view.trials) / 10 % 1] * len(space.knobs))

    return propose


TOY = Strategy(build, random_share=0.0)
'''
STOPPER = '''"""Stop nothing, as `no_stopping` does."""

from __future__ import annotations

from search.stopping.stopper import Stopper, no_stopping


def toy_stopper(*, seed: int, audit: float) -> Stopper:
    """Return a stopper that stops nothing."""
    return no_stopping(seed=seed, audit=audit)
'''
PANEL = '''"""A panel with the number of trials."""

from __future__ import annotations

from search.reporting.html_template import section
from search.reporting.page import Page


def toy_panel(page: Page) -> list[str]:
    """Return the number of trials as HTML."""
    return [section("The toy panel", "", f"<p>{len(page.view.trials)} trials</p>")]
'''
COMMAND = '''"""`python -m adv toy`: print the parameters of BaseNet."""

from __future__ import annotations

import rich_click as click


@click.command()
def toy() -> None:
    """Print the number of parameters of BaseNet.

    \\b
    python -m adv toy
    """
    import adv
    from adv.terminal.console import print_line

    print_line(str(sum(weight.numel() for weight in adv.BaseNet()(10).parameters())))
'''
USER_NET = """
import torch

def net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
"""
# Kind: {file: the text of a new file, or {line: text to insert before it}}
TOYS: dict[str, dict[str, str | dict[str, str]]] = {
    "an attack": {
        "adv/attacks/toy.py": ATTACK,
        "adv/attacks/__init__.py": {
            "from adv.attacks.transfer": "from adv.attacks.toy import ToyAttack as ToyAttack\n"
        },
        "adv/__init__.pyi": {
            "from .attacks import Transfer": "from .attacks import ToyAttack as ToyAttack\n"
        },
        "adv/cli/attack_table.py": {
            '    "fgsm": (': '    "toy": ("adv.attacks:ToyAttack", {"steps": "steps"}),\n'
        },
        "tests/adv/attack_cases.py": {
            "from adv.runtime": "from adv import ToyAttack\n",
            '    "apgd-linf": APGD(LINF),': '    "toy-linf": ToyAttack(LINF),\n',
        },
    },
    "a net": {
        "adv/models/toy.py": NET,
        "adv/models/__init__.py": {
            "from adv.models.vit": "from adv.models.toy import ToyNet as ToyNet\n"
        },
        "adv/__init__.pyi": {"from .models import ViT": "from .models import ToyNet as ToyNet\n"},
        "adv/models/size.py": {
            "LISTED_NETS: ": "from adv.models import ToyNet\n",
            "    ResNet18(),": "    ToyNet(),\n",
        },
        "tests/adv/models/test_models.py": {
            "from adv.__main__": "from adv import ToyNet\n",
            '    "BaseNet": BaseNet(),': '    "toy": ToyNet(),\n',
        },
    },
    "a defence": {
        "adv/defences/toy.py": DEFENCE,
        "adv/defences/__init__.py": {
            "from adv.defences.spectral": "from adv.defences.toy import ToyDefence as ToyDefence\n"
        },
        "adv/__init__.pyi": {
            "from .defences import TestNoise": "from .defences import ToyDefence as ToyDefence\n"
        },
        "tests/adv/defences/test_defences.py": {
            '    "PNI": (PNI(), True, True),': '    "toy": (adv.ToyDefence(), True, True),\n'
        },
    },
    "a space": {
        "spaces/toy.py": SPACE,
        "docs/spaces.md": {
            "| `smoke` |": "| `toy` | How large a learning rate does BaseNet take? |\n"
        },
    },
    "a sampler": {
        "search/samplers/toy.py": SAMPLER,
        "search/samplers/table.py": {
            '    "nsga2": (': '    "toy": ("search.samplers.toy:TOY", "the first"),\n'
        },
    },
    "a stopper": {
        "search/stopping/toy.py": STOPPER,
        "search/stopping/table.py": {
            '    "none": (': '    "toy": ("search.stopping.toy:toy_stopper", "stops nothing"),\n'
        },
    },
    "a panel of the report": {
        "search/reporting/toy.py": PANEL,
        "search/reporting/html_report.py": {
            "from search.reporting.trials_html": "from search.reporting.toy import toy_panel\n",
            "    reproduce_section,\n": "    toy_panel,\n",
        },
    },
    "a command": {
        "adv/cli/toy.py": COMMAND,
        "adv/__main__.py": {
            "from adv.cli.train": "from adv.cli.toy import toy\n",
            "train, evaluate, attack,": "toy, ",
        },
        "docs/adv.md": {
            "| `python -m adv synthesize`": "| `python -m adv toy` | count BaseNet's parameters |\n"
        },
    },
}
SEARCH = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/search")
from formula_runs import SPACE, Formula
from search.backends import serial
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.reporting.html_report import write_html_report
from search.samplers.table import make_sampler
from search.stopping.table import make_stopper
from search.study import Study
folder = Path(sys.argv[1])
ledger = Ledger(folder / "ledger.jsonl")
toy = make_sampler("toy", SPACE, seed=0, start=5)
study = Study(
    SPACE, ledger, trials=7, seed=0, sampler=toy, stopper=make_stopper("toy", seed=0)
)
serial.search(study, Formula(1), Interrupt())
print(*(trial.origin for trial in ledger.view.trials.values()))
write_html_report(ledger.view, folder / "report.html")
ledger.close()
"""


def section_of(kind: str) -> str:
    """Return the section of the guide about `kind`."""
    found = re.search(rf"^### {kind}\n(.*?)(?=^### |\Z)", GUIDE, re.DOTALL | re.MULTILINE | re.I)
    assert found, kind
    return found[1]


def files_to_touch(kind: str) -> list[str]:
    """Return the file that each numbered step of the guide begins with."""
    return re.findall(r"^\d+\. `([^`]+)`", section_of(kind), re.MULTILINE)


@pytest.mark.parametrize("kind", TOYS)
def test_the_guide_lists_the_files_that_the_toy_touches(kind):
    new, *others = TOYS[kind]
    first, *rest = files_to_touch(kind)
    assert first == re.sub(r"toy\w*(?=\.py)", "NAME", new) and rest == others


def test_files_that_the_guide_names_exist():
    named = re.findall(r"`([\w./-]+/[\w.-]+)`", GUIDE)
    assert len(named) > 20
    for path in named:
        assert "NAME" in path or (ROOT / path).exists(), path


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project in which every toy has been added."""
    copy = tmp_path_factory.mktemp("contribution") / "project"
    unwanted = shutil.ignore_patterns("*.egg-info", "runs", "recorded")
    for name in ("adv", "search", "spaces", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    for name in ("launch.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    for changes in TOYS.values():
        for file, change in changes.items():
            path = copy / file
            if isinstance(change, str):
                assert not path.exists()
                path.write_text(change)
            else:
                for before, text in change.items():
                    old = path.read_text()
                    assert before in old, (file, before)
                    path.write_text(old.replace(before, text + before, 1))
    return copy


def run(project: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_toys_pass_the_contracts_of_their_kinds(project):
    said = run(
        project,
        *("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow"),
        *("-k", "toy or public"),
        *("tests/adv/attacks/test_attacks.py", "tests/adv/models/test_models.py"),
        *("tests/adv/defences/test_defences.py", "tests/spaces/test_spaces.py"),
        "tests/test_floors.py",
    )
    (passed,) = re.findall(r"(\d+) passed", said)
    assert int(passed) > 40 and "failed" not in said


def test_a_toy_sampler_proposes_and_a_toy_panel_shows(project, tmp_path):
    origins = run(project, "-c", SEARCH, str(tmp_path)).split()
    assert origins == ["known"] * 3 + ["sobol"] * 2 + ["toy"] * 2
    assert "<h2>The toy panel</h2><p>7 trials</p>" in (tmp_path / "report.html").read_text()


def test_toys_pass_the_linter(project):
    new = [next(iter(changes)) for changes in TOYS.values()]
    run(project, "-m", "ruff", "check", "--no-cache", *new)
    run(project, "-m", "ruff", "format", "--no-cache", "--check", *new)


def test_the_command_line_knows_the_toys(project, tmp_path):
    assert "ToyNet" in run(project, "-m", "adv", "models")
    assert int(run(project, "-m", "adv", "toy")) > 10_000
    (tmp_path / "user.py").write_text(USER_NET)
    target = ("--module", f"{tmp_path / 'user.py'}:net", "--data", "digits", "--images", "8")
    said = run(project, "-m", "adv", "attack", *target, "--attack", "toy", "--steps", "2")
    assert "toy-linf-" in said
    assert "toy" in run(project, "-m", "adv", "attack", "--help")
    assert "How large a learning rate does BaseNet take?" in run(project, "launch.py", "--list")
