"""What stands where a run's ledger should be."""

import os
import re
from pathlib import Path

import pytest

from search.record.run_folder import LEDGER, require_run


def make_folder(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [os.mkfifo, make_folder, make_loop])
def test_what_is_no_file_is_no_ledger(tmp_path, make):
    """A pipe would be waited for without end."""
    make(tmp_path / LEDGER)
    with pytest.raises(ValueError, match=rf"no search in .* \({LEDGER} is not a file\)$"):
        require_run(tmp_path)


def test_a_folder_that_cannot_be_looked_at(tmp_path):
    said = f"no search in {'a' * 100}: File name too long"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        require_run(Path("a" * 5000))


def test_the_nearest_name_is_that_of_a_run(tmp_path):
    for name in ("run-1", "run-2"):
        (tmp_path / name).mkdir()
    (tmp_path / "run-1" / LEDGER).touch()
    make_folder(tmp_path / "run-2" / LEDGER)
    with pytest.raises(ValueError, match=r"did you mean .*run-1\?"):
        require_run(tmp_path / "run-3")
