"""A search with a net and weights of one's own: mistakes write nothing, and it resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_launch import launch, rows

import spaces
from adv import External, Recipe, Weights, build
from search.record.study_header import StudyHeader
from search.session.options import Options
from search.session.parts import parts_of, recorded_parts
from search.session.session import run_session

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        conv, norm = nn.Conv2d(3, width, 5, 2), nn.BatchNorm2d(width)
        self.layers = nn.Sequential(conv, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(7))
        self.fc = nn.Linear(width * 49, num_classes)
    def forward(self, x):
        return {"logits": self.fc(self.layers(x).flatten(1))}

class Detached(Net):
    def forward(self, x):
        return super().forward(x.detach())

def broken(num_classes):
    raise RuntimeError("no luck")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "mine.py").write_text(NETS)
    net = build(Recipe(net=External("mine.py:Net", {"width": 6})), 100, 0).get_submodule("net")
    torch.save(net.state_dict(), tmp_path / "hundred.pth")
    torch.save([1], tmp_path / "list.pth")
    return tmp_path


NET = {"net": "mine.py:Net"}
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no file": ({"net": "yours.py:Net"}, "no file "),
    "no such name": ({"net": "mine.py:Nte"}, "has no 'Nte': did you mean 'Net'?"),
    "no reference": ({"net": "mine.py"}, "names no callable"),
    "it fails": ({"net": "mine.py:broken"}, "fails: RuntimeError: no luck"),
    "no gradient": ({"net": "mine.py:Detached"}, "no gradient to its images"),
    "an unknown argument": ({**NET, "net_arg": ("wdth=3",)}, "unexpected keyword argument 'wdth'"),
    "no argument": ({**NET, "net_arg": ("width",)}, "--net-arg 'width': write NAME=VALUE"),
    "twice": ({**NET, "net_arg": ("width=1", "width=2")}, "--net-arg width is given twice"),
    "an argument of nothing": ({"net_arg": ("a=1",)}, "--net-arg belongs to --net"),
    "mean alone": ({**NET, "mean": "0.5"}, "mean and std are given together"),
    "mean as text": ({**NET, "mean": "a", "std": "1"}, "--mean 'a': write one number"),
    "two channels": ({**NET, "mean": "1,2", "std": "1,1"}, "2 numbers, and the images have 3"),
    "no weights": ({**NET, "init": "none.pth"}, "no weights at "),
    "no state dict": ({**NET, "init": "list.pth"}, "it holds a list"),
    "other weights": ({"init": "hundred.pth"}, "does not fit the module: missing: "),
    "another head": (
        {**NET, "net_arg": ("width=6",), "init": "hundred.pth"},
        "has the head for another number of classes",
    ),
    "a key of nothing": ({"init_key": "ema"}, "--init-key belongs to --init"),
    "a head of nothing": ({"new_head": True}, "--new-head belongs to --init"),
    "the space searches the net": (
        {**NET, "space": "architecture"},
        "this space searches the net itself, by ",
    ),
    "the space needs weights": ({"space": "finetune"}, "--init FILE names them"),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_mistake_is_one_line_and_writes_nothing(name, dry_run, mine, capsys):
    flags, said = MISTAKES[name]
    before = sorted(mine.iterdir())
    options = Options(**{"space": "smoke", "serial": True, "dry_run": dry_run, **flags})
    assert run_session(options) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert sorted(mine.iterdir()) == before


def test_flags_become_parts_of_each_recipe(mine):
    options = Options(
        net="mine.py:Net",
        net_arg=("width=6", "name=text"),
        mean="0.5,0.4,0.3",
        std="0.2",
        init="hundred.pth",
        new_head=True,
    )
    parts = parts_of(options)
    net = External(f"{mine}/mine.py:Net", {"width": 6, "name": "text"}, (0.5, 0.4, 0.3), 0.2)
    assert parts == {"net": net, "init": Weights(f"{mine}/hundred.pth", new_head=True)}
    space = spaces.load("rse_sigmas").with_parts(**parts)
    recipe = space.build(sigma_init=0.1, sigma_inner=0.2)
    plain = spaces.load("rse_sigmas").build(sigma_init=0.1, sigma_inner=0.2)
    assert recipe == replace(plain, **parts)
    header = StudyHeader(net=repr(parts["net"]), init=repr(parts["init"]))
    assert recorded_parts(options, header) == parts
    with pytest.raises(ValueError, match="which is run only if you trust it: --trust-code"):
        recorded_parts(Options(resume=Path("runs/x")), header)
    assert recorded_parts(Options(resume=Path("runs/x"), trust_code=True), header) == parts
    with pytest.raises(ValueError, match="began with External"):
        recorded_parts(Options(resume=Path("runs/x"), net="mine.py:Detached"), header)
    with pytest.raises(ValueError, match="key 'net' holds no External"):
        recorded_parts(Options(resume=Path("runs/x")), StudyHeader(net="BigNet()"))


@pytest.mark.parametrize("name", spaces.names())
def test_spaces_that_search_the_net_say_so(name):
    searches_it = {"architecture", "everything", "report_sizes", "report_wrn_rse"}
    searches_it |= {"cheap_recipes", "speedrun", "vit"}
    knob = spaces.load(name).find_net_knob()
    assert bool(knob) == (name in searches_it), knob


@pytest.mark.slow
def test_a_search_with_an_own_net_from_own_weights(mine):
    flags = ("--net", "mine.py:Net", "--net-arg", "width=6", "--init", "hundred.pth", "--new-head")
    search = ("--space", "finetune", "--serial", "--epochs", 1, "--trials", 1, "--name", "x")
    done = launch(*search, *flags, "--finalists", 1, cwd=mine)
    assert done.returncode == 0, done.stderr
    assert "the head (fc.weight, fc.bias) of " in done.stderr
    (mine / "mine.py").write_text(f"{NETS}# changed\n")
    resume = ("--resume", "runs/x", "--serial", "--trials", 2, "--finalists", "off")
    refused = launch(*resume, cwd=mine)
    assert refused.returncode == 2 and "--trust-code" in refused.stderr
    done = launch(*resume, "--trust-code", cwd=mine)
    assert done.returncode == 0, done.stderr
    assert "mine.py:Net has changed since x began" in " ".join(done.stdout.split())
    assert len(rows(mine / "runs" / "x" / "trials.csv")) == 2
    study = json.loads((mine / "runs" / "x" / "study.json").read_text())
    assert len(study["init_sha256"]) == len(study["source_sha256"]) == 64
    torch.save([2], mine / "hundred.pth")
    done = launch(*resume[:-3], 3, *resume[-2:], "--trust-code", cwd=mine)
    assert done.returncode == 2 and "have changed since x began" in done.stderr
