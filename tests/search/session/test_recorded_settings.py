"""Resuming a run whose ledger names what this program does not know, or what cannot be."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from search.session.options import Options
from search.session.plan import Machine
from search.session.resume import resume_run

KILLED = Path(__file__).parents[2] / "recorded" / "v0" / "killed"


def resume(folder, changes):
    """Resume a copy of a recorded run in which values at some paths of keys are others."""
    lines = (KILLED / "ledger.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    for kind, keys, value in changes:
        place = next(event for event in events if event["event"] == kind)
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    content = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "ledger.jsonl").write_text(content)
    options = Options(resume=folder, serial=True, wandb="off")
    try:
        return resume_run(Console(quiet=True), options, Machine("this machine", 2, 0), "off")
    finally:
        assert (folder / "ledger.jsonl").read_text() == content


def test_what_was_recorded_is_resumed(tmp_path):
    job = resume(tmp_path, [])
    assert job.scale.epochs == job.header.scale["epochs"]
    assert "score" not in job.header.scale and job.scale.score == job.header.score == "report"
    job.study.ledger.close()


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("sampler",), "krigging", "sampler 'krigging', which is unknown: did you mean 'kriging'?"),
        (("stopper",), "moasah", "stopper 'moasah', which is unknown: did you mean 'moasha'?"),
        (("space",), "smokes", "no space 'smokes': did you mean 'smoke'?"),
        (("scale", "name"), "latpop", "no scale 'latpop': did you mean 'laptop'?"),
        (("scale",), {}, "event study: key 'name' is missing"),
        (("scale", "epochs"), "many", "key 'epochs' holds 'many', not a whole number"),
        (("scale", "epochs"), 0, "key 'epochs' holds 0, not a number from 1 to"),
        (("scale", "cpus"), 0, "key 'cpus' holds 0, not a number from 1e-06 to"),
        (("scale", "batch"), 10**12, "key 'batch' holds 1000000000000, not a number from 1 to"),
        (("scale", "small_sources"), 1, "key 'small_sources' holds 1, not true or false"),
        (("scale", "epoch"), 3, "no setting 'epoch' of a scale is known: did you mean 'epochs'?"),
        (("scale", "score"), "margn", "no score 'margn': did you mean 'margin'?"),
        (("scale", "score"), 5, "key 'score' holds 5, not"),
        (("data",), "digist", "digist"),
        (("fingerprint",), "0", "has other hyperparameters now"),
        (("constraints",), {"latnecy": 3}, "'latnecy': did you mean 'latency'?"),
    ],
    ids=str,
)
def test_a_header_that_cannot_be_resumed(tmp_path, keys, value, said):
    with pytest.raises(ValueError, match=re.escape(said)) as info:
        resume(tmp_path, [("study", keys, value)])
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"sigma": 9.0, "lr": 0.003}, "trial 0: sigma=9.0 is outside 0 to 0.2"),
        ({"sigma": "big", "lr": 0.003}, "trial 0: sigma='big' is outside"),
        ({"sigma": 0.1}, "trial 0: hyperparameter 'lr' is missing"),
        ({"sigma": 0.1, "lr": 0.003, "gamma": 1}, "trial 0: no hyperparameter 'gamma' here"),
        ({}, "trial 0: hyperparameter 'sigma' is missing"),
    ],
    ids=str,
)
def test_a_configuration_that_is_none_of_the_space(tmp_path, params, said):
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'ledger.jsonl'}, {said}")):
        resume(tmp_path, [("proposed", ("params",), params)])


def test_a_configuration_of_a_warm_start(tmp_path):
    warm = {"runs": [], "points": [{"sigma": 5}], "told": []}
    with pytest.raises(ValueError, match="warm start: sigma=5 is outside"):
        resume(tmp_path, [("study", ("warm",), warm)])
