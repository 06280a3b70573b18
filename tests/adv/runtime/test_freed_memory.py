"""Freed memory is kept, so the next tensors need no new pages."""

from __future__ import annotations

import ctypes
import sys

import pytest

from adv.runtime.freed_memory import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="it is a setting of glibc")
def test_memory_that_was_freed_needs_no_new_pages(monkeypatch):
    """Blocks of 4 MiB, written and freed eight at a time: 8,192 pages in each round by default."""
    import resource

    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    if not keep_freed_memory.__wrapped__():
        pytest.skip("the C library is not glibc")
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    faults = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [libc.malloc(4 << 20) for _ in range(8)]
        for block in blocks:
            ctypes.memset(block, 1, 4 << 20)
        for block in blocks:
            libc.free(block)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert max(faults[2:]) < 500, faults


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_a_choice_of_the_user_stands(monkeypatch, name):
    monkeypatch.setenv(name, "1000000")
    assert not keep_freed_memory.__wrapped__()
