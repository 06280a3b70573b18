"""`python -m adv train --like CHECKPOINT` trains as the net was trained."""

import pytest
import torch
from adv_commands import assert_mistake

import spaces
from adv import External, Recipe
from adv.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from adv.cli.train_like import list_flags

NOTHING = dict.fromkeys(("space", "data", "image_size", "epochs", "seed"))
OWN = """
from spaces import Float, Space
from adv import Recipe

space = Space("?", {"lr": Float(1e-4, 1e-1, log=True)}, lambda lr: Recipe(), ({"lr": 0.01},))
"""


@pytest.fixture
def save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save_net(recipe=None, **more):
        recipe = recipe or spaces.scale("laptop").apply(Recipe())
        scale = {"name": "laptop"}
        metadata = {"recipe": repr(recipe), "data": "digits", "scale": scale, "seed": 7} | more
        save_checkpoint(tmp_path / "net.safetensors", torch.nn.Module(), metadata)
        return tmp_path / "net.safetensors"

    return save_net


def flags_of(path, *, trust_code=False, **asked):
    return " ".join(list_flags(path, {**NOTHING, **asked}, trust_code=trust_code))


def test_a_net_of_a_space_is_trained_by_its_space(save):
    path = save(space="smoke", params={"sigma": 0.1, "lr": 0.003})
    own = "--space smoke --set sigma=0.1 --set lr=0.003"
    assert flags_of(path) == f"{own} --seed 7"
    assert flags_of(path, epochs=2, seed=3, data="mnist") == (
        f"{own} --seed 3 --data mnist --epochs 2"
    )
    with pytest.raises(ValueError, match="was trained in the space smoke"):
        list_flags(path, {**NOTHING, "space": "everything"}, trust_code=False)


def test_a_space_in_a_file_has_to_be_named(save, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    path = save(space=str(tmp_path / "own.py"), params={"lr": 0.02})
    assert flags_of(path, space="own.py") == "--space own.py --set lr=0.02 --seed 7"


def test_code_that_only_the_checkpoint_names_has_to_be_trusted(save, tmp_path):
    path = save(Recipe(net=External("theirs:Net")))
    with pytest.raises(ValueError, match="its net is made by code, theirs:Net; add --trust-code"):
        flags_of(path, data="digits")
    assert "--recipe" in flags_of(path, trust_code=True)
    path = save(data="data.py:make")
    with pytest.raises(ValueError, match="to allow it, say --data"):
        flags_of(path)
    assert "--data digits" in flags_of(path, data="digits")


def test_mistakes(adv, save):
    path = save(space="smoke", params={"sigma": 0.1, "lr": 0.003})
    for flags, hint in (
        (("--set", "lr=1"), "--like has a recipe of its own: leave out --set"),
        (("--net", "a.py:Net"), "leave out --net"),
        (("--space", "pni"), "was trained in the space smoke"),
    ):
        assert_mistake(adv("train", "--like", path, *flags, "--out", "x.safetensors"), hint)
    out = ("--out", "x.safetensors")
    hint = "--trust-code belongs to --like"
    assert_mistake(adv("train", "--space", "smoke", "--trust-code", *out), hint)


@pytest.mark.slow
def test_the_same_net_comes_out(adv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = ("--space", "smoke", "--set", "sigma=0.1", "--epochs", "1", "--seed", "3")
    assert adv("train", *first, "--out", "a.safetensors")[0] == 0
    code, _, err = adv(
        "train", "--like", "a.safetensors", "--epochs", "1", "--out", "b.safetensors"
    )
    assert (code, err) == (0, "")
    (one, card), (other, again) = (read_checkpoint(tmp_path / f"{n}.safetensors") for n in "ab")
    assert card == again and all(torch.equal(one[name], other[name]) for name in one)
