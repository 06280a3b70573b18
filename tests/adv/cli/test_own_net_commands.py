"""One net of another project from training to export, by the command line."""

from __future__ import annotations

import pytest
import torch
from adv_commands import assert_mistake

import spaces
from adv import Recipe
from adv.checkpoints.checkpoint import read_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("empty_folder")
TRAIN = ("train", "--epochs", 1, "--image-size", 32)


def test_train_evaluate_and_export(adv, user_module):
    net = ("--net", f"{user_module}:Good", "--mean", "0.5,0.5,0.5", "--std", 0.25)
    code, out, err = adv(*TRAIN, *net, "--out", "net.safetensors")
    assert (code, err) == (0, "")
    assert "adv evaluate net.safetensors --trust-code" in out
    few = ("net.safetensors", "--images", 20, "--steps", 1)
    assert_mistake(adv("evaluate", *few), "which is run only if you trust it: --trust-code")
    code, out, err = adv("evaluate", *few, "--battery", "quick", "--trust-code")
    assert (code, err) == (0, "") and "theirs.py:Good" in out
    for command in (("net.pt2",), ("folder",)):
        assert_mistake(adv("export", "net.safetensors", *command), "--trust-code")
    code, out, err = adv("export", "net.safetensors", "net.pt2", "--trust-code")
    assert (code, err) == (0, "") and "checked on 64 images" in out and "(digits)" in out
    exported = adv("export", "net.safetensors", "folder", "--trust-code")
    assert_mistake(exported, "export NAME.pt2 or NAME.onnx")
    user_module.write_text(f"{user_module.read_text()}\n# changed\n")
    code, out, err = adv("evaluate", *few, "--battery", "quick", "--trust-code")
    assert code == 0 and "Good has changed since the net was saved" in err


def test_a_training_goes_on_from_weights(adv, user_module):
    torch.save({"state_dict": {"lin.weight": torch.ones(10, 3072)}}, "part.pth")
    torch.save(
        {"lin.weight": torch.zeros(7, 3072), "lin.bias": torch.zeros(7), "ema": {}}, "head.pth"
    )
    torch.save({"lin.weight": torch.zeros(7, 3072), "lin.bias": torch.zeros(7)}, "seven.pth")
    net = (*TRAIN, "--net", f"{user_module}:Good", "--out", "net.safetensors")
    for file, hint in (
        ("part.pth", "missing: lin.bias"),
        ("head.pth", "'ema' is of type dict, not a tensor"),
        ("seven.pth", "has the head for another number of classes"),
        ("none.pth", "no weights at "),
    ):
        assert_mistake(adv(*net, "--init", file), hint)
    code, _, err = adv(*net, "--init", "seven.pth", "--new-head")
    assert code == 0
    assert "adv: the head (lin.weight, lin.bias) of " in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--net-arg", "a=1"), "--net-arg belongs to --net"),
        (("--init-key", "ema"), "--init-key belongs to --init"),
        (("--net", "theirs.py:Good", "--mean", "x", "--std", "1"), "--mean 'x': write one number"),
        (("--net", "theirs.py:Hard"), "no gradient to its images"),
        (("--net", "theirs.py:Squeezed"), "Squeezed returns [10], expected [1, 10]"),
    ],
)
@pytest.mark.usefixtures("user_module")
def test_mistakes_write_nothing(adv, tmp_path, arguments, hint):
    before = sorted(tmp_path.iterdir())
    assert_mistake(adv(*TRAIN, *arguments, "--out", "net.safetensors"), hint)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_of_a_full_training(adv, checkpoint, tmp_path):
    code, out, err = adv("export", checkpoint, "--full-scale")
    assert (code, err) == (0, "")
    assert out == (
        "adv train --space smoke --set sigma=0.1 --set lr=0.003 --scale full --seed 0 "
        "--out net-full.safetensors\n"
    )
    weights, metadata = read_checkpoint(checkpoint)
    recipe = spaces.scale("laptop").apply(Recipe(epochs=30))
    net = torch.nn.Module()
    for name in ("space", "params"):
        metadata.pop(name)
    metadata |= {"recipe": repr(recipe), "data": "/my/images", "scale": {"image_size": "64"}}
    save_checkpoint(tmp_path / "own.safetensors", net, metadata)
    code, out, err = adv("export", tmp_path / "own.safetensors", "--full-scale")
    assert "--data /my/images --image-size 64 --scale full" in out and "--recipe" in out
    assert_mistake(adv("export", checkpoint, "x", "--full-scale"), "writes nothing: leave out x")
    assert weights
