"""Searches on a cluster that runs already; its nodes come, go, and lack something."""

import os
import re
import signal
from contextlib import ExitStack

import pytest
from ray_processes import (
    assert_each_once,
    assert_ends,
    assert_lost,
    open_gate,
    read_events,
    signal_child,
    start,
    start_gated,
    two_nodes,
)
from waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clusters():
    """The clusters that were started, and what ends them."""
    with ExitStack() as ends:
        yield [], ends


@pytest.fixture
def nodes(clusters):
    """A cluster of two nodes, which a test leaves with two nodes, or kills."""
    started, ends = clusters
    if not started or started[-1].process.poll() is not None:
        started.append(ends.enter_context(two_nodes()))
    return started[-1]


def test_after_an_interruption_a_node_is_used_soon_and_another_one_is_lost(tmp_path, nodes):
    settings = {"trials": 4, "epochs": 3, "address": nodes.address, "concurrent": None}
    driver = start_gated(tmp_path, **settings)
    assert not (tmp_path / "trials/0002").exists()  # two nodes, two trials
    os.killpg(driver.pid, signal.SIGINT)
    assert_ends(driver, code=130, seconds=30)
    driver = start_gated(tmp_path, **settings)  # no worker of the last one in its way
    nodes.add()
    wait_until((tmp_path / "trials/0002/pid").exists, seconds=30.0)
    nodes.remove()
    open_gate(tmp_path)
    assert_ends(driver, seconds=120)
    assert_each_once(tmp_path, trials=4, epochs=3)


def test_trials_that_meet_a_node_that_lacks_something_go_on_elsewhere(tmp_path, nodes):
    settings = {"trials": 3, "epochs": 2, "address": nodes.address, "concurrent": None}
    driver = start(tmp_path, fire=True, gate=True, **settings)

    def list_excused():
        return [event for event in read_events(tmp_path) if event["event"] == "excused"]

    wait_until((tmp_path / "ledger.jsonl").exists)
    wait_until(list_excused, seconds=120)
    open_gate(tmp_path)
    assert_ends(driver, seconds=120)
    [reason] = [event["reason"] for event in list_excused() if "reason" in event]
    assert re.fullmatch(r"node \S+ \(\S+\) is on fire; no trial runs there", reason)
    assert_each_once(tmp_path, trials=3, epochs=2)


def test_a_lost_head_ends_the_search_in_order(tmp_path, nodes):
    settings = {"trials": 2, "epochs": 3, "address": nodes.address, "concurrent": None}
    driver = start_gated(tmp_path, **settings)
    signal_child(nodes.process.pid, "gcs_server", signal.SIGKILL)
    assert_lost(tmp_path, driver, "(GCS) at")
    nodes.process.kill()
    nodes.process.wait()
