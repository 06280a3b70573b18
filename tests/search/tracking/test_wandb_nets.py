"""Nets of the front in W&B: which are logged, under which aliases, and when again."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from offline_tracking import STUDY
from synthetic_studies import build

from search.tracking import wandb_runs
from search.tracking.run_records import all_records
from search.tracking.standing import NetOfFront, Standing, find_standing
from search.tracking.wandb_nets import LEFT, find_left_net, find_nets, log_net
from search.tracking.wandb_pictures import read_pictures
from search.tracking.wandb_runs import WandbRuns


@pytest.fixture
def view():
    return build(5, 0, epochs=2)


def write_weights(folder, view, numbers):
    for number in numbers:
        path = folder / view.trials[number].result.details.weights
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")


def test_only_nets_whose_file_is_in_the_run_folder_are_found(view, tmp_path):
    standing = find_standing(view, roles=True)
    first, *others = standing.front
    write_weights(tmp_path, view, [first])
    found = find_nets(STUDY, standing, tmp_path)
    assert list(found) == [f"{STUDY}-{first:04d}"]
    (net,) = found.values()
    assert net.aliases == ("front", *standing.roles[first]) and "most-accurate" in net.aliases
    outside = tmp_path.parent / "outside.safetensors"
    outside.write_bytes(b"weights")
    link = tmp_path / view.trials[others[0]].result.details.weights
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    assert find_nets(STUDY, standing, tmp_path).keys() == found.keys()


def test_the_net_of_a_final_training_belongs_to_its_own_run(view, tmp_path):
    write_weights(tmp_path, view, [1])
    standing = Standing({0: NetOfFront(view.trials[1], is_final=True)}, {0: ("balanced",)})
    assert list(find_nets(STUDY, standing, tmp_path)) == [f"{STUDY}-final-0001"]


@pytest.mark.parametrize("online", [False, True])
def test_aliases_that_hold_no_more_are_removed_online(view, tmp_path, online):
    write_weights(tmp_path, view, [0])
    record = next(all_records(STUDY, view, find_standing(view, roles=True)))
    net = find_left_net(record, tmp_path)
    assert net is not None
    logged = SimpleNamespace(aliases=["front", "balanced", "latest", LEFT])
    logged.wait, logged.save = MagicMock(), MagicMock()
    run, wandb = MagicMock(), MagicMock()
    run.log_artifact.return_value = logged
    log_net(wandb, run, record, net, online=online)
    assert run.log_artifact.call_args.kwargs == {"aliases": [LEFT]}
    assert wandb.Artifact.call_args.kwargs["metadata"]["seed"] == record.config["seed"]
    assert logged.save.called is online
    assert logged.aliases == ([LEFT, "latest"] if online else ["front", "balanced", "latest", LEFT])


def test_a_net_is_logged_once_and_again_when_it_has_left_the_front(view, tmp_path, monkeypatch):
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path))  # put back afterwards
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setattr("logging.raiseExceptions", True)
    monkeypatch.setattr(wandb_runs, "_wandb", MagicMock())
    write_weights(tmp_path, view, view.trials)
    told = []
    monkeypatch.setattr(
        wandb_runs,
        "log_net",
        lambda wandb, run, record, net, online: told.append((record.trial.number, net.aliases)),
    )

    def close(nets=True):
        told.clear()
        runs = WandbRuns(tmp_path, STUDY, view.header, "offline", "robustune", None)
        runs.open()
        runs.close(view, nets=nets)
        return dict(told)

    front = find_standing(view, roles=True).front
    assert close(nets=False) == {}
    assert set(close()) == set(front)
    assert close() == {}
    last, *others = front
    fewer = Standing({number: front[number] for number in others})
    monkeypatch.setattr(wandb_runs, "find_standing", lambda view, roles: fewer)
    assert close()[last] == (LEFT,)
    assert close() == {}


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_damaged_examples_give_no_pictures(tmp_path, damage):
    path = tmp_path / "examples.npz"
    if damage is None:
        np.savez(path, images=np.zeros((1, 3, 4, 4), np.uint8), attacked=np.zeros((0, 3, 4, 4)))
    else:
        path.write_bytes(damage)
    assert read_pictures(path) == []
    assert read_pictures(tmp_path / "none.npz") == []
