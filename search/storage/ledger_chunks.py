"""The ledger in a store: files of up to a megabyte, of which only the last one is written again.

Nothing can be appended to an object. The name of a file tells where in the ledger it begins, and
the generation of its driver, which grows with each change of drivers. Where a newer generation
begins, older ones end: what a driver writes late that has lost the run is not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from search.errors import StorageError
from search.storage.store import Entry, Store

FOLDER = "ledger"
CHUNK = 1_000_000  # bytes after which a file is full
_NAME = re.compile(rf"{FOLDER}/(\d{{15}})-(\d{{6}})\.jsonl")


def list_chunks(store: Store) -> list[tuple[int, int, Entry]]:
    """Return where each file begins, its generation, and the file, in order.

    Raises:
      StorageError: the store fails.
    """
    found = [(_NAME.fullmatch(entry.name), entry) for entry in store.list_files(FOLDER)]
    return sorted((int(name[1]), int(name[2]), entry) for name, entry in found if name)


def read_chunks(store: Store) -> bytes:
    """Return the ledger in a store; empty if there is none.

    Raises:
      StorageError: the store fails, or a part of the ledger is missing.
    """
    chunks, whole = list_chunks(store), b""
    for begin, generation, entry in chunks:
        ends = [start for start, newer, _ in chunks if newer > generation]
        if ends and begin >= min(ends):
            continue
        content = store.read(entry.name) or b""
        if ends:
            content = content[: min(ends) - begin]
        if begin != len(whole):
            raise StorageError(
                f"{store.location}: bytes {len(whole)} to {begin} of the ledger are missing"
            )
        whole += content
    return whole


class LedgerCopier:
    """Copies a ledger to a store, as far as it is new.

    Args:
      store: of the run.
      generation: of this driver.
      begin: bytes of the ledger that are in the store already.
    """

    def __init__(self, store: Store, generation: int, begin: int) -> None:
        self.store, self.generation = store, generation
        self.begin = begin  # of the file that is written again
        self.copied = begin

    def copy(self, path: Path, end: int | None = None) -> bool:
        """Copy the whole lines of a ledger that are new; return whether there were any.

        Args:
          path: of the ledger.
          end: bytes of it to copy; None: all.

        Raises:
          StorageError: the store fails; the next call tries again.
        """
        with path.open("rb") as file:
            file.seek(self.begin)
            content = file.read() if end is None else file.read(max(0, end - self.begin))
        content = content[: content.rfind(b"\n") + 1]
        if self.begin + len(content) <= self.copied:
            return False
        self.store.write(f"{FOLDER}/{self.begin:015d}-{self.generation:06d}.jsonl", content)
        self.copied = self.begin + len(content)
        if len(content) >= CHUNK:
            self.begin = self.copied
        return True
