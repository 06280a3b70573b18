"""Nets as graphs: a program of torch.export and an ONNX file answer as the net does."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from reproducibility import seeded_generator

from adv import PGD, PNI, RSE, BaseNet, External, Linf, Recipe, build, export, export_graph
from adv.checkpoints.checkpoint import Checkpoint
from adv.exporting import graph_files
from adv.runtime.image_shape import image_shape

THEIRS = Path(__file__).parent.parent / "their_nets.py"
NAMES = tuple(str(i) for i in range(10))


def make_checkpoint(recipe, shape=(3, 32, 32)):
    return Checkpoint(build(recipe, 10, 0, shape).eval(), recipe, NAMES, {})


THEIR_NETS = ("Dictionary", "InPlace", "Grouped", "double")
CASES: dict[str, Callable[[], Checkpoint]] = {
    "BaseNet": partial(make_checkpoint, Recipe(net=BaseNet())),
    **{
        name: partial(
            make_checkpoint,
            Recipe(net=External(f"{THEIRS}:{name}", mean=0.5, std=0.25)),
            (3, 8, 8),
        )
        for name in THEIR_NETS
    },
}


@pytest.mark.parametrize(
    ("case", "suffix"), [*((case, ".pt2") for case in CASES), ("InPlace", ".onnx")]
)
@pytest.mark.filterwarnings("ignore:.*in place")
@pytest.mark.filterwarnings("ignore:.*are converted to float32")
def test_a_graph_answers_as_the_net(case, suffix, tmp_path):
    checkpoint = CASES[case]()
    path = tmp_path / f"net{suffix}"
    check = export_graph(checkpoint, path)
    assert check.images == 64 and check.gap < 1e-4
    assert abs(check.fooled - check.fooled_net) <= 2
    graph = graph_files.load_graph(path)
    x = torch.rand(5, *image_shape(checkpoint.net), generator=seeded_generator())
    with torch.no_grad():
        assert torch.allclose(graph(x), checkpoint.net(x.clone()), atol=1e-5)


def test_an_attack_through_the_graph_makes_the_images_of_the_net(tmp_path):
    checkpoint = CASES["BaseNet"]()
    export_graph(checkpoint, tmp_path / "net.pt2")
    graph = graph_files.load_graph(tmp_path / "net.pt2")
    x = torch.rand(4, 3, 32, 32, generator=seeded_generator())
    y = torch.arange(4)
    attack = PGD(Linf(0.03), 3)
    assert torch.allclose(attack(graph, x, y), attack(checkpoint.net, x, y), atol=1e-5)


def test_what_stands_beside_the_graph(tmp_path):
    import onnx

    checkpoint = CASES["BaseNet"]()
    export_graph(checkpoint, tmp_path / "net.pt2")
    notes = {"robustune.json": ""}
    torch.export.load(tmp_path / "net.pt2", extra_files=notes)
    said = json.loads(notes["robustune.json"])
    assert json.loads(said["classes"]) == list(NAMES) and json.loads(said["shape"]) == [3, 32, 32]
    export_graph(checkpoint, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert {one.key: one.value for one in model.metadata_props}["classes"] == said["classes"]
    assert [value.name for value in model.graph.input] == ["images"]


@pytest.mark.parametrize("defence", [RSE(0.1, 0.1), PNI()])
def test_a_random_net_is_refused_with_its_layer(defence, tmp_path):
    checkpoint = make_checkpoint(Recipe(net=BaseNet(), defences=(defence,)))
    with pytest.raises(ValueError, match=r"the net is random, by (Noise|WeightNoise) \("):
        export_graph(checkpoint, tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_is_not_kept(tmp_path, monkeypatch):
    checkpoint = CASES["BaseNet"]()

    def write(net, x, path, notes):
        other = build(checkpoint.recipe, 10, 1).eval()
        graph_files._write_pt2(other, x, path, notes)

    _, read, attack = graph_files._WRITERS[".pt2"]
    monkeypatch.setitem(graph_files._WRITERS, ".pt2", (write, read, attack))
    with pytest.raises(ValueError, match=r"the graph differs from the net by .*: not written"):
        export_graph(checkpoint, tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_and_existing_files(tmp_path):
    checkpoint = CASES["BaseNet"]()
    (tmp_path / "net.pt2").write_text("mine")
    for name, hint in (("net.pt2", "exists: name another file"), ("net.pt", "is a file .pt2 or")):
        with pytest.raises(ValueError, match=hint):
            export_graph(checkpoint, tmp_path / name)


def test_the_course_template_holds_no_code_of_others(tmp_path):
    with pytest.raises(
        ValueError, match=r"would need the code of .*: export NAME.pt2 or NAME.onnx"
    ):
        export(CASES["Grouped"](), tmp_path / "folder")
