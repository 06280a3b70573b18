"""One quantity has one name in all trackers, and the guide lists each with its unit."""

import re
from pathlib import Path

from synthetic_studies import build

from search.record.trial import EpochReport
from search.tracking.metric_names import UNITS, epoch_row, name_epoch_metric

GUIDE = Path(__file__).parents[3] / "docs" / "wandb.md"


def test_the_guide_lists_the_names_and_no_others():
    rows = re.findall(r"^\| `([\w/]+)` \| ([^|]+) \| ([^|]+) \|$", GUIDE.read_text(), re.MULTILINE)
    assert {name: (unit, text) for name, unit, text in rows} == dict(UNITS)


def test_accuracies_without_an_attack_are_named_by_where_they_were_measured():
    metrics = {"clean_accuracy": 0.5, "watched_natural": 0.4, "watched_robust": 0.3, "alpha_1": 2.0}
    assert epoch_row(EpochReport(3, 9, 1.5, metrics)) == {
        "train/natural_accuracy": 0.5,
        "validation/natural_accuracy": 0.4,
        "validation/attacked_accuracy": 0.3,
        "train/alpha_1": 2.0,
        "epoch_seconds": 1.5,
        "epoch": 3,
    }


def test_metrics_of_an_epoch_keep_apart():
    reports = [report for trial in build(2).trials.values() for report in trial.epochs.values()]
    names = {name for report in reports for name in report.metrics}
    assert len({name_epoch_metric(name) for name in names}) == len(names)
