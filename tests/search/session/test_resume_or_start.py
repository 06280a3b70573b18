"""Starts that are killed at any moment, and what `--resume-or-start` makes of what they leave."""

import os
import signal

import pytest

from search.record.ledger import Ledger, LedgerInUseError, read
from search.record.run_folder import LEDGER, REPORT, STUDY
from search.record.study_header import StudyHeader
from search.session import create_run as create_module
from search.session.create_run import create_run
from search.session.options import Options
from search.session.resume_or_start import is_half_started, resume_or_start

HEADER = StudyHeader(format=1, id="0", name="x", space="smoke", scale={"images": 64})


@pytest.fixture
def options(tmp_path):
    return Options(space="smoke", name="x", out=tmp_path, resume_or_start=True)


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def write_half(ledger, line):
    os.write(ledger._file.fileno(), line[: len(line) // 2])
    die()


MOMENTS = {
    "before the ledger": (create_module, "Ledger", die),
    "before the header for people": (create_module, "write_atomic", die),
    "while the header for people is written": (os, "fsync", die),
    "before the first event": (Ledger, "append", die),
    "amid the first event": (Ledger, "_write", write_half),
}


def start_and_die(folder, moment, patch):
    """Create a run in a process that kills itself at a moment."""
    child = os.fork()
    if not child:
        with patch.context() as patched:
            patched.setattr(*MOMENTS[moment])
            create_run(folder, HEADER, over=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_start_that_was_killed_is_started_over(moment, options, tmp_path, monkeypatch):
    folder = tmp_path / "x"
    for _ in range(2):  # a second one that dies at the same moment is no worse
        start_and_die(folder, moment, monkeypatch)
        assert is_half_started(folder)
    start = resume_or_start(options)
    assert start.options.resume is None and not start.finished
    create_run(folder, HEADER, over=True).close()
    assert read(folder / LEDGER).header.id == HEADER.id
    assert sorted(path.name for path in folder.iterdir()) == [LEDGER, STUDY]
    assert resume_or_start(options).options.resume == folder


def test_a_run_that_has_begun_is_resumed_with_the_flags_that_fit(options, tmp_path):
    with_session(tmp_path / "x").close()
    start = resume_or_start(options)
    assert start.options.resume == tmp_path / "x" and start.options.out is None
    same = Options(**{**vars(options), "images": 64, "near": "runs/gone:3"})
    assert resume_or_start(same).options.images is None
    assert resume_or_start(same).options.near is None
    with pytest.raises(ValueError, match=r"x began with --images 64, not 32"):
        resume_or_start(Options(**{**vars(options), "images": 32}))


def with_session(folder, **end):
    ledger = create_run(folder, HEADER)
    ledger.append("session", trials=2, budget=None, finalists="off")
    if end:
        ledger.append("end", **end)
        (folder / REPORT).write_text("")
    return ledger


@pytest.mark.parametrize(
    ("reason", "more", "finished"),
    [
        ("done", {}, True),
        ("done", {"trials": 2}, True),
        ("done", {"trials": 3}, False),
        ("budget used up", {"budget": 0.0}, True),
        ("budget used up", {"budget": 60.0}, False),
        ("budget used up", {}, False),
        ("terminated", {}, False),
    ],
)
def test_what_is_finished_is_left_as_it_is(reason, more, finished, options, tmp_path, monkeypatch):
    monkeypatch.setattr("search.record.view.View.scored", lambda view: ["a trial"])
    with_session(tmp_path / "x", reason=reason, code=0).close()
    before = (tmp_path / "x" / LEDGER).read_bytes()
    start = resume_or_start(Options(**{**vars(options), **more}))
    assert bool(start.finished) == finished and start.code == 0
    assert (start.options.resume is None) == finished
    assert (tmp_path / "x" / LEDGER).read_bytes() == before


def test_a_run_that_ended_without_any_result_keeps_its_status(options, tmp_path):
    with_session(tmp_path / "x", reason="done", code=0).close()
    assert resume_or_start(options).code == 3


def test_a_session_that_was_killed_between_its_end_and_its_report_is_resumed(options, tmp_path):
    ledger = with_session(tmp_path / "x", reason="done", code=0)
    os.utime(tmp_path / "x" / REPORT, (0, 0))
    ledger.close()
    assert resume_or_start(options).options.resume == tmp_path / "x"


def test_of_two_at_once_the_second_is_refused_and_touches_nothing(options, tmp_path):
    ledger = with_session(tmp_path / "x")
    with pytest.raises(LedgerInUseError, match="in use by another"):
        resume_or_start(options)
    with pytest.raises(LedgerInUseError, match="in use by another"):
        create_run(tmp_path / "x", HEADER, over=True)
    ledger.append("end", reason="done", code=0)
    ledger.close()
    with pytest.raises(LedgerInUseError, match="meanwhile"):
        create_run(tmp_path / "x", HEADER, over=True)
    assert read(tmp_path / "x" / LEDGER).sessions[-1].end == "done"


def test_a_folder_of_something_else_is_never_overwritten(options, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds no search: choose another --name"):
        resume_or_start(options)
    (tmp_path / "x" / LEDGER).touch()
    (tmp_path / "x" / "thesis.tex").rename(tmp_path / "x" / "trials")
    assert resume_or_start(options).options.resume == tmp_path / "x"  # which names the remedies
