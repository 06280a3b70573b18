"""Paths that a run folder names stay inside it, and lead to the files that were recorded."""

import os
import re
from pathlib import Path

import pytest
from flipped_bits import flip_in_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.record.run_files import (
    LostNetError,
    check_links,
    compute_sha256,
    file_inside,
    find_net,
    is_inside,
)

NAME = "trials/0000/best.safetensors"
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with one net, beside a file that is none of its business."""
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "run"
    (folder / "trials" / "0000").mkdir(parents=True)
    (folder / NAME).write_bytes(bytes(range(256)))
    return folder


def test_a_file_of_the_run_is_found(run, tmp_path):
    assert file_inside(run, NAME) == run / NAME
    link = tmp_path / "link"
    link.symlink_to(run)  # the whole run may be on another disk
    assert file_inside(link, NAME) == run / NAME
    (run / "copy").symlink_to(NAME)
    assert file_inside(run, "copy") == run / NAME


@pytest.mark.parametrize(
    "name",
    [
        *("../secret", "trials/../../secret", "/etc/passwd", "//etc/passwd", "..", "", "/", "."),
        *("~/secret", "~", "a\0b", "x" * 5000, "a/" * 5000, "trials", "trials/0000/", "no/such"),
        *("trials/0000/best.safetensors/x", "file:///etc/passwd", "javascript:alert(1)", "\udce9"),
    ],
    ids=lambda name: repr(name[:30]),
)
def test_other_paths_are_lost_nets(run, name):
    with pytest.raises(LostNetError) as error:
        file_inside(run, name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize("kind", ["file", "folder", "of a parent", "circle", "fifo", "device"])
def test_what_stands_in_place_of_a_file(run, tmp_path, kind):
    place = run / NAME
    place.unlink()
    if kind == "file":
        place.symlink_to(tmp_path / "secret")
    elif kind == "folder":
        place.mkdir()
    elif kind == "of a parent":
        place.parent.rmdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / place.name).write_bytes(b"")
        place.parent.symlink_to(tmp_path / "elsewhere")
    elif kind == "circle":
        place.symlink_to(place)
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(LostNetError, match=re.escape(NAME)):
        find_net(run, [NAME], "0" * 64)


@FUZZ
@given(st.text(st.sampled_from("./~ab%\\") | st.characters(), max_size=12))
def test_no_path_leads_out(run, name):
    if is_inside(name):
        try:
            assert file_inside(run, name).is_relative_to(run)
        except LostNetError:
            return
    else:
        with pytest.raises(LostNetError):
            file_inside(run, name)


@given(st.integers(0, 256 * 8 - 1))
@settings(FUZZ, max_examples=20)
def test_a_changed_net_is_lost_unless_there_is_a_copy(run, bit):
    (run / NAME).write_bytes(bytes(range(256)))
    (run / "front").mkdir(exist_ok=True)
    copy = run / "front" / "0000.safetensors"
    copy.write_bytes((run / NAME).read_bytes())
    sha256, names = compute_sha256(copy), [NAME, "front/0000.safetensors"]
    assert find_net(run, names, sha256) == run / NAME
    flip_in_file(run / NAME, bit)
    assert find_net(run, names, sha256) == copy
    assert find_net(run, names, None) == run / NAME  # of an earlier version
    flip_in_file(copy, bit + 1)
    with pytest.raises(LostNetError, match=f"{NAME} has changed since it was written"):
        find_net(run, names, sha256)


@pytest.mark.parametrize("place", ["trials", "trials/0001", "front", "finals", "finals/trials"])
def test_a_folder_of_a_run_is_no_link_to_the_outside(run, tmp_path, place):
    check_links(run)
    (run / "trials" / "0002").symlink_to("0000")
    check_links(run)
    if place == "trials":
        (run / "trials").rename(run / "before")
    (run / place).parent.mkdir(exist_ok=True)
    (run / place).symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads out of the run folder") as error:
        check_links(run)
    assert "\n" not in str(error.value)
