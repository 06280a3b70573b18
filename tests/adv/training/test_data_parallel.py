"""One net on several ranks is the net of one process, whatever is random in its training."""

import pytest
import ranks_program
import torch
from ranks_program import CASES, PLAIN, images
from torch import nn

from adv import Recipe, build, train
from adv.runtime.random_streams import RngStream, Shard, set_shard
from adv.runtime.ranks import Ranks, join_ranks
from adv.training.data_parallel import check_splittable

FEW = ("noise", "augmentation", "averages", "awp-trades")
ROUNDING = 2e-6  # of weights of about 1, after sums in another order
COARSE = 0.02  # of the same in bfloat16, of 8 bits


@pytest.fixture(scope="module")
def alone():
    return ranks_program.start(1, None)[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return ranks_program.start(2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return ranks_program.start(4, tmp_path_factory.mktemp("four"), FEW)


def check(name, alone, found):
    first, limit = found[0][name], COARSE if name == "bfloat16" else ROUNDING
    for other in found[1:]:
        for key, weight in first["net"].items():
            assert torch.equal(weight, other[name]["net"][key]), f"ranks differ in {key}"
    for key, weight in alone[name]["net"].items():
        torch.testing.assert_close(first["net"][key], weight, rtol=limit, atol=limit)
    assert first["metrics"] == pytest.approx(alone[name]["metrics"], rel=limit, abs=limit)
    if name != "bfloat16":
        assert torch.equal(torch.as_tensor(first["ok"]), torch.as_tensor(alone[name]["ok"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_the_net_of_one(name, alone, pair):
    check(name, alone, pair)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_four_ranks_train_the_net_of_one(name, alone, four):
    check(name, alone, four)


@pytest.mark.slow
def test_ranks_resume_from_a_state_as_if_they_had_never_stopped(pair):
    whole, resumed = pair[0]["averages"]["net"], pair[0]["resumed"]["net"]
    assert all(torch.equal(weight, resumed[key]) for key, weight in whole.items())


def test_each_row_belongs_to_one_rank():
    for n in range(12):
        for count in (1, 2, 3, 5):
            parts = [Ranks(rank, count).rows(n) for rank in range(count)]
            assert [row for part in parts for row in part] == list(range(n))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_noise_of_a_part_is_that_of_its_rows():
    whole, part = torch.empty(5, 3), torch.empty(2, 3)
    RngStream(1).fill(whole, lambda rows, rng: rows.normal_(generator=rng))
    set_shard(Shard(5, range(2, 4)))
    try:
        RngStream(1).fill(part, lambda rows, rng: rows.normal_(generator=rng))
        with pytest.raises(ValueError, match="noise for 3 images, but 2 are passed on"):
            RngStream(1).fill(torch.empty(3, 3), lambda rows, rng: rows.normal_(generator=rng))
    finally:
        set_shard(None)
    assert torch.equal(part, whole[2:4])


class OwnNorm(nn.BatchNorm1d):
    def forward(self, x):
        return x - x.mean(0)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (OwnNorm(3), "normalises by the statistics of a batch in a way of its own"),
        (nn.InstanceNorm2d(3, track_running_stats=True), "keeps running statistics"),
        (nn.Dropout(0.1), "draws from the global generator"),
    ],
)
def test_a_layer_that_would_see_the_split_is_refused_in_one_line(layer, why):
    with pytest.raises(ValueError, match=why) as caught:
        check_splittable(nn.Sequential(nn.Flatten(), layer))
    assert "layer 1 (" in str(caught.value) and "\n" not in str(caught.value)
    check_splittable(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.0), nn.GroupNorm(1, 3)))


def test_own_nets_can_be_split():
    for recipe in (PLAIN, Recipe(), *CASES.values()):
        check_splittable(build(recipe, 4, 0, (3, 32, 32)))


def test_one_process_is_a_rank_too():
    with join_ranks(0, 1, device="cpu") as ranks:
        first = next(train(PLAIN, images(), classes=4, seed=1)).net
        second = next(train(PLAIN, images(), classes=4, seed=1, ranks=ranks)).net
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_without_torchrun_one_line_says_so(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="RANK is not set: start this with torchrun"), join_ranks():
        pass
    with pytest.raises(ValueError, match="a rank is from 0 to 1, got 2"):
        Ranks(2, 2)
