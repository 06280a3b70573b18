"""A search whose machine is lost, and that goes on elsewhere from an object store alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from s3_server import ENVIRONMENT, serve

from search.record.ledger import read

ROOT = Path(__file__).parent.parent.parent
SMOKE = ("--space", "smoke", "--trials", "2", "--epochs", "3", "--finalists", "off", "--serial")


def start(server, folder, *arguments):
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *arguments],
        cwd=folder,
        env={
            **os.environ,
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL": server.url,
            "WANDB_MODE": "disabled",
            "TMPDIR": str(folder),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_another_machine_goes_on_from_the_store_alone(tmp_path):
    one, two = (tmp_path / name / "runs" / "x" for name in ("one", "two"))
    with serve() as server:
        running = start(server, tmp_path / "one", *SMOKE, "--name", "x", "--storage", "s3://bucket")
        limit = time.monotonic() + 120
        ledger = one / "ledger.jsonl"
        while not (ledger.exists() and '"finished"' in ledger.read_text()):
            assert time.monotonic() < limit and running.poll() is None, running.communicate()[0]
            time.sleep(0.05)
        time.sleep(3.0)  # in which it is copied
        running.kill()
        running.communicate()
        there = start(server, tmp_path / "two", "--serial", "--resume", "s3://bucket/x")
        output, _ = there.communicate(timeout=120)
    assert there.returncode == 0, output
    assert "Fetched s3://bucket/x to runs/x." in output
    before, after = read(ledger), read(two / "ledger.jsonl")
    assert before.trials[0].result == after.trials[0].result
    assert [trial.state for trial in after.trials.values()] == ["finished"] * 2
    assert after.sessions[-1].storage == "s3://bucket" and len(after.sessions) == 2
    assert (two / "report.html").is_file() and list((two / "front").iterdir())
    for secret in (ENVIRONMENT["AWS_SECRET_ACCESS_KEY"], ENVIRONMENT["AWS_ACCESS_KEY_ID"]):
        for path in (*one.rglob("*"), *two.rglob("*")):
            assert not path.is_file() or secret.encode() not in path.read_bytes()
