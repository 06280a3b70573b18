"""Checkpoints, GANs and run folders of an earlier program can be read and resumed.

`recorded/v0/README.md` says how the files were made.
"""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from warm_process import run_warm

import adv
from adv.checkpoints.checkpoint import read_checkpoint
from adv.generative.gan_checkpoint import restore_gan
from adv.generative.npz_files import read_samples
from adv.generative.sampler import GANSampler, sample_batches, stratified_labels
from adv.runtime.random_streams import use_seed
from search.record.ledger import read
from search.reporting.csv_tables import write_tables
from search.reporting.html_report import write_html_report

ROOT = Path(__file__).parent.parent
OLD = ROOT / "tests" / "recorded" / "v0"
RECIPE = adv.Recipe(
    net=adv.BaseNet(activation="silu", dropout=0.05),
    defences=(adv.RSE(0.1, 0.05), adv.PNI(0.1, "channel", "inner")),
    optimizer=adv.SGD(lr=0.02, momentum=0.9, weight_decay=0.0005, decay=adv.OneCycle(0.25)),
    curriculum=adv.Curriculum(
        eps=adv.Ramp(0.01, 0.05, "cosine"), steps=adv.Piecewise((0.0, 0.5), (1, 2)), fraction=0.5
    ),
    objective=adv.AWP(adv.TRADES(2.0), gamma=0.005),
    augment=adv.Augment(crop=2, cutout=4),
    epochs=1,
    batch=64,
    smoothing=0.1,
    ema=0.9,
    clip=5.0,
    patience=3,
)
CHECKPOINTS = {
    "recipe": OLD / "recipe.safetensors",
    "space": OLD / "finished" / "trials" / "0001" / "best.safetensors",
}


@pytest.fixture
def run(tmp_path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(OLD / "finished", tmp_path / "runs" / "finished"))


def launch(*arguments: object, cwd: Path) -> str:
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    words = [*map(str, arguments), "--serial"]
    done = run_warm(ROOT / "launch.py", words, cwd, environment, 300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def events(ledger: Path) -> list[dict]:
    return [json.loads(line) for line in ledger.read_text().splitlines()]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_gives_the_same_net(name):
    path = CHECKPOINTS[name]
    kept = adv.restore(path)
    assert kept.classes == tuple("0123456789")
    assert kept.card is kept.metadata  # the name before
    weights = load_file(path)
    assert kept.net.state_dict().keys() == weights.keys()
    assert all(torch.equal(kept.net.state_dict()[key], weights[key]) for key in weights)
    recorded = np.load(OLD / "predictions.npz")
    x = torch.from_numpy(recorded["images"]).float() / 255
    with torch.no_grad(), adv.frozen(kept.net), use_seed(kept.net, 7):
        logits = kept.net(x)
    torch.testing.assert_close(logits, torch.from_numpy(recorded[name]), rtol=1e-4, atol=1e-5)


def test_a_recipe_is_read_from_its_expression():
    assert adv.restore(CHECKPOINTS["recipe"]).recipe == RECIPE


def test_a_search_wrote_the_space_and_the_parameters():
    metadata = read_checkpoint(CHECKPOINTS["space"])[1]
    assert metadata["space"] == "smoke" and metadata["params"].keys() == {"sigma", "lr"}
    params = read(OLD / "finished" / "ledger.jsonl").trials[1].params
    assert metadata["params"] == params


def test_a_gan_gives_the_same_images():
    """Its set is read too: the recipe, and a hash that still fits the images."""
    digits = adv.load("digits").train
    recorded = read_samples(OLD / "generated.npz", digits, 10)
    assert recorded.recipe["count"] == 20 and recorded.digest
    gan = restore_gan(OLD / "gan.safetensors")
    labels = stratified_labels(gan.class_counts, 20, torch.Generator().manual_seed(0))
    assert torch.equal(labels, recorded.split.labels)
    images = torch.cat([x for x, _ in sample_batches(GANSampler(gan).draw, labels, 0)])
    assert (images.int() - recorded.split.images.int()).abs().max() <= 1  # a rounding


def test_a_ledger_holds_every_kind_of_event():
    """Or what follows would not be a test of them."""
    found = [*events(OLD / "finished" / "ledger.jsonl"), *events(OLD / "killed" / "ledger.jsonl")]
    kinds = {event["event"] for event in found}
    kinds |= {f"final {event['part']['event']}" for event in found if event["event"] == "final"}
    assert kinds >= {
        *("study", "session", "proposed", "epoch", "rung", "finished", "end"),
        *("finals", "final proposed", "final epoch", "final finished"),
        *("rescored", "rebuilt", "final rescored", "final rebuilt"),
    }


REPORTED = {  # by today's rule; then trial 2 alone, with .934, and .337 for trial 1
    "1": {"on_front": "True", "p_on_front": "0.4625"},
    "2": {"on_front": "True", "p_on_front": "0.825"},
}


def test_tables_are_the_same(run, tmp_path):
    write_tables(read(run / "ledger.jsonl"), tmp_path / "tables")
    front = rows(tmp_path / "tables" / "front.csv")  # then that of the search, now of the finals
    assert sorted(row["trial"] for row in front) == sorted(REPORTED)
    for name in ("trials.csv", "finalists.csv", "finals.csv"):
        old, new = rows(run / name), rows(tmp_path / "tables" / name)
        assert [list(row)[: len(old[0])] for row in new] == [list(row) for row in old]
        for one, other in zip(old, new, strict=True):
            for key, value in one.items():
                if name == "finalists.csv" and key in ("on_front", "p_on_front"):
                    value = REPORTED[one["trial"]][key]
                try:
                    assert float(other[key]) == pytest.approx(float(value), rel=1e-9), key
                except ValueError:
                    assert other[key] == value, key


def test_the_report_is_written(run):
    write_html_report(read(run / "ledger.jsonl"), run / "report.html")
    text = (run / "report.html").read_text()
    assert "finished" in text and len(text) > 10_000


@pytest.mark.slow
def test_a_finished_run_goes_on(run, tmp_path):
    before = read(run / "ledger.jsonl")
    launch("--resume", "runs/finished", "--trials", 4, "--finalists", "off", cwd=tmp_path)
    after = read(run / "ledger.jsonl")
    assert sorted(after.trials) == [0, 1, 2, 3] and after.trials[3].state == "finished"
    for number, trial in before.trials.items():
        assert after.trials[number].result == trial.result
        assert after.trials[number].rungs == trial.rungs
    assert len(rows(run / "trials.csv")) == 4


@pytest.mark.slow
def test_a_finished_run_is_rescored(run, tmp_path):
    """The nets that are there get new values; the others leave the front."""
    before = read(run / "ledger.jsonl")
    launch("--rescore", "runs/finished", "--images", 40, cwd=tmp_path)
    after = read(run / "ledger.jsonl")
    for number in (1, 2):
        old, new = before.trials[number].result, after.trials[number].result
        assert old is not None and new is not None
        assert new.objectives != old.objectives
    last = [event for event in events(run / "ledger.jsonl") if event["event"] == "rebuilt"][-1]
    assert list(last["missing"]) == ["0"] and last["header"]["scale"]["images"] == 40
    assert 0 not in {trial.number for trial in after.front()}


@pytest.mark.slow
def test_finals_of_a_finished_run_go_on(run, tmp_path):
    before = read(run / "ledger.jsonl").finals
    launch("--finalists", "runs/finished", "--final-trainings", 3, cwd=tmp_path)
    after = read(run / "ledger.jsonl").finals
    assert before is not None and after is not None
    assert (len(before.trials), len(after.trials)) == (2, 3)
    assert after.trials[2].state == "finished"
    assert after.trials[0].result == before.trials[0].result
    batteries = {trial.result.details.battery for trial in after.trials.values() if trial.result}
    assert len(batteries) == 1  # of the order in which all attacks met every ball


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_state(tmp_path):
    run = Path(shutil.copytree(OLD / "killed", tmp_path / "runs" / "killed"))
    before = read(run / "ledger.jsonl")
    launch("--resume", "runs/killed", cwd=tmp_path)
    after = read(run / "ledger.jsonl")
    assert [trial.state for trial in after.trials.values()] == ["finished", "finished"]
    assert sorted(before.trials[0].epochs) == [1, 2, 3]
    epochs = [e["epoch"] for e in events(run / "ledger.jsonl") if e["event"] == "epoch"]
    assert epochs == [*range(1, 7), *range(1, 7)]  # none of them twice
