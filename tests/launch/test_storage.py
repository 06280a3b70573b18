"""A search whose machine is lost, and that goes on elsewhere from an object store alone."""

import os
from pathlib import Path

import pytest
from ray_processes import two_nodes
from s3_server import ENVIRONMENT, serve
from waiting import wait_until
from warm_process import WarmProcess

from search.record.ledger import read
from search.storage.ledger_chunks import read_chunks
from search.storage.location import parse_location, with_endpoint
from search.storage.store import Store

ROOT = Path(__file__).parent.parent.parent
SMOKE = ("--space", "smoke", "--trials", "2", "--epochs", "3", "--finalists", "off", "--serial")


def start(server, folder, *arguments):
    folder.mkdir()
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "AWS_ENDPOINT_URL": server.url,
        "WANDB_MODE": "disabled",
        "TMPDIR": str(folder),
    }
    output = folder.with_name(f"{folder.name}-output")
    return WarmProcess(ROOT / "launch.py", arguments, folder, environment, output)


@pytest.mark.slow
def test_another_machine_goes_on_from_the_store_alone(tmp_path, monkeypatch):
    one, two = (tmp_path / name / "runs" / "x" for name in ("one", "two"))
    with serve() as server:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        store = Store(with_endpoint(parse_location("s3://bucket/x")))
        running = start(server, tmp_path / "one", *SMOKE, "--name", "x", "--storage", "s3://bucket")

        def has_a_result():
            ended = running.poll() is not None
            copied = b'"finished"' in read_chunks(store)
            assert copied or not ended, running.communicate()[0]
            return copied

        wait_until(has_a_result, 120)
        running.kill()
        running.communicate()
        there = start(server, tmp_path / "two", "--serial", "--resume", "s3://bucket/x")
        output, _ = there.communicate(timeout=120)
    assert there.returncode == 0, output
    assert "Fetched s3://bucket/x to runs/x." in output
    before, after = read(one / "ledger.jsonl"), read(two / "ledger.jsonl")
    assert before.trials[0].result == after.trials[0].result
    assert [trial.state for trial in after.trials.values()] == ["finished"] * 2
    assert after.sessions[-1].storage == "s3://bucket" and len(after.sessions) == 2
    assert (two / "report.html").is_file() and list((two / "front").iterdir())
    for secret in (ENVIRONMENT["AWS_SECRET_ACCESS_KEY"], ENVIRONMENT["AWS_ACCESS_KEY_ID"]):
        for path in (*one.rglob("*"), *two.rglob("*")):
            assert not path.is_file() or secret.encode() not in path.read_bytes()


@pytest.mark.slow
def test_workers_of_a_cluster_keep_their_trials_in_the_store(tmp_path):
    # Each node has a core, so the two ranks of a trial are on both: only the first has its files.
    with serve() as server, two_nodes() as nodes:
        there = ("--address", nodes.address)
        cluster = (*there, "--storage", str(tmp_path / "store"), "--name", "x")
        driver = start(server, tmp_path / "one", *SMOKE[:-1], *cluster, "--ranks-per-trial", "2")
        output, _ = driver.communicate(timeout=240)
        assert driver.returncode == 0, output
        stored = str(tmp_path / "store" / "x")
        again = start(
            *(server, tmp_path / "two", "--rescore", stored, *there),
            *("--battery-steps", "3", "--images", "20"),  # with as many ranks as before
        )
        said, _ = again.communicate(timeout=240)
    assert again.returncode == 0 and "not re-scored" not in said, said
    assert "Re-scoring with" in said and "2/2 trial " in said
    run, store = tmp_path / "one" / "runs" / "x", tmp_path / "store" / "x"
    view = read(run / "ledger.jsonl")
    assert [trial.state for trial in view.trials.values()] == ["finished"] * 2
    fetched = {path.parent.name for path in run.glob("trials/*/best.safetensors")}
    assert fetched == {f"{trial.number:04d}" for trial in view.front()}
    for number in ("0000", "0001"):
        assert (store / "trials" / number / "best.safetensors").is_file()
    assert not list(store.rglob("state.pt")) and not list((store / "marks").iterdir())
    assert list((run / "front").iterdir()) and (store / "report.html").is_file()
