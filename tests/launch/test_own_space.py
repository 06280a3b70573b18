"""Spaces, batteries and objectives of the user's, through the command line and its options."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_launch import ROOT, launch, rows, trials_here  # noqa: F401 - a fixture

import launch as command_line
from adv import user_code
from search.record.ledger import read
from search.record.study_header import StudyHeader
from search.session import session as session_module
from search.session.new_space import write_new_space
from search.session.options import Options, merge_battery, merge_space_file
from search.session.resume import name_code

BROKEN = "from spaces import Space\n\nspace = Space(\n"
BATTERY = """
import adv

def darken(model, x, y):
    return (x - 0.01).clamp(0, 1)

darken.ball = adv.Linf(0.02)
battery = adv.Battery((("darken", darken), ("pgd", adv.PGD(adv.Linf(0.02), 1))))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder, in a process in which no file was named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(user_code, "_named", set())
    return tmp_path


MISTAKES = {
    "a space with a syntax error": (
        ["--space-file", "broken.py"],
        "broken.py, line 3: SyntaxError: '(' was never closed",
    ),
    "no such file": (["--space-file", "brokn.py"], "no file brokn.py: did you mean 'broken.py'?"),
    "no Python file": (["--space-file", "notes.txt"], "its name ends in .py"),
    "a file as a name": (["--space", "broken.py"], "a file: --space-file broken.py"),
    "two spaces": (["--space", "smoke", "--space-file", "broken.py"], "give one of them"),
    "a name that is taken": (["--new-space", "broken"], "broken.py exists"),
    "no name": (["--new-space", "my-space"], "letters, digits and _"),
    "no knob": (["--space", "smoke", "--set", "lrr=1"], "did you mean 'lr'?"),
    "outside": (["--space", "smoke", "--set", "lr=1"], "1 is outside 0.0003 to 0.01 (log)"),
    "no trial": (["--space", "smoke", "--near", "runs/x"], "write runs/NAME:TRIAL"),
    "no run": (["--space", "smoke", "--near", "runs/x:1"], "no search in runs/x"),
    "no battery": (["--space", "smoke", "--battery", "l2"], "here are: report"),
    "two kinds of attack": (
        ["--space", "smoke", "--battery", "autoattack", "--score", "report"],
        "--battery autoattack has attacks of its own: leave out --score",
    ),
    "a battery without an attack": (
        ["--space", "smoke", "--battery", "empty.py:battery"],
        "a battery needs attacks with different names, got []",
    ),
    "one objective twice": (
        ["--space", "smoke", "--objectives", "latency,latency"],
        "the two objectives are both latency: name two different ones",
    ),
    "no objective": (
        ["--space", "smoke", "--objectives", "worstcase,latency"],
        "did you mean 'worst_case'?",
    ),
    "a stopper that cannot see": (
        ["--space", "smoke", "--objectives", "latency,worst_case", "--stopper", "moasha"],
        "compares half-trained nets, whose latency is not measured",
    ),
    "no run to look at": (["--front-of", "latency,worst_case"], "add --resume runs/NAME"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(case, here, capsys):
    (here / "broken.py").write_text(BROKEN)
    (here / "empty.py").write_text("from adv import Battery\nbattery = lambda: Battery(())\n")
    (here / "notes.txt").write_text("")
    before = sorted(here.iterdir())
    arguments, hint = MISTAKES[case]
    flags = [] if "--new-space" in arguments else ["--serial", "--wandb", "off"]
    with pytest.raises(SystemExit) as left:
        sys.exit(_call([*arguments, *flags]))
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert hint in " ".join(said.split()) and said.count("\n") == 1 and "Traceback" not in said
    assert sorted(here.iterdir()) == before


def _call(arguments: list[str]) -> int:
    """Call the command line as `launch.run` does, in this process."""
    from search.command_line import _call as call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["launch.py", *arguments])
        code = call(command_line.main, "launch.py")
    return code or 0


SMALL = Options(
    serial=True, wandb="off", trials=1, epochs=1, images=12, finalists="off", battery_steps=1
)


@pytest.mark.usefixtures("trials_here")
def test_a_run_never_executes_a_file_that_only_its_folder_names(here, capsys):
    write_new_space("mine")
    options = merge_space_file(
        replace(SMALL, space_file=here / "mine.py", name="x", out=here, set_=("lr=0.001",))
    )
    assert session_module.run_session(options) == 0
    header = json.loads((here / "x" / "study.json").read_text())
    assert header["settings"] == ["lr=0.001"] and list(header["sources"]) == [header["space"]]
    assert {row["lr"] for row in rows(here / "x" / "trials.csv")} == {"0.001"}

    user_code._named.clear()  # as in a new process
    again = Options(resume=here / "x", serial=True, wandb="off", finalists="off", trials=2)
    (here / "mine.py").write_text((here / "mine.py").read_text() + "\nopen('ran', 'w').close()\n")
    assert session_module.run_session(again) == 2
    assert "that file is run only if you name it: --space-file" in capsys.readouterr().err
    assert not (here / "ran").exists()
    assert session_module.run_session(replace(again, trust_code=True)) == 0
    assert (here / "ran").exists() and "has changed since the run began" in capsys.readouterr().out

    user_code._named.clear()
    (here / "moved.py").write_text((here / "mine.py").read_text())
    (here / "mine.py").unlink()
    named = merge_space_file(replace(again, space_file=here / "moved.py", trials=3))
    assert session_module.run_session(named) == 0
    assert len(read(here / "x" / "ledger.jsonl").scored()) == 3
    near = replace(
        SMALL, space=named.space, name="y", out=here, near=f"{here / 'x'}:1", dry_run=True
    )
    assert session_module.run_session(near) == 0


@pytest.mark.usefixtures("trials_here")
def test_a_search_over_other_objectives_under_a_battery_of_ones_own(here, capsys):
    (here / "mine.py").write_text(BATTERY)
    options = replace(
        merge_battery(replace(SMALL, battery=f"{here / 'mine.py'}:battery", battery_steps=None)),
        space="smoke",
        name="x",
        out=here,
        trials=2,
        finalists="1",
        objectives="worst_case,training_seconds",
        final_trainings=1,
        constrain=("balanced_accuracy>0.01",),
    )
    assert session_module.run_session(options) == 0
    said = capsys.readouterr().out
    assert "worst case" in said and "training seconds" in said and "mine.py:battery" in said
    view = read(here / "x" / "ledger.jsonl")
    for trial in view.scored():
        assert trial.result is not None
        figures = trial.result.objectives
        assert trial.result.point == (figures["worst_case"], -figures["training_seconds"])
        assert figures["training_seconds"] > 0 and figures["balanced_accuracy"] >= 0
        assert trial.result.details.table is not None
        assert trial.result.details.table["names"] == ["darken", "pgd"]
    assert [attack["name"] for attack in view.header.battery] == ["darken", "pgd"]
    assert "worst_case_low" in rows(here / "x" / "trials.csv")[0]
    assert "again_training_seconds" in rows(here / "x" / "finalists.csv")[0]
    assert "Training seconds (s)" in (here / "x" / "report.html").read_text()

    again = Options(resume=here / "x", serial=True, wandb="off", finalists="off")
    user_code._named.clear()
    assert session_module.run_session(again) == 2
    assert "that code is run only if you name it: --battery" in capsys.readouterr().err
    assert session_module.run_session(replace(again, battery="linf-8/255")) == 2
    assert "a run keeps its battery" in capsys.readouterr().err
    (here / "mine.py").write_text(BATTERY.replace("0.01", "0.02"))
    assert session_module.run_session(merge_battery(replace(again, battery=options.battery))) == 2
    assert "has changed since" in capsys.readouterr().err
    scored = replace(again, rescore=here / "x", battery="l2-0.5", battery_steps=1)
    assert session_module.run_session(scored) == 0
    view = read(here / "x" / "ledger.jsonl")
    assert [attack["norm"] for attack in view.header.battery] == ["L2"]
    assert view.header.score == "margin, l2-0.5" and view.header.aims[0] == "worst_case"


@pytest.mark.parametrize("battery", ["os:abort", "theirs.py:battery"])
def test_a_battery_that_only_a_run_folder_names_is_not_called(battery):
    header = StudyHeader(space="smoke", scale={"threat_model": battery})
    with pytest.raises(ValueError, match="that code is run only if you name it"):
        name_code(Options(resume=Path("runs/x")), header)
    assert header.code_flags == ["--battery", battery]


@pytest.mark.slow
def test_the_commands_of_the_page_work_as_they_stand(here):
    text = (ROOT / "docs" / "own-space.md").read_text(encoding="utf-8")
    for line in re.findall(r"^python launch\.py .*$", text, re.MULTILINE):
        done = launch(*line.split()[2:], cwd=here)
        assert done.returncode == 0, (line, done.stderr)
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "docs/own-space.md", "exec"), names)
    assert len(names["battery"].attacks) == 2  # type: ignore[attr-defined]
    assert Path(here / "runs" / "first" / "front").is_dir()
