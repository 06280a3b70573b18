"""Nobody but the user can reach the cluster that a search starts on this machine."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_until

HERE = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    """A private cluster in a process of its own: what `private_cluster.py` says of it."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "private_cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": "/tmp/" + "x" * 150},
        text=True,
    )
    assert process.stdout is not None
    found = re.match("CLUSTER (.*)", process.stdout.readline())
    assert found or process.communicate(), "it has not started"
    known = json.loads(found[1] if found else "{}")
    yield known
    process.communicate(timeout=60)
    assert not Path(known["folder"]).parent.exists()
    assert len(known["processes"]) > 4  # GCS, raylet, two agents, a worker
    wait_until(lambda: not any(map(is_there, known["processes"])), seconds=10)


def test_it_listens_on_loopback_only(cluster):
    assert len(cluster["listening"]) > 4  # GCS, raylet, driver, workers, agents
    assert all(host in ("127.0.0.1", "::ffff:127.0.0.1") for host in cluster["listening"])


def test_its_folder_is_closed_to_other_users(cluster):
    assert stat.S_IMODE(Path(cluster["folder"]).parent.stat().st_mode) == 0o700


def test_its_token_is_required_and_nowhere_written(cluster):
    assert cluster["mode"] == "token"
    assert join(cluster["address"], cluster["token"]) == "IN"
    assert join(cluster["address"], "0" * len(cluster["token"])) != "IN"
    assert join(cluster["address"], None) != "IN"
    files = [path for path in Path(cluster["folder"]).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if cluster["token"].encode() in path.read_bytes()]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert cluster["token"].encode() not in path.read_bytes()
        except OSError:
            continue  # this process has ended meanwhile


def is_there(pid: int) -> bool:
    """Return whether a process exists, one that has ended and was not waited for included."""
    return Path(f"/proc/{pid}").exists()


def join(address: str, token: str | None) -> str:
    """Return IN if a driver with that token can join the cluster and run code there."""
    code = (
        "import sys, ray\n"
        "ray._private.ray_constants.ENABLE_RAY_CLUSTER = False\n"  # so that it is reached at all
        "ray.init(sys.argv[1], log_to_driver=False)\n"
        "print(ray.get(ray.remote(lambda: 'IN').remote()))"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    key = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, address],
            env={**plain, "HOME": "/nonexistent", **key},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    return done.stdout.strip()
