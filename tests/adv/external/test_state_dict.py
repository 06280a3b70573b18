"""State dicts as public training code saves them are found, and nothing is taken by guessing."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from adv import Weights


def make_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.BatchNorm1d(3))


def load(net, path, key=None):
    Weights(str(path), key).load(net, 3)


@pytest.fixture
def own():
    return make_net().state_dict()


def prefixed(prefix, weights):
    return {f"{prefix}{name}": value for name, value in weights.items()}


def averaged(weights):
    net = make_net()
    net.load_state_dict(weights)
    return torch.optim.swa_utils.AveragedModel(net).state_dict()


LAYOUTS = {
    "plain": lambda own: own,
    "state_dict": lambda own: {"state_dict": own},
    "net": lambda own: {"net": own, "acc": 91.5, "epoch": 199},
    "model": lambda own: {"model": own, "optimizer": {}},
    "model_state_dict": lambda own: {"epoch": 3, "model_state_dict": own},
    "ema": lambda own: {"ema": own, "decay": 0.99},
    "DataParallel": lambda own: prefixed("module.", own),
    "compiled": lambda own: prefixed("_orig_mod.", own),
    "compiled, then DataParallel": lambda own: prefixed("module._orig_mod.", own),
    "a part compiled": lambda own: {
        name.replace("1.", "1._orig_mod."): value for name, value in own.items()
    },
    "Lightning": lambda own: {"state_dict": prefixed("model.", own)},
    "AveragedModel": averaged,
    "no counters": lambda own: {k: v for k, v in own.items() if "num_batches" not in k},
    "NumPy's numbers beside": lambda own: {
        "state_dict": own,
        "best": np.float64(91.5),
        "step": np.int64(3),
        "done": np.bool_(True),
    },
    "the arguments beside": lambda own: {"net": own, "args": argparse.Namespace(lr=0.1)},
    "another net beside": lambda own: {"teacher": {"a": torch.zeros(1)}, "net": own},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_public_layouts(own, tmp_path, layout):
    torch.save(LAYOUTS[layout](own), tmp_path / "w.pth")
    net = make_net()
    load(net, tmp_path / "w.pth")
    assert all(torch.equal(value, own[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["w.safetensors", "w.SAFETENSORS"])
def test_safetensors_with_prefixes(own, tmp_path, name):
    save_file(prefixed("module.", own), tmp_path / name)
    net = make_net()
    load(net, tmp_path / name)
    assert torch.equal(net.state_dict()["1.weight"], own["1.weight"])


def zeros(own):
    return {name: torch.zeros_like(value) for name, value in own.items()}


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (lambda own: {**own, "epoch": 5}, "'epoch' is of type int, not a tensor"),
        (lambda own: {**own, "ema": own}, "--weights-key takes the one under ema"),
        (lambda own: {"state_dict": zeros(own), "ema": own}, "one of state_dict, ema"),
        (lambda own: {"a": {"x": torch.zeros(1)}, "b": {"y": torch.zeros(1)}}, "fits the module"),
        (lambda own: {"net": {"1.weight": torch.zeros(2)}}, "does not fit the module"),
        (lambda own: {}, "it is empty"),
        (lambda own: {1: torch.zeros(1)}, "1 is of type Tensor"),
        (lambda own: [torch.zeros(1)], "it holds a list"),
        (lambda own: {"net": own, "path": Path("x")}, "without the pathlib"),
    ],
)
def test_files_that_are_not_clear(own, tmp_path, content, hint):
    torch.save(content(own), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=hint) as error:
        load(make_net(), tmp_path / "w.pth")
    assert "\n" not in str(error.value) and "w.pth" in str(error.value)


def test_a_key_chooses(own, tmp_path):
    for beside in ({"state_dict": zeros(own)}, zeros(own)):
        torch.save({**beside, "ema": own}, tmp_path / "w.pth")
        net = make_net()
        load(net, tmp_path / "w.pth", "ema")
        assert torch.equal(net.state_dict()["1.weight"], own["1.weight"])
    with pytest.raises(ValueError, match="no state dict 'emma': did you mean 'ema'"):
        load(make_net(), tmp_path / "w.pth", "emma")


def test_an_average_that_is_left_out_is_named(own, tmp_path):
    torch.save({"net": own, "ema": {"shadow": list(own.values())}}, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="weights from 'net' of .*, not from ema: choose with"):
        load(make_net(), tmp_path / "w.pth")


class Hostile:
    def __reduce__(self):
        scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]  # not in numpy's stubs
        return scalar, (np.dtype("O"), b"x" * 8)


def test_numpy_objects_are_refused(own, tmp_path):
    """Only numbers: an object's bytes would be taken for an address."""
    torch.save({"net": own, "x": Hostile()}, tmp_path / "w.pth", pickle_module=pickle)
    with pytest.raises(ValueError, match="holds no plain tensors"):
        load(make_net(), tmp_path / "w.pth")
