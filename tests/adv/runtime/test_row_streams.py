"""A stream that gives each image numbers of its own."""

import pytest
import torch

from adv.runtime.row_streams import RowStream

KEYS = torch.tensor([11, -5, 2**62])


def draw(keys, draws, shapes, p=0.3):
    """Return what `fill_bernoulli` gives layers of these shapes, one after another."""
    stream = RowStream()
    stream.keys = keys
    stream.begin(draws, len(keys))
    filled = [torch.empty(len(draws) * len(keys), *shape) for shape in shapes]
    for rows in filled:
        stream.fill_bernoulli(rows, p)
    return filled


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.3, 0.5, 0.9, 1 - 1e-9, 1.0])
def test_the_chance_of_a_one_is_p(p):
    (rows,) = draw(torch.arange(400), range(5), [(101,)], p)
    assert set(rows.unique().tolist()) <= {0.0, 1.0}
    n = rows.numel()
    assert float(rows.mean()) == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5 + 2**-16)
    if 0.1 < p < 0.9:  # neither do positions hang together, nor images
        assert rows.mean(0).std() == pytest.approx((p * (1 - p) / 2000) ** 0.5, rel=0.3)
        assert rows.mean(1).std() == pytest.approx((p * (1 - p) / 101) ** 0.5, rel=0.1)


def test_the_numbers_of_an_image_depend_on_its_key_the_draw_and_the_layer_alone():
    first, second = draw(KEYS, range(4), [(7, 3, 3), (5,)])
    one, other = draw(KEYS[1:2], range(2, 4), [(7, 3, 3), (5,)])
    assert torch.equal(one, first.unflatten(0, (4, 3))[2:, 1])
    assert torch.equal(other, second.unflatten(0, (4, 3))[2:, 1])
    assert len(first.flatten(1).unique(dim=0)) == 12
    again, equal = draw(KEYS, range(4), [(63,), (63,)])
    assert not torch.equal(again, equal)


def test_numbers_keep_the_order_of_the_memory_format():
    stream = RowStream()
    stream.keys = KEYS
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        stream.begin(range(1), 3)
        rows = torch.empty(3, 4, 5, 5).contiguous(memory_format=form)
        stream.fill_bernoulli(rows, 0.5)
        found.append(rows)
    assert torch.equal(*found)


def test_rows_without_keys_share_the_generator_of_the_stream():
    stream = RowStream(3)
    stream.keys = KEYS
    stream.begin(range(1), 2)  # two images, but three keys
    rows = torch.empty(2, 50)
    stream.fill_bernoulli(rows, 0.5)
    assert torch.equal(rows, torch.empty(2, 50).bernoulli_(0.5, generator=torch.manual_seed(3)))
