"""Packing: how many trials share a GPU, by closed forms; out of memory costs no trial."""

from contextlib import closing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cluster_in_process import connect_in_process
from formula_runs import SPACE, Formula

from search.backends.messages import OutOfMemory, decode, encode_trial, run_trial
from search.backends.packing import MOST, Packer, Usage, choose_count, count_by_memory, grow
from search.interrupt import Interrupt
from search.record.derived_ledgers import MemoryLedger
from search.record.ledger import Ledger, read
from search.record.provenance import PROJECT
from search.record.trial import EpochReport, Trial
from search.study import Study
from search.trials.gpu_share import limit_memory, measure_usage


@pytest.mark.parametrize(
    ("peaks", "count"),
    [([0.9], 1), ([0.4], 2), ([0.1], 8), ([0.1, 0.2], 4), ([0.001], MOST), ([], 1), ([0.0], MOST)],
)
def test_as_many_fit_as_the_largest_peak_allows(peaks, count):
    assert count_by_memory(peaks) == count


@pytest.mark.parametrize(
    ("usages", "count"),
    [
        ([], 4),  # nothing is known
        ([Usage(4, 0.05, 10.0)], 8),  # there is room: try twice as many
        ([Usage(4, 0.05, 10.0), Usage(8, 0.05, 12.0)], 16),  # 0.4 then 0.67 epochs a second
        ([Usage(4, 0.05, 10.0), Usage(8, 0.05, 20.0)], 4),  # twice as many take twice as long
        ([Usage(4, 0.05, 10.0), Usage(8, 0.05, 12.0), Usage(16, 0.05, 30.0)], 8),
        ([Usage(4, 0.4, 10.0)], 2),  # more than two would not fit
        ([Usage(4, 0.2, 10.0)], 4),  # no more than four would
    ],
)
def test_the_number_follows_memory_and_then_what_gets_done(usages, count):
    assert choose_count(usages, 4) == count


def test_a_share_grows_to_the_whole_and_no_further():
    assert [grow(share, 1.0) for share in (0.125, 0.5, 0.75, 1.0)] == [0.25, 1.0, 1.0, None]


def make_packer(*, on_gpu=True):
    ledger = MemoryLedger()
    ledger.append("study", format=1)
    space = SimpleNamespace(
        build=lambda kind, **_: SimpleNamespace(net=kind, batch=128, precision="float32")
    )
    study: Any = SimpleNamespace(space=space, ledger=ledger, view=ledger.view)
    for number, kind in enumerate(("small", "small", "large", "large")):
        ledger.append("proposed", trial=number, params={"kind": kind}, seed=0, origin="known")
        ledger.append("started", trial=number)
    return ledger, Packer(study, 0.25 if on_gpu else 1.0, 1.0 if on_gpu else 4.0, on_gpu=on_gpu)


def test_each_architecture_gets_what_its_own_trials_have_needed():
    ledger, packer = make_packer()
    assert packer.share(0) == packer.share(2) == 0.25
    for number, peak in ((0, 0.02), (2, 0.6)):
        metrics = {"gpu_share": 0.25, "peak_memory": peak}
        ledger.append("epoch", trial=number, epoch=1, epochs=2, seconds=1.0, metrics=metrics)
    assert packer.share(1) == 0.125 and packer.share(3) == 1.0


@pytest.mark.parametrize("on_gpu", [True, False])
def test_out_of_memory_doubles_the_share_of_the_architecture_until_it_is_whole(on_gpu):
    ledger, packer = make_packer(on_gpu=on_gpu)
    share = packer.share(2)
    assert packer.squeeze(2, share, "out of memory") and ledger.view.trials[2].state == "running"
    assert packer.share(2) == packer.share(3) == 2 * share and packer.share(0) == share
    assert packer.squeeze(3, 2 * share, "out of memory")
    assert packer.share(2) == 4 * share == packer.whole
    assert not packer.squeeze(2, packer.whole, "out of memory")
    assert ledger.view.trials[2].starts == 0  # no start that ended so counts


def test_there_is_room_as_long_as_the_shares_leave_some():
    _, packer = make_packer()
    assert packer.has_room([0.25] * 7, 8) and not packer.has_room([0.25] * 8, 8)
    assert not packer.has_room([1.0, 1.0], 8) and packer.has_room([0.125] * 14, 8)


class Cuda:
    """What of torch.cuda is used, on a GPU of 1,000 bytes of which 300 have been taken."""

    def __init__(self):
        self.fractions = []

    def is_available(self):
        return True

    def reset_peak_memory_stats(self):
        pass

    def set_per_process_memory_fraction(self, fraction):
        self.fractions.append(fraction)

    def current_device(self):
        return 0

    def get_device_properties(self, device):
        return SimpleNamespace(total_memory=1000)

    def max_memory_reserved(self):
        return 300


def test_a_process_is_kept_to_its_share_and_measures_its_peak():
    gpu = SimpleNamespace(cuda=Cuda())
    limit_memory(0.25, gpu)
    assert measure_usage(gpu) == {"gpu_share": 0.25, "peak_memory": 0.3}
    limit_memory(1.0, gpu)
    limit_memory(0.0, gpu)
    assert gpu.cuda.fractions == [0.25, 1.0, 1.0] and measure_usage(gpu) == {}


@dataclass(frozen=True)
class Greedy(Formula):
    """A formula whose trial of seed 1 runs out of memory until it has two cores."""

    def __call__(self, params, seed, folder):
        if seed == 1:
            import ray

            cores = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
            if cores < 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        yield from super().__call__(params, seed, folder)


def test_out_of_memory_is_told_apart_from_other_failures(tmp_path):
    def fail(params, seed, folder):
        raise torch.OutOfMemoryError("no more") if seed else ValueError("no")
        yield EpochReport(1, 1, 1.0)

    for seed, kind in ((0, str), (1, OutOfMemory)):
        message = next(run_trial(fail, encode_trial(Trial(0, {}, seed, ""), tmp_path)))
        assert type(decode(message)) is kind


@pytest.mark.slow
def test_a_trial_out_of_memory_is_started_again_with_more_and_does_not_fail(tmp_path):
    from search.backends import ray_tune

    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("study", format=1, seed=0)
    ledger.append("session")
    study = Study(SPACE, ledger, trials=3, seed=0)
    with closing(ledger), connect_in_process(PROJECT):
        ray_tune.search(study, Greedy(), Interrupt(), ray_tune.Resources(packed=True))
    view = read(tmp_path / "ledger.jsonl")
    assert [trial.state for trial in view.trials.values()] == ["finished"] * 3
    assert view.squeezed == {1: 1.0}
