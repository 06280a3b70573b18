"""Checks of a cluster's nodes, with simulated answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.backends import node_needs, ray_cluster, ray_nodes, ray_tune
from search.backends.node_needs import NodeNeeds, SharedFolder
from search.storage import probe
from search.storage.location import parse_location

ROOT = Path(__file__).parents[3]


def patch_answers(patch, **answers):
    patch.setattr(ray_nodes, "list_alive_nodes", lambda: [{"NodeID": name} for name in ("a", "b")])
    patch.setattr(
        ray_nodes,
        "run_on_each_node",
        lambda task, *arguments, **_: {**answers, "here": task(*arguments)},
    )


def test_a_node_that_does_not_see_the_run_folder_is_named(monkeypatch, tmp_path):
    patch_answers(monkeypatch)
    ray_nodes.check_storage(tmp_path)
    for wrong in (("No such file or directory", "x"), ("another word", "x")):
        patch_answers(monkeypatch, b=wrong)
        with pytest.raises(ray_tune.ClusterError, match=r"node b cannot access .* share"):
            ray_nodes.check_storage(tmp_path)
    patch_answers(monkeypatch, b=ray_tune.ClusterError("no answer in 60 s"))
    with pytest.raises(ray_tune.ClusterError, match=r"node b cannot access .*: no answer in 60 s"):
        ray_nodes.check_storage(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_check_of_the_storage_has_left_is_removed(monkeypatch, tmp_path):
    patch_answers(monkeypatch)
    (tmp_path / ".shared-of-a-killed-driver").mkdir()
    (tmp_path / ".shared-of-a-killed-driver" / "word").touch()
    ray_nodes.check_storage(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_node_with_other_versions_is_named(monkeypatch):
    patch_answers(monkeypatch)
    ray_nodes.check_versions()
    patch_answers(monkeypatch, b={**ray_nodes.read_versions(), "torch": "1.0"})
    with pytest.raises(ray_tune.ClusterError, match=r"node b has torch 1\.0 instead of 2"):
        ray_nodes.check_versions()


def test_a_cluster_that_does_not_come_up_is_one_line(tmp_path, monkeypatch):
    """Ray raises bare Exceptions: where a busy machine lets its start time out, for one."""

    def init(**_):
        raise Exception("a node\nThe current node timed out during startup.")

    monkeypatch.setattr("search.backends.ray_cluster.ray.init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = r"^Ray does not start on this machine: The current node timed out during startup\.$"
    with pytest.raises(ray_tune.ClusterError, match=said):
        ray_tune.connect(None, project=tmp_path)


def test_ray_client_is_refused(tmp_path):
    with pytest.raises(ray_tune.ClusterError, match="Ray Client"):
        ray_tune.connect("ray://head:10001", project=tmp_path)


@pytest.mark.parametrize("address", ["nonsense", "host:port", "127.0.0.1:1"])
def test_an_address_of_nothing_is_refused_in_one_line(address, tmp_path):
    with pytest.raises(ray_tune.ClusterError, match=f"no Ray cluster at {address}: ") as info:
        ray_tune.connect(address, project=tmp_path)
    assert "\n" not in str(info.value)


def test_no_secret_reaches_the_workers_runtime_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with ray_tune._environment(1):
        assert "AWS_SECRET_ACCESS_KEY" not in os.environ
        assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "hush"
    assert "TUNE_DISABLE_SIGINT_HANDLER" not in os.environ


@pytest.mark.parametrize(
    ("cpus", "gpus", "capacity"),
    [
        (1, 0, 12),
        (2, 0, 6),
        (3, 0, 3),
        (0.5, 0, 24),
        (4, 1, 2),
        (1, 0.5, 4),
        (1, 0.4, 4),
        (0, 2, 1),
    ],
)
def test_places_are_those_of_whole_nodes_and_whole_gpus(monkeypatch, cpus, gpus, capacity):
    found = [{"Resources": {"CPU": 8.0, "GPU": 2.0}}, {"Resources": {"CPU": 4.0}}]
    monkeypatch.setattr("search.backends.resources.list_alive_nodes", lambda: found)
    assert ray_tune.Resources(cpus, gpus).capacity() == capacity
    assert ray_tune.Resources(cpus, gpus, concurrent=1).capacity() == 1


@pytest.mark.parametrize(
    ("cpus", "gpus", "ranks", "capacity"),
    [(2, 0, 2, 6), (8, 0, 8, 1), (12, 0, 6, 1), (2, 2, 2, 1), (3, 3, 3, 1), (4, 0, 2, 3)],
)
def test_the_ranks_of_a_trial_may_be_on_several_nodes(monkeypatch, cpus, gpus, ranks, capacity):
    found = [{"Resources": {"CPU": 8.0, "GPU": 2.0}}, {"Resources": {"CPU": 4.0, "GPU": 1.0}}]
    monkeypatch.setattr("search.backends.resources.list_alive_nodes", lambda: found)
    resources = ray_tune.Resources(cpus, gpus, ranks=ranks)
    assert resources.capacity() == capacity
    bundles = resources.place({"share": 0.0, "unfit": []}).bundles
    assert len(bundles) == ranks and sum(bundle["CPU"] for bundle in bundles) == cpus
    with pytest.raises(ray_tune.ClusterError, match=r"needs 4 times 1 CPUs and 1 GPUs, the clu"):
        ray_tune.Resources(4, 4, ranks=4).capacity()


def test_a_worker_imports_little_before_its_trial():
    """It unpickles what places a trial; torch and scipy would cost each start seconds."""
    code = (
        "import sys, search.backends.ray_worker, search.backends.resources\n"
        "print(sorted({'torch', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
    assert ray_tune.Resources.place.__module__ == "search.backends.resources"


def test_no_trial_is_placed_on_a_node_that_lacks_something(monkeypatch):
    found = [{"NodeID": name, "Resources": {"CPU": 2.0}} for name in ("one", "two")]
    monkeypatch.setattr("search.backends.resources.list_alive_nodes", lambda: found)
    resources = ray_tune.Resources()
    assert resources.capacity() == 4
    resources.unfit.add("two")
    assert resources.capacity() == 2
    place = resources.place({"share": 0.0, "unfit": ["two"]})
    assert place._kwargs == {"bundle_label_selector": [{"ray.io/node-id": "!in(two)"}]}


def test_a_worker_says_what_its_node_lacks(monkeypatch, tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text("one\n")
    shared = SharedFolder.of(ledger)
    ledger.write_text("one\ntwo\n")  # it has grown
    assert shared() == "" and list(tmp_path.iterdir()) == [ledger]
    ledger.write_text("another\n")
    assert "it sees another one there, which is not shared" in shared()
    ledger.unlink()
    assert "No such file" in shared()
    versions = ray_nodes.read_versions()
    assert NodeNeeds(versions, str, gpu=False)._find_problem() == ""
    other = NodeNeeds({**versions, "torch": "0.1"}, str, gpu=False)
    assert other._find_problem() == f"has torch {versions['torch']} instead of 0.1"
    monkeypatch.setattr(node_needs, "probe_gpu", lambda: "torch sees none")
    assert "a GPU that cannot be used: torch" in NodeNeeds(versions, str, gpu=True)._find_problem()
    monkeypatch.setattr(node_needs, "read_versions", lambda: 1 // 0)
    assert (
        "cannot run our code: ZeroDivisionError"
        in NodeNeeds(versions, str, gpu=False)._find_problem()
    )


def test_the_project_is_shipped_without_what_is_large_or_private_and_with_all_of_our_code():
    from ray._private.runtime_env.packaging import _get_excludes

    is_left_out = _get_excludes(ROOT, ray_cluster.EXCLUDED)
    for name in ("runs", "data", ".git", "tests", "docs", "wandb", "deploy", "adv/__pycache__"):
        assert is_left_out(ROOT / name), name
    code = [path for part in ray_nodes.OURS for path in (ROOT / part).rglob("*.py")]
    assert len(code) > 300
    for path in code:
        assert not any(map(is_left_out, (path, *path.relative_to(ROOT).parents[:-1]))), path


def test_a_gpu_that_torch_cannot_use_is_named(monkeypatch):
    patch_answers(monkeypatch, b="torch 2 sees none (built for CUDA None)")
    monkeypatch.setattr(ray_nodes, "probe_gpu", lambda: "")
    with pytest.raises(ray_tune.ClusterError, match=r"node b has a GPU that cannot be used: torch"):
        ray_nodes.check_gpus()
    patch_answers(monkeypatch, b=ray_tune.ClusterError("no answer in 30 s"))  # others use it
    ray_nodes.check_gpus()


def test_other_code_of_ours_on_a_node_is_named(monkeypatch):
    patch_answers(monkeypatch, b={**ray_nodes.read_versions(), "robustune": "0123456789ab"})
    with pytest.raises(ray_tune.ClusterError, match=r"node b has robustune 0123456789ab instead"):
        ray_nodes.check_versions()


def test_a_node_that_sees_another_store_is_named(monkeypatch, tmp_path):
    location = parse_location(tmp_path / "x")
    elsewhere = probe.probe_store(location.child("elsewhere"), "word")
    for answer, said in (
        (elsewhere, r"node b cannot use .*x: it does not see what the driver writes there"),
        (("gone", ""), r"node b cannot use .*x: what it writes is not seen here"),
        (ray_tune.ClusterError("no answer in 60 s"), r"node b cannot use .*x: no answer in 60 s"),
    ):
        answers = {"b": answer}
        monkeypatch.setattr(
            probe,
            "run_on_each_node",
            lambda task, *arguments, known=answers: {"here": task(*arguments), **known},
        )
        with pytest.raises(ray_tune.ClusterError, match=said):
            probe.check_store(location)
    assert not list((tmp_path / "x" / "marks").iterdir())
