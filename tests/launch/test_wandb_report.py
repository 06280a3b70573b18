"""`launch.py --wandb-report`: only the save needs a login; without one it is a line."""

import shutil
from pathlib import Path

import pytest
from test_publish import OLD, launch

MISTAKES = {
    "no login": (["runs/a"], "needs a login"),
    "no such run": (["runs/b"], "no search in runs/b"),
    "with flags": (["runs/a", "--trials", "3"], "leave out --trials"),
    "bad project": (["runs/a", "--wandb-project", "a/b"], "contains /"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(name, tmp_path):
    arguments, said = MISTAKES[name]
    run = Path(shutil.copytree(OLD, tmp_path / "runs" / "a"))
    before = sorted(run.rglob("*"))
    done = launch(tmp_path, "--wandb-report", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert sorted(run.rglob("*")) == before
