"""Each command in the README and the pages is run by a test, or has a reason why it is not.

A command that needs a run or a checkpoint gets a recorded one; flags are added that make it small.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from documents import PAGES, ROOT, code_in

import launch
from adv import BaseNet, Recipe, build, save
from adv.__main__ import adv as adv_command

OLD = ROOT / "tests" / "recorded" / "v0" / "finished"
PLAN = "--dry-run"  # the plan of a search, without the minutes to hours of its trials
FEW = "--images 6 --steps 1"
# A command as the pages have it, in the order in which they are run, and what is added to it.
RUN = {
    "launch.py --list": "",
    "launch.py --space rse_sigmas": PLAN,
    "launch.py --space smoke --serial --name first": PLAN,
    "launch.py --space tradeoff": PLAN,
    "launch.py --space synthetic": PLAN,
    "launch.py --space optimizer --trials 48 --stopper none --sampler qmc --finalists off "
    "--name optimizer-qmc": PLAN,
    "launch.py --space rse_sigmas --dry-run": "",
    "launch.py --space NAME --dry-run": "",
    "launch.py --compare runs/A runs/B": "",
    "launch.py --report runs/NAME": "",
    "launch.py --repair runs/NAME": "",
    "adv evaluate runs/NAME/front/0003.safetensors --split test": FEW,
    "adv evaluate runs/NAME/front/0003.safetensors --trust-code": FEW,
    "adv evaluate mine.safetensors": FEW,
    "adv audit runs/NAME/front/0003.safetensors": f"{FEW} --battery pgd",
    "adv audit mine.safetensors": f"{FEW} --battery pgd",
    "adv audit CHECKPOINT": f"{FEW} --battery pgd",
    "adv compare mine.safetensors other.safetensors": FEW,
    "adv compare A B": FEW,
    "adv show runs/NAME/front/0003.safetensors --out net.html": FEW,
    "adv show FILE --out first.html": FEW,
    "adv show mine.safetensors --out mine.html": FEW,
    "adv certify plain.safetensors --sigma 0.25": "--images 2 --draws 200",
    "adv export mine.safetensors my_project": "",
    "adv export CHECKPOINT OUT_DIR": "",
    "adv export runs/NAME/front/0003.safetensors --full-scale": "",
    "adv models": "",
}
# The beginning of a command that is not run here, and why.
NOT_RUN = {
    r"launch\.py --space(-file)? \S+ .*--data (pets|own)": "tests/launch/test_own_data.py runs it",
    r"launch\.py .*(my_space|runs/first)": "tests/launch/test_own_space.py runs it",
    r"launch\.py --space \w+ .*--net ": "tests/launch/test_own_net.py and tests/adv/external/"
    "test_zoos.py run such nets; the sources named in the page are not here",
    r"launch\.py --resume runs/NAME": "a recorded run of another version; test_launch.py resumes",
    r"launch\.py --rescore": "the same; tests/search/session/test_rescore.py",
    r"launch\.py --finalists": "the same; test_printed_commands.py and test_finals.py",
    r"launch\.py --publish": "needs an account; test_publish.py publishes offline",
    r"launch\.py .*--address": "needs a cluster; tests/search/backends make one",
    r"launch\.py .*--resume-or-start": "tests/launch/test_requeue.py",
    r"launch\.py .*--optuna-storage": "tests/search/tracking/test_optuna_storage.py",
    r"search\.replay": "needs a run of four trials; tests/search/replay/test_replay.py",
    r"adv export .*\.(pt2|onnx)": "the recorded net is random; tests/adv/exporting has others",
    r"adv synthesize": "tests/adv/cli/test_synthesize.py, with smaller sizes",
    r"adv evaluate --data cifar10": "needs a download; tests/adv/external/test_zoos.py",
    r"adv attack --attack NAME": "a placeholder",
    r"adv train ": "minutes; tests/adv/cli/test_cli.py trains smaller ones",
}
FILES = {
    "CHECKPOINT": "mine.safetensors",
    "OUT_DIR": "other_project",
    "FILE": "mine.safetensors",
    "A": "mine.safetensors",
    "B": "other.safetensors",
}


def documented() -> list[str]:
    """Return each command of ours in the pages once, without `python`, `-m` and its comment."""
    found: dict[str, None] = {}
    for page in PAGES:
        if page.parent.name in ("decisions", "benchmarks") or page.name == "CHANGELOG.md":
            continue
        for line in code_in(page):
            match = re.match(r"python (?:-m )?(launch\.py|adv|search\.replay) (.+)", line)
            if match and (rest := match[2].partition("#")[0].strip()):
                words = f"{match[1]} {' '.join(rest.split())}"
                if len(words.split()) > 2 or words in RUN:  # a verb alone is only named
                    found[words] = None
    return list(found)


def test_each_command_is_run_or_has_a_reason():
    commands = documented()
    for command in commands:
        reasons = [why for start, why in NOT_RUN.items() if re.match(start, command)]
        assert (command in RUN) != bool(reasons), command
    assert set(RUN) <= set(commands)
    for start in NOT_RUN:
        assert any(re.match(start, command) for command in commands), start


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with runs and checkpoints of the names that the pages use."""
    here = tmp_path_factory.mktemp("docs")
    for name in ("A", "B", "NAME"):
        shutil.copytree(OLD, here / "runs" / name)
    best = [OLD / "trials" / number / "best.safetensors" for number in ("0001", "0002")]
    (here / "runs" / "NAME" / "front").mkdir()
    for source, name in (
        *((best[0], "runs/NAME/front/0003.safetensors"), (best[0], "mine.safetensors")),
        (best[1], "other.safetensors"),
    ):
        shutil.copy(source, here / name)
    recipe, classes = Recipe(net=BaseNet()), tuple("0123456789")
    net = build(recipe, len(classes), seed=0)
    save(here / "plain.safetensors", net, recipe, classes=classes, data="digits")
    return here


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("command", RUN)
def test_a_command_of_the_pages_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    program, *words = shlex.split(command) + shlex.split(RUN[command])
    if program == "adv":
        words = [FILES.get(word, word) for word in words]
        code = adv_command.main(words, standalone_mode=False)
    else:
        words = ["smoke" if word == "NAME" else word for word in words]
        code = launch.main(words, standalone_mode=False)
    said = capsys.readouterr()
    assert not code or (words[0] == "audit" and code == 1), said
    assert said.out
