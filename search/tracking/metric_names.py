"""The names under which all trackers log the figures of a run, with their units.

One quantity has one name, wherever it is shown. What was measured on training images begins with
`train/`, what was measured on validation images after an epoch with `validation/`, and the results
of final trainings with `final/`. The plain names are the results of a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.record.trial import EpochReport

_OF_THE_LEDGER = {
    "clean_accuracy": "train/natural_accuracy",
    "watched_natural": "validation/natural_accuracy",
    "watched_robust": "validation/attacked_accuracy",
}
UNITS: Mapping[str, tuple[str, str]] = {
    "epoch": ("count", "epochs trained, from 1"),
    "epoch_seconds": ("s", "what the epoch took, its validation included"),
    "train/loss": ("nats", "mean training loss"),
    "train/natural_accuracy": ("share", "accuracy without an attack on the training images"),
    "train/attacked_accuracy": ("share", "accuracy under the training attack"),
    "train/eps": ("[0, 1]", "radius of the training attack, in units of the pixel range"),
    "train/steps": ("count", "steps of the training attack"),
    "train/fraction": ("share", "part of each batch that is attacked"),
    "train/lr": ("1", "the last learning rate of the epoch"),
    "train/catastrophic_overfitting": ("0 or 1", "the net resists only its one-step attack"),
    "train/one_step_accuracy": ("share", "accuracy under the one-step attack that it trains with"),
    "train/pgd_accuracy": ("share", "accuracy under PGD on the same training images"),
    "validation/natural_accuracy": ("share", "accuracy without an attack after the epoch"),
    "validation/attacked_accuracy": ("share", "mean accuracy under the watching attacks"),
    "natural_accuracy": ("share", "result of a trial: accuracy without an attack"),
    "attacked_score": ("points", "result of a trial: sum of the accuracies under attack, in %"),
    "masking_gap": ("share", "accuracy that a stronger attack takes"),
    "flagged": ("0 or 1", "the masking gap is above its limit: masked gradients"),
    "on_front": ("0 or 1", "the trial is on the front of the run"),
    "best_epoch": ("count", "the epoch that was kept and scored"),
    "seconds": ("s", "what training and scoring took"),
    "final/natural_accuracy": ("share", "a final training on test images"),
    "final/attacked_score": ("points", "the same under the final battery"),
    "final/claimed_attacked_score": ("points", "the same under the battery of the search"),
    "final/validation_attacked_score": ("points", "the same on the images of the search"),
    "hypervolume": ("share", "of the front, after each finished trial"),
    "finished": ("count", "trials that have finished"),
    "front_size": ("count", "nets on the front"),
    "failed": ("count", "trials that failed"),
    "stopped": ("count", "trials that were stopped early"),
    "stopping/epochs_saved": ("count", "epochs that stopped trials did not train"),
    "stopping/audited": ("count", "trials that ran on as a check of the stopping rule"),
    "stopping/wrong": ("count", "those of them that ended on the front"),
    "stopping/wrong_share": ("share", "its interval: how often stopping is wrong"),
    "stopping/regret": (
        "share",
        "hypervolume that would be lost without the audited trials",
    ),
}
"""The unit and the meaning of each name; intervals have the same name and `_low` or `_high`."""


def name_epoch_metric(name: str) -> str:
    """Return the name for trackers of a metric that the ledger holds of an epoch."""
    return _OF_THE_LEDGER.get(name, f"train/{name}")


def epoch_row(report: EpochReport) -> dict[str, Any]:
    """Return the metrics of an epoch under their names for trackers."""
    renamed = {name_epoch_metric(name): value for name, value in report.metrics.items()}
    return {**renamed, "epoch_seconds": report.seconds, "epoch": report.epoch}
