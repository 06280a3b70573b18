"""`python -m adv` as a user runs it."""

import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich_click as click
import torch
from adv_commands import SMOKE, assert_mistake
from safetensors.torch import save_file

from adv import (
    APGD,
    NES,
    PGD,
    RSE,
    BaseNet,
    Battery,
    Finding,
    Linf,
    Recipe,
    Score,
    Split,
    Square,
    autoattack_rand,
    build,
    margin_battery,
    quick_battery,
    report_battery,
    save,
)
from adv.__main__ import adv as group
from adv.cli.attack_table import ATTACKS
from adv.cli.display import print_score
from adv.cli.flags import _BATTERIES
from adv.cli.target import Target

pytestmark = pytest.mark.usefixtures("empty_folder")

ROOT = Path(__file__).resolve().parents[3]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


@pytest.mark.parametrize("verb", group.commands)
def test_each_verb_explains_itself_with_an_example(adv, verb):
    code, out, _ = adv(verb, "--help")
    assert code == 0
    assert out.count(f" adv {verb}") >= 2  # the usage is one
    assert "python -m adv" not in out  # what was typed is `adv`


def test_help_names_each_attack_and_battery(adv):
    """The flags name them without importing torch; the tables that build them must agree."""
    for verb, flag, names in (
        ("attack", "--attack", ATTACKS),
        ("evaluate", "--battery", _BATTERIES),
        ("audit", "--battery", ("pgd", *_BATTERIES)),
    ):
        params: list[Any] = group.commands[verb].params
        (said,) = (p.help for p in params if flag in p.opts)
        assert all(re.search(rf"\b{name}\b", said) for name in names)


def test_help_states_the_defaults_of_attacks_and_batteries():
    """The flags state them without importing torch; the settings must agree."""
    nes, report, quick = NES(Linf(1.0)), report_battery(), quick_battery()
    rand, plain = autoattack_rand(Linf(1.0)), Battery(report.attacks)
    (report_steps,), (quick_steps,) = (
        {attack.steps for _, attack in battery.attacks if isinstance(attack, PGD)}
        for battery in (report, quick)
    )
    assert report.draws == quick.draws == plain.draws and report.votes == rand.votes == plain.votes
    assert report_steps == PGD.steps
    draws = f"Default: {plain.draws}, margin {margin_battery().draws}, rand {rand.draws}."
    votes = f"Default: {plain.votes}, quick {quick.votes}."
    for verb, flag, said in (
        ("attack", "--steps", f"Default: pgd {PGD.steps}, apgd {APGD.steps}."),
        ("attack", "--step", f"Default: pgd eps/{1 / PGD.pace:g}, nes eps/{1 / nes.length:g}."),
        ("attack", "--queries", f"Default: square {Square.queries}, nes {NES.queries}."),
        ("attack", "--samples", f"Default: {NES.samples}."),
        ("evaluate", "--steps", f"Default: report and margin {report_steps}, quick {quick_steps}."),
        ("audit", "--steps", f"Default: {PGD.steps}, quick {quick_steps}."),
        *((verb, "--draws", draws) for verb in ("evaluate", "audit")),
        *((verb, "--votes", votes) for verb in ("evaluate", "audit")),
    ):
        params: list[Any] = group.commands[verb].params
        (text,) = (p.help for p in params if flag in p.opts)
        assert text.endswith(said), (verb, flag)


def test_help_names_each_verb(adv):
    code, out, _ = adv("--help")
    assert code == 0
    for verb in group.commands:
        assert verb in out


def test_a_checkpoint_is_evaluated_on_the_battery(adv, checkpoint):
    code, out, err = adv("evaluate", checkpoint, "--split", "test", "--images", 30, "--steps", 1)
    assert code == 0, err
    for text in ("30 test images", "pgd1-0.1", "aggregated attacked score", "sigma=0.1", "votes"):
        assert text in out


def accuracies(out: str) -> list[tuple[str, float]]:
    """The name and the accuracy in percent of each row of a printed score."""
    rows = re.findall(r"^ *(\S+) +[\d.e-]+ +([\d.]+) %", out, re.MULTILINE)
    return [(name, float(share)) for name, share in rows]


def test_an_attack_saves_its_images(adv, checkpoint, tmp_path):
    code, out, err = adv(
        *("attack", checkpoint, "--norm", "l2", "--eps", 0.5, "--steps", 2, "--restarts", 2),
        *("--draws", 2, "--images", 10, "--save", tmp_path / "images.npz"),
    )
    assert code == 0, err
    with np.load(tmp_path / "images.npz") as file:
        saved = dict(file)
    change = (saved["adversarial"] - saved["clean"]).reshape(10, -1)
    lengths = np.linalg.norm(change, axis=1)
    (_, natural), _ = accuracies(out)
    assert (lengths <= 0.5 + 1e-5).all()
    attacked = lengths > 0  # an image that is wrong without an attack is judged as it is
    assert 100 * attacked.mean() == natural > 0
    assert saved["correct"].shape == (2, 10) and saved["correct"].dtype == bool
    assert (saved["correct"][0] == attacked).all(), "wrong images are saved unchanged"
    shares = [share for _, share in accuracies(out)]
    assert shares == pytest.approx(100 * saved["correct"].mean(1), abs=0.05)
    assert saved["adversarial"].min() >= 0 and saved["adversarial"].max() <= 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--steps", 4, "--eps", 0.02, "--restarts", 3),
        ("--attack", "apgd", "--steps", 4, "--eps", 0.01, "--restarts", 2),
        ("--attack", "square", "--queries", 20, "--eps", 0.1),
        ("--attack", "nes", "--queries", 44, "--samples", 10, "--eps", 0.1),
        ("--attack", "fgsm", "--source", "CHECKPOINT", "--eps", 0.2, "--draws", 1),
    ],
    ids=str,
)
def test_saved_images_are_the_ones_that_were_scored(
    adv, user_module, checkpoint, tmp_path, monkeypatch, arguments
):
    """Each file's verdict is the score's, and saving asks the net for no second attack."""
    passed, forward = [], torch.nn.Linear.forward

    def count(net, x):
        passed.append(len(x))
        return forward(net, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", count)
    arguments = [checkpoint if value == "CHECKPOINT" else value for value in arguments]
    call = (
        "attack",
        "--module",
        f"{user_module}:Fixed",
        "--data",
        "digits",
        "--images",
        60,
        *arguments,
    )
    code, plain, _ = adv(*call)
    before = sum(passed)
    passed.clear()
    again, out, err = adv(*call, "--save", tmp_path / "images.npz")
    assert (code, again, err) == (0, 0, "") and out.startswith(plain.rstrip("\n"))
    assert sum(passed) <= before + 60, "at most one look more at each image"
    with np.load(tmp_path / "images.npz") as file:
        saved = dict(file)
    net, label = runpy.run_path(user_module)["Fixed"](), torch.from_numpy(saved["label"])
    for key, (_, share) in zip(("clean", "adversarial"), accuracies(out), strict=True):
        right = net(torch.from_numpy(saved[key])).argmax(1) == label
        assert share == pytest.approx(100 * float(right.double().mean()), abs=0.05)
        assert (saved["correct"][int(key == "adversarial")] == right.numpy()).all()
    assert np.abs(saved["adversarial"] - saved["clean"]).max() > 0


def test_attacks_of_one_radius_keep_their_own_accuracies(capsys):
    """Sorted by radius only: names and accuracies that are sorted apart would change places."""
    ok = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    score = Score(("b[2]", "a", "c"), (0.1, 0.1, 0.05), ok)
    split = Split(torch.zeros(4, 3, 1, 1, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    print_score(score, Target(torch.nn.Identity(), split, "test", "net", 10))
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    expected = [["none", "0", "100.0"], ["c", "0.05", "100.0"], ["b[2]", "0.1", "75.0"]]
    assert [row for row in rows if row[:1] and row[0] in ("none", "a", "b[2]", "c")] == [
        *expected,
        ["a", "0.1", "25.0"],
    ]


# --- a net of a recipe without a space ---


def test_a_net_saved_from_python_is_attacked(adv, tmp_path):
    recipe = Recipe(net=BaseNet("gelu"), defences=(RSE(0.1, 0.0),))
    path = tmp_path / "mine.safetensors"
    save(path, build(recipe, 10, seed=0), recipe, classes=tuple("0123456789"))
    code, out, err = adv("attack", path, "--data", "digits", "--images", 8, "--steps", 1)
    assert code == 0, err
    assert "BaseNet(activation='gelu'" in out and "RSE(" in out and "20 votes" in out
    code, _, err = adv("attack", path)
    assert (code, err) == (
        2,
        f"adv: --data is missing: {path} does not name the data it was trained on\n",
    )


# --- training and exporting ---


@pytest.mark.slow
def test_a_typed_recipe_is_trained_and_exported(adv, tmp_path):
    recipe = "Recipe(net=BaseNet(), defences=(RSE(0.1, 0.0), PNI()), batch=500, " + (
        "curriculum=Curriculum(eps=0.1, steps=1))"
    )
    path = tmp_path / "net.safetensors"
    code, out, err = adv("train", "--recipe", recipe, "--epochs", 1, "--out", path)
    assert (code, err) == (0, "")
    assert "epoch 1/1" in out and "pni_alpha" in out
    code, out, err = adv("export", path, tmp_path / "out", "--votes", 2)
    assert (code, err) == (0, "") and str(tmp_path / "out") in out
    assert "net = Votes(net, 2)" in (tmp_path / "out" / "model.py").read_text()
    assert_mistake(adv("export", path, tmp_path / "out"), "exists: name another folder")
    weights = tmp_path / "out" / "models" / "default_model.pth"
    module = ("--module", f"{tmp_path / 'out' / 'model.py'}:Net", "--weights", weights)
    code, out, err = adv(
        *("attack", *module, "--data", "digits", "--image-size", 16),
        *("--images", 8, "--steps", 1, "--draws", 1),
    )
    assert code == 0, err
    assert "20 votes" in out  # what it declares is found in the copy too


# --- the documents ---

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_documents_have_such_flags(page):
    for line in re.findall(r"python -m adv [^\n`#]*", page.read_text()):
        verb, *rest = line.removeprefix("python -m adv ").split()
        if verb == "VERB" or verb.startswith("-"):
            continue
        command = group.commands[verb]
        if isinstance(command, click.Group) and rest:
            command = command.commands[rest[0]]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        used = {word for word in rest if re.fullmatch(r"--[a-z-]+", word)}
        assert used <= {*flags, "--help"}, line


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["evaluat", "x"], "evaluate"),
        (["evaluate"], "name a CHECKPOINT, or --net FILE.py:NAME"),
        (["evaluate", "nowhere.safetensors"], "no checkpoint at nowhere.safetensors"),
        (["evaluate", "text"], "not a checkpoint"),
        (["evaluate", "foreign.safetensors"], "not a checkpoint"),
        (["evaluate", "folder"], "no checkpoint at folder"),
        (["evaluate", "x", "--stepps", "3"], "--steps"),
        (["evaluate", "x", "--images", "0"], "--images"),
        (["evaluate", "x", "--split", "train"], "'validation', 'test'"),
        (["evaluate", "x", "--module", "a.py:b"], "name a CHECKPOINT, or --net"),
        (["evaluate", "x", "--random"], "--random belongs to --net"),
        (["evaluate", "x", "--weights", "y"], "--weights belongs to --net"),
        (["evaluate", "x", "--weights-key", "y"], "--weights-key belongs to --net"),
        (["train", "--space", "smok", "--out", "x"], "did you mean 'smoke'"),
        (["train", "--space", "smoke", "--set", "sigm=1", "--out", "x"], "did you mean 'sigma'"),
        (["train", "--space", "smoke", "--set", "sigma=9", "--out", "x"], "0 to 0.2"),
        (["train", "--space", "smoke", "--set", "sigma=a", "--out", "x"], "0 to 0.2"),
        (["train", "--space", "smoke", "--scale", "lap", "--out", "x"], "laptop"),
        (["train", "--space", "smoke", "--out", "text"], "exists"),
        (["attack", "x", "--norm", "l7"], "linf, l2"),
        (["attack", "x", "--attack", "pgdd"], "did you mean 'pgd'"),
        (["attack", "x", "--steps", "0"], "--steps"),
        (["attack", "x", "--eps", "nan"], "eps"),
        (["attack", "x", "--loss", "cee"], "ce, kl, margin, dlr"),
        (["attack", "x", "--queries", "9"], "--queries is not a flag of pgd"),
        (["attack", "x", "--attack", "square", "--loss", "ce"], "--loss is not a flag of square"),
        (["attack", "x", "--attack", "square", "--restarts", "2"], "--restarts is for pgd, apgd"),
        (["attack", "x", "--attack", "fgsm", "--steps", "2"], "which has none of its own"),
        (["attack", "x", "--attack", "nes", "--samples", "3"], "samples come in pairs"),
        (["attack", "x", "--target", "2", "--rank", "2"], "--target and --rank exclude each other"),
        (["attack", "x", "--attack", "apgd", "--loss", "mifpe"], "which APGD needs: take PGD"),
        (["attack", "x", "--momentum", "1.5"], "momentum lies in [0, 1], got 1.5"),
        (["attack", "x", "--schedule", "cosin"], "'constant' or 'cosine'"),
        (["attack", "x", "--target", "2", "--loss", "kl"], "take one of ce, margin, dlr"),
        (["attack", "x", "--attack", "nes", "--target", "2"], "--target is not a flag of nes"),
        (["evaluate", "x", "--battery", "rand", "--target", "2"], "--target is not for rand"),
        (["evaluate", "x", "--battery", "autoatack"], "did you mean 'autoattack'"),
        (["evaluate", "x", "--eps", "0.1"], "the report battery has radii of its own"),
        (["evaluate", "x", "--battery", "margin", "--norm", "l2"], "the margin battery has radii"),
        (["evaluate", "x", "--battery", "margin", "--target", "1"], "its losses have no target"),
        (["evaluate", "x", "--battery", "margn"], "did you mean 'margin'"),
        (["evaluate", "x", "--battery", "rand", "--steps", "3"], "nothing to choose"),
        (["train", "--out", "x"], "name a --space, a --recipe"),
        (["train", "--space", "smoke", "--recipe", "Recipe()", "--out", "x"], "one of them"),
        (["train", "--recipe", "Recip()", "--out", "x"], "did you mean 'Recipe'"),
        (["train", "--recipe", "BigNet()", "--out", "x"], "not a BigNet"),
        (["train", "--recipe", "open('x', 'w')", "--out", "x"], "no value called 'open'"),
        (["train", "--recipe", "Recipe()", "--set", "a=1", "--out", "x"], "belongs to --space"),
        (["train", "--recipe", "Recipe(batch=0)", "--out", "x"], "batch must be 1 or more"),
        (["export", "nowhere", "out"], "no checkpoint at nowhere"),
        (["export", "text", "out"], "not a checkpoint"),
        (["export", "x"], "name a folder, NAME.pt2 or NAME.onnx to write, or --full-scale"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(adv, tmp_path, arguments, hint):
    (tmp_path / "text").write_text("a,b\n1,2\n")
    (tmp_path / "folder").mkdir()
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    assert_mistake(adv(*arguments), hint)
    assert not (tmp_path / "x").exists()


def test_an_unwritable_path_is_found_before_the_work(adv, checkpoint, tmp_path):
    """A file where a folder would be: in a folder that may not be written, root still could."""
    (tmp_path / "text").write_text("")
    out = tmp_path / "text" / "net.safetensors"
    code, shown, err = adv("train", *SMOKE, "--out", out)
    assert_mistake((code, shown, err), str(tmp_path / "text"))
    assert shown == "", "no epoch was trained"
    code, shown, err = adv("attack", checkpoint, "--save", tmp_path / "text" / "images.npz")
    assert_mistake((code, shown, err), str(tmp_path / "text"))
    assert shown == "" and [p.name for p in tmp_path.iterdir()] == ["text"]


# --- Ctrl-C ---


@pytest.mark.slow
def test_ctrl_c_while_training(tmp_path):
    """The epochs that were kept stay; no part of a file, no traceback."""
    out = tmp_path / "net.safetensors"
    running = subprocess.Popen(
        [sys.executable, "-m", "adv", "train", *SMOKE, "--epochs", "500", "--out", str(out)],
        cwd=ROOT,
        env={**ENV, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None and "epoch 1/500" in running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.strip() == "adv: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_an_audit_is_a_table_with_a_verdict_and_a_status(monkeypatch, adv, checkpoint):
    """What is found is tested elsewhere: here two findings, one of them bad."""
    good = Finding("good", 0.0, 0.1, (0.0, 0.05), "%", "reason one", "Saw one.", "Means one.")
    bad = Finding("bad", 0.3, 0.1, (0.2, 0.4), "points", "reason two", "Saw two.", "Means two.")
    found, asked = [good, bad], []

    def audit(*given, **more):
        asked.append((given, more))
        return tuple(found)

    monkeypatch.setattr("adv.cli.audit_run.audit", audit)
    code, out, _ = adv("audit", checkpoint, "--steps", 7, "--draws", 2)
    assert code == 1
    assert re.search(r"good +0\.0 % +0\.0 to 5\.0 +10\.0 % +passed", out)
    assert re.search(r"bad +30\.0 points +20\.0 to 40\.0 +10\.0 points +FAILED", out)
    assert "Saw two. Means two." in out and "reason two" in out and "Saw one." not in out
    assert "Do not trust this score: 1 of 2 checks failed: bad (30.0 points). Means two." in out
    (_, part, battery), more = asked[0]
    assert (len(part), more) == (256, {"eps": 8 / 255}) and "are the default" not in out
    assert "cannot see a difference under 2.3 points" in out
    assert battery == Battery((("pgd7", PGD(Linf(8 / 255), 7)),), draws=2)
    found.remove(bad)
    code, out, _ = adv("audit", checkpoint, "--battery", "report", "--images", 9, "--explain")
    assert code == 0 and "Saw one." in out and "all 1 passed" in out
    assert "a difference under 11.1 points. 256 images are the default." in out
    assert len(asked[1][0][1]) == 9 and len(asked[1][0][2].attacks) == 6
    code, _, err = adv("audit", checkpoint, "--battery", "repotr")
    assert code == 2 and "did you mean 'report'" in err
