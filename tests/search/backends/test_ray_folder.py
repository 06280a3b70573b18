"""Where a private cluster keeps its sockets and logs."""

import stat

import pytest

from search.backends import ray_folder
from search.backends.ray_nodes import ClusterError


@pytest.fixture
def common(tmp_path_factory, monkeypatch):
    """Stand in for /tmp, with a path that is short enough whatever pytest's is."""
    folder = tmp_path_factory.mktemp("common")
    monkeypatch.setattr(ray_folder, "_COMMON", (str(folder),))
    monkeypatch.setattr(ray_folder, "LONGEST", len(str(folder)))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    return folder


def test_nobody_else_can_enter_it_and_it_can_be_removed(common, monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    folder = ray_folder.make_ray_folder()
    assert folder.parent.parent == common
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.mkdir()
    ray_folder.remove_ray_folder(folder)
    assert not list(common.iterdir())
    ray_folder.remove_ray_folder(common)  # not ours
    assert common.exists()


@pytest.mark.parametrize("kind", ["long", "accented", "missing", "file", "relative", "full"])
def test_a_folder_that_cannot_hold_the_sockets_is_passed_over(common, monkeypatch, kind):
    names = {"long": "x" * 100, "accented": "é"}
    given = common.parent / names.get(kind, kind)
    if kind == "file":
        given.touch()
    elif kind != "missing":
        given.mkdir()
    monkeypatch.setenv("TMPDIR", "relative" if kind == "relative" else str(given))
    if kind == "full":
        monkeypatch.setattr(ray_folder, "LEAST_FREE", 1 << 62)
        with pytest.raises(ClusterError, match=r"TMPDIR \(.*full\) has \d+ MB left; .*RAY_TMPDIR"):
            ray_folder.make_ray_folder()
        return
    assert ray_folder.make_ray_folder().parent.parent == common


def test_what_ray_is_told_comes_first(common, monkeypatch, tmp_path):
    monkeypatch.setattr(ray_folder, "LONGEST", 1000)
    monkeypatch.setenv("TMPDIR", str(common))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert ray_folder.make_ray_folder().parent.parent == tmp_path


def test_without_any_folder_one_line_says_why_and_what_to_do(monkeypatch):
    monkeypatch.setattr(ray_folder, "_COMMON", ("/nonexistent",))
    monkeypatch.setenv("TMPDIR", "/" + "x" * 100)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with pytest.raises(ClusterError) as info:
        ray_folder.make_ray_folder()
    said = str(info.value)
    assert "\n" not in said and "/nonexistent cannot be used (No such file or directory)" in said
    assert f"has more than {ray_folder.LONGEST} characters" in said
    assert said.endswith("Set RAY_TMPDIR to a folder with room and a short path, or use --serial")
