"""The commands of docs/own-data.md, and mistakes in data on the command line."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rich_click as click
from PIL import Image

import launch as command_line
from adv import user_code

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "own-data.md").read_text()
COMMANDS = re.findall(r"^python launch\.py (.*)$", TEXT, re.MULTILINE)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the data that the page names; nothing else is written outside it."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for i in range(20):
            path = tmp_path / "pets" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    images = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", image=images, label=np.arange(60) % 3)
    (source,) = re.findall(r"```python\n# own_data\.py\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "own_data.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(user_code, "_named", set())
    return tmp_path


def launch(*arguments: str) -> int:
    return command_line.main(list(arguments), standalone_mode=False) or 0


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--dry-run" in c])
def test_plans_of_the_page(here, capsys, command):
    assert launch(*shlex.split(command)) == 0
    said = " ".join(capsys.readouterr().out.split())
    shape = {"pets": "3x40x48", "64": "3x64x64", "1x28x28": "1x28x28"}
    asked = re.search(r"--image-size (\S+)", command)
    assert f"images of {shape[asked[1] if asked else 'pets']}, " in said
    assert "small data only" in said and "times as wide" in said
    assert not (here / "runs").exists()


@pytest.mark.slow
def test_the_search_of_the_page(here, capsys):
    (command,) = [c for c in COMMANDS if "--dry-run" not in c]
    assert launch(*shlex.split(command)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "images of 1x20x24" in said and "no test split: a fifth of the training images" in said
    assert "Small data: only" in said


MISTAKES = {
    "no such set": (["--data", "mnst"], "unknown data 'mnst': did you mean 'mnist'?"),
    "no such file": (["--data", "no.npz"], "no.npz: no such file of data"),
    "no size": (["--data", "pets", "--image-size", "wide"], "no image size 'wide'"),
    "too small": (
        ["--data", "pets", "--image-size", "12", "--dry-run"],
        "BaseNet takes images of 16x16 pixels or more, got 3x12x12: --image-size",
    ),
    "no function": (["--data", "own_data.py:mak"], "no function 'mak' in it: did you mean 'make'?"),
    "one-hot": (["--data", "bad.npz"], "one-hot labels become numbers by argmax"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_and_write_nothing(here, capsys, arguments, said):
    np.savez(here / "bad.npz", image=np.zeros((4, 8, 8), np.uint8), label=np.eye(4))
    before = sorted(path for path in here.rglob("*") if "__pycache__" not in path.parts)
    try:
        status, error = launch("--space", "smoke", "--serial", *arguments), ""
    except click.UsageError as usage:
        status, error = 2, usage.format_message()
    out, err = capsys.readouterr()
    assert status == 2
    message = " ".join((error or err).split())
    assert said in message and "Traceback" not in out + err
    assert sorted(p for p in here.rglob("*") if "__pycache__" not in p.parts) == before
