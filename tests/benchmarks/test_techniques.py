"""The benchmark of techniques: rows differ in one thing, and a stopped one goes on from there."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import technique_recipes
import techniques
import torch
from click.testing import CliRunner

from adv import Score

BASES = {"defences": "plain", "training": "Madry", "augmentation": "nothing", "cheap": "PGD-5"}
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
        if table == "cheap" and recipe is not first:  # what takes one step has a curriculum of one
            assert changed == ["objective"] or ("curriculum" in changed and len(changed) <= 2), name
            continue
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


def test_seeds_have_folders_and_are_averaged_image_by_image(tmp_path):
    args = ("--table", "cheap", "--seeds", "2", "--out", str(tmp_path))
    found = run(*args, "--only", "PGD-5", "--only", "NuAT")
    assert found.exit_code == 0, found.output
    kept = [
        json.loads((tmp_path / f"seed-{seed}" / "NuAT.json").read_text())["AutoAttack"]["score"]
        for seed in (0, 1)
    ]
    correct = torch.stack([Score.from_dict(score).ok.all(0) for score in kept]).double()
    row = next(line for line in found.stdout.splitlines() if line.startswith("| NuAT |"))
    natural, attacked, seconds, less = row.split(" | ")[1:]
    assert attacked.startswith(f"{100 * correct.mean().item():.1f} (") and "seeds" in natural
    low, high = sorted((100 * correct.mean(1)).tolist())
    assert attacked.endswith(f"seeds {low:.1f} to {high:.1f}")
    assert float(seconds.partition(",")[0]) >= 0 and less.count("(") == 1
    other = next(line for line in found.stdout.splitlines() if line.startswith("| LIET |"))
    assert other.split("|")[2:] == ["  "] * 4 + [""], "not trained"


def test_a_teacher_is_trained_before_its_student(tmp_path):
    args = ("--table", "cheap", "--train-only", "--out", str(tmp_path))
    found = run(*args, "--only", "RSLAD, taught by PGD-5")
    assert found.exit_code == 0, found.output
    names = {path.name for path in tmp_path.glob("*.safetensors")}
    assert names == {"PGD-5.safetensors", "RSLAD--taught-by-PGD-5.safetensors"}


def test_a_folder_of_other_settings_and_a_row_that_is_not(tmp_path):
    asked = ("--table", "augmentation", "--out", str(tmp_path), "--train-only", "--only")
    assert run(*asked, "nothing").exit_code == 0
    other = run(*asked, "nothing", "--seed", "1")
    assert other.exit_code == 2 and "other settings" in other.output
    unknown = run(*asked, "nothing at all")
    assert unknown.exit_code == 2 and "there are nothing, flip" in " ".join(unknown.output.split())
