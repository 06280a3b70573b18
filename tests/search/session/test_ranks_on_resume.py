"""A run keeps the number of ranks of its trials."""

from dataclasses import replace

import pytest
from rich.console import Console

from search.interrupt import Interrupt
from search.record.ledger import read
from search.session.options import Options
from search.session.plan import Machine
from search.session.prepare import prepare

BEGIN = Options(space="smoke", trials=2, name="x", wandb="off", ranks_per_trial=2)
AGAIN = Options(wandb="off")


@pytest.fixture
def begin(tmp_path):
    """Return what begins a session, and gives its job."""

    def begin(options):
        job = prepare(Console(quiet=True), options, Machine("here", 4, 0), Interrupt())
        job.study.ledger.close()
        return job

    begin(replace(BEGIN, out=tmp_path))
    return lambda options: begin(replace(options, resume=tmp_path / "x"))


def test_a_resumed_run_has_as_many_ranks_as_before_unless_the_user_says(begin, tmp_path):
    def count(options):
        job = begin(options)
        assert job.run.ranks == (job.options.ranks_per_trial or 0)
        return job.run.ranks

    assert count(AGAIN) == 2
    assert count(replace(AGAIN, cpus_per_trial=1.0)) == 0  # other cores: the ranks do not hold
    assert count(AGAIN) == 2
    assert count(replace(AGAIN, ranks_per_trial=3)) == count(AGAIN) == 3
    sessions = read(tmp_path / "x" / "ledger.jsonl").sessions
    assert [session.ranks for session in sessions] == [2, 2, None, 2, 3, 3]
