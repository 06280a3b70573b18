"""`front/` holds the nets of the front as they were recorded, and nothing else."""

import csv
import errno
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flipped_bits import flip_in_file

from search.errors import StorageError
from search.outcome.front import find_front
from search.record.ledger import Ledger, read
from search.record.run_files import LostNetError, compute_sha256
from search.reporting.csv_tables import write_tables
from search.reporting.html_report import write_html_report
from search.session.outputs import copy_front, note_lost_nets, write_front
from search.session.run_remarks import describe_nets
from search.trials.trial_state import BEST


class Links(HTMLParser):
    """The targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [str(value) for name, value in attrs if tag == "a" and name == "href"]


def add_trial(ledger, number, point, weights, sha256=None):
    ledger.append("proposed", trial=number, params={}, seed=number, origin="known")
    details = {"weights": weights, "weights_sha256": sha256} if sha256 else {"weights": weights}
    objectives = dict(zip(("natural_accuracy", "attacked_score"), point, strict=True))
    ledger.append("finished", trial=number, objectives=objectives, intervals={}, details=details)


@pytest.fixture
def ledger(tmp_path):
    """Two trials on the front, with their nets."""
    (tmp_path / "run").mkdir()
    opened = Ledger(tmp_path / "run" / "ledger.jsonl")
    opened.append("study", format=1, name="n", battery=[{"name": "a"}] * 3)
    for number in (0, 1):
        name = f"trials/{number:04d}/{BEST}"
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes([number]) * 500)
        add_trial(opened, number, (0.5 + number / 10, 100 - number), name, compute_sha256(path))
    yield opened
    opened.close()


@pytest.fixture
def folder(ledger) -> Path:
    return ledger.path.parent


def copies(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "front").iterdir()}


BOTH = {f"000{n}.safetensors": bytes([n]) * 500 for n in (0, 1)}


def test_the_front_is_copied_and_nothing_else_is_kept(ledger, folder):
    assert copy_front(ledger.view, folder) == {("trial", 0): "", ("trial", 1): ""}
    assert copies(folder) == BOTH
    (folder / "front" / "0007.safetensors").write_bytes(b"of an earlier front")
    (folder / "front" / "stray").mkdir()
    copy_front(ledger.view, folder)
    assert copies(folder) == BOTH


@pytest.mark.parametrize("how", ["flipped", "gone", "folder"])
def test_the_copy_of_an_earlier_session_takes_the_place_of_a_lost_net(ledger, folder, how):
    copy_front(ledger.view, folder)
    spoil(folder / "trials" / "0000" / BEST, how)
    note_lost_nets(ledger, copy_front(ledger.view, folder))
    assert copies(folder) == BOTH and not ledger.view.trials[0].lost_net


def spoil(path: Path, how: str) -> None:
    if how == "flipped":
        flip_in_file(path, 77)
        return
    path.unlink()
    if how == "folder":
        path.mkdir()


@pytest.mark.parametrize("how", ["flipped", "gone", "folder"])
def test_a_trial_that_has_lost_its_net_keeps_its_value_and_is_named(ledger, folder, how):
    spoil(folder / "trials" / "0000" / BEST, how)
    note_lost_nets(ledger, copy_front(ledger.view, folder))
    assert copies(folder) == {"0001.safetensors": BOTH["0001.safetensors"]}
    trial = ledger.view.trials[0]
    assert trial.lost_net and trial.result and trial in ledger.view.front()
    (line,) = describe_nets(ledger.view)
    assert line.startswith("Trial 0 has lost its net, so it is not in front/: ")
    assert any("its net is lost" in remark for remark in trial.remarks)
    write_html_report(ledger.view, folder / "report.html")
    page = (folder / "report.html").read_text()
    assert "<b class='flag'>lost</b>" in page and "its net is lost" in page
    assert read(ledger.path) == ledger.view


def test_a_net_that_is_back_is_copied_again_and_noted_once(ledger, folder):
    path = folder / "trials" / "0000" / BEST
    content = path.read_bytes()
    path.unlink()
    for _ in range(3):
        note_lost_nets(ledger, copy_front(ledger.view, folder))
    path.write_bytes(content)
    for _ in range(3):
        note_lost_nets(ledger, copy_front(ledger.view, folder))
    assert copies(folder) == BOTH and not ledger.view.trials[0].lost_net
    events = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    assert [bool(e["lost"]) for e in events if e["event"] == "net"] == [True, False]


def test_a_full_disk_leaves_the_earlier_copies(ledger, folder, monkeypatch):
    copy_front(ledger.view, folder)
    (folder / "front" / "0000.safetensors").unlink()

    def fail(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space left"):
        copy_front(ledger.view, folder)
    assert copies(folder) == {"0001.safetensors": BOTH["0001.safetensors"]}


def test_a_ledger_without_checksums_is_copied_as_before(folder, ledger):
    name = f"trials/0005/{BEST}"
    (folder / name).parent.mkdir()
    (folder / name).write_bytes(b"old")
    add_trial(ledger, 5, (0.9, 300.0), name)
    copy_front(ledger.view, folder)
    assert copies(folder) == {"0005.safetensors": b"old"}


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "trials/../../secret", "javascript:alert(1)", "\\\\host"]
)
def test_a_path_of_a_hostile_ledger_is_neither_copied_nor_linked(ledger, folder, path):
    (folder.parent / "secret").write_bytes(b"secret")
    add_trial(ledger, 5, (0.9, 300.0), path)
    lost = copy_front(ledger.view, folder)
    assert lost["trial", 5] and copies(folder) == {}
    note_lost_nets(ledger, lost)
    for _ in range(2):  # also before anyone has looked for the net
        ledger.view.trials[5].lost_net = ""
        write_html_report(ledger.view, folder / "report.html")
        links = Links()
        links.feed((folder / "report.html").read_text())
        assert all(link.startswith(("./", "#")) and ".." not in link for link in links.found)
        assert not any(re.search(r"secret|passwd", link) for link in links.found)
    write_tables(ledger.view, folder)


def add_training(ledger: Ledger, number: int, origin: int, point: tuple[float, float]) -> Path:
    """Add a final training whose file holds its number; return the file."""
    name = f"finals/trials/{number:04d}/{BEST}"
    path = ledger.path.parent / name
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes([100 + number]) * 500)
    parts = {"params": {}, "seed": 50 + number, "origin": str(origin)}
    ledger.append("final", part={"event": "proposed", "trial": number, **parts})
    objectives = dict(zip(("natural_accuracy", "attacked_score"), point, strict=True))
    sums = {"weights": name, "weights_sha256": compute_sha256(path), "validation": objectives}
    made = {"objectives": objectives, "intervals": {}, "details": sums}
    ledger.append("final", part={"event": "finished", "trial": number, **made})
    return path


def test_after_finals_the_front_holds_a_net_of_the_finals(ledger, folder):
    ledger.append("finals", trials=[0, 1], trainings=4, battery="b", images=50, attacks="all")
    files = [
        add_training(ledger, 0, 1, (0.60, 99.0)),
        add_training(ledger, 1, 1, (0.62, 97.0)),
        add_training(ledger, 2, 1, (0.61, 98.0)),
        add_training(ledger, 3, 0, (0.40, 80.0)),  # worse in both
    ]
    write_front(ledger, folder)
    assert find_front(ledger.view).numbers == [1]
    assert copies(folder) == {"0001.safetensors": files[2].read_bytes()}  # nearest to the mean
    write_tables(ledger.view, folder)
    (row,) = csv.DictReader((folder / "front.csv").read_text().splitlines())
    assert (row["trial"], row["seed"], row["measured"], row["seeds"]) == (
        "1",
        "52",
        "fresh seeds",
        "3",
    )
    assert float(row["natural_accuracy"]) == pytest.approx(0.61)
    assert float(row["search_natural_accuracy"]) == 0.6
    assert row["weights"] == "front/0001.safetensors"
    seen = {r["trial"]: r for r in csv.DictReader((folder / "trials.csv").read_text().splitlines())}
    assert [seen[n]["on_front"] for n in "01"] == ["False", "True"]
    assert [seen[n]["on_search_front"] for n in "01"] == ["True", "True"]


def test_another_training_takes_the_place_of_one_whose_net_is_lost(ledger, folder):
    ledger.append("finals", trials=[1], trainings=3, battery="b", images=50, attacks="all")
    points = ((0.60, 99.0), (0.64, 95.0), (0.61, 98.0))
    files = [add_training(ledger, n, 1, point) for n, point in enumerate(points)]
    files[2].unlink()
    write_front(ledger, folder)
    assert ledger.view.finals and ledger.view.finals.trials[2].lost_net
    assert copies(folder)["0001.safetensors"] == files[0].read_bytes()
    for path in files[:2]:
        path.unlink()
    write_front(ledger, folder)  # the copy of the earlier call is whole
    assert copies(folder)["0001.safetensors"] == bytes([100]) * 500
    (folder / "front" / "0001.safetensors").unlink()
    write_front(ledger, folder)
    assert "0001.safetensors" not in copies(folder)
    assert any("has lost its net" in line for line in describe_nets(ledger.view))
    assert read(ledger.path) == ledger.view


def fetch_from(store: Path, folder: Path) -> Callable[[str], None]:
    """Return what fetches nets from a folder, as `Mirror.fetch` does from a store."""

    def fetch(name: str) -> None:
        if not (store / name).is_file():
            raise LostNetError(f"no weights at {name}, nor in the store")
        shutil.copyfile(store / name, folder / name)

    return fetch


def fail(name: str) -> None:
    raise StorageError("no route")


def test_nets_of_the_front_that_only_the_store_has_are_fetched(ledger, folder, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(folder, store)
    (folder / "trials" / "0000" / BEST).unlink()
    write_front(ledger, folder, fetch_from(store, folder))
    assert copies(folder) == BOTH and not ledger.view.trials[0].lost_net


def test_a_net_that_the_store_lacks_is_named_and_ends_in_an_error(ledger, folder, tmp_path):
    (folder / "trials" / "0000" / BEST).unlink()
    with pytest.raises(StorageError, match=r"net of the front is lost: .*0000.*nor in the store"):
        write_front(ledger, folder, fetch_from(tmp_path / "store", folder))
    assert copies(folder) == {"0001.safetensors": BOTH["0001.safetensors"]}
    assert "nor in the store" in read(ledger.path).trials[0].lost_net


def test_a_store_that_fails_loses_no_net(ledger, folder, tmp_path):
    (folder / "trials" / "0000" / BEST).unlink()
    with pytest.raises(StorageError, match="no route"):
        write_front(ledger, folder, fail)
    assert copies(folder) == {"0001.safetensors": BOTH["0001.safetensors"]}
    assert not read(ledger.path).trials[0].lost_net


def test_the_training_that_takes_the_place_of_a_lost_one_is_fetched_too(ledger, folder, tmp_path):
    ledger.append("finals", trials=[1], trainings=3, battery="b", images=50, attacks="all")
    points = ((0.60, 99.0), (0.64, 95.0), (0.61, 98.0))
    files = [add_training(ledger, n, 1, point) for n, point in enumerate(points)]
    store = tmp_path / "store"
    shutil.copytree(folder, store)
    for path in files:
        path.unlink()
    (store / files[2].relative_to(folder)).unlink()
    write_front(ledger, folder, fetch_from(store, folder))
    assert copies(folder)["0001.safetensors"] == bytes([100]) * 500
    assert ledger.view.finals
    assert [bool(ledger.view.finals.trials[n].lost_net) for n in (0, 2)] == [False, True]
