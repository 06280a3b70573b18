"""Checkpoints and expressions from strangers: whatever they hold, the answer is a ValueError."""

from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as serialize

import adv
from adv import BaseNet, Recipe, build, restore
from adv.checkpoints.checkpoint import CheckpointError, save_checkpoint
from adv.checkpoints.expressions import parse
from adv.cli.target import load_checkpoint

CARD = {"recipe": repr(Recipe(net=BaseNet())), "classes": list("abcdefghij"), "seed": 0}
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def net():
    return build(Recipe(net=BaseNet()), 10, seed=0)


@pytest.mark.parametrize(
    "text",
    [
        *("3", "[]", "null", '"recipe"', "true", "[" * 100_000, '{"a":' * 100_000, "NaN", ""),
        *(json.dumps({**CARD, "params": 3}), json.dumps({**CARD, "data": ["digits"]})),
    ],
    ids=lambda text: text[:12],
)
def test_a_card_that_is_no_dictionary(tmp_path, text):
    path = tmp_path / "net.safetensors"
    path.write_bytes(serialize({"a": torch.zeros(2)}, metadata={"card": text}))
    for read in (restore, load_checkpoint):
        with pytest.raises(CheckpointError, match="damaged or not a checkpoint of this program"):
            read(path)


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"recipe": "Recipe(net=BigNet(width=1000000))"}, "width must be 10000 or less"),
        ({"recipe": "Recipe(net=BigNet(width=5000))"}, "would have about 6e.12 parameters"),
        ({"recipe": "Recipe(net=WRN(9994, 99))"}, "would have about 1.6e.12 parameters"),
        ({"recipe": "Recipe(net=ViT(10000, 6400))"}, "would have about 4.3e.13 parameters"),
        ({"recipe": "-" * 300_000 + "1"}, "its length is 300001"),
        ({"recipe": "Worst((" * 150 + "))" * 150}, "cannot be read"),
        ({"recipe": f"Recipe(net=BigNet(dropout=0x{'f' * 9000}))"}, "cannot be read"),
        ({"recipe": "Recipe(net=RSE())"}, "does not say how it was made"),
        ({"recipe": "Recipe(defences=(3,))"}, "does not say how it was made"),
        ({"seed": 10**40}, "Overflow"),
        ({"classes": []}, "name no class"),
        ({"seed": 1e400}, "cannot be built"),
    ],
    ids=str,
)
def test_recipes_that_cannot_be_built(net, tmp_path, changes, hint):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, net, {**CARD, **changes})
    for read in (restore, load_checkpoint):
        with pytest.raises(ValueError, match=hint) as error:
            read(path)
        assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_weights_of_a_narrow_type(tmp_path):
    path = tmp_path / "net.safetensors"
    content = {"a": torch.zeros(2).to(torch.float8_e4m3fn)}
    path.write_bytes(serialize(content, metadata={"card": json.dumps(CARD)}))
    with pytest.raises(CheckpointError, match="belong to another net"):
        restore(path)


# --- at random ---

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
CLASSES = sorted(n for n in dir(adv) if isinstance(getattr(adv, n), type))
LITERALS = ATOMS.map(repr) | st.sampled_from(["inf", "-inf", "nan", "-1", "1e999", "()", "(1,)"])


def calls(inner):
    words = st.sampled_from(["", "net=", "width=", "eps=", "steps=", "defences=", "loss=", "p="])
    arguments = st.lists(st.tuples(words, inner).map("".join), max_size=3).map(", ".join)
    tuples = st.lists(inner, max_size=3).map(lambda items: f"({' '.join(i + ',' for i in items)})")
    return st.tuples(st.sampled_from(CLASSES), arguments).map("{0[0]}({0[1]})".format) | tuples


EXPRESSIONS = st.recursive(LITERALS, calls, max_leaves=6) | st.text()


@FUZZ
@given(EXPRESSIONS)
def test_any_expression(text):
    with suppress(ValueError):
        parse(text)


@FUZZ
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "recipe": VALUES | EXPRESSIONS | EXPRESSIONS.map("Recipe({})".format),
            "classes": VALUES | st.just(CARD["classes"]),
            "seed": VALUES | st.just(0),
            "space": VALUES | st.just("smoke"),
            "params": VALUES | st.dictionaries(st.sampled_from(["sigma", "x"]), VALUES),
            "scale": VALUES | st.dictionaries(st.sampled_from(["name", "epochs"]), VALUES),
        },
    )
)
def test_any_card(tmp_path, card):
    path = tmp_path / "net.safetensors"
    path.write_bytes(serialize({"a": torch.zeros(2)}, metadata={"card": json.dumps(card)}))
    for read in (restore, load_checkpoint):
        with pytest.raises(ValueError):  # noqa: PT011  # any, in one line
            read(path)


TENSORS = st.dictionaries(
    st.text(max_size=5),
    VALUES
    | st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F8_E5M2", "F4", "BOOL", "I64", "C64", "X"]) | ATOMS,
            "shape": st.lists(st.integers(0, 4) | st.integers(), max_size=3) | VALUES,
            "data_offsets": st.lists(st.integers(0, 16) | st.integers(), max_size=2) | VALUES,
        }
    ),
    max_size=3,
)


@FUZZ
@given(TENSORS, st.binary(max_size=16), st.integers(-9, 9))
def test_any_header(tmp_path, tensors, content, shift):
    """Lengths, types and offsets of the header are a stranger's too."""
    header = json.dumps({"__metadata__": {"card": json.dumps(CARD)}, **tensors}).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", max(0, len(header) + shift)) + header + content)
    with pytest.raises(CheckpointError) as error:
        restore(path)
    assert "\n" not in str(error.value)
