"""Take a run in a store for this session, and fetch what this machine lacks of it."""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from adv.files import write_atomic
from adv.shell import quote
from search.errors import StorageError
from search.record.ledger import check_free, read
from search.record.run_folder import LEDGER, OWNER, REPORT, require_run, trial_path
from search.session.options import Options, choose_run_folder
from search.session.resume_or_start import is_half_started
from search.storage.lease import Lease, LeaseLostError
from search.storage.ledger_chunks import list_chunks, read_chunks
from search.storage.location import Location, parse_location, with_endpoint
from search.storage.mirror import Mirror, is_output
from search.storage.store import Store
from search.storage.trial_files import TrialCopier, download
from search.trials.trial_state import BEST

OFF = "off"


@dataclass(frozen=True)
class HeldRun:
    """A run in a store to which only this driver writes.

    Args:
      location: of the run.
      store: at that location.
      lease: that this driver holds.
      folder: of the run on this machine.
      begin: bytes of the ledger that are in the store.
      shared: whether trials keep their files in the run folder, because they run on this machine.
    """

    location: Location
    store: Store
    lease: Lease
    folder: Path
    begin: int
    shared: bool

    def mirror(self, say: Callable[[str], None]) -> Mirror:
        """Return what copies the run to the store."""
        return Mirror(self.store, self.folder, self.lease, self.begin, shared=self.shared, say=say)


def joins_cluster(options: Options) -> bool:
    """Return whether trials run on a cluster that others have started."""
    return not options.serial and bool(options.address or os.environ.get("RAY_ADDRESS"))


def find_storage(options: Options) -> Location | None:
    """Return where runs are stored: as given, else as the last session of the run recorded it.

    Raises:
      ValueError: it is no location, or the ledger of the run is damaged.
    """
    text = options.storage
    if text is None and options.resume is not None:
        sessions = read(require_run(options.resume) / LEDGER).sessions
        text = sessions[-1].storage if sessions else ""
    return parse_location(text) if text and text != OFF else None


@contextmanager
def hold_run(options: Options, say: Callable[[str], None]) -> Iterator[HeldRun | None]:
    """Take the run of a session in its store until the block ends; give None without a store.

    Args:
      options: of the user; `name` is set.
      say: takes lines on what is waited for, and on what is fetched.

    Raises:
      ValueError: another driver runs it, it exists though a new one is to begin, there is none
        though one is to be resumed, or the one on this machine is another one.
      StorageError: the store fails.
    """
    parent = find_storage(options)
    if parent is None:
        yield None
        return
    folder = choose_run_folder(options)
    location = with_endpoint(parent).child(folder.name)
    if not location.scheme and Path(location.path) == folder.absolute():
        raise ValueError(f"--storage {parent} is the folder of the runs itself: take another one")
    if (folder / LEDGER).is_file():
        check_free(folder / LEDGER)
    held, problem = _take(options, location, folder, say)
    if held is None:  # raised here, where it is no failure of a disk any more: nothing has begun
        remedy = "" if options.storage else f"; --storage {OFF} goes on without it"
        raise ValueError(problem + remedy)
    try:
        yield held
    finally:
        _release(held.lease)


def _release(lease: Lease) -> None:
    """Give a run back; of one that has not begun nothing is left in the store."""
    with suppress(StorageError, LeaseLostError):
        lease.release()
        if not list_chunks(lease.store):
            lease.store.delete(OWNER)


def _take(
    options: Options, location: Location, folder: Path, say: Callable[[str], None]
) -> tuple[HeldRun | None, str]:
    """Return a run that is held and fetched; None, and why, if its store fails."""
    lease = None
    try:
        store = Store(location)
        if options.fetch and not list_chunks(store):  # nothing is written for a wrong name
            raise ValueError(f"no search in {location}{_name_others(store)}")
        lease = Lease(store, say)
        lease.acquire()
        lease.keep()
        shared = not joins_cluster(options)
        begin = _fetch(options, store, folder, shared=shared, say=say)
        return HeldRun(location, store, lease, folder, begin, shared), ""
    except BaseException as error:  # a signal too
        if lease is not None and lease.holds:
            _release(lease)
        if isinstance(error, StorageError):
            return None, str(error)
        raise


def _fetch(
    options: Options, store: Store, folder: Path, *, shared: bool, say: Callable[[str], None]
) -> int:
    """Fetch what this machine lacks of a run; return the bytes of its ledger in the store."""
    stored, ledger = read_chunks(store), folder / LEDGER
    where = store.location
    if not stored:
        return 0
    if options.resume is None and not options.resume_or_start:
        raise ValueError(
            f"{where} exists: continue it with --resume {quote(str(where))}, or choose another "
            "--name"
        )
    if folder.exists() and not ledger.is_file() and not is_half_started(folder):
        raise ValueError(f"{folder} exists and holds no search: choose another --out")
    local = ledger.read_bytes() if ledger.is_file() else b""
    local = local[: local.rfind(b"\n") + 1]
    if not stored.startswith(local[: len(stored)]):
        if options.resume is not None and not options.fetch:
            raise ValueError(
                f"{folder} and {where} have gone different ways: another driver went on from the "
                f"store. Go on there by --resume {quote(str(where))}, or here by --storage {OFF}"
            )
        say(f"{folder} lacks what another driver has done, and is now {_set_aside(folder)}.")
        local = b""
    if len(local) < len(stored):
        write_atomic(ledger, stored)
        _fetch_files(store, folder, shared=shared)
        say(f"Fetched {where} to {folder}.")
    if options.rescore:
        _fetch_nets(store, folder)
    return len(stored)


def _set_aside(folder: Path) -> Path:
    """Rename the folder of a run that went on elsewhere from an earlier state; return its name."""
    aside = next(
        name
        for name in (folder.with_name(f"{folder.name}.{n}") for n in itertools.count(1))
        if not name.exists()
    )
    return folder.rename(aside)


def _fetch_files(store: Store, folder: Path, *, shared: bool) -> None:
    """Fetch what belongs to a ledger: outputs, the front, and states of trials to resume."""
    entries = {entry.name: entry for entry in store.list_files()}
    for name in entries:
        if is_output(name):
            download(store, name, folder / name)
    last = max(entry.time for _, _, entry in list_chunks(store))
    if REPORT in entries and entries[REPORT].time < last:  # it lacks the end
        os.utime(folder / REPORT, (0, 0))
    if not shared:
        return
    view = read(folder / LEDGER)
    for part in filter(None, (view, view.finals)):
        for trial in part.in_state("running"):
            path = trial_path(trial.number, final=part is not view)
            TrialCopier(store, str(path), folder / path).download()


def _fetch_nets(store: Store, folder: Path) -> None:
    """Fetch the nets of all trials that have finished, where this machine lacks them."""
    view = read(folder / LEDGER)
    for part in filter(None, (view, view.finals)):
        for trial in part.in_state("finished"):
            path = trial_path(trial.number, final=part is not view) / BEST
            if not (folder / path).exists():
                download(store, str(path), folder / path)


def _name_others(store: Store) -> str:
    """Return a hint at the runs that lie beside one that is not there."""
    parent, name = store.location.split()
    names = {entry.name.partition("/")[0] for entry in Store(parent).list_files()} - {name}
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {parent.child(near[0])}?" if near else ""


def with_names(options: Options) -> Options:
    """Return the options with the name that a new run gets, the same for folder and store."""
    if options.resume is not None or options.name is not None:
        return options
    return replace(options, name=choose_run_folder(options).name)
