"""The benchmark of a cluster: a driver on a node sees the files of that node."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cluster
import pytest

NEEDS = ("unshare", "nsenter", "mount")
READY = "mount -t tmpfs tmpfs {0} && cd {0} && echo ready && exec sleep 60"
PROGRAM = """
from pathlib import Path
Path("net").write_text("x")
print(Path("net").absolute().is_file())
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, NEEDS)), reason="needs root and namespaces"
)
def test_a_driver_finds_by_an_absolute_path_what_it_wrote_by_a_relative_one(tmp_path):
    words = (*cluster.UNSHARE, "sh", "-c", READY.format(tmp_path))
    node = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert node.stdout and node.stderr
        if node.stdout.readline() != "ready\n":
            pytest.skip(f"no namespaces here: {node.stderr.read().strip()}")
        inner = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().strip()
        driver = (*cluster.enter(inner, tmp_path), sys.executable, "-c", PROGRAM)
        said = subprocess.run(driver, check=True, capture_output=True, text=True).stdout
    finally:
        node.kill()
        node.communicate()
    assert said == "True\n" and not list(tmp_path.iterdir())
