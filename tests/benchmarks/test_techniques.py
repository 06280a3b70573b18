"""The benchmark of techniques: rows differ in one thing, and a stopped one goes on from there."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import technique_recipes
import techniques
from click.testing import CliRunner

BASES = {"defences": "plain", "training": "Madry", "augmentation": "nothing"}
ASKED = ["--data", "digits", "--epochs", "1", "--train-images", "64", "--images", "6"]


def run(*args: str):
    return CliRunner().invoke(techniques.main, [*ASKED, *args])


@pytest.mark.parametrize("table", BASES)
def test_rows_differ_from_the_first_in_one_thing(table):
    recipes = technique_recipes.tables(epochs=3)[table]
    first = recipes[BASES[table]]
    both = {"Mixed, half", "dropout 0.2 kept on"}  # an objective with its share; a defence of a net
    for name, recipe in recipes.items():
        names = [field.name for field in fields(recipe)]
        changed = [each for each in names if getattr(recipe, each) != getattr(first, each)]
        assert len(changed) == (0 if recipe is first else 2 if name in both else 1), name


def test_what_is_done_is_kept_and_compared_with_the_first_row(tmp_path):
    args = ("--table", "training", "--out", str(tmp_path))
    one = run(*args, "--only", "Mixed, half", "--only", "FGSM")
    assert one.exit_code == 0, one.output
    kept = json.loads((tmp_path / "FGSM.json").read_text())
    assert {row: found["images"] for row, found in kept.items()} == dict.fromkeys(
        techniques.ATTACKED, 6
    )
    written = (tmp_path / "FGSM.safetensors").stat().st_mtime_ns
    two = run(*args, "--only", "Madry", "--only", "FGSM")
    assert (tmp_path / "FGSM.safetensors").stat().st_mtime_ns == written
    line = next(line for line in two.stdout.splitlines() if line.startswith("| FGSM |"))
    natural = kept["natural"]["cell"]
    assert natural in line and line.count("(") == 4, "three accuracies and a difference"


def test_a_folder_of_other_settings_and_a_row_that_is_not(tmp_path):
    asked = ("--table", "augmentation", "--out", str(tmp_path), "--train-only", "--only")
    assert run(*asked, "nothing").exit_code == 0
    other = run(*asked, "nothing", "--seed", "1")
    assert other.exit_code == 2 and "other settings" in other.output
    unknown = run(*asked, "nothing at all")
    assert unknown.exit_code == 2 and "there are nothing, flip" in " ".join(unknown.output.split())
