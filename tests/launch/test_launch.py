"""`launch.py` as a user runs it: help, mistakes, whole searches, interruptions, resuming."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import wait_until
from warm_process import WarmProcess, run_warm

from search.backends import serial
from search.record.event_lines import encode_line, read_lines
from search.record.ledger import read
from search.record.trial import EpochReport
from search.record.trial_result import TrialResult
from search.session import session as session_module
from search.session.options import Options
from search.trials.train_trial import Training

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 300  # seconds that any of these searches may take before the test gives up


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)]


def launch(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "WANDB_MODE": "disabled", **environment}
    return run_warm(ROOT / "launch.py", [*map(str, arguments)], cwd, variables, LIMIT)


def start(*arguments: object, cwd: Path) -> WarmProcess:
    """Start a `launch.py` that can be killed; it leads a process group."""
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    return WarmProcess(ROOT / "launch.py", [*map(str, arguments)], cwd, environment)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A small image folder of two classes."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 4)):
        for base, name in ((40, "dark"), (200, "light")):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.normal(base, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


@pytest.mark.parametrize("arguments", [["--help"], ["--space", "rse_sigma"], ["--spcae", "x"], []])
def test_help_and_mistakes_load_nothing_heavy(arguments):
    code = (
        "import sys, launch\n"
        "try: launch.run()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'ray', 'optuna', 'wandb', 'sklearn', 'plotly'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HEAVY []" in done.stdout


def test_help_shows_groups_and_examples(tmp_path):
    done = launch("--help", cwd=tmp_path, COLUMNS="100")
    assert done.returncode == 0
    for text in ("What to search", "How much", "Where it runs", "Examples", "Exit status"):
        assert text in done.stdout


def test_help_renders_the_defaults_of_the_scales():
    import launch as module
    import spaces

    helps = {p.opts[0]: getattr(p, "help", "") for p in module.main.params}
    for flag, setting in (
        *(("--data", "data"), ("--trials", "trials"), ("--epochs", "epochs")),
        *(("--images", "images"), ("--battery-steps", "battery_steps")),
        *(("--cpus-per-trial", "cpus"), ("--gpus-per-trial", "gpus")),
    ):
        assert f"Default: {spaces.default_text(setting)}." in helps[flag]


def test_list_names_each_space_with_its_hyperparameters(tmp_path):
    import spaces

    done = launch("--list", cwd=tmp_path)
    assert done.returncode == 0
    for name in spaces.names():
        assert name in done.stdout
        for knob in spaces.load(name).knobs:
            assert knob in done.stdout


@pytest.mark.parametrize("arguments", [["--list"], ["--space", "broken", "--dry-run"]])
def test_a_space_file_that_cannot_be_imported_is_one_line(arguments, tmp_path):
    (tmp_path / "broken.py").write_text("import nosuchmodule")
    code = f"import spaces; spaces.__path__.append({str(tmp_path)!r}); import launch; launch.run()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    reason = "ModuleNotFoundError: No module named 'nosuchmodule'"
    assert done.stderr == f"launch.py: cannot use spaces/broken.py: {reason}\n"
    listed = arguments == ["--list"]
    assert done.returncode == (0 if listed else 2)
    assert ("--space smoke" in done.stdout) == listed


MISTAKES = {
    "unknown space": (["--space", "rse_sigma"], "did you mean 'rse_sigmas'"),
    "unknown scale": (["--space", "smoke", "--scale", "lptop"], "did you mean 'laptop'"),
    "unknown data": (["--space", "smoke", "--data", "digit"], "did you mean 'digits'"),
    "unknown flag": (["--spaces", "smoke"], "--space"),
    "no space": (["--trials", "3"], "--space"),
    "zero trials": (["--space", "smoke", "--trials", "0"], "--trials"),
    "negative epochs": (["--space", "smoke", "--epochs", "-1"], "--epochs"),
    "zero concurrent": (["--space", "smoke", "--concurrent", "0"], "--concurrent"),
    "zero cpus": (["--space", "smoke", "--cpus-per-trial", "0"], "--cpus-per-trial"),
    "negative gpus": (["--space", "smoke", "--gpus-per-trial", "-1"], "--gpus-per-trial"),
    "no time": (["--space", "smoke", "--budget", "0m"], "45m"),
    "no timeout": (["--space", "smoke", "--trial-timeout", "none"], "'none' is not a time"),
    "bad time": (["--space", "smoke", "--budget", "soon"], "45m"),
    "url": (
        ["--space", "smoke", "--out", "s3://key:secret@bucket/runs"],
        "--out s3:/***@bucket/runs is a URL, and the driver needs a folder of its own: --storage",
    ),
    "key in a storage": (
        ["--space", "smoke", "--storage", "s3://key:secret@bucket/runs"],
        "--storage holds a key or a password: leave it out",
    ),
    "unknown storage": (["--space", "smoke", "--storage", "ftp://x/y"], "take s3://BUCKET/PATH"),
    "no stored run": (["--resume", "file:///nowhere/x"], "no search in /nowhere/x"),
    "again without a name": (["--space", "smoke", "--resume-or-start"], "needs --name NAME"),
    "gpus of nobody": (["--space", "smoke", "--max-gpus", "4"], "add --address auto"),
    "bad name": (["--space", "smoke", "--name", "../x"], "--name"),
    "two places": (["--space", "smoke", "--serial", "--address", "x:1"], "--serial"),
    "bad tracker": (
        ["--space", "smoke", "--wandb", "of"],
        "did you mean 'off'? There are: auto, online, offline",
    ),
    "bad project": (
        ["--space", "smoke", "--wandb-project", "robust/tune"],
        "--wandb-project 'robust/tune' contains /",
    ),
    "long project": (["--space", "smoke", "--wandb-project", "x" * 129], "129 characters"),
    "bad entity": (["--space", "smoke", "--wandb-entity", "team/x"], "--wandb-entity 'team/x'"),
    "folder without images": (["--space", "smoke", "--data", "."], "train"),
    "nothing to resume": (["--resume", "nowhere"], "nowhere"),
    "unknown sampler": (["--space", "smoke", "--sampler", "tp"], "did you mean 'tpe'"),
    "unknown score": (["--space", "smoke", "--score", "margn"], "did you mean 'margin'"),
    "unknown stopper": (["--space", "smoke", "--stopper", "asha"], "did you mean 'moasha'"),
    "share above one": (["--space", "smoke", "--audit", "2"], "--audit"),
    "two bounds": (["--space", "smoke", *2 * ["--constrain", "params<5"]], "params has two bounds"),
    "no earlier run": (
        ["--space", "smoke", "--warm-from", "runs/no"],
        "runs/no: no search in runs/no",
    ),
    "no bound": (["--space", "smoke", "--constrain", "parms<5"], "did you mean 'params'"),
    "dead address": (["--space", "smoke", "--address", "127.0.0.1:9"], "127.0.0.1:9"),
    "too many gpus": (["--space", "smoke", "--gpus-per-trial", "64"], "64"),
}
SLOW = ("dead address", "too many gpus")  # these start Ray


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in MISTAKES]
)
def test_a_mistake_is_one_line_and_leaves_nothing(case, tmp_path):
    arguments, hint = MISTAKES[case]
    done = launch(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_mistake_that_only_the_space_shows_is_one_line_too(tmp_path, capsys):
    smoke = Options(space="smoke", serial=True, wandb="off", out=tmp_path)
    for options, hint in (
        (
            replace(smoke, constrain=("params<5",)),
            "satisfies the constraints; its known points have 15,926 parameters",
        ),
        (replace(smoke, space="everything", sampler="gp"), "take tpe"),
        (replace(smoke, trials=501, sampler="gp"), "up to 500 trials"),
        (replace(smoke, warm_from=(tmp_path / "no",)), "no search in"),
    ):
        assert session_module.run_session(options) == 2
        said = capsys.readouterr().err
        assert hint in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_output_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    options = Options(space="smoke", serial=True, wandb="off", out=tmp_path / "file")
    assert session_module.run_session(options) == 2
    said = capsys.readouterr().err
    assert "file" in said and said.count("\n") == 1


def test_a_name_already_taken_is_refused(tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    done = launch("--space", "smoke", "--serial", "--name", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "--resume" in done.stderr and done.stderr.count("\n") == 1
    assert list((tmp_path / "runs" / "mine").iterdir()) == []


def test_dry_run_prints_the_plan_and_starts_nothing(tmp_path):
    bounds = ("--constrain", "params<5e6", "--constrain", "latency<3")
    done = launch("--space", "rse_sigmas", "--dry-run", "--budget", "45m", *bounds, cwd=tmp_path)
    assert done.returncode == 0
    for text in (
        "Scale: ",
        "sigma_init",
        "0 to 0.4",
        "digits",
        "16",
        "W&B",
        "gradient steps",
        "runs/",
        "about 300 % more time; --finalists off skips them",
        "portfolio, keeps params<5e6, keeps latency<3",
    ):
        assert text in done.stdout
    assert done.stdout.startswith("Scale: ")
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_a_grid_is_its_configurations(tmp_path, capsys):
    plan = Options(space="report_wrn_rse", serial=True, dry_run=True, wandb="off", out=tmp_path)
    assert session_module.run_session(plan) == 0
    laptop = capsys.readouterr().out
    assert session_module.run_session(replace(plan, scale="full")) == 0
    full = capsys.readouterr().out
    assert "3 trials of 6 epochs each" in laptop and "3 trials of 60 epochs each" in full
    assert "wrn-10-1-rse" in laptop and "wrn-16-10-rse" in full
    assert "0.1 to 3.1 million" in laptop and "0.7 to 2,412.2 million" in full
    for text in (laptop, full):
        assert "each point of the grid once" in text
    assert session_module.run_session(replace(plan, trials=4)) == 2
    said = capsys.readouterr().err
    assert said == "launch.py: --trials 4: this space is a grid of 3 points\n"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def trials_here(monkeypatch):
    """Run trials in this process, so that a test can replace what they train."""

    def search(study, run, interrupt, worker, timeout):
        serial.search(study, run, interrupt)

    monkeypatch.setattr(serial, "search_in_worker", search)


@pytest.mark.usefixtures("trials_here")
def test_each_configuration_of_a_grid_is_tried_once(tmp_path, monkeypatch):
    """Resumed, too; only what a trial trains is replaced."""

    def run(self, params, seed, folder):
        yield EpochReport(
            1, 1, 0.1, {}, TrialResult({"natural_accuracy": 0.5, "attacked_score": 100.0})
        )

    monkeypatch.setattr(Training, "__call__", run)
    options = Options(
        space="report_wrn_rse", serial=True, out=tmp_path, name="x", wandb="off", finalists="off"
    )
    assert session_module.run_session(replace(options, trials=2)) == 0
    table = rows(tmp_path / "x" / "trials.csv")
    assert [row["net"] for row in table] == ["basenet", "wrn-10-1"]
    again = Options(resume=tmp_path / "x", serial=True, wandb="off")
    assert session_module.run_session(replace(again, trials=4)) == 2
    with subprocess.Popen(["true"]) as dead:  # what a killed driver or worker has left
        dead.wait()
    names = (".report.html", "trials/0000/.state.pt", "finals/trials/0000/.best.safetensors")
    left = [tmp_path / "x" / f"{name}.{dead.pid}" for name in names]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert session_module.run_session(replace(again, trials=3)) == 0
    assert not [path for path in left if path.exists()]
    table = rows(tmp_path / "x" / "trials.csv")
    assert [row["net"] for row in table] == ["basenet", "wrn-10-1", "wrn-10-1-rse"]
    study = json.loads((tmp_path / "x" / "study.json").read_text())
    assert study["knobs"]["net"]["options"] == ["basenet", "wrn-10-1", "wrn-10-1-rse"]


@pytest.mark.usefixtures("trials_here")
def test_no_usable_result_is_status_three(tmp_path, monkeypatch, capsys):
    def broken(self, params, seed, folder):
        raise RuntimeError("no luck")
        yield

    monkeypatch.setattr(Training, "__call__", broken)
    options = Options(space="smoke", serial=True, out=tmp_path, name="x", wandb="off", trials=2)
    assert session_module.run_session(options) == 3
    assert [r["state"] for r in rows(tmp_path / "x" / "trials.csv")] == ["failed", "failed"]
    assert "no luck" in capsys.readouterr().out
    assert (tmp_path / "x" / "report.html").exists()


@pytest.mark.slow
def test_a_search_on_an_image_folder_leaves_a_whole_run_folder(tmp_path, images):
    cache = {"ROBUSTUNE_DATA": str(tmp_path / "cache")}
    done = launch(
        *("--space", "smoke", "--serial", "--data", images, "--trials", 2, "--name", "x"),
        cwd=tmp_path,
        **cache,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    folder = tmp_path / "runs" / "x"
    table = rows(folder / "trials.csv")
    assert [list(row)[:5] for row in table[:1]] == [["trial", "state", "seed", "sigma", "lr"]]
    assert {row["state"] for row in table} == {"finished"}
    for row in table:
        low, gap, high = (float(row[f"masking_gap{end}"]) for end in ("_low", "", "_high"))
        assert low <= gap <= high and row["flagged"] == str(low > 0.04)
    members = rows(folder / "front.csv")
    added = ["roles", "measured", "seeds", "p_on_front", "weights"]
    seen = ["search_natural_accuracy", "search_attacked_score"]
    assert list(members[0]) == [*table[0], *added, *seen] and len(members) >= 1
    study = json.loads((folder / "study.json").read_text())
    assert study["space"] == "smoke" and study["versions"]["torch"] and study["seed"] == 0
    weights = sorted((folder / "front").glob("*.safetensors"))
    assert [path.stem for path in weights] == sorted(f"{int(m['trial']):04d}" for m in members)
    judged = subprocess.run(
        [
            sys.executable,
            "-m",
            "adv",
            "evaluate",
            str(weights[0]),
            "--split",
            "test",
            "--steps",
            "1",
        ],
        cwd=ROOT,
        env={**os.environ, **cache},
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stderr
    assert "8 test images" in judged.stdout

    other = launch("--resume", folder, "--space", "rse_sigmas", "--serial", cwd=tmp_path, **cache)
    assert other.returncode == 2 and "smoke" in other.stderr

    more = launch("--resume", folder, "--trials", 3, "--serial", cwd=tmp_path, **cache)
    assert more.returncode == 0, more.stdout + more.stderr
    grown = rows(folder / "trials.csv")
    assert grown[:2] == table and len(grown) == 3

    events = [line.event for line in read_lines(folder / "ledger.jsonl")]
    newer = [encode_line({**events[0], "format": 99}, 0)]
    newer += [encode_line(event, number) for number, event in enumerate(events[1:], 1)]
    (folder / "ledger.jsonl").write_bytes(b"".join(newer))
    refused = launch("--resume", folder, "--serial", cwd=tmp_path, **cache)
    assert refused.returncode == 2 and "99" in refused.stderr and refused.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "where"),
    [
        (signal.SIGINT, 130, ("--concurrent", 1)),
        (signal.SIGTERM, 143, ("--concurrent", 1)),
        (signal.SIGTERM, 143, ("--serial",)),
    ],
    ids=["interrupt, ray", "terminate, ray", "terminate, serial"],
)
def test_a_signal_saves_everything_and_the_search_can_resume(number, status, where, tmp_path):
    sizes = ("--trials", 2, "--epochs", 8, "--finalists", "off")
    arguments = ("--space", "smoke", "--name", "x", *sizes, *where)
    ledger = tmp_path / "runs" / "x" / "ledger.jsonl"
    running = start(*arguments, cwd=tmp_path)
    wait_until(lambda: ledger.exists() and '"epoch": 2' in ledger.read_text(), LIMIT)
    began = time.monotonic()
    os.killpg(running.pid, number)
    output = "".join(running.communicate(timeout=60))
    assert running.returncode == status, output
    assert time.monotonic() - began < 30
    assert f"--resume {Path('runs') / 'x'}" in output
    assert "Traceback" not in output
    before = read(ledger)
    reached = max(before.trials[0].epochs)
    assert before.trials[0].state == "running"
    assert (tmp_path / "runs" / "x" / "report.html").exists()

    again = [flag for flag in where if flag == "--serial"]
    done = launch("--resume", "runs/x", *again, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    after = read(ledger)
    assert [t.state for t in after.trials.values()] == ["finished"] * 2
    for epoch in range(1, reached + 1):
        assert after.trials[0].epochs[epoch] == before.trials[0].epochs[epoch]


@pytest.mark.slow
def test_a_killed_driver_loses_nothing(tmp_path):
    smoke = ("--space", "smoke", "--name", "x", "--trials", 3, "--epochs", 4)
    arguments = (*smoke, "--finalists", "off")
    ledger = tmp_path / "runs" / "x" / "ledger.jsonl"
    running = start(*arguments, cwd=tmp_path)
    wait_until(lambda: ledger.exists() and '"finished"' in ledger.read_text(), LIMIT)
    running.kill()
    running.wait()
    before = read(ledger)
    finished = {n: t.result for n, t in before.trials.items() if t.state == "finished"}
    assert finished
    done = launch("--resume", "runs/x", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    after = read(ledger)
    assert sorted(after.trials) == [0, 1, 2]
    assert all(trial.state == "finished" for trial in after.trials.values())
    for number, result in finished.items():
        assert after.trials[number].result == result
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    ends = [e["trial"] for e in events if e["event"] == "finished"]
    assert sorted(ends) == [0, 1, 2]


@pytest.mark.slow
def test_a_budget_ends_early_and_a_larger_one_resumes(tmp_path):
    done = launch(
        *("--space", "smoke", "--serial", "--name", "x", "--epochs", 100, "--budget", "1s"),
        *("--finalists", "off"),
        cwd=tmp_path,
    )
    assert done.returncode == 3, done.stdout + done.stderr  # not one trial was finished
    assert "budget used up" in done.stdout and "--resume" in done.stdout
    same = launch("--resume", "runs/x", "--budget", "1s", "--serial", cwd=tmp_path)
    assert same.returncode == 2 and "larger" in same.stderr
    more = launch("--resume", "runs/x", "--trials", 2, "--budget", "10m", "--serial", cwd=tmp_path)
    assert more.returncode == 0, more.stdout + more.stderr
    assert {row["state"] for row in rows(tmp_path / "runs" / "x" / "trials.csv")} == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("where", [("--serial",), ("--concurrent", "1")], ids=["serial", "ray"])
def test_a_reader_that_goes_away_ends_the_search_in_order(where, tmp_path):
    """As in `| head -1`: no traceback, no failed trial, and the command that resumes."""
    flags = ("--space", "smoke", "--name", "x", "--trials", 3, "--finalists", "off")
    with subprocess.Popen(
        command(*flags, *where),
        cwd=tmp_path,
        env={**os.environ, "WANDB_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        while "trial 0 started" not in running.stdout.readline():
            pass
        running.stdout.close()
        said = running.stderr.read()
    assert running.returncode == 141
    resume = f"resume with: python launch.py --resume {Path('runs') / 'x'}\n"
    assert said == f"launch.py: nobody reads the output any more; {resume}"
    assert '"failed"' not in (tmp_path / "runs" / "x" / "ledger.jsonl").read_text()


@pytest.mark.parametrize("lines", [0, 1])
def test_a_reader_that_goes_away_before_the_first_trial_is_told_of(lines, tmp_path):
    """As in `| true` and `| head -1`, where the next lines of the header find no reader."""
    flags = ("--space", "smoke", "--name", "x", "--trials", 3, "--finalists", "off", "--serial")
    with subprocess.Popen(
        command(*flags, "--wandb", "off"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        for _ in range(lines):
            assert running.stdout.readline().startswith("Scale: ")
        running.stdout.close()
        said = running.stderr.read()
    assert running.returncode == 141
    run, reason = Path("runs") / "x", "nobody reads the output any more"
    if lines == 0:
        assert said == f"launch.py: {reason} before anything began\n"
        assert not (tmp_path / run).exists()
        return
    assert said == f"launch.py: {reason}; resume with: python launch.py --resume {run}\n"
    last = json.loads((tmp_path / run / "ledger.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["reason"], last["code"]) == ("end", reason, 141)
