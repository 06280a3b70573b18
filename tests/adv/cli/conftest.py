"""Fixtures of the tests of `python -m adv`: a folder, a checkpoint, and a module of a user."""

import io
import sys
from contextlib import redirect_stdout

import pytest
from adv_commands import SMOKE

from adv.__main__ import run

MODULES = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.lin = nn.Linear(3 * 32 * 32, classes)
        nn.init.uniform_(self.lin.weight, -0.1, 0.1, torch.Generator().manual_seed(0))
    def forward(self, x):
        return self.lin(x.flatten(1))

class Fixed(Good):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.lin.bias)

class Noisy(Good):
    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))

class Hard(Good):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)

class Detached(Good):
    def forward(self, x):
        return super().forward(x.detach())

class Inference(Good):
    def forward(self, x):
        with torch.inference_mode():
            return super().forward(x)

class ThroughNumpy(Good):
    def forward(self, x):
        return torch.from_numpy(super().forward(x).numpy())

def Quantised():
    return torch.ao.quantization.quantize_dynamic(Good(), {nn.Linear})

class Squeezed(Good):
    def forward(self, x):
        return super().forward(x).squeeze()

class PairsOnly(Good):
    def forward(self, x):
        assert len(x) > 1, "a pair"
        return super().forward(x)

class SmallBatches(Good):
    def forward(self, x):
        if len(x) > 8:
            raise RuntimeError("too many")
        return super().forward(x)

class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()

class Endless(Good):
    def forward(self, x):
        return super().forward(x) / 0

def made(): return Good()
def wide(): return Good(11)
def broken(): raise RuntimeError("no\\nluck")
def none(): return 3
instance = Good()
number = 7
"""


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def adv(run_adv):
    return run_adv


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    sized = ["--image-size", "32"]  # the user module of these tests takes no others
    asked = ["adv", "train", *SMOKE, *sized, "--epochs", "1", "--out", str(path)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setattr(sys, "argv", asked)
        with pytest.raises(SystemExit) as left:
            run()
    assert not left.value.code
    assert "epoch 1/1" in out.getvalue() and path.name in out.getvalue()
    return path


@pytest.fixture
def user_module(tmp_path):
    path = tmp_path / "theirs.py"
    path.write_text(MODULES)
    return path
