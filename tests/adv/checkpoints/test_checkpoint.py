"""A checkpoint is complete or absent, and errors say in one line why it cannot be used."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adv import RSE, BaseNet, BigNet, Recipe, build, restore, save
from adv.checkpoints.checkpoint import (
    CheckpointError,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from adv.files import write_atomic
from adv.runtime.random_streams import use_seed

METADATA = {"space": "rse_sigmas", "params": {"sigma_init": 0.1 + 0.2, "on": True}, "seed": 3}
RECIPE = Recipe(net=BaseNet(), defences=(RSE(),))


@pytest.fixture
def net():
    return build(RECIPE, 10, seed=1).to(memory_format=torch.channels_last)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "trial" / "best.safetensors"


def files(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


def test_a_checkpoint_comes_back(net, path):
    save_checkpoint(path, net, METADATA)
    weights, card = read_checkpoint(path)
    assert card == METADATA
    again = load_weights(build(RECIPE, 10, seed=2), weights)
    assert list(again.state_dict()) == list(net.state_dict())
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in net.state_dict().items())
    assert files(path) == ["best.safetensors"]


def test_a_newer_checkpoint_replaces_the_old(net, path):
    for epoch in (1, 2):
        save_checkpoint(path, net, {**METADATA, "epoch": epoch})
    assert read_checkpoint(path)[1]["epoch"] == 2
    assert files(path) == ["best.safetensors"]


# --- files that are none ---


def cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


def foreign(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path)


def other_metadata(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path, metadata={"card": "{not json"})


def pickled(path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, path)


def bad_length(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:8] = b"\xff" * 8
    path.write_bytes(bytes(content))


SPOILT = {
    "empty": lambda path: cut(path, 0),
    "five bytes": lambda path: cut(path, 5),
    "half a header": lambda path: cut(path, 100),
    "half the weights": lambda path: cut(path, 100_000),
    "a byte short": lambda path: cut(path, -1),
    "a byte long": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "text": lambda path: path.write_text("a,b\n1,2\n"),
    "a header too long": bad_length,
    "weights of another program": foreign,
    "damaged metadata": other_metadata,
    "a pickle": pickled,
}


@pytest.mark.parametrize("how", SPOILT)
def test_damaged_and_foreign_files(net, path, how):
    save_checkpoint(path, net, METADATA)
    SPOILT[how](path)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(error.value) == f"{path} is damaged or not a checkpoint of this program"


@pytest.mark.parametrize("there", ["nothing", "a folder"])
def test_no_file(tmp_path, there):
    path = tmp_path / "best.safetensors" if there == "nothing" else tmp_path
    with pytest.raises(CheckpointError, match=r"^no checkpoint at ") as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "other", [Recipe(net=BigNet(), defences=(RSE(),)), Recipe(net=BaseNet())], ids=repr
)
def test_weights_of_another_net(net, other):
    with pytest.raises(CheckpointError, match="these weights belong to another net: ") as error:
        load_weights(build(other, 10, seed=1), net.state_dict())
    assert "\n" not in str(error.value)


# --- a disk that is full ---


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_only(net, path, monkeypatch, where, file_size_limit):
    save_checkpoint(path, net, METADATA)
    old = path.read_bytes()
    with monkeypatch.context() as patch:
        if where == "fsync":
            patch.setattr(os, "fsync", full)
        if where == "replace":
            patch.setattr(Path, "replace", full)
        limit = 10_000 if where == "write" else len(old) + 10_000
        with file_size_limit(limit), pytest.raises(OSError, match=r"too large|No space") as error:
            save_checkpoint(path, net, {**METADATA, "seed": 4})
    assert error.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert path.read_bytes() == old
    assert files(path) == ["best.safetensors"]
    assert read_checkpoint(path)[1] == METADATA


def test_a_first_write_that_fails_leaves_nothing(path, file_size_limit):
    with file_size_limit(10), pytest.raises(OSError, match="too large"):
        write_atomic(path, b"x" * 1000)
    assert files(path) == []


def test_a_reader_sees_the_old_file_or_the_new(path, monkeypatch):
    """Until the rename, the old file is complete at its path."""
    write_atomic(path, b"old")
    seen = []
    original = os.fsync

    def watched(number):
        seen.append((path.read_bytes(), len(files(path))))
        original(number)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomic(path, b"newer")
    assert seen == [(b"old", 2)]
    assert path.read_bytes() == b"newer"


def test_metadata_is_plain_data(net, path):
    with pytest.raises(TypeError):
        save_checkpoint(path, net, {"recipe": RECIPE})
    assert not path.exists()
    assert json.loads(json.dumps(METADATA)) == METADATA


# --- a net with its recipe ---


def test_a_net_of_a_recipe_comes_back(net, path):
    save(path, net, RECIPE, classes="abcdefghij", data="digits", epoch=3)
    kept = restore(str(path))
    assert kept.recipe == RECIPE and kept.classes == tuple("abcdefghij")
    assert kept.metadata["data"] == "digits" and kept.metadata["epoch"] == 3
    x = torch.rand(4, 3, 32, 32)
    again = kept.net.to(memory_format=torch.channels_last)  # noise is drawn in memory's order
    with torch.no_grad(), use_seed(net, 7), use_seed(again, 7):
        assert torch.equal(again(x), net(x))


def test_a_net_of_another_recipe_is_not_saved(net, path):
    with pytest.raises(CheckpointError, match="belong to another net"):
        save(path, net, Recipe(net=BaseNet()), classes="abcdefghij")
    with pytest.raises(CheckpointError, match="belong to another net"):
        save(path, net, RECIPE, classes="abcdefghijk")
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"recipe": None}, "cannot be read"),
        ({"recipe": 3}, "cannot be read"),
        ({"recipe": "__import__('os').getcwd()"}, "neither a value"),
        ({"recipe": "Net()"}, "no value called 'Net'"),
        ({"recipe": "BaseNet()"}, "something other than a recipe"),
        ({"recipe": "Recipe(net=BaseNet('tanh'))"}, "activation must be one of"),
        ({"recipe": "Recipe(net=3)"}, "does not say how it was made"),
        ({"recipe": "Recipe(net=BigNet(width='a'))"}, "cannot be read: width must be"),
        ({"recipe": "Recipe()"}, "belong to another net"),
        ({"classes": None}, "does not say how it was made"),
        ({"classes": list("abc")}, "belong to another net"),
        ({"seed": "x"}, "invalid literal"),
    ],
    ids=str,
)
def test_invalid_metadata(net, path, changes, hint):
    card = {"recipe": repr(RECIPE), "classes": list("abcdefghij"), "seed": 0}
    save_checkpoint(path, net, {**card, **changes})
    with pytest.raises(ValueError, match=hint) as error:
        restore(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(net, path, value):
    """Its predictions would look like those of a net that is right by chance."""
    with torch.no_grad():
        net[1].weight[0, 0, 0, 0] = value
    save(path, net, RECIPE, classes="abcdefghij")
    with pytest.raises(CheckpointError, match="is not finite: the file is damaged, or") as error:
        restore(path)
    assert str(path) in str(error.value) and "weight" in str(error.value)


def test_metadata_without_a_recipe(net, path):
    save_checkpoint(path, net, METADATA)
    with pytest.raises(CheckpointError, match="holds no recipe"):
        restore(path)
