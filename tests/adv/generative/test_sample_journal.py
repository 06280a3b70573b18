"""The journal of sampled images: what it holds is read up to the first damaged record."""

from __future__ import annotations

import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adv.generative.sample_journal import append_batch, open_journal, read_batches

SHAPE = (3, 32, 32)


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(0, 256, (2, *SHAPE), generator=generator, dtype=torch.uint8)
    return images, torch.tensor([number, 1])


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal"
    open_journal(path, "job", SHAPE)
    for number in range(3):
        append_batch(path, number, batch(number))
    return path


def test_a_count_of_billions_is_not_believed(journal):
    """A record that promises 13 terabytes is damaged; memory for them is not asked for."""
    whole = journal.read_bytes()
    journal.write_bytes(whole + struct.pack("<III", 3, 2**32 - 1, 0) + b"a few bytes")
    assert open_journal(journal, "job", SHAPE) == 3
    assert journal.read_bytes() == whole


@settings(max_examples=50, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.data())
def test_batches_before_a_damaged_byte_are_kept(tmp_path, journal, data):
    content = bytearray(journal.read_bytes())
    start = len(b"job\n")
    record = (len(content) - start) // 3
    position = data.draw(st.integers(start, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    whole = (position - start) // record
    assert open_journal(path, "job", SHAPE) == whole == len(list(read_batches(path, SHAPE)))
    append_batch(path, whole, batch(whole))
    for number, (images, labels) in enumerate(read_batches(path, SHAPE)):
        assert torch.equal(images, batch(number)[0]) and torch.equal(labels, batch(number)[1])
