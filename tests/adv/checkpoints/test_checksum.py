"""One changed bit of a checkpoint is noticed, wherever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from adv import BaseNet, Recipe, build, restore
from adv import save as save_net
from adv.checkpoints.checkpoint import CheckpointError, read_checkpoint, save_checkpoint

METADATA: dict[Any, Any] = {
    "seed": 3,
    "params": {"a": 0.1 + 0.2, "b": [1, None]},
    7: "a key that JSON turns to text",
}
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """A small checkpoint, whose header is as long as its tensors."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
    path = tmp_path_factory.mktemp("whole") / "net.safetensors"
    save_checkpoint(path, net, METADATA)
    return path.read_bytes()


def flip(content: bytes, bit: int) -> bytes:
    """Return the content with one bit flipped, counted from its start."""
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


@FUZZ
@given(st.data())
def test_a_flipped_bit_is_refused(whole, tmp_path, data):
    path = tmp_path / "net.safetensors"
    path.write_bytes(whole)
    weights, metadata = read_checkpoint(path)
    path.write_bytes(flip(whole, data.draw(st.integers(0, 8 * len(whole) - 1))))
    try:
        read, card = read_checkpoint(path)
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a flip of the checksum's own key is no damage
        return
    assert all(torch.equal(read[name], value) for name, value in weights.items())
    assert metadata.items() <= card.items()


def test_no_bit_of_a_tensor_is_left_out(whole, tmp_path):
    path = tmp_path / "net.safetensors"
    begin = 8 + int.from_bytes(whole[:8], "little")
    for bit in range(8 * begin, 8 * len(whole), 5):
        path.write_bytes(flip(whole, bit))
        with pytest.raises(CheckpointError, match="does not fit its checksum"):
            read_checkpoint(path)


def test_a_changed_card_is_refused(tmp_path):
    """Also where it stays valid JSON: a seed, a name of a class, a parameter."""
    recipe = Recipe(net=BaseNet())
    path = tmp_path / "net.safetensors"
    save_net(path, build(recipe, 3, seed=0), recipe, classes=("cat", "dog", "emu"))
    assert restore(path).classes == ("cat", "dog", "emu")
    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()["card"])
    save_file(
        load_file(path), path, metadata={"card": json.dumps({**card, "classes": ["a", "b", "c"]})}
    )
    with pytest.raises(CheckpointError, match="another program has changed it"):
        restore(path)


def test_a_file_without_a_checksum_is_read(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(save({"a": torch.zeros(2)}, metadata={"card": json.dumps({"seed": 3})}))
    assert read_checkpoint(path)[1] == {"seed": 3}


def test_the_checksum_is_no_part_of_the_metadata(whole, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(whole)
    assert read_checkpoint(path)[1] == json.loads(json.dumps(METADATA))


def test_the_same_net_gives_the_same_file(whole, tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
    save_checkpoint(tmp_path / "again.safetensors", net, METADATA)
    assert (tmp_path / "again.safetensors").read_bytes() == whole


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int64, torch.float8_e4m3fn])
def test_tensors_of_every_type(tmp_path, dtype):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scalar", torch.ones(()).to(dtype))
            self.register_buffer("none", torch.ones(0, 3).to(dtype))

    save_checkpoint(tmp_path / "odd.safetensors", Odd(), {})
    weights, _ = read_checkpoint(tmp_path / "odd.safetensors")
    assert weights["scalar"].dtype == dtype and weights["none"].shape == (0, 3)
