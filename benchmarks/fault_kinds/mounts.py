"""Small file systems that can be filled, taken away, made read-only or broken."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from fault_kinds.lab import Lab

BLOCK = 4096
ROOM = 64 << 20  # bytes: a dozen times what the small search writes


class Disk:
    """A file system of its own at a path; it is unmounted when the laboratory is cleared.

    Args:
      lab: that it belongs to.
      path: where it is mounted. What lies there is copied to it; a file gets a file system of its
        own as well.
      room: bytes that are free at first.
    """

    def __init__(self, lab: Lab, path: Path, room: int = ROOM) -> None:
        self.path, self.is_file = path, path.is_file()
        self.base = lab.open_home("disk")
        size = room + 2 * BLOCK + (sum(map(_room_of, path.rglob("*"))) or _room_of(path))
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.base))
        self.content = self.base / "content"
        if self.is_file:
            shutil.copy(path, self.content)
        else:
            path.mkdir(parents=True, exist_ok=True)
            shutil.copytree(path, self.content)
        self.ballast = self.base / "ballast"
        self.attach()
        lab.at_end += [lambda: _unmount(self.base), lambda: _unmount(self.path)]

    def attach(self, *, read_only: bool = False) -> None:
        """Mount it at its path."""
        _mount("--bind", str(self.content), str(self.path))
        if read_only:
            _mount("-o", "remount,ro,bind", str(self.path))

    def detach(self) -> None:
        """Take it away from its path, also while files on it are open."""
        _unmount(self.path)

    def fill(self, leave: int = 0) -> None:
        """Fill it up to `leave` bytes."""
        _fill(self.ballast, leave)

    def free(self) -> None:
        """Give back what `fill` took."""
        self.ballast.unlink()

    def end(self) -> None:
        """Unmount it, and leave its content at its path."""
        self.detach()
        if self.is_file:
            shutil.copy(self.content, self.path)
        else:
            shutil.copytree(self.content, self.path, dirs_exist_ok=True)


class FailingDisk:
    """An ext4 file system whose device answers with input/output errors once it is broken.

    It lies in a sparse file on a full tmpfs: a block that has no memory cannot be written.

    Args:
      lab: that it belongs to.
      path: where it is mounted.
    """

    def __init__(self, lab: Lab, path: Path) -> None:
        self.path, self.base = path, lab.open_home("device")
        path.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={2 * ROOM}", "tmpfs", str(self.base))
        self.image, self.ballast = self.base / "image", self.base / "ballast"
        with self.image.open("wb") as file:
            file.truncate(ROOM)
        subprocess.run(["mkfs.ext4", "-q", str(self.image)], check=True)
        self.attach()
        lab.at_end += [lambda: _unmount(self.base), lambda: _unmount(self.path)]

    def attach(self) -> None:
        """Mount it, through a loop device."""
        _mount("-o", "loop", str(self.image), str(self.path))

    def fail(self) -> None:
        """Let each write to a new block fail from now on."""
        _fill(self.ballast)

    def repair(self) -> None:
        """Replace the device: check the file system and mount it again."""
        _unmount(self.path)
        self.ballast.unlink()
        subprocess.run(["e2fsck", "-fy", str(self.image)], capture_output=True, check=False)
        self.attach()


def _fill(ballast: Path, leave: int = 0) -> None:
    """Write a file that fills its file system up to `leave` bytes, or fully if others write too."""
    free = os.statvfs(ballast.parent)
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))


def _room_of(path: Path) -> int:
    size = path.stat().st_size if path.is_file() else 0
    return (size // BLOCK + 1) * BLOCK


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, text=True)


def _unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)
