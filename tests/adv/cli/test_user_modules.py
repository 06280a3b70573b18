"""Nets and weights of a user: `python -m adv attack --net FILE.py:NAME`, once `--module`."""

from pathlib import Path

import pytest
import torch
from adv_commands import assert_mistake, attack
from safetensors.torch import save_file

pytestmark = pytest.mark.usefixtures("empty_folder")


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
    assert err == "adv: two calls of the net differ: evaluated as a random net\n"
    assert "2 draws per gradient, 3 votes" in out
    assert torch.equal(before, torch.get_rng_state())
    code, out, err = adv(*attack(user_module, "Good", "--random", "--draws", 2, "--votes", 3))
    assert (code, err) == (0, "") and "2 draws per gradient, 3 votes" in out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Goood", "no 'Goood': did you mean 'Good'?"),
        ("number", "number is a int, and nothing to call"),
        ("a b", "names no callable"),
        ("broken", "fails: RuntimeError: no luck"),
        ("none", "returns a int, not a torch.nn.Module"),
        ("Needs", "fails: TypeError"),
        ("wide", "wide returns [2, 11], expected [2, 10]"),
        ("Endless", "not finite"),
        ("Hard", "no gradient to its images: use Square or NES"),
        ("Detached", "no gradient to its images: use Square or NES"),
        ("Inference", "no gradient to its images: use Square or NES"),
        ("ThroughNumpy", "no gradient to its images: use Square or NES"),
        ("Quantised", "no gradient to its images: use Square or NES"),
        ("Squeezed", "Squeezed returns [10], expected [1, 10], for images [1, 3, 32, 32]"),
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
        (["--module", "nowhere.py:Net", "--data", "digits"], "no file /"),
        (["--module", "syntax.py:Net", "--data", "digits"], "syntax.py, line 1: SyntaxError"),
        (["--module", "exits.py:Net", "--data", "digits"], "exits.py, line 1: SystemExit"),
        (["--module", "theirs.txt:Net", "--data", "digits"], "ends in .py"),
        (
            ["--module", "theirs.py", "--data", "digits"],
            "names no callable: write package.module:call",
        ),
        (["--module", "theirs.py:Good"], "--net needs --data"),
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
