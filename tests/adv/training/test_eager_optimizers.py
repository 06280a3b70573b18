"""Optimizers without PyTorch's compiler: the same weights, the same states, and no compiler."""

import subprocess
import sys

import pytest
import torch
from reproducibility import bit_equal

from adv.training import eager_optimizers

KINDS = [
    ("Adam", {"lr": 0.01, "betas": (0.0, 0.999)}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
]


def make(module, name, settings):
    """Return weights in two groups, the same each time, and their optimizer."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(5, 3, generator=generator).requires_grad_() for _ in range(2)]
    optimizer = getattr(module, name)([weights[0]], **settings)
    optimizer.add_param_group({"params": [weights[1]], "lr": 0.02})
    return weights, optimizer


def step(weights, optimizer):
    optimizer.zero_grad(set_to_none=True)
    sum((weight**3).sum() for weight in weights).backward()
    optimizer.step()


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_weights_and_states_are_those_of_torch(name, settings):
    ours, theirs = (make(module, name, settings) for module in (eager_optimizers, torch.optim))
    for _ in range(3):
        step(*ours)
        step(*theirs)
    assert bit_equal(ours[0], theirs[0])
    assert bit_equal(ours[1].state_dict(), theirs[1].state_dict())


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_each_goes_on_from_a_state_of_the_other(name, settings):
    ours, theirs = (make(module, name, settings) for module in (eager_optimizers, torch.optim))
    step(*ours)
    step(*theirs)
    states = ours[1].state_dict(), theirs[1].state_dict()
    ours[1].load_state_dict(states[1])
    theirs[1].load_state_dict(states[0])
    step(*ours)
    step(*theirs)
    assert bit_equal(ours[0], theirs[0])


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_what_is_hooked_to_a_step_runs_once(name, settings):
    weights, optimizer = make(eager_optimizers, name, settings)
    told = []
    optimizer.register_step_post_hook(lambda *_: told.append("after"))
    step(weights, optimizer)
    assert told == ["after"]


def test_a_training_imports_neither_the_compiler_nor_torchvision():
    code = """
import sys
import torch
import adv
split = adv.Split(torch.zeros(8, 3, 16, 16, dtype=torch.uint8), torch.arange(8))
augment = adv.Augment(flip=0.5, crop=1, jitter=0.4, cutout=2, erasing=0.5, cutmix=0.5, mixup=0.5)
for optimizer in (adv.AdamW(), adv.SGD()):
    recipe = adv.Recipe(adv.BaseNet(), optimizer=optimizer, augment=augment, epochs=1, batch=4)
    for _ in adv.train(recipe, split, classes=8, seed=0):
        pass
print(*{"torch._dynamo", "torchvision"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()
