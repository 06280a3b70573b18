"""Keys of the environment are in no file, no output and no worker of a whole search."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.errors import describe_error, extract_last_line

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "WANDB_API_KEY": "ba5eba11" * 5,
    "AWS_ACCESS_KEY_ID": "ba5eba11-id",
    "AWS_SECRET_ACCESS_KEY": "ba5eba11-aws",
    "AWS_SESSION_TOKEN": "ba5eba11-session",
    "HF_TOKEN": "ba5eba11-hf",
    "GITHUB_TOKEN": "ba5eba11-github",
    "HTTPS_PROXY": "http://me:ba5eba11@127.0.0.1:9",
}
SENTINEL = b"ba5eba11"


def test_a_failure_that_quotes_a_key_is_recorded_without_it(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    error = RuntimeError(f"trial 1\n403 with {KEYS['HF_TOKEN']} of {KEYS['HTTPS_PROXY']}")
    assert describe_error(error) == "RuntimeError: trial 1 403 with *** of ***"
    assert extract_last_line(error) == "403 with *** of ***"


def children(parent: int) -> Iterator[int]:
    """Yield the processes that a process has started, and theirs."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    todo = [parent]
    while todo:
        found = [number for number, above in pairs if above == todo[0]]
        yield from found
        todo = todo[1:] + found


def holding(folder: Path) -> list[str]:
    """Return the files below a folder in which a key stands."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and SENTINEL in path.read_bytes():
                found.append(str(path))
        except OSError:
            continue  # removed meanwhile
    return found


def read(path: str) -> bytes:
    """Return a file of /proc, b"" if its process has ended."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--serial"], []], ids=["serial", "ray"])
def test_a_search_tells_nobody_its_keys(tmp_path, where):
    seen: set[str] = set()  # programs other than the driver and W&B's
    leaks: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as scratch:  # short, for sockets
        flags = ["--space", "smoke", "--trials", "2", "--finalists", "off", "--wandb", "offline"]
        with (tmp_path / "printed").open("wb") as printed:
            driver = subprocess.Popen(
                [sys.executable, str(ROOT / "launch.py"), *flags, *where],
                cwd=tmp_path,
                env={**os.environ, **KEYS, "TMPDIR": scratch},
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
            end = time.monotonic() + 540
            while driver.poll() is None:
                if time.monotonic() > end:
                    driver.terminate()  # and the assertion below fails
                    driver.wait(60)
                for number in children(driver.pid):
                    line = read(f"/proc/{number}/cmdline")
                    name = line.replace(b"\0", b" ").decode(errors="replace")[:200]
                    leaks |= {name} if SENTINEL in line else set()
                    ours = b"launch.py" in line or b"wandb" in line  # forked, or W&B's process
                    if not where and not ours:
                        seen.add(name)
                        leaks |= {name} if SENTINEL in read(f"/proc/{number}/environ") else set()
                leaks |= set(holding(Path(scratch)))
                time.sleep(1)
        leaks |= set(holding(tmp_path)) | set(holding(Path(scratch)))
        left = [path.name for path in Path(scratch).iterdir() if path.name.startswith("robustune-")]
    assert driver.returncode == 0, (tmp_path / "printed").read_text()
    assert not leaks
    assert not left
    if not where:
        assert [name for name in seen if name.startswith("ray::")], seen
