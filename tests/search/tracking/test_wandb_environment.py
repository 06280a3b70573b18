"""Which environment variables of W&B are honoured, and which are hidden from it."""

import os

import pytest
from offline_tracking import STUDY, read_offline_runs, track_study

from search.tracking.wandb_environment import (
    HIDDEN,
    hide_run_variables,
    resolve_entity,
    resolve_project,
)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    """An environment without variables of W&B."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


def test_a_flag_comes_before_its_variable_and_that_before_the_default(monkeypatch):
    assert (resolve_project(None), resolve_entity(None)) == ("robustune", None)
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert (resolve_project(None), resolve_entity(None)) == ("theirs", "team")
    assert (resolve_project("ours"), resolve_entity("me")) == ("ours", "me")
    monkeypatch.setenv("WANDB_PROJECT", "")
    assert resolve_project(None) == "robustune"


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a#b", "a?b", "a%b", "a:b", "", "  ", "x" * 129])
def test_a_name_that_wandb_refuses_is_refused_first(name, monkeypatch):
    from wandb import Settings, errors

    with pytest.raises(ValueError, match=r"--wandb-project .*W&B takes names of 1 to 128 char"):
        resolve_project(name)
    with pytest.raises(ValueError, match="--wandb-entity"):
        resolve_entity(name)
    if not name.strip():
        return
    with pytest.raises(errors.UsageError):
        Settings(project=name)
    monkeypatch.setenv("WANDB_PROJECT", name)
    with pytest.raises(ValueError, match="WANDB_PROJECT '"):
        resolve_project(None)


def test_a_name_with_spaces_or_other_scripts_is_taken():
    assert resolve_project("robuste Netze, größer") == "robuste Netze, größer"


def test_variables_of_one_run_are_hidden_and_put_back(monkeypatch):
    for name in HIDDEN:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("WANDB_TAGS", "a,b")
    before = dict(os.environ)
    with hide_run_variables():
        assert not set(HIDDEN) & set(os.environ)
        assert os.environ["WANDB_TAGS"] == "a,b"
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_search_inside_a_sweep_keeps_its_own_ids_and_groups(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    left = dict.fromkeys(HIDDEN, "stray") | {"WANDB_LAUNCH": "true", "WANDB_CONFIG": "{}"}
    left |= {"WANDB_TAGS": "a,b", "WANDB_ENTITY": "team"}
    printed = track_study(folder, "offline", 0, 999, trials=4, **left)
    assert "tracking is off" not in printed
    runs = read_offline_runs(folder)
    assert {run.id for run in runs} == {STUDY, *(f"{STUDY}-{n:04d}" for n in range(4))}
    assert {run.run.run_group for run in runs} == {STUDY}
    assert {run.run.job_type for run in runs} == {"study", "trial"}
    assert {run.run.sweep_id for run in runs} == {""}
    assert {run.run.entity for run in runs} == {"team"}
    for run in runs:  # the user's tags, then ours
        assert run.tags[:4] == ["a", "b", "rse_sigmas", "laptop"]
    assert all("stray" not in run.run.display_name for run in runs)
