"""The head or the raylet of a private cluster is killed while trials run."""

import signal
from types import SimpleNamespace

import pytest
from ray_processes import (
    assert_each_once,
    assert_ends,
    assert_lost,
    open_gate,
    signal_child,
    start,
    start_gated,
)

from search.backends import ray_watch


@pytest.mark.slow
def test_a_lost_process_of_a_private_cluster_loses_no_trial(tmp_path):
    """Each loss meets the search that goes on after the one before."""
    for name, number, reason in (
        ("gcs_server", signal.SIGKILL, "(GCS) has died"),
        ("gcs_server", signal.SIGSTOP, "(GCS) has not answered for"),
        ("raylet", signal.SIGKILL, "(raylet) has died"),
    ):
        driver = start_gated(tmp_path, trials=2, epochs=3, silence=8.0)
        signal_child(driver.pid, name, number)
        assert_lost(tmp_path, driver, reason)
    open_gate(tmp_path)
    assert_ends(start(tmp_path, trials=2, epochs=3), seconds=240)
    assert_each_once(tmp_path, trials=2, epochs=3)


def test_a_short_gap_is_no_loss(monkeypatch):
    """A network may fail for seconds, and a head may be started again."""
    now, reached = [0.0], [True]
    monkeypatch.setattr("search.backends.ray_watch.time.monotonic", lambda: now[0])
    monkeypatch.setattr(ray_watch, "_accepts", lambda place: reached[0])
    monkeypatch.setattr(ray_watch, "_ask_head", lambda node: True)
    node = SimpleNamespace(
        all_processes={},
        gcs_address="head:6379",
        node_ip_address="here",
        node_manager_port=1,
        node_id="ab",
    )
    monkeypatch.setattr("search.backends.ray_watch.ray._private.worker._global_node", node)
    watch = ray_watch.Watch()

    def step(seconds, answers):
        now[0] += seconds
        reached[0] = answers
        return watch.find_loss()

    assert [step(2, False) for _ in range(4)] == [""] * 4
    assert step(2, True) == ""
    assert step(ray_watch.PATIENCE - 1, False) == ""
    assert "(GCS) at head:6379 has not been reached for 8 s" in step(2, False)


def test_a_head_that_hangs_is_lost_after_a_while(monkeypatch):
    """The kernel accepts connections for a process that is stopped or stuck."""
    now, answers = [0.0], [None]
    monkeypatch.setattr("search.backends.ray_watch.time.monotonic", lambda: now[0])
    monkeypatch.setattr(ray_watch, "_ask_head", lambda node: answers[0])
    running = SimpleNamespace(process=SimpleNamespace(poll=lambda: None))
    processes = {"gcs_server": [running], "raylet": [running]}
    node = SimpleNamespace(all_processes=processes, node_id="ab")
    monkeypatch.setattr("search.backends.ray_watch.ray._private.worker._global_node", node)
    watch = ray_watch.Watch()

    def step(seconds, answer):
        now[0] += seconds
        answers[0] = answer
        return watch.find_loss()

    assert step(600, None) == ""  # this machine may have slept, too
    assert step(ray_watch.SILENCE - 2, None) == step(1, True) == ""
    assert step(2, None) == step(ray_watch.SILENCE - 1, None) == ""
    assert step(2, None) == "the cluster's head (GCS) has not answered for 20 s"
    assert step(2, False).endswith("(raylet) has not answered for 20 s")


def test_who_lets_ray_wait_longer_lets_the_search_wait_longer(monkeypatch):
    monkeypatch.delenv(ray_watch.RECONNECT, raising=False)
    assert ray_watch.find_patience() == ray_watch.PATIENCE
    for given, patience in (("60", 55.0), ("2", 1.0), ("soon", ray_watch.PATIENCE)):
        monkeypatch.setenv(ray_watch.RECONNECT, given)
        assert ray_watch.find_patience() == patience
