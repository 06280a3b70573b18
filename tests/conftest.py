"""Fixtures of all tests: a plain environment, the project's folder, benchmarks, stand-ins."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other; torch reads it once


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
