"""The driver's copy of a run to its store, and what another machine makes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from search.errors import StorageError, find_storage_error
from search.record.ledger import read
from search.record.run_files import LostNetError
from search.record.run_folder import LEDGER, OWNER, REPORT
from search.record.study_header import StudyHeader
from search.session.create_run import create_run
from search.session.hold_run import HeldRun, hold_run
from search.session.options import Options, merge_stored_resume
from search.session.resume_or_start import resume_or_start
from search.storage import lease as lease_module
from search.storage import mirror as mirror_module
from search.storage.ledger_chunks import LedgerCopier
from search.storage.store import Store

HEADER = StudyHeader(format=1, id="0", name="x", space="smoke", scale={"images": 64})


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(lease_module, "SETTLE", 0.0)
    monkeypatch.setattr(lease_module, "LEASE", 0.0)
    monkeypatch.setattr(mirror_module, "LAST", 0.0)


@pytest.fixture
def options(tmp_path, store):
    return Options(
        space="smoke",
        name="x",
        storage=str(store.location),
        out=tmp_path / "one",
        serial=True,
        resume_or_start=True,
    )


@pytest.fixture
def run_store(store):
    """Return the store of the run."""
    return Store(store.location.child("x"))


@contextmanager
def hold(options: Options) -> Iterator[HeldRun]:
    """Take the run as a session does."""
    with hold_run(options, print) as held:
        assert held is not None
        yield held


def begin(held, trials=("running",)):
    """Start a run as a session does; trials have two epochs, and end as they are told."""
    ledger = create_run(held.folder, HEADER, over=True)
    mirror = held.mirror(print)
    ledger.readers.append(mirror)
    ledger.append("session", trials=2, finalists="off")
    for number, state in enumerate(trials):
        train(held.folder, ledger, number, state)
    return ledger, mirror


def train(folder, ledger, number, state):
    trial = folder / "trials" / f"{number:04d}"
    trial.mkdir(parents=True)
    ledger.append("proposed", trial=number, params={"sigma": 0.1}, seed=0, origin="known")
    ledger.append("started", trial=number)
    for epoch in (1, 2):
        (trial / "best.safetensors").write_bytes(b"best %d" % epoch)
        (trial / "state.pt").write_bytes(b"state %d" % epoch)
        ledger.append("epoch", trial=number, epoch=epoch, epochs=3, seconds=1.0, metrics={})
    if state != "running":
        (trial / "examples.npz").write_bytes(b"examples")
        ledger.append(state, trial=number, reason="so")
        (trial / "state.pt").unlink()


def test_another_machine_goes_on_from_the_store_alone(options, run_store, tmp_path):
    with hold(options) as held:
        ledger, mirror = begin(held, ("failed", "running"))
        mirror.copy()
        ledger.close()
    names = [entry.name for entry in run_store.list_files("trials")]
    assert names == [
        *("trials/0000/best.safetensors", "trials/0000/examples.npz"),
        *("trials/0001/best.safetensors", "trials/0001/state.pt"),
    ]
    there = replace_out(options, tmp_path / "two")
    with hold(there) as held:
        two = tmp_path / "two" / "x"
        assert read(two / LEDGER) == read(tmp_path / "one" / "x" / LEDGER)
        assert (two / "trials" / "0001" / "state.pt").read_bytes() == b"state 2"
        assert (two / "study.json").is_file() and not (two / "trials" / "0000").exists()
        assert held.begin == (two / LEDGER).stat().st_size
        assert resume_or_start(there).options.resume == two


def test_a_net_is_in_the_store_before_the_ledger_there_says_that_its_trial_has_ended(
    options, run_store
):
    """Whenever the thread copies: here while another reader is told of each event."""
    with hold(options) as held:
        ledger, mirror = begin(held, ())

        def copy_and_look(*_):
            mirror.copy()
            names = {entry.name for entry in run_store.list_files("trials")}
            stored = b"".join(run_store.read(e.name) or b"" for e in run_store.list_files("ledger"))
            if b'"event": "failed"' in stored:
                assert "trials/0000/best.safetensors" in names

        ledger.readers.insert(0, copy_and_look)
        (held.folder / "trials" / "0000").mkdir(parents=True)
        (held.folder / "trials" / "0000" / "best.safetensors").write_bytes(b"best")
        ledger.append("proposed", trial=0, params={"sigma": 0.1}, seed=0, origin="known")
        ledger.append("failed", trial=0, reason="so")
        ledger.close()
    assert run_store.read("trials/0000/best.safetensors") == b"best"


def test_a_state_is_deleted_after_the_ledger_of_the_store_says_that_its_trial_has_ended(
    options, run_store, monkeypatch
):
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.copy()
        ledger.append("failed", trial=0, reason="so")
        with monkeypatch.context() as failing:
            failing.setattr(LedgerCopier, "copy", fail)
            mirror._try()
        assert run_store.read("trials/0000/state.pt") == b"state 2"
        mirror._try()
        assert run_store.read("trials/0000/state.pt") is None
        ledger.close()


def test_what_a_killed_driver_could_not_copy_of_an_ended_trial_is_copied_by_the_next_one(
    options, run_store
):
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.copy()
        train(held.folder, ledger, 1, "failed")
        ledger.close()
    with hold(options) as held:
        held.mirror(print).copy()
    assert run_store.read("trials/0001/best.safetensors") == b"best 2"


def test_a_run_that_begins_to_use_a_store_on_a_cluster_brings_its_trials(options, run_store):
    """Workers see the store alone, and a net that they have written there is the newer one."""
    with hold(options) as held:
        ledger = create_run(held.folder, HEADER, over=True)
        ledger.append("session", trials=3)
        for number, state in enumerate(("failed", "running", "running")):
            train(held.folder, ledger, number, state)
        run_store.write("trials/0002/best.safetensors", b"newer")
        said: list[str] = []
        mirror = replace(held, shared=False).mirror(said.append)
        mirror.start()
        [line] = said  # it may take long
        assert line.startswith(f"Copying {held.folder} with all its nets to ")
        assert run_store.read("trials/0000/best.safetensors") == b"best 2"
        assert run_store.read("trials/0001/state.pt") == b"state 2"
        assert run_store.read("trials/0002/best.safetensors") == b"newer"
        assert run_store.read("trials/0002/state.pt") is None
        assert mirror.close() == ""
        ledger.close()


def test_a_net_that_the_store_lacks_is_an_error_where_it_is_needed(options, run_store):
    with hold(options) as held:
        mirror = held.mirror(print)
        run_store.write("trials/0001/best.safetensors", b"a net")
        mirror.fetch("trials/0001/best.safetensors")
        assert (held.folder / "trials/0001/best.safetensors").read_bytes() == b"a net"
        with pytest.raises(LostNetError, match=r"no weights at trials/0002/b.*, nor in .*/x$"):
            mirror.fetch("trials/0002/best.safetensors")


def replace_out(options, out):
    return Options(**{**vars(options), "out": out})


def test_a_run_that_has_ended_is_known_as_such_elsewhere(options, run_store, tmp_path):
    with hold(options) as held:
        ledger, mirror = begin(held, ("failed",))
        ledger.append("end", reason="done", code=0)
        (held.folder / REPORT).write_text("report")
        assert mirror.close() == ""
        ledger.close()
    there = replace_out(options, tmp_path / "two")
    with hold(there):
        assert "is finished" in resume_or_start(there).finished
    run_store.delete(REPORT)  # as if the driver had been killed before it was copied
    there = replace_out(options, tmp_path / "three")
    with hold(there):
        assert not resume_or_start(there).finished


def test_a_killed_driver_resumes_what_it_could_not_copy(options, run_store, tmp_path):
    """On its own machine, where its ledger is longer than the copy."""
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.copy()
        train(held.folder, ledger, 1, "running")
        ledger.close()
    copied = len(run_store.read(run_store.list_files("ledger")[0].name))
    with hold(options) as held:
        assert held.begin == copied < (held.folder / LEDGER).stat().st_size
        held.mirror(print).copy()
    there = replace_out(options, tmp_path / "two")
    with hold(there):
        assert len(read(tmp_path / "two" / "x" / LEDGER).trials) == 2


def test_a_machine_whose_last_seconds_were_lost_goes_on_with_what_another_one_has_done(
    options, tmp_path
):
    """Its driver was killed before it had copied its last event, and another one went on."""
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.copy()
        train(held.folder, ledger, 1, "running")
        ledger.close()
    there = replace_out(options, tmp_path / "two")
    with hold(there) as held:
        with (held.folder / LEDGER).open("ab") as file:
            file.write(b'{"event": "of another driver", "time": 1}\n')
        held.mirror(print).copy()
        whole = (held.folder / LEDGER).read_bytes()
    one = tmp_path / "one" / "x"
    named = Options(**{**vars(options), "resume": one, "resume_or_start": False})
    with pytest.raises(ValueError, match=r"gone different ways.*--storage off"), hold(named):
        pass
    old = (one / LEDGER).read_bytes()
    with hold(options):
        assert (one / LEDGER).read_bytes() == whole
        assert (one.with_name("x.1") / LEDGER).read_bytes() == old


def test_a_store_that_fails_ends_no_search_and_has_everything_afterwards(
    options, run_store, monkeypatch
):
    said: list[str] = []
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.say = said.append
        with monkeypatch.context() as failing:
            failing.setattr(Store, "write", fail)
            mirror._try()
            mirror._try()
            train(held.folder, ledger, 1, "failed")
        assert len(said) == 1 and "cannot write: no route" in said[0] and "goes on" in said[0]
        mirror._try()
        assert "has everything again" in said[1]
        with monkeypatch.context() as failing:
            failing.setattr(Store, "write", fail)
            assert "not all of" in mirror.close()
        assert mirror.close() == ""
        ledger.close()
    assert "trials/0001/examples.npz" in [entry.name for entry in run_store.list_files()]


def fail(*_):
    raise StorageError("cannot write: no route")


def test_a_driver_that_has_lost_the_run_writes_nothing_more_and_ends(options, run_store):
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.copy()
        run_store.write(OWNER, b'{"driver": "another", "host": "node7"}')
        before = run_store.list_files("ledger")
        held.lease._end.set()
        held.lease.lost = "taken over by node7"
        mirror._try()
        with pytest.raises(StorageError, match="node7"):
            ledger.append("started", trial=0)
        assert "node7" in mirror.close()
        assert run_store.list_files("ledger") == before
        ledger.close()


def test_a_new_run_does_not_take_the_place_of_one_in_the_store(options, tmp_path):
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.copy()
        ledger.close()
    new = Options(**{**vars(replace_out(options, tmp_path / "two")), "resume_or_start": False})
    with (
        pytest.raises(ValueError, match=r"x exists: continue it with --resume"),
        hold_run(new, print),
    ):
        pass
    assert not (tmp_path / "two").exists()


def test_a_location_to_resume_is_taken_apart(options, tmp_path, store):
    named = Options(resume=Path(f"{options.storage}/y"), out=tmp_path / "two")
    found = merge_stored_resume(named)
    if not options.storage.startswith("s3"):  # there is no such run, so it is a folder of today
        assert found == named
        found = Options(storage=options.storage, resume=tmp_path / "two/y", name="y", fetch=True)
    assert found.resume == tmp_path / "two" / "y" and found.fetch and found.out is None
    assert (found.storage, found.name) == (options.storage, "y")
    with pytest.raises(ValueError, match=r"no search in .*/y"), hold(found):
        pass
    assert not store.list_files()


def test_a_stored_run_in_a_folder_is_found_by_its_owner(options, tmp_path, store):
    with hold(options) as held:
        ledger, mirror = begin(held)
        mirror.copy()
        ledger.close()
    if not store.location.scheme:
        found = merge_stored_resume(Options(resume=Path(store.location.path) / "x"))
        assert found.fetch and found.storage == options.storage


def test_nets_that_are_to_be_scored_again_are_fetched(options, tmp_path, monkeypatch):
    with hold(options) as held:
        ledger, mirror = begin(held, ("failed", "running"))
        mirror.copy()
        ledger.close()
    monkeypatch.setattr(
        "search.record.view.View.in_state", lambda view, state: view.trials.values()
    )
    two = tmp_path / "two"
    again = Options(**{**vars(replace_out(options, two)), "rescore": two / "x"})
    with hold(again):
        assert (two / "x" / "trials" / "0000" / "best.safetensors").read_bytes() == b"best 2"


def test_a_store_that_cannot_be_used_is_a_mistake_of_one_line(options, tmp_path):
    (tmp_path / "file").touch()
    wrong = Options(**{**vars(options), "storage": str(tmp_path / "file")})
    with (
        pytest.raises(ValueError, match=r"cannot (read|write) .*file/x/owner.json: ") as info,
        hold(wrong),
    ):
        pass
    assert find_storage_error(info.value) is None and "\n" not in str(info.value)


def test_a_store_in_the_folder_of_the_runs_is_refused(options, tmp_path):
    wrong = Options(**{**vars(options), "storage": str(tmp_path / "one")})
    with pytest.raises(ValueError, match=r"is the folder of the runs itself"), hold(wrong):
        pass
    assert not (tmp_path / "one").exists()


def test_a_store_that_is_recorded_and_gone_names_the_way_without(options, tmp_path, monkeypatch):
    with hold(options) as held:
        ledger, _ = begin(held)
        ledger.append("session", trials=2, storage=options.storage)
        ledger.close()
    named = Options(resume=held.folder)
    with monkeypatch.context() as failing:
        failing.setattr(Store, "read", fail)
        with (
            pytest.raises(ValueError, match=r"no route; --storage off goes on without"),
            hold(named),
        ):
            pass
    with hold_run(Options(resume=held.folder, storage="off"), print) as nothing:
        assert nothing is None


def test_a_name_in_a_store_that_leads_out_of_it_is_left_out(run_store, store):
    if store.location.scheme:  # a folder cannot hold such a name
        run_store.write("trials/0001/state.pt", b"1")
        run_store.write("trials/0001/../../../../evil.pt", b"2")
    assert all(".." not in entry.name for entry in run_store.list_files())


def test_of_a_run_that_does_not_begin_nothing_is_left(options, store):
    with hold(options):
        assert [entry.name for entry in store.list_files()] == ["x/owner.json"]
    assert not store.list_files()
