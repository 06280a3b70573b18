"""`python -m adv` as a user runs it."""

import io
import os
import re
import runpy
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich_click as click
import torch
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
    quick_battery,
    report_battery,
    save,
)
from adv.__main__ import adv as group
from adv.__main__ import run
from adv.cli.attack_table import ATTACKS
from adv.cli.display import print_score
from adv.cli.flags import _BATTERIES
from adv.cli.target import Target

ROOT = Path(__file__).resolve().parents[3]
_SMOKE = ("--space", "smoke", "--set", "sigma=0.1")
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def adv(run_adv):
    return run_adv


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    asked = ["adv", "train", *_SMOKE, "--epochs", "1", "--out", str(path)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setattr(sys, "argv", asked)
        with pytest.raises(SystemExit) as left:
            run()
    assert not left.value.code
    assert "epoch 1/1" in out.getvalue() and path.name in out.getvalue()
    return path


@pytest.mark.parametrize("verb", group.commands)
def test_each_verb_explains_itself_with_an_example(adv, verb):
    code, out, _ = adv(verb, "--help")
    assert code == 0
    assert out.count(f"python -m adv {verb}") >= 2  # the usage is one


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
    draws = f"Default: {plain.draws}, rand {rand.draws}."
    votes = f"Default: {plain.votes}, quick {quick.votes}."
    for verb, flag, said in (
        ("attack", "--steps", f"Default: pgd {PGD.steps}, apgd {APGD.steps}."),
        ("attack", "--step", f"Default: pgd eps/{1 / PGD.pace:g}, nes eps/{1 / nes.length:g}."),
        ("attack", "--queries", f"Default: square {Square.queries}, nes {NES.queries}."),
        ("attack", "--samples", f"Default: {NES.samples}."),
        ("evaluate", "--steps", f"Default: report {report_steps}, quick {quick_steps}."),
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


# --- attacks and batteries ---


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--attack", "fgsm"], ["fgsm-linf-0.03137"]),
        (["--attack", "apgd", "--steps", 2, "--loss", "margin"], ["apgd-linf-0.03137"]),
        (["--steps", 1, "--loss", "dlr-targeted", "--target", 2], ["pgd-linf-0.03137"]),
        (["--norm", "l2", "--steps", 1], ["pgd-l2-0.5"]),
        (["--attack", "fmn", "--steps", 9], ["fmn-linf-0.03137"]),
        (["--attack", "ddn", "--norm", "l2", "--steps", 9], ["ddn-l2-0.5"]),
        (["--attack", "pma", "--steps", 2, "--restarts", 2], ["pma-linf-0.03137"]),
        (["--steps", 4, "--loss", "mifpe", "--schedule", "cosine"], ["pgd-linf-0.03137"]),
        (["--steps", 1, "--loss", "dlr", "--rank", 2], ["pgd-linf-0.03137"]),
        (["--steps", 1, "--target", "all", "--restarts", 2], ["pgd-linf-0.03137"]),
        (
            ["--steps", 1, "--target", "least-likely", "--loss", "margin"],
            ["fooled images taken for the target class least-likely: pgd-linf-0.03137 "],
        ),
        (
            ["--attack", "square", "--queries", 9, "--target", 3, "--eps", 0.5],
            ["taken for the target class '3': square-linf-0.5 ", "queries to success"],
        ),
        (["--attack", "square", "--queries", 2, "--target", "all"], ["square-linf-0.03137"]),
        (["--attack", "square", "--queries", 12, "--eps", 0.5], ["queries to success: median "]),
        (["--attack", "square", "--queries", 2, "--eps", 0], ["queries to success: no success"]),
        (["--attack", "nes", "--queries", 9, "--samples", 2, "--loss", "ce"], ["nes-linf"]),
    ],
    ids=str,
)
def test_attacks_by_name(adv, user_module, arguments, shown):
    code, out, err = adv(
        *("attack", "--module", f"{user_module}:Good", "--data", "digits", "--images", 40),
        *arguments,
    )
    assert (code, err) == (0, "")
    for text in shown:
        assert text in out


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("12", "A target is a class by name (0, 1, 2, "),
        ("least_likely", "did you mean 'least-likely'?"),
        ("-1", "or index (0 to 9), least-likely or all"),
    ],
)
def test_an_unknown_target_class_is_one_line(adv, user_module, target, said):
    module = ("--module", f"{user_module}:Good", "--data", "digits", "--images", 8)
    for verb in ("attack", "evaluate"):
        assert_mistake(adv(verb, *module, "--target", target), said)


def test_a_curve_is_printed_and_its_distances_are_saved(adv, user_module, tmp_path):
    module = ("--module", f"{user_module}:Good", "--data", "digits", "--images", 30)
    saved = tmp_path / "d.npz"
    code, out, err = adv("curve", *module, "--steps", 20, "--save", saved)
    assert (code, err) == (0, "")
    for said in ("FMN with 20 steps", "area under the curve up to eps 0.1", "of 600", str(saved)):
        assert said in out
    distance = np.load(saved)["distance"]
    (share,) = re.findall(r"^ *0.03 +([\d.]+) %", out, re.MULTILINE)
    assert float(share) == pytest.approx(100 * (distance > np.float32(0.03)).mean(), abs=0.06)
    assert_mistake(adv("curve", *module, "--save", saved), "exists: name another file")
    code, out, _ = adv("curve", *module, "--norm", "l2", "--attack", "ddn", "--eps", 0.6)
    assert code == 0 and "DDN" in out and "of 600" not in out
    noisy = ("--module", f"{user_module}:Noisy", "--data", "digits", "--images", 4)
    code, _, err = adv("curve", *noisy)
    assert code == 2 and "the net is random, so no image is the nearest" in err.splitlines()[-1]
    assert_mistake(adv("curve", *module, "--attack", "ddn"), "DDN searches L2(eps), not Linf")
    assert_mistake(adv("curve", *module, "--attack", "fnm"), "did you mean 'fmn'")


def test_a_transfer_attack(adv, user_module, checkpoint, tmp_path):
    """Made on the checkpoint, tried on the module: the module itself needs no gradient."""
    code, out, err = adv(*attack(user_module, "Hard", "--source", checkpoint, "--draws", 1))
    assert (code, err) == (0, "") and "transfer-pgd-linf" in out
    assert_mistake(
        adv(*attack(user_module, "Hard", "--source", tmp_path / "x")), "no checkpoint at"
    )


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("Good", "quick", ["pgd10-0.03", "aggregated"]),
        ("Good", "quick --target 4", ["taken for the target class '4': pgd10-0.03 "]),
        ("Good", "quick --target all", ["pgd10-0.03", "aggregated"]),
        ("Good", "autoattack", ["apgd-ce", "apgd-t", "robust to all attacks"]),
        ("Good", "rand", ["apgd-dlr", "not random: --battery autoattack is a stronger test"]),
        ("Noisy", "report", ["the net is random: --battery rand is a stronger test"]),
    ],
)
def test_batteries_by_name(adv, user_module, name, kind, shown):
    code, out, _ = adv(
        *("evaluate", "--module", f"{user_module}:{name}", "--data", "digits", "--images", 8),
        *("--battery", *kind.split(), "--draws", 1, "--votes", 1),
    )
    assert code == 0
    for text in shown:
        assert text in out


def test_autoattack_is_not_for_random_nets(adv, user_module):
    arguments = ("evaluate", "--module", f"{user_module}:Good", "--random", "--data", "digits")
    assert_mistake(adv(*arguments, "--battery", "autoattack"), "the net is random: --battery rand")


def test_a_random_net_is_asked_the_full_number_of_queries(adv, user_module):
    """So their count says nothing, and is left out."""
    code, out, _ = adv(
        *attack(user_module, "Good", "--random"), "--attack", "square", "--queries", 2
    )
    assert code == 2  # --steps is no flag of square
    arguments = [a for a in attack(user_module, "Good", "--random") if a not in ("--steps", 1)]
    code, out, _ = adv(*arguments, "--attack", "square", "--queries", 2, "--draws", 1)
    assert code == 0 and "square-linf" in out and "queries to" not in out


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
        *("attack", *module, "--data", "digits", "--images", 8, "--steps", 1, "--draws", 1)
    )
    assert code == 0 and "20 votes" in out  # what it declares is found in the copy too


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


def assert_mistake(called: tuple[int, str, str], hint: str) -> None:
    code, out, err = called
    assert code == 2, (out, err)
    assert hint in err, err
    assert err.count("\n") == 1 and err.startswith("adv: ")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["evaluat", "x"], "evaluate"),
        (["evaluate"], "name a CHECKPOINT, or --module FILE.py:NAME"),
        (["evaluate", "nowhere.safetensors"], "no checkpoint at nowhere.safetensors"),
        (["evaluate", "text"], "not a checkpoint"),
        (["evaluate", "foreign.safetensors"], "not a checkpoint"),
        (["evaluate", "folder"], "no checkpoint at folder"),
        (["evaluate", "x", "--stepps", "3"], "--steps"),
        (["evaluate", "x", "--images", "0"], "--images"),
        (["evaluate", "x", "--split", "train"], "'validation', 'test'"),
        (["evaluate", "x", "--module", "a.py:b"], "name a CHECKPOINT, or --module"),
        (["evaluate", "x", "--random"], "--random belongs to --module"),
        (["evaluate", "x", "--weights", "y"], "--weights belongs to --module"),
        (["evaluate", "x", "--weights-key", "y"], "--weights-key belongs to --module"),
        (["train", "--space", "smok", "--out", "x"], "did you mean 'smoke'"),
        (["train", "--space", "smoke", "--set", "sigm=1", "--out", "x"], "did you mean 'sigma'"),
        (["train", "--space", "smoke", "--set", "sigma=9", "--out", "x"], "0 to 0.2"),
        (["train", "--space", "smoke", "--set", "sigma=a", "--out", "x"], "0 to 0.2"),
        (["train", "--space", "smoke", "--scale", "lap", "--out", "x"], "laptop"),
        (["train", "--space", "smoke", "--out", "text"], "exists"),
        (["attack", "x", "--norm", "l1"], "linf, l2"),
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
        (["attack", "x", "--schedule", "cosin"], "'constant' or 'cosine'"),
        (["attack", "x", "--target", "2", "--loss", "kl"], "take one of ce, margin, dlr"),
        (["attack", "x", "--attack", "nes", "--target", "2"], "--target is not a flag of nes"),
        (["evaluate", "x", "--battery", "rand", "--target", "2"], "--target is not for rand"),
        (["evaluate", "x", "--battery", "autoatack"], "did you mean 'autoattack'"),
        (["evaluate", "x", "--eps", "0.1"], "the report battery has radii of its own"),
        (["evaluate", "x", "--battery", "rand", "--steps", "3"], "nothing to choose"),
        (["train", "--out", "x"], "name a --space or a --recipe"),
        (["train", "--space", "smoke", "--recipe", "Recipe()", "--out", "x"], "one of them"),
        (["train", "--recipe", "Recip()", "--out", "x"], "did you mean 'Recipe'"),
        (["train", "--recipe", "BigNet()", "--out", "x"], "not a BigNet"),
        (["train", "--recipe", "open('x', 'w')", "--out", "x"], "no value called 'open'"),
        (["train", "--recipe", "Recipe()", "--set", "a=1", "--out", "x"], "belongs to --space"),
        (["train", "--recipe", "Recipe(batch=0)", "--out", "x"], "batch must be 1 or more"),
        (["export", "nowhere", "out"], "no checkpoint at nowhere"),
        (["export", "text", "out"], "not a checkpoint"),
        (["export", "x"], "OUT_DIR"),
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
    code, shown, err = adv("train", *_SMOKE, "--out", out)
    assert_mistake((code, shown, err), str(tmp_path / "text"))
    assert shown == "", "no epoch was trained"
    code, shown, err = adv("attack", checkpoint, "--save", tmp_path / "text" / "images.npz")
    assert_mistake((code, shown, err), str(tmp_path / "text"))
    assert shown == "" and [p.name for p in tmp_path.iterdir()] == ["text"]


# --- modules of the user ---

MODULES = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.lin = nn.Linear(3 * 32 * 32, classes)
        nn.init.uniform_(self.lin.weight, -0.1, 0.1, torch.Generator().manual_seed(0))
    def forward(self, x):
        return self.lin(x.flatten(1))

class Fixed(Good):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.lin.bias)

class Noisy(Good):
    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))

class Hard(Good):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)

class Detached(Good):
    def forward(self, x):
        return super().forward(x.detach())

class Inference(Good):
    def forward(self, x):
        with torch.inference_mode():
            return super().forward(x)

class ThroughNumpy(Good):
    def forward(self, x):
        return torch.from_numpy(super().forward(x).numpy())

def Quantised():
    return torch.ao.quantization.quantize_dynamic(Good(), {nn.Linear})

class Squeezed(Good):
    def forward(self, x):
        return super().forward(x).squeeze()

class PairsOnly(Good):
    def forward(self, x):
        assert len(x) > 1, "a pair"
        return super().forward(x)

class SmallBatches(Good):
    def forward(self, x):
        if len(x) > 8:
            raise RuntimeError("too many")
        return super().forward(x)

class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()

class Endless(Good):
    def forward(self, x):
        return super().forward(x) / 0

def made(): return Good()
def wide(): return Good(11)
def broken(): raise RuntimeError("no\\nluck")
def none(): return 3
instance = Good()
number = 7
"""


@pytest.fixture
def user_module(tmp_path):
    path = tmp_path / "theirs.py"
    path.write_text(MODULES)
    return path


def attack(user_module, name, *more):
    module = ("--module", f"{user_module}:{name}", "--data", "digits")
    return ("attack", *module, "--images", 40, "--steps", 1, *more)


@pytest.mark.parametrize("name", ["Good", "made", "instance"])
def test_a_module_class_a_function_and_a_module(adv, user_module, name):
    code, out, err = adv(*attack(user_module, name))
    assert (code, err) == (0, "")
    assert f"theirs.py:{name}" in out and "not random" in out


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "nested.pth"])
def test_weights_are_loaded(adv, user_module, tmp_path, name):
    """With weights that always say 3, exactly the threes are right."""
    weights = {"lin.weight": torch.zeros(10, 3072), "lin.bias": torch.eye(10)[3]}
    if name.endswith("safetensors"):
        save_file(weights, tmp_path / name)
    else:
        torch.save({"state_dict": weights} if name == "nested.pth" else weights, tmp_path / name)
    code, out, err = adv(*attack(user_module, "Good", "--weights", tmp_path / name))
    assert (code, err) == (0, "")
    from adv import load

    share = (load("digits").validation.head(40).labels == 3).float().mean()
    assert out.count(f" {100 * share:.1f} %") == 2, out


def test_a_module_whose_calls_differ_is_evaluated_as_random(adv, user_module):
    """Found by itself, said aloud, and the same figures again although it draws globally."""
    before = torch.get_rng_state()
    code, out, err = adv(*attack(user_module, "Noisy", "--draws", 2, "--votes", 3))
    assert code == 0
    assert err == "adv: two calls of the module differ: evaluated as a random net\n"
    assert "2 draws per gradient, 3 votes" in out
    assert torch.equal(before, torch.get_rng_state()) is False  # its weights are drawn
    code, out, err = adv(*attack(user_module, "Good", "--random", "--draws", 2, "--votes", 3))
    assert (code, err) == (0, "") and "2 draws per gradient, 3 votes" in out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Goood", "no 'Goood' to call: did you mean 'Good'?"),
        ("number", "has no 'number' to call"),
        ("a b", "write FILE.py:NAME"),
        ("broken", "fails: RuntimeError: no luck"),
        ("none", "returns a int, not a torch.nn.Module"),
        ("Needs", "fails: TypeError"),
        ("wide", "the module returns [8, 11], expected [8, 10]"),
        ("Endless", "not finite"),
        ("Hard", "no gradient to its images: use Square or NES"),
        ("Detached", "no gradient to its images: use Square or NES"),
        ("Inference", "no gradient to its images: use Square or NES"),
        ("ThroughNumpy", "no gradient to its images: use Square or NES"),
        ("Quantised", "no gradient to its images: use Square or NES"),
        ("Squeezed", "the module returns [10], expected [1, 10], for images [1, 3, 32, 32]"),
        ("PairsOnly", "fails on images [1, 3, 32, 32] in [0, 1]: AssertionError: a pair"),
        ("SmallBatches", "fails on images [40, 3, 32, 32] in [0, 1]: RuntimeError: too many"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_modules_that_cannot_be_evaluated(adv, user_module, name, hint):
    assert_mistake(adv(*attack(user_module, name)), hint)


@pytest.mark.parametrize("name", ["Hard", "Detached", "Inference", "ThroughNumpy", "Quantised"])
@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_attacks_without_a_gradient(adv, user_module, name):
    arguments = [a for a in attack(user_module, name) if a not in ("--steps", 1)]
    for kind, more in (("square", ()), ("nes", ("--samples", 2))):
        code, out, err = adv(*arguments, "--attack", kind, "--queries", 4, *more)
        assert (code, err) == (0, "") and f"{kind}-linf" in out


def test_a_module_that_views_or_changes_its_images(adv, tmp_path):
    """The first view needs contiguous images and weights, the second net changes its input."""
    (tmp_path / "theirs.py").write_text(
        "from torch import nn\n"
        "class Views(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.fc = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(1024, 10)\n"
        "    def forward(self, x):\n"
        "        x = self.conv(x)\n"
        "        return self.fc(x.view(len(x), -1))\n"
        "class Changes(Views):\n"
        "    def forward(self, x): return super().forward(x.sub_(0.5))\n"
    )
    said = {"Views": "", "Changes": "adv: Changes changes its images in place: it gets a copy"}
    for name, line in said.items():
        code, out, err = adv(*attack(tmp_path / "theirs.py", name, "--attack", "apgd"))
        assert code == 0 and out
        assert err.startswith(line) and err.count("\n") == bool(line)
    code, out, err = adv(*attack(tmp_path / "theirs.py", "Changes")[:-2], "--attack", "square")
    assert code == 0 and err.count("\n") == 1


def write_bad_weights(path: Path, how: str) -> Path:
    if how == "a pickle":
        torch.save(torch.nn.Linear(1, 1), path)
    elif how == "of another net":
        torch.save({"lin.weight": torch.zeros(2)}, path)
    elif how == "no dictionary":
        torch.save(torch.zeros(2), path)
    elif how == "text":
        path.write_text("hello")
    return path


@pytest.mark.parametrize(
    ("how", "hint"),
    [
        ("a pickle", "holds no plain tensors"),
        ("text", "holds no plain tensors"),
        ("of another net", "does not fit the module"),
        ("no dictionary", "is not a state dict"),
        ("nothing", "no weights at"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_cannot_be_used(adv, user_module, tmp_path, how, hint, suffix):
    path = write_bad_weights(tmp_path / f"weights{suffix}", how)
    hint = "holds no plain tensors" if suffix == ".safetensors" and path.exists() else hint
    assert_mistake(adv(*attack(user_module, "Good", "--weights", path)), hint)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--module", "nowhere.py:Net", "--data", "digits"], "no file nowhere.py"),
        (["--module", "syntax.py:Net", "--data", "digits"], "syntax.py fails: SyntaxError"),
        (["--module", "exits.py:Net", "--data", "digits"], "exits.py fails: SystemExit"),
        (["--module", "theirs.txt:Net", "--data", "digits"], "ends in .py"),
        (["--module", "theirs.py", "--data", "digits"], "write FILE.py:NAME"),
        (["--module", "theirs.py:Good"], "--module needs --data"),
        (
            ["--module", "theirs.py:Good", "--data", "digits", "--weights-key", "ema"],
            "--weights-key belongs to --weights",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_files_that_hold_no_module(adv, user_module, tmp_path, arguments, hint):
    (tmp_path / "syntax.py").write_text("def (")
    (tmp_path / "exits.py").write_text("raise SystemExit(0)")
    (tmp_path / "theirs.txt").write_text("")
    assert_mistake(adv("evaluate", *arguments), hint)


# --- Ctrl-C ---


@pytest.mark.slow
def test_ctrl_c_while_training(tmp_path):
    """The epochs that were kept stay; no part of a file, no traceback."""
    out = tmp_path / "net.safetensors"
    running = subprocess.Popen(
        [sys.executable, "-m", "adv", "train", *_SMOKE, "--epochs", "500", "--out", str(out)],
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
    """What is found is tested _in_an_empty_folder: here two findings, one of them bad."""
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
