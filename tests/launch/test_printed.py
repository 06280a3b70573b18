"""--quiet, --json, --version, and the flags that they do not go with."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from warm_process import run_warm

ROOT = Path(__file__).parent.parent.parent
SMOKE = ("--space", "smoke", "--serial", "--trials", "2", "--finalists", "off", "--wandb", "off")


def launch(*flags, cwd=ROOT):
    return run_warm(ROOT / "launch.py", [*map(str, flags)], cwd, os.environ, 240)


def test_the_version_is_that_of_the_project():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert launch("--version").stdout == f"{version}\n"
    command = [sys.executable, "-m", "adv", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == f"{version}\n"


def test_console_scripts_name_what_there_is():
    import importlib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"robustune", "adv"}
    for reference in scripts.values():
        module, _, name = reference.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (("--space", "smoke", "--dry-run", "--json"), "leave out --json"),
        (("--space", "smoke", "--dry-run", "--quiet"), "leave out --quiet"),
        (("--watch", "runs/none"), "no search in runs/none"),
        (("--watch", "runs/none", "--serial"), "leave out --serial"),
    ],
)
def test_a_mistake_is_one_line(flags, hint):
    done = launch(*flags)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and hint in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_stdout_holds_what_is_promised_and_no_more(flag, tmp_path):
    done = launch(*SMOKE, "--name", "x", flag, cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr
    if flag == "--json":
        plain = json.loads(done.stdout)
        assert plain["folder"] == "runs/x" and plain["trials"]["finished"] == 2
        assert "trial 0 finished" in done.stderr
    else:
        assert done.stdout.splitlines()[-1] == "runs/x" and len(done.stdout.splitlines()) == 2
        assert done.stderr == ""


@pytest.mark.slow
def test_quiet_says_that_a_tracker_has_failed(tmp_path):
    small = "--space smoke --serial --trials 1 --finalists off --wandb off --quiet"
    done = launch(*small.split(), "--mlflow", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("MLflow is off: ")
