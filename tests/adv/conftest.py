"""Fixtures of the tests of adv: digits, the command line in this process, a disk that fills up."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from contextlib import contextmanager

import pytest
import torch

from adv import Data, load


@pytest.fixture(autouse=True)
def _seeded_nets():
    """Give every test the same random weights, whichever tests its process ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> Data:
    """Return the digits; do not change their tensors."""
    return load("digits")


@pytest.fixture
def run_adv(monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs `python -m adv ARGUMENTS` here: (exit code, stdout, stderr)."""
    from adv.__main__ import run

    def run_arguments(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["adv", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run()
        return (left.value.code or 0, *capfd.readouterr())

    return run_arguments


@pytest.fixture
def file_size_limit():
    """Return a context manager in which no file may grow beyond a number of bytes.

    The kernel breaks off the write, as on a full disk.
    """

    @contextmanager
    def limit(size: int):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
