"""One command, run again and again by a scheduler that kills it in between."""

import os
import time
from pathlib import Path

import pytest
from warm_process import WarmProcess

from search.record.ledger import read

ROOT = Path(__file__).parent.parent.parent
SMOKE = ("--space", "smoke", "--serial", "--name", "x", "--trials", "2", "--epochs", "3")
COMMAND = (*SMOKE, "--finalists", "off", "--resume-or-start")


def start(folder):
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    return WarmProcess(ROOT / "launch.py", COMMAND, folder, environment)


@pytest.mark.slow
def test_killed_again_and_again_it_comes_to_an_end_and_stays_there(tmp_path):
    ledger = tmp_path / "runs" / "x" / "ledger.jsonl"
    for number, moment in enumerate(('"session"', '"epoch": 2')):
        running = start(tmp_path)
        limit = time.monotonic() + 120
        while not (ledger.exists() and ledger.read_text().count(moment) > number):
            assert time.monotonic() < limit and running.poll() is None
            time.sleep(0.01)
        running.kill()
        running.wait()
    done = start(tmp_path)
    output, _ = done.communicate(timeout=120)
    assert done.returncode == 0 and "Resuming runs/x" in output
    view, content = read(ledger), ledger.read_bytes()
    assert [trial.state for trial in view.trials.values()] == ["finished"] * 2
    assert len(view.sessions) == 3
    again = start(tmp_path)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and "finished: 2 trials finished. Nothing to do" in output
    assert ledger.read_bytes() == content
