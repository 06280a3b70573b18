"""A session that ends by the expected gain says so in one line, records it, and resumes."""

import io
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from formula_runs import SPACE, Formula
from rich.console import Console

from search.backends import serial
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.samplers.table import make_sampler
from search.session import session
from search.session.job import Job
from search.session.options import Options
from search.study import Study


def run_session_part(ledger, trials, **options):
    ask = make_sampler("random", SPACE, seed=0, start=0)
    study = Study(SPACE, ledger, trials=trials, seed=0, sampler=ask)

    @contextmanager
    def open_backend(job, interrupt):
        yield lambda study, run: serial.search(study, run, interrupt)

    parts: dict[str, Any] = {"study": study, "run": Formula(2), "finals": False}
    job = SimpleNamespace(options=Options(**options), folder=ledger.path.parent, **parts)
    console = Console(file=io.StringIO(), width=400)
    session._run(console, cast(Job, job), Interrupt(), open_backend)
    return study, cast(io.StringIO, console.file).getvalue()


def test_the_end_is_said_and_recorded_and_the_space_is_not_blamed(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("study", format=1, name="n", space="s", seed=0, knobs=SPACE.describe())
    study, said = run_session_part(ledger, 60, until_gain=0.05)
    ended = len(study.view.trials)
    assert 12 <= ended < 60 and not study.exhausted
    why, command = said.splitlines()
    assert "less than --until-gain 5%" in why
    assert command == f"  python launch.py --resume {tmp_path}"
    assert (tmp_path / "ledger.jsonl").read_text().count('"event": "enough"') == 1
    study, said = run_session_part(ledger, ended + 3)
    assert len(study.view.trials) == ended + 3 and not said
    ledger.close()
