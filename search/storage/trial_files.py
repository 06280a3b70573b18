"""The files of a trial, copied between a folder and a store.

The training state comes last: it names the checksum of the best net, so that net must be there
before it.
"""

from __future__ import annotations

from pathlib import Path

from adv.files import write_atomic
from search.record.work_mark import MARK
from search.storage.store import Store
from search.trials.trial_state import BEST, STATE

_TRIES = 5  # to read files that are not being replaced meanwhile
Stamp = tuple[int, int]  # time of the last change in ns, and size


class TrialCopier:
    """Copies what has changed of a trial's folder to a store.

    Args:
      store: of the run.
      name: of the folder in the run, such as `trials/0007`.
      folder: on this machine.
    """

    def __init__(self, store: Store, name: str, folder: Path) -> None:
        self.store, self.name, self.folder = store, name, folder
        self._copied: dict[str, Stamp] = {}

    def upload(self) -> None:
        """Copy each file that has changed since the last call.

        Raises:
          StorageError: the store fails; the next call tries again.
        """
        for path, content, stamp in self._read_changed():
            self.store.write(f"{self.name}/{path.name}", content)
            self._copied[path.name] = stamp

    def download(self) -> None:
        """Write the files of the trial that the store has into the folder.

        Raises:
          StorageError: the store fails.
          OSError: a file cannot be written.
        """
        for entry in self.store.list_files(self.name):
            path = self.folder / Path(entry.name).name
            download(self.store, entry.name, path)
            if path.exists():
                self._copied[path.name] = _stamp(path)

    def _read_changed(self) -> list[tuple[Path, bytes, Stamp]]:
        """Return the files that have changed, with contents that belong together."""
        for _ in range(_TRIES):
            stamps = self._list()
            changed = [p for p, stamp in stamps.items() if self._copied.get(p.name) != stamp]
            try:
                found = [(path, path.read_bytes(), stamps[path]) for path in changed]
            except FileNotFoundError:
                continue
            if self._list() == stamps:
                return found
        return []  # it changes all the time: the next call tries again

    def _list(self) -> dict[Path, Stamp]:
        """Return the files of the folder, the state last."""
        found: dict[Path, Stamp] = {}
        paths = list(self.folder.iterdir()) if self.folder.is_dir() else []
        for path in sorted(paths, key=lambda path: (path.name == STATE, path.name)):
            if not path.name.startswith(".") and path.name != MARK and path.is_file():
                try:
                    found[path] = _stamp(path)
                except FileNotFoundError:  # replaced or deleted meanwhile
                    continue
        return found


def download(store: Store, name: str, path: Path) -> bool:
    """Write a file of a store to a path, whole or not at all; return whether there is one."""
    content = store.read(name)
    if content is not None:
        write_atomic(path, content)
    return content is not None


def is_small(name: str) -> bool:
    """Return whether a file of a trial is none of its nets, which are large."""
    return Path(name).name not in (STATE, BEST)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
