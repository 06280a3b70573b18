"""Each command in the README and the pages is run by a test, or has a reason why it is not.

A command that needs a run or a checkpoint gets a recorded one; flags are added that make it small.
"""

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from documents import PAGES, ROOT, blocks_in, code_in

import launch
from adv import BaseNet, Recipe, build, save
from adv.__main__ import adv as adv_command

OLD = ROOT / "tests" / "recorded" / "v0" / "finished"
PLAN = "--dry-run"  # the plan of a search, without the minutes to hours of its trials
FEW = "--images 6 --steps 1"
# How a command begins, and why it is not run here.
NOT_RUN = {
    r"launch\.py --space(-file)? \S+ .*--data (pets|own)": "tests/launch/test_own_data.py runs it",
    r"launch\.py .*(my_space|runs/first)": "tests/launch/test_own_space.py runs it",
    r"launch\.py --space \w+ .*--net ": "tests/launch/test_own_net.py and tests/adv/external/"
    "test_zoos.py run such nets; the sources named in the page are not here",
    r"launch\.py --resume runs/NAME": "the recorded run is of another version; test_launch.py",
    r"launch\.py --rescore": "the same; tests/search/session/test_rescore.py",
    r"launch\.py --finalists": "the same; test_printed_commands.py and test_finals.py",
    r"launch\.py --(publish|wandb-report)": "needs an account; test_publish.py is offline",
    r"launch\.py .*--(address|storage|min-gpus|max-gpus)": "needs a store or a cluster",
    r"launch\.py --watch": "ends with the search that it watches",
    r"search\.replay": "needs a run of four trials; tests/search/replay/test_replay.py",
    r"adv synthesize": "tests/adv/cli/test_synthesize.py, with smaller sizes",
    r"adv evaluate --data cifar10": "needs a download; tests/adv/external/test_zoos.py",
    r"adv export .*\.(pt2|onnx)": "the recorded net is random; tests/adv/exporting has others",
    r"adv attack --attack NAME": "a placeholder",
    r"adv train ": "minutes; tests/adv/cli/test_cli.py trains smaller ones",
}
# How a command begins that is run, and the flags that make it small.
RUN = {
    r"launch\.py --space .*--dry-run": "",
    r"launch\.py --space ": "--dry-run",  # the plan, without the minutes to hours of the trials
    r"launch\.py --(list|compare|report|repair|version)\b": "",
    r"adv (evaluate|compare|show) ": "--images 6 --steps 1",
    r"adv audit ": "--images 6 --steps 1 --battery pgd",
    r"adv certify ": "--images 2 --draws 200",
    r"adv (export|models)": "",
}
# Commands of other programs, and what stands for them here; flags of our benchmarks are checked in
# tests/test_docs.py.
OTHERS = {
    r"(python -m )?pip install|pip download": "CI installs the project, without a network here",
    r"git clone|cd ": "a checkout is where this runs",
    r"python benchmarks/": "minutes to days; tests/benchmarks runs small ones",
    r"python -m pytest": "this is it",
    r"scripts/": "CI runs them",
    r"python[\d.]* -m venv": "CI makes one",
    r"python test_project\.py": "tests/adv/exporting/test_course_template.py runs it",
    r"ray |kubectl |docker |sbatch |export RAY_": "a cluster; see tests/deploy",
    r"(NAME|SPACE)=\S+ .*sbatch ": "a cluster; tests/deploy runs the script with stand-ins",
    r"wandb ": "an account; tests/search/tracking reads what is to be synchronised",
    r"optuna-dashboard ": "tests/search/tracking/test_optuna_storage.py opens the pages",
    r"mlflow |tensorboard ": "a server; tests/search/tracking reads what it would show",
}
PROGRAMS = (
    r"(\$ )?([A-Z_]+=\S+ )*(pip|python[\d.]*|robustune|adv|wandb|optuna-dashboard|mlflow|"
    r"tensorboard|ray|kubectl|sbatch|srun|scancel|git|docker|export|cd|curl|aws|scripts/[a-z-]+)"
    r"( |$)"
)
PLACEHOLDERS = {
    **dict.fromkeys(("CHECKPOINT", "FILE", "A"), "a.safetensors"),
    "B": "b.safetensors",
    "OUT_DIR": "project",
}


def find_commands() -> list[str]:
    """Return each command of ours in the pages once, without `python`, `-m` and its comment."""
    found: dict[str, None] = {}
    for page in PAGES:
        if page.parent.name in ("decisions", "benchmarks") or page.name == "CHANGELOG.md":
            continue
        for line in code_in(page):
            match = re.match(r"python (?:-m )?(launch\.py|adv|search\.replay) (.+)", line)
            if match and (rest := match[2].partition("#")[0].strip(" &\\")):
                words = f"{match[1]} {' '.join(rest.split())}"
                if len(words.split()) > 2 or words == "launch.py --list":  # else a verb is named
                    found[words] = None
    return list(found)


COMMANDS = find_commands()


def find_rule(command: str, rules: dict[str, str]) -> str | None:
    """Return what the first rule says whose pattern a command begins with."""
    return next((said for start, said in rules.items() if re.match(start, command)), None)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_run_or_has_a_reason(command):
    ruled = find_rule(command, NOT_RUN) or find_rule(command, RUN)
    assert ruled is not None, "add a rule to RUN or, with the reason, to NOT_RUN"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_another_program_has_a_reason(page):
    lines = [line for line in blocks_in(page) if re.match(PROGRAMS, line)]
    ours = r"(python -m )?(adv|search\.replay) |(python )?launch\.py "
    others = [
        line for line in lines if not re.match(f"(OMP_NUM_THREADS=1 )?{ours}|python launch", line)
    ]
    assert not [line for line in others if find_rule(line, OTHERS) is None]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with runs of the names that the pages use, in which the command is run."""
    for name in ("A", "B", "NAME"):
        shutil.copytree(OLD, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_checkpoints(words: list[str], folder: Path) -> list[str]:
    """Return the words of a command with a recorded net wherever it names a checkpoint."""
    named = [PLACEHOLDERS.get(word, word) for word in words]
    for before, word in pairwise(named):
        path = folder / word
        if word == "plain.safetensors":
            recipe, classes = Recipe(net=BaseNet()), tuple("0123456789")
            save(path, build(recipe, 10, seed=0), recipe, classes=classes, data="digits")
        elif word.endswith(".safetensors") and before != "--out":
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(OLD / "trials" / "0001" / "best.safetensors", path)
    return named


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("command", [c for c in COMMANDS if find_rule(c, NOT_RUN) is None])
def test_a_command_of_the_pages_runs(command, folder, capsys):
    program, *words = shlex.split(command) + shlex.split(find_rule(command, RUN) or "")
    if program == "adv":
        words = make_checkpoints(words, folder)
        code = adv_command.main(words, standalone_mode=False)
    else:
        words = ["smoke" if word == "NAME" else word for word in words]
        code = launch.main(words, standalone_mode=False)
    said = capsys.readouterr()
    assert not code or (words[0] == "audit" and code == 1), said
    assert said.out


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    """With one epoch instead of five, and a short evaluation."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for long, short in (
        ("epochs=5", "epochs=1"),
        ("data.validation, report_battery()", "data.validation.head(8), report_battery(1)"),
    ):
        assert long in example
        example = example.replace(long, short)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert "8 images, 95 % Wilson intervals" in capsys.readouterr().out
    assert (tmp_path / "mine.safetensors").is_file()
