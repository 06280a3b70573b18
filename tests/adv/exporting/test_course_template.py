"""An exported folder as the course's test script uses it: elsewhere, with torch only."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adv import (
    PNI,
    RSE,
    WRN,
    BaseNet,
    BigNet,
    MCDropout,
    Projection,
    Recipe,
    ResNet18,
    SpectralNorm,
    TestNoise,
    ViT,
    Votes,
    build,
    export,
    is_random,
    restore,
    save,
)
from adv.exporting import course_template
from adv.exporting.source_bundler import bundle
from adv.exporting.templates import MODEL
from adv.models.net import FittedModule
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import RngStream, attach

CLASSES = tuple("abcdefghij")
SEED = 5
NETS = {
    "BaseNet": (BaseNet(), ()),
    "BigNet": (BigNet(2, "silu", dropout=0.3), ()),
    "WRN": (WRN(10, 1, dropout=0.2, se=0.25), ()),
    "ViT": (ViT(2, 64, 3, dropout=0.2), ()),
    "RSE": (BaseNet(), (RSE(0.2, 0.1),)),
    "WRN RSE": (WRN(10, 1), (RSE(0.0, 0.1),)),
    "ViT RSE": (ViT(1, 64, 3), (RSE(0.2, 0.1),)),
    "PNI layer": (BaseNet(), (PNI(),)),
    "WRN PNI channel": (WRN(10, 1), (PNI(0.1, "channel"),)),
    "ViT PNI element": (ViT(1, 64, 3), (PNI(0.1, "element", "inner"),)),
    "spectral": (BaseNet(), (SpectralNorm(), SpectralNorm("convolution"))),
    "MCDropout": (BigNet(1, "gelu", 0.3), (MCDropout(),)),
    "ViT MCDropout": (ViT(1, 64, 3, dropout=0.1), (MCDropout(0.2),)),
    "TestNoise": (BaseNet(), (TestNoise(0.1),)),
    "Projection": (BaseNet(), (Projection(20),)),
    "ViT Projection": (ViT(1, 64, 3), (Projection(9, learnable=True),)),
    "all": (WRN(10, 1, "silu", 0.1), (RSE(), PNI(), MCDropout(0.3), TestNoise(0.1), Projection(9))),
}
VOTES = {"RSE": 3, "all": 2}  # these are exported as ensembles

SCRIPT = '''
"""What the course's test script does: load by path, Net(), to(device), load_for_testing, test."""

import importlib.util, json, os, sys

import torch

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"adv", "spaces", "search", "torchvision", "safetensors",
                                      "kornia", "scipy", "sklearn", "lazy_loader"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

def load_project(project_dir):
    file = os.path.join(project_dir, "model.py")
    assert os.path.isfile(file), file
    sys.path = [project_dir] + sys.path
    spec = importlib.util.spec_from_file_location("model", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def test_natural(net, batches, num_samples):
    correct = total = 0
    with torch.no_grad():
        for images, labels in batches:
            for _ in range(num_samples):
                outputs = net(images.to(device))
                _, predicted = torch.max(outputs.data, 1)
                total += labels.size(0)
                correct += (predicted == labels.to(device)).sum().item()
    return 100 * correct / total

data, seed, out, num_samples, *folders = sys.argv[1:]
everything = torch.load(data, weights_only=True).float() / 255  # as ToTensor, and nothing else
found = {}
for folder in folders:
    images = everything if folder.endswith("BaseNet") else everything[:6]
    torch.manual_seed(int(seed))
    here = torch.get_rng_state()
    net = load_project(folder).Net()
    net.to(device)
    net.load_for_testing(project_dir=folder)
    with torch.no_grad():
        first, second = net(images), net(images)
    assert torch.equal(here, torch.get_rng_state()), "the script's own randomness has moved"
    net.train()
    x = images[:2].to(device).requires_grad_()
    net(x)[:, 0].sum().backward()
    assert net.model_file == "models/default_model.pth" and not any(
        module.training for module in net.modules())
    labels = first.argmax(1).cpu()
    batches = [*zip(images.split(256), labels.split(256))]
    found[folder] = {
        "first": first.cpu(), "second": second.cpu(), "gradient": x.grad.norm().cpu(),
        "accuracy": torch.tensor(test_natural(net, batches, int(num_samples)))}
    net.save("again.pth")
    net.load("again.pth")
assert not {"adv", "model", "numpy.f2py"} & set(sys.modules), "nothing of ours was imported"
torch.save(found, out)
'''


def moved(net, defences) -> tuple[torch.nn.Module, Recipe]:
    """Return a net whose buffers differ from those of a new one, and its recipe."""
    recipe = Recipe(net=net, defences=defences, epochs=3)
    made = build(recipe, 10, seed=1)
    images = torch.randint(0, 200, (64, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    for module in made.modules():
        if isinstance(module, FittedModule):
            module.fit(images.to(torch.uint8))
    with torch.no_grad():
        made.train()(images[:16] / 255)
    return made, recipe


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (260, 3, 32, 32), generator=generator).to(torch.uint8)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, images):
    """Return the outputs of every net here, and of its exported folder in one other process."""
    root = tmp_path_factory.mktemp("exported")
    nets = {}
    for name, (net, defences) in NETS.items():
        made, recipe = moved(net, defences)
        path = root / f"{name}.safetensors"
        save(path, made, recipe, classes=CLASSES, data="digits", epoch=2)
        export(restore(path), root / name, votes=VOTES.get(name, 1))
        nets[name] = made
        path.unlink()
    assert sorted(path.name for path in root.iterdir()) == sorted(NETS)  # and no partial ones
    torch.save(images, root / "images.pt")
    (root / "script.py").write_text(SCRIPT)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    folders = [str(root / name) for name in NETS]
    script, data, found = (str(root / name) for name in ("script.py", "images.pt", "found.pt"))
    done = subprocess.run(
        [sys.executable, "-I", script, data, str(SEED), found, "2", *folders],
        cwd=elsewhere,
        env={"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values = torch.load(found, weights_only=True)
    return nets, {Path(folder).name: value for folder, value in values.items()}


@pytest.mark.parametrize("name", NETS)
def test_the_script_loads_the_same_net(outputs, images, name):
    """Equal log-probabilities; the noise of random nets follows the seed of the script."""
    net, found = outputs[0][name], outputs[1][name]
    attach(net, RngStream(SEED))
    judge = Votes(net, VOTES[name]) if name in VOTES else net
    with torch.no_grad(), frozen(net):
        wanted = judge(images[: len(found["first"])].float() / 255).log_softmax(1)
    torch.testing.assert_close(found["first"], wanted, rtol=1e-5, atol=1e-5)
    assert torch.allclose(found["first"].exp().sum(1), torch.ones(len(wanted)))
    assert found["gradient"] > 0
    if is_random(net):
        assert (found["first"] - found["second"]).abs().max() > 1e-4
    else:
        assert torch.equal(found["first"], found["second"]) and found["accuracy"] == 100


@pytest.mark.slow
def test_a_large_net_is_the_same_again(tmp_path, images):
    """`export` compares the nets itself, so it is enough that it writes."""
    net, recipe = moved(ResNet18("gelu"), (PNI(), Projection(50)))
    save(tmp_path / "net.safetensors", net, recipe, classes=CLASSES)
    export(restore(tmp_path / "net.safetensors"), tmp_path / "out")
    assert files(tmp_path / "out")[:2] == ["README.txt", "model.py"]


# --- the folder ---


@pytest.fixture
def kept(tmp_path):
    net, recipe = moved(BaseNet(), (RSE(0.1, 0.1),))
    save(tmp_path / "net.safetensors", net, recipe, classes=CLASSES, data="digits", epoch=2)
    return restore(tmp_path / "net.safetensors")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_the_folder_holds(kept, tmp_path):
    export(kept, tmp_path / "deep" / "out")
    folder = tmp_path / "deep" / "out"
    assert files(tmp_path / "deep") == [
        *("out", "out/README.txt", "out/model.py", "out/models", "out/models/default_model.pth")
    ]
    weights = torch.load(folder / "models" / "default_model.pth", weights_only=True)
    assert {k: v.shape for k, v in weights.items()} == {
        f"net.{k}": v.shape for k, v in kept.net.state_dict().items()
    }
    readme = (folder / "README.txt").read_text()
    for text in ("RSE(sigma_init=0.1", "epochs=3", "epoch", "digits", "a, b, c", "--num-samples"):
        assert text in readme
    assert max(map(len, readme.splitlines())) <= 100


def test_model_py_imports_torch_and_nothing_else(kept, tmp_path):
    export(kept, tmp_path / "out")
    text = (tmp_path / "out" / "model.py").read_text()
    tree = ast.parse(text)
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    modules = {getattr(n, "module", None) or n.names[0].name for n in imports}
    outside = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    assert outside == {"torch"}
    assert text.rindex("class Net(nn.Module)") > text.rindex("class RSE(")
    defined = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    assert len(defined) == len(set(defined))
    for absent in ("def fit", "PNI", "type: ignore", " -> "):
        assert absent not in text


@pytest.mark.parametrize("there", ["a folder", "an empty folder", "a file", "a dangling link"])
def test_existing_folders_are_left_alone(kept, tmp_path, there):
    out = tmp_path / "out"
    if there == "a file":
        out.write_text("mine")
    elif there == "a dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        if there == "a folder":
            (out / "mine").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(ValueError, match="out exists: name another folder"):
        export(kept, out)
    assert files(tmp_path) == before


@pytest.mark.parametrize("how", ["wrong", "broken", "interrupted"])
def test_nothing_half_written(kept, tmp_path, monkeypatch, how):
    """Nothing is written if the copy differs from the net, or after an error."""
    if how == "wrong":
        monkeypatch.setattr(course_template, "MODEL", MODEL.replace("log_softmax", "softmax"))
    else:
        failing = OSError("disk full") if how == "broken" else KeyboardInterrupt()

        def fail(*args):
            raise failing

        monkeypatch.setattr(course_template, "_check", fail)
    with pytest.raises((ValueError, OSError, KeyboardInterrupt)) as error:
        export(kept, tmp_path / "out")
    if how == "wrong":
        assert "differs from the net by" in str(error.value)
    assert files(tmp_path) == ["net.safetensors"]


def test_votes_are_for_random_nets(kept, tmp_path):
    with pytest.raises(ValueError, match="votes must be 1 or more"):
        export(kept, tmp_path / "out", votes=0)
    net, recipe = moved(BaseNet(), ())
    save(tmp_path / "plain.safetensors", net, recipe, classes=CLASSES)
    with pytest.raises(ValueError, match="not random"):
        export(restore(tmp_path / "plain.safetensors"), tmp_path / "out", votes=2)
    assert not (tmp_path / "out").exists()


def test_two_modules_may_use_one_name():
    """WRN and ViT both have a `_Block`; `Net` is the template's."""
    places = [("adv.models", "WRN"), ("adv.models", "ViT")]
    text = bundle(places, {"Net": "Architecture"}, {})
    names: dict = {}
    exec(compile(text, "bundle", "exec", dont_inherit=True), names)
    x = torch.rand(1, 3, 32, 32)
    for value, net in ((WRN(10, 1), "WRN"), (ViT(1, 64, 3), "ViT")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            ours = value(10).eval()
            torch.manual_seed(0)
            theirs = eval(repr(value), names)(10).eval()
        assert torch.equal(ours(x), theirs(x)), net
    assert "_Block_vit" in names and "_Block" in names and "Net" not in names


def test_what_needs_more_than_torch_is_refused():
    with pytest.raises(ValueError, match="needs numpy"):
        bundle([("adv.evaluation.score", "Score")], {}, {})


def test_other_class_counts_and_metadata(tmp_path):
    recipe = Recipe(net=BaseNet(), epochs=1)
    names = ("one", "two", 'th"""ree')
    save(tmp_path / "n.safetensors", build(recipe, 3, 0), recipe, classes=names, data='"""')
    export(restore(tmp_path / "n.safetensors"), tmp_path / "out")
    assert json.dumps(names[2])[1:3] in (tmp_path / "out" / "README.txt").read_text()
