"""A trial on several ranks: its net, score and finals are those of one process; errors reach it."""

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from torch.multiprocessing.spawn import start_processes

import spaces
from adv import load
from adv.runtime.ranks import ALONE, Ranks, join_ranks
from search.finals import train_finalist
from search.finals.train_finalist import FinalTraining
from search.record.trial import EpochReport
from search.trials.rank_count import count_ranks
from search.trials.rank_task import Helpers, started_by
from search.trials.ranks import run_on_ranks
from search.trials.ranks import start_processes as start_processes_of_trial
from search.trials.train_trial import Training
from search.trials.trial_state import STATE


@dataclass(frozen=True)
class Talk:
    """A run whose ranks add up their numbers; what goes wrong is chosen by the seed."""

    team: Ranks = ALONE

    def on_ranks(self, team):
        return replace(self, team=team)

    def __call__(self, params, seed, folder):
        team = self.team
        for epoch in (1, 2, 3):
            if epoch == 2 and team.rank == 1:
                if seed == 1:
                    raise ValueError("rank one has had enough")
                if seed == 2:
                    raise torch.OutOfMemoryError("no more")
                if seed == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
            if epoch == 2 and team.rank == 0 and seed == 4:
                raise OSError("the first one's disk is full")
            total = int(team.sum(torch.tensor(team.rank + 1)))
            (folder / f"{team.rank}-{epoch}").touch()
            yield EpochReport(epoch, 3, 1.0, {"sum": total, "shared": team.share(team.rank + 7)})


def run(seed, folder):
    return run_on_ranks(Talk(), 2, {}, seed, folder)


@pytest.mark.slow
def test_ranks_run_side_by_side_and_end_together(tmp_path):
    reports = list(run(0, tmp_path))
    assert [report.metrics for report in reports] == [{"sum": 3, "shared": 7}] * 3
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{r}-{e}" for r in (0, 1) for e in (1, 2, 3)
    }
    stopped = run(0, tmp_path)
    next(stopped)
    stopped.close()  # as when a stopper ends the trial: this returns, and leaves no process


@pytest.mark.slow
def test_what_another_rank_raises_ends_the_trial_and_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="rank 1: ValueError: rank one has had enough"):
        list(run(1, tmp_path))
    with pytest.raises(torch.OutOfMemoryError, match=r"rank 1: .*no more"):
        list(run(2, tmp_path))
    with pytest.raises(OSError, match=r"^the first one's disk is full$"):
        list(run(4, tmp_path))


def fail_on_first(rank, folder):
    with join_ranks(rank, 2, device="cpu", meet=f"file://{folder}/meet") as ranks:
        with pytest.raises(ZeroDivisionError):
            ranks.from_first(lambda: 1 // 0)
        value = ranks.from_first(lambda: f"made by {rank}")
        (folder / f"{rank}-{value}").touch()


@pytest.mark.slow
def test_only_the_first_rank_reads_and_all_learn_what_it_found(tmp_path):
    start_processes(fail_on_first, (tmp_path,), 2, start_method="spawn")
    assert {f.name for f in tmp_path.iterdir()} >= {"0-made by 0", "1-made by 0"}


@pytest.mark.slow
def test_a_trial_on_two_ranks_is_the_trial_of_one(tmp_path):
    scale = spaces.scale("laptop", cpus=2.0, **spaces.load("smoke").scale)
    training = Training("smoke", scale.fit(60, 60), load(scale.data), rungs=True, examples=False)
    params = {"sigma": 0.1, "lr": 0.003}
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        found.append(list(replace(training, ranks=count)(params, 3, folder)))
        assert (folder / "best.safetensors").exists() and (folder / "state.pt").exists()
    one, two = found
    assert len(one) == len(two)
    for mine, theirs in zip(one, two, strict=True):
        assert mine.metrics == pytest.approx(theirs.metrics, abs=1e-3)
    assert one[-1].result and two[-1].result
    assert one[-1].result.objectives == pytest.approx(two[-1].result.objectives, rel=0.05)
    # Resumed by one process: nothing is trained again, and the result is the stored one.
    again = list(replace(training, ranks=1)(params, 3, tmp_path / "2"))
    assert json.dumps(again[-1].to_json()) == json.dumps(two[-1].to_json())


@pytest.mark.slow
def test_helpers_score_a_final_training_as_one_process_does(tmp_path, monkeypatch):
    scale = spaces.scale("laptop", cpus=1.0, **spaces.load("smoke").scale)
    final = FinalTraining(Training("smoke", replace(scale, epochs=1).fit(60, 60), load(scale.data)))
    [*_, alone] = final({"sigma": 0.1, "lr": 0.003}, 3, tmp_path)
    (tmp_path / STATE).unlink()
    asked = []

    @contextmanager
    def start(run, task):
        asked.append(task.count)
        with start_processes_of_trial(run, task) as others:
            yield others

    monkeypatch.setattr(train_finalist, "WORTHWHILE", 0.0)
    with started_by(start, Helpers(lambda: 1, start)):
        [*_, helped] = final({"sigma": 0.1, "lr": 0.003}, 3, tmp_path)
    assert asked == [2]
    assert helped.result and alone.result
    assert helped.result.objectives == alone.result.objectives
    assert helped.result.details.table == alone.result.details.table
    with started_by(start, Helpers(lambda: 0, start)):
        assert len(list(final({"sigma": 0.1, "lr": 0.003}, 3, tmp_path))) == 2
    assert asked == [2]


@pytest.mark.parametrize(
    ("asked", "gpus", "count"), [(0, 0.0, 1), (0, 0.25, 1), (0, 4.0, 4), (2, 0.0, 2), (4, 4.0, 4)]
)
def test_a_trial_has_a_rank_for_each_gpu(asked, gpus, count):
    assert count_ranks(asked, gpus) == count


@pytest.mark.parametrize(
    ("asked", "gpus", "why"),
    [(0, 1.5, "whole GPUs, not 1.5"), (2, 4.0, "has a rank for each, not 2")],
)
def test_other_numbers_are_refused(asked, gpus, why):
    with pytest.raises(ValueError, match=why):
        count_ranks(asked, gpus)
