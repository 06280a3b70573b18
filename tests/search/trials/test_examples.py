"""Examples of a net's predictions: what the file holds, its bounds, and that it costs no trial."""

import numpy as np
import pytest
import torch
from torch import nn

from adv import L2, PGD, RSE, BaseNet, Battery, Linf, Split, evaluate, report_battery
from search.trials.examples import ATTACKED, SHOWN, SIDE, make_examples, save_examples

CLASSES = ("dark", "light")


class Brightness(nn.Module):
    """Class 1 from a mean of .5 on: an attack of radius eps moves the mean by eps."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        lead = self.scale * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-lead, lead], 1)


def grey(levels, side=8):
    images = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side)
    return Split(images.clone(), (torch.tensor(levels) > 127).long())


def test_it_holds_images_answers_and_the_attack():
    split = grey([20, 120, 130, 240, *[10] * 96])
    found = make_examples(Brightness(), split, report_battery(steps=2))
    assert found["eps"] == 0.03 and found["norm"] == "Linf"  # nearest to 8/255
    assert found["images"].shape == found["attacked"].shape == (SHOWN, 3, 8, 8)
    assert len(found["labels"]) == len(found["predicted"]) == 100
    assert len(found["predicted_attacked"]) == ATTACKED
    assert found["predicted"][:4].tolist() == [0, 0, 1, 1]
    assert found["predicted_attacked"][:4].tolist() == [0, 1, 0, 1]  # 8 of 255 reach 127.5
    moved = np.abs(found["attacked"].astype(int) - found["images"])
    assert moved.max() <= 8 and moved[1].min() > 0


def test_the_answers_are_those_of_the_score():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    split = Split(images, torch.arange(40) % 10)
    net, battery = BaseNet()(10, (3, 16, 16)), report_battery(steps=1)
    found = make_examples(net, split, battery)
    right = found["labels"] == found["predicted"]
    assert right.tolist() == evaluate(net, split, battery).ok[0].tolist()


def test_a_random_net_keeps_its_state_and_answers_twice_the_same():
    net = RSE(0.2, 0.2)(BaseNet()(10, (3, 16, 16))).train()
    split = Split(torch.zeros(5, 3, 16, 16, dtype=torch.uint8), torch.arange(5))
    battery = Battery((("l2", PGD(L2(0.5), steps=1)),), votes=3)
    before = torch.get_rng_state()
    first, second = (make_examples(net, split, battery) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert net.training and torch.equal(before, torch.get_rng_state())
    assert first["norm"] == "L2" and first["images"].shape == (5, 3, 16, 16)


def test_large_images_lose_pixels_and_the_file_stays_small(tmp_path):
    images = torch.randint(0, 256, (80, 3, 224, 160), dtype=torch.uint8)
    split = Split(images, torch.arange(80) % 2)
    battery = Battery((("pgd", PGD(Linf(8 / 255), steps=1)),))
    save_examples(tmp_path, Brightness(), split, "test", battery, CLASSES)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 2 * SHOWN * 3 * SIDE**2 + 10_000
    with np.load(path, allow_pickle=False) as found:
        assert found["images"].shape == (SHOWN, 3, 56, 40)
        assert np.array_equal(found["images"], images[:SHOWN, :, ::4, ::4].numpy())
        assert found["split"] == "test" and found["classes"].tolist() == list(CLASSES)


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_a_net_that_cannot_be_attacked_leaves_none_and_goes_on(tmp_path, error):
    class Broken(nn.Module):
        def forward(self, x):
            raise error("not me")

    battery = Battery((("pgd", PGD(Linf(0.1), steps=1)),))
    save_examples(tmp_path, Broken(), grey([1, 200]), "validation", battery, CLASSES)
    assert list(tmp_path.iterdir()) == []
