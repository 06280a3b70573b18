"""A set that is larger than the memory that a process may have."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
import numpy as np
import torch
from adv import BaseNet, Battery, Linf, PGD, Curriculum, Recipe, evaluate, load, train
from adv.data import assemble

torch.set_num_threads(1)
SIDE, IMAGES, LIMIT = 128, 6000, 160 * 2**20  # 295 MB of pixels
assemble.MAP_FROM = 2**20


def allowed():
    with open("/proc/self/status") as file:
        rows = dict(line.split(":", 1) for line in file)
    return 1024 * int(rows["VmData"].split()[0])


def limit():
    # Memory of its own that the process may have; pages of files do not count.
    most = allowed() + LIMIT
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


recipe = Recipe(net=BaseNet(), curriculum=Curriculum(steps=1), epochs=1, batch=32)
battery = Battery((("pgd", PGD(Linf(0.01), 1)),))
small = torch.zeros(64, 3, SIDE, SIDE, dtype=torch.uint8)
# Once before the limit: torch's own buffers are not what is measured.
from adv.data.datasets import Split
warm = Split(small, torch.arange(64) % 2)
for epoch in train(recipe, warm, classes=2, seed=0):
    evaluate(epoch.net, warm, battery)
limit()
try:
    np.ones((IMAGES, 3, SIDE, SIDE), dtype=np.uint8)
except MemoryError:
    print("does not fit")
data = load(sys.argv[1])
print(data.shape, len(data.train), data.fingerprint)
for epoch in train(recipe, data.train.head(640), classes=2, seed=0):
    print("natural", evaluate(epoch.net, data.test.head(64), battery).natural_accuracy)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_a_set_larger_than_the_memory_is_trained_and_evaluated_on(tmp_path, monkeypatch):
    own = tmp_path / "own.py"
    own.write_text(
        "import torch\n"
        "class Own(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 6000\n"
        "    def __getitem__(self, i):\n"
        "        return torch.full((3, 128, 128), i % 251, dtype=torch.uint8), i % 2\n"
        "def make(): return Own()\n"
    )
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path / "data"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"{own}:make"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "does not fit" and lines[1].startswith("(3, 128, 128) 4320 ")
    assert lines[2].startswith("natural 0.") or lines[2] == "natural 1.0"
    (mapped,) = (tmp_path / "data" / "mapped").glob("*.npy")
    assert mapped.stat().st_size > 6000 * 3 * 128**2
