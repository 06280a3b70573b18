"""The driver's copy of its run to a store, made by a thread of its own.

A store that fails does not end the search: the run folder has everything, and the copy is tried
again until the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from threading import Event as Flag
from threading import Thread

from search.errors import StorageError, describe_error
from search.record.run_files import LostNetError
from search.record.run_folder import FIGURES, FRONT, LEDGER, OWNER, REPORT, TRIALS, trial_path
from search.record.trial import Run
from search.record.view import Event, View
from search.storage.lease import Lease, LeaseLostError
from search.storage.ledger_chunks import LedgerCopier
from search.storage.store import Store
from search.storage.stored_run import StoredRun
from search.storage.trial_files import TrialCopier, download, is_small
from search.trials.trial_state import STATE

EVERY = 2.0  # seconds between two copies of what is new
OUTPUTS_EVERY = 30.0  # seconds between two copies of tables and report
LAST = 60.0  # seconds for which the last copy is tried
ENDS = {"finished", "failed", "stopped"}
OUTPUTS = ("*", f"{FRONT}/*", f"{FIGURES}/*", "wandb/logged.jsonl")  # the last: what W&B was told


class Mirror:
    """Copies a run to a store while it is searched; a reader of its ledger.

    What the new events of the ledger name is in the store before these events are.

    Args:
      store: of the run.
      folder: of the run.
      lease: that this driver holds.
      begin: bytes of the ledger that are in the store already.
      shared: whether trials keep their files in the run folder; otherwise their workers copy them.
      say: takes a line for the user: what went wrong, or takes long.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        lease: Lease,
        begin: int,
        *,
        shared: bool,
        say: Callable[[str], None],
    ) -> None:
        self.store, self.folder, self.lease, self.say = store, folder, lease, say
        self.shared = shared
        self.problem = ""  # why the last copy failed, "" if it did not
        self.lost = ""  # who has taken the run from this driver
        self._ledger = LedgerCopier(store, lease.generation, begin)
        self._trials: dict[str, TrialCopier] = {}  # that have not ended
        self._stale: set[str] = set()  # folders of trials whose state in the store is to go
        self._begin = begin
        self._first = True  # nothing has been copied yet
        self._outputs: dict[str, int] = {}
        self._outputs_at = -OUTPUTS_EVERY  # at once
        self._end = Flag()
        self._thread = Thread(target=self._work, name="mirror", daemon=True)

    def __call__(self, event: Event, view: View) -> None:
        """Look whether this driver still has the run.

        Raises:
          StorageError: another driver has taken the run: this one ends.
        """
        if self.lost:
            raise StorageError(self.lost)

    def start(self) -> None:
        """Copy from now on."""
        if not self.shared:  # first what only the run folder has: workers resume from the store
            if self._begin == 0 and (self.folder / TRIALS).is_dir():
                self.say(f"Copying {self.folder} with all its nets to {self.store.location} first.")
            self._try()
        self._thread.start()

    def wrap(self, run: Run) -> Run:
        """Return a run whose workers keep the files of their trials in the store, if need be."""
        return run if self.shared else StoredRun(run, self.store.location, self.folder.absolute())

    def fetch(self, name: str) -> None:
        """Download a net that the run folder lacks.

        Args:
          name: of its file, relative to the run folder.

        Raises:
          LostNetError: the store lacks it, too.
          StorageError: the store fails.
        """
        path = self.folder / name
        if not path.exists() and not download(self.store, name, path):
            raise LostNetError(f"no weights at {name}, nor in {self.store.location}")

    def close(self) -> str:
        """Copy what is left and release the run; return what could not be copied, and why."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        deadline = time.monotonic() + LAST
        while not self.lost:
            self._try(last=True)
            if not self.problem or time.monotonic() > deadline:
                break
            time.sleep(EVERY)
        if self.lost:
            return self.lost
        if self.problem:
            return f"not all of {self.folder} is in {self.store.location}: {self.problem}"
        return ""

    def _work(self) -> None:
        while not self._end.wait(EVERY) and not self.lost:
            self._try()

    def _try(self, *, last: bool = False) -> None:
        """Copy what is new; say when that begins to fail, and when it works again."""
        try:
            self.copy(last=last)
        except LeaseLostError as lost:
            self.lost = str(lost)
        except StorageError as error:
            if not self.problem and not last:
                self.say(f"Storage: {error}. The search goes on, the copy is tried again.")
            self.problem = str(error)
        except Exception as error:  # the run folder may be gone: the ledger says so itself
            self.problem = describe_error(error)
        else:
            if self.problem and not last:
                self.say(f"Storage: {self.store.location} has everything again.")
            self.problem = ""

    def copy(self, *, last: bool = False) -> None:
        """Copy what is new once.

        Raises:
          LeaseLostError: another driver has taken the run.
          StorageError: the store fails.
        """
        if self.lease.lost:
            raise LeaseLostError(self.lease.lost)
        end = (self.folder / LEDGER).stat().st_size
        ended = self._copy_trials(end)
        if end > self._ledger.copied:
            self._ledger.copy(self.folder / LEDGER, end)
        for name in ended:
            self._trials.pop(name, None)
        self._stale |= ended
        for name in sorted(self._stale):  # not before: the ledger in the store resumed from it
            self.store.delete(f"{name}/{STATE}")
            self._stale.remove(name)
        if last or time.monotonic() - self._outputs_at > OUTPUTS_EVERY:
            self._outputs_at = time.monotonic()
            self._copy_outputs()
        if last:
            self.lease.release()

    def _copy_trials(self, end: int) -> set[str]:
        """Copy the files of the trials that the new events of the ledger name.

        Args:
          end: bytes of the ledger whose events count.

        Returns:
          The folders of those trials that have ended.
        """
        news = self._list_news(end)
        for name in sorted({*self._trials, *news}):
            # A run that had no store before, or whose driver was killed before it had copied.
            known = self.shared or name in self._trials
            if known or (self._first and not self.store.list_files(name)):
                copier = TrialCopier(self.store, name, self.folder / name)
                self._trials.setdefault(name, copier).upload()
            if news.get(name) and not self.shared:
                self._fetch_small(name)
        self._first = False
        return {name for name, has_ended in news.items() if has_ended}

    def _list_news(self, end: int) -> dict[str, bool]:
        """Return the folders of the trials with news, and whether these have ended."""
        with (self.folder / LEDGER).open("rb") as file:
            file.seek(self._ledger.copied)
            content = file.read(max(0, end - self._ledger.copied))
        found: dict[str, bool] = {}
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            event = json.loads(line)
            final = event["event"] == "final"
            inner = event["part"] if final else event
            if inner["event"] in {"epoch", *ENDS}:
                found[str(trial_path(inner["trial"], final=final))] = inner["event"] in ENDS
        return found

    def _fetch_small(self, name: str) -> None:
        """Download what the report shows of a trial."""
        for entry in self.store.list_files(name):
            if is_small(entry.name):
                download(self.store, entry.name, self.folder / entry.name)

    def _copy_outputs(self) -> None:
        """Copy tables, report, the front and what W&B has been told, where they have changed."""
        found = [path for pattern in OUTPUTS for path in self.folder.glob(pattern)]
        paths = [p for p in found if not p.name.startswith((".", "ledger")) and p.name != REPORT]
        for path in (*paths, self.folder / REPORT):  # last: it tells that the others are there
            if path.is_file() and self._outputs.get(str(path)) != path.stat().st_mtime_ns:
                stamp = path.stat().st_mtime_ns
                self.store.write(str(path.relative_to(self.folder)), path.read_bytes())
                self._outputs[str(path)] = stamp


def is_output(name: str) -> bool:
    """Return whether a file of a run in a store is a table, a picture, a net of the front, ..."""
    path = PurePosixPath(name)
    return name != OWNER and any(
        len(path.parts) == len(PurePosixPath(one).parts) and path.match(one) for one in OUTPUTS
    )
