"""What a search asks the autoscaler of its cluster for."""

import pytest
from formula_runs import SPACE

from search.backends import autoscaler, ray_tune
from search.backends.gpu_range import GpuRange
from search.record.derived_ledgers import MemoryLedger
from search.session.options import Options, find_range
from search.study import Study


@pytest.fixture
def asked(monkeypatch):
    """Return the list of what is asked for."""
    found: list[object] = []

    def request(bundles):
        found.append(bundles)

    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", request)
    return found


@pytest.mark.parametrize(
    ("least", "most", "gpus", "queue", "trials"),
    [
        (0, 8, 1, 100, 8),
        (0, 8, 1, 3, 3),
        (2, 8, 1, 0, 2),
        (4, 4, 1, 1, 4),
        (0, 2, 0.25, 100, 8),
        (1, 1, 0.4, 0, 3),
        (0, 7, 2, 100, 3),
        (0, 1, 2, 100, 0),
    ],
)
def test_the_queue_is_asked_for_between_the_bounds(least, most, gpus, queue, trials):
    assert GpuRange(least, most).trials(gpus, queue) == trials


def test_a_search_asks_for_its_queue_and_gives_back_what_it_no_longer_needs(asked, monkeypatch):
    monkeypatch.setattr("search.backends.resources.list_alive_nodes", list)
    study = Study(SPACE, MemoryLedger(), trials=3, seed=0)
    resources = ray_tune.Resources(2.0, 0.5, allowed=GpuRange(0.5, 4.0))
    bundle = {"CPU": 2.0, "GPU": 0.5}
    with ray_tune._asking_for_room(study, resources) as capacity:
        assert capacity() == 1  # no node yet: one trial waits for a place
        study.suggest()
        assert capacity() == 1 and asked == [3 * [bundle]]
        for number in range(2):
            study.fail(number, "so")
            study.suggest()
        capacity()
        study.fail(2, "so")
        capacity()  # nothing is left, and the least is kept
        assert asked == [3 * [bundle], 1 * [bundle]]
    assert asked[-1] == []


def test_a_limit_on_trials_at_a_time_is_one_on_what_is_asked_for(asked):
    study = Study(SPACE, MemoryLedger(), trials=30, seed=0)
    autoscaler.Autoscaler(study, [{"CPU": 1.0, "GPU": 1.0}], 2, GpuRange(0.0, 8.0)).update()
    assert [len(bundles) for bundles in asked] == [2]


def test_without_the_flags_nothing_is_asked_for(asked, monkeypatch):
    monkeypatch.setattr(
        "search.backends.resources.list_alive_nodes",
        lambda: [{"Resources": {"CPU": 1.0, "GPU": 1.0}}],
    )
    study = Study(SPACE, MemoryLedger(), trials=3, seed=0)
    with ray_tune._asking_for_room(study, ray_tune.Resources(1.0, 1.0)) as capacity:
        assert capacity() == 1
    assert not asked and find_range(Options(serial=True)) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(max_gpus=4), "add --address auto"),
        (Options(max_gpus=4, address="auto", gpus_per_trial=0), "needs no GPU"),
        (Options(max_gpus=4, min_gpus=5, address="auto"), "--max-gpus 4 is less than --min-gpus 5"),
    ],
)
def test_flags_that_do_not_fit_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        find_range(options)


def test_the_least_is_all_that_is_asked_for_without_a_limit():
    assert find_range(Options(min_gpus=2, address="auto")) == GpuRange(2, 2)
