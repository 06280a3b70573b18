"""Fixtures of all tests: a plain environment, the project's folder, benchmarks, stand-ins."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other; torch reads it once
# Ray gives its workers the lowest priority but four: beside other tests they would hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the folder of the repository."""
    return ROOT


@pytest.fixture(autouse=True, scope="session")
def _plain_environment():
    """Drop the user's settings of Ray; let worker processes import the project and the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            patch.delenv(name, raising=False)
        tests = {path.parent for path in (ROOT / "tests" / "search").rglob("*.py")}
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, [ROOT, *sorted(tests)])))
        yield


@pytest.fixture(autouse=True)
def _seed():
    """Seed torch before each test: nets and images without a generator are the same each time."""
    import torch  # not before the number of its threads is set above

    torch.manual_seed(0)


@pytest.fixture
def mount_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts an empty disk of so many kB; the test is skipped if it may not.

    Only root can do so, and not in every container.
    """
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        call = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
        try:
            subprocess.run(call, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a tmpfs")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Return a function that sets the largest size of a file in bytes, as `ulimit -f` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def benchmark(monkeypatch) -> Callable[[str], ModuleType]:
    """Return a function that imports a benchmark by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return __import__


@pytest.fixture(params=["stand-in", "installed"])
def torchattacks(request, monkeypatch):
    """Return a stand-in for torchattacks, and torchattacks itself if it is installed."""
    if request.param == "installed":
        return pytest.importorskip("torchattacks")
    import stand_ins

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr("markdown_report.version", stand_ins.find_version)
    monkeypatch.setitem(sys.modules, "torchattacks", stand_ins.make_torchattacks())
    return sys.modules["torchattacks"]
