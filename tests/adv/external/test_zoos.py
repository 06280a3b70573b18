"""timm, torchvision, torch.hub and RobustBench, by the calls that docs/own-net.md shows."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator

from adv import Curriculum, External, Recipe, Split, restore, save, train

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
VIT = {
    "patch_size": 8,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "mlp_dim": 16,
    "dropout": 0.1,
}
ROBUSTBENCH = '''
import torch
from torch import nn

def load_model(model_name, model_dir="./models", dataset="cifar10", threat_model="Linf",
               custom_checkpoint="", norm=None):
    """The signature of RobustBench 1.1.1."""
    assert (model_name, dataset, threat_model) == ("Wong2020Fast", "cifar10", "Linf")
    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)).eval()
'''
HUBCONF = """
from torch import nn

def small(width=2, num_classes=1000):
    conv, linear = nn.Conv2d(3, width, 8, 8), nn.Linear(16 * width, num_classes)
    return nn.Sequential(conv, nn.Flatten(), linear)
"""
ZOOS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "timm": ("timm:create_model", {"model_name": "test_resnet"}, IMAGENET),
    "timm, a transformer": (
        "timm:create_model",
        {"model_name": "test_vit", "img_size": 32, "patch_size": 8, "drop_rate": 0.1},
        {"mean": 0.5, "std": 0.5},
    ),
    "torchvision": ("torchvision.models:get_model", {"name": "squeezenet1_1"}, IMAGENET),
    "torchvision, a transformer": ("torchvision.models:VisionTransformer", VIT, {}),
    "torch.hub": (
        "torch.hub:load",
        {"repo_or_dir": "hub", "source": "local", "model": "small"},
        {},
    ),
    "RobustBench": (
        "robustbench.utils:load_model",
        {"model_name": "Wong2020Fast", "dataset": "cifar10", "threat_model": "Linf"},
        {},
    ),
}


@pytest.fixture
def zoos(tmp_path, monkeypatch):
    """A clone for torch.hub, and a stand-in for RobustBench, which wants an old timm."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"hub/hubconf.py": HUBCONF, "robustbench/utils.py": ROBUSTBENCH}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "robustbench" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "robustbench"]:
        del sys.modules[name]


@pytest.mark.usefixtures("zoos")
@pytest.mark.parametrize("name", ZOOS)
def test_a_net_of_a_zoo_is_trained_and_restored(name, tmp_path):
    source, kwargs, pixels = ZOOS[name]
    recipe = Recipe(
        net=External(source, kwargs, **pixels),
        epochs=1,
        batch=8,
        curriculum=Curriculum(eps=0.03, steps=1),
    )
    images = torch.randint(256, (9, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    (epoch,) = train(recipe, Split(images, torch.arange(9)), classes=10, seed=0)
    save(tmp_path / "net.safetensors", epoch.net, recipe, classes=[str(i) for i in range(10)])
    restored = restore(tmp_path / "net.safetensors", trust_code=True)
    x = images.float() / 255
    with torch.no_grad():
        assert torch.allclose(epoch.net.eval()(x), restored.net.eval()(x), atol=1e-5)
