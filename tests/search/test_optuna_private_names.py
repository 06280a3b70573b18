"""Names that Optuna calls private and search/ uses: each is there, with the signature we call.

That is why `optuna` is held below the next minor version in pyproject.toml. To allow a newer one,
install it, run this test and those of the sampler, and raise the bound.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler as tpe
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

SIGNATURES: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "_split_trials": (tpe._split_trials, ["study", "trials", "n_below"]),
    "default_gamma_multiobjective": (tpe.default_gamma_multiobjective, ["x"]),
    "_sample": (TPESampler._sample, ["self", "study", "trial", "search_space"]),
    "_sample_relative": (TPESampler._sample_relative, ["self", "study", "trial", "search_space"]),
    "_build_parzen_estimator": (
        TPESampler._build_parzen_estimator,
        ["self", "study", "search_space", "trials", "handle_below"],
    ),
    "_get_internal_repr": (
        TPESampler._get_internal_repr,
        ["self", "trials", "search_space", "study"],
    ),
    "_compute_acquisition_func": (
        TPESampler._compute_acquisition_func,
        ["self", "samples", "mpe_below", "mpe_above"],
    ),
    "_compare": (TPESampler._compare, ["samples", "acquisition_func_vals"]),
}
VALUES = {"_rng", "_n_ei_candidates", "_trial_id", "_cached_frozen_trial"}
MODULES = {"_tpe"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def used_names(tree: ast.Module) -> set[str]:
    """Private names that are not the file's own: imported, inherited, or read from an object."""
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found.add(node.attr)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(
            "Sampler" in ast.unparse(base) or "Storage" in ast.unparse(base) for base in node.bases
        ):
            found |= {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
            found |= {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
    return {name for name in found if private(name)} - own


def test_every_private_name_in_use_is_listed_here():
    found = set()
    for path in (ROOT / "search").rglob("*.py"):
        text = path.read_text()
        if "import optuna" in text or "from optuna" in text:
            found |= used_names(ast.parse(text))
    assert found == (SIGNATURES.keys() - {"default_gamma_multiobjective"}) | VALUES | MODULES


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_takes_what_we_pass(name):
    function, parameters = SIGNATURES[name]
    assert list(inspect.signature(function).parameters) == parameters


def test_values_are_where_we_read_them():
    sampler = TPESampler(seed=0)
    assert isinstance(sampler._rng.rng, np.random.RandomState)
    assert isinstance(sampler._n_ei_candidates, int)
    study = optuna.create_study()
    blank = study.ask()._cached_frozen_trial
    assert isinstance(blank, optuna.trial.FrozenTrial)
    assert study.get_trials()[0]._trial_id == blank._trial_id and blank.number == 0


def test_the_calls_that_our_sampler_makes():
    """One proposal by hand, as `CostAwareTPE` draws it."""
    space: dict[str, BaseDistribution] = {"a": FloatDistribution(0.0, 1.0)}
    study = optuna.create_study(directions=["maximize", "maximize"])
    for i in range(6):
        trial = optuna.create_trial(
            params={"a": i / 6}, distributions=space, values=[i / 6, 1 - i / 6]
        )
        study.add_trial(trial)
    sampler = TPESampler(multivariate=True, seed=0)
    done = study.get_trials(deepcopy=False)
    halves = tpe._split_trials(study, done, tpe.default_gamma_multiobjective(len(done)))
    assert sum(map(len, halves)) == len(done) and halves[0]
    good, bad = (
        sampler._build_parzen_estimator(study, space, half, handle_below=below)
        for half, below in zip(halves, (True, False), strict=True)
    )
    samples = good.sample(sampler._rng.rng, sampler._n_ei_candidates)
    promise = sampler._compute_acquisition_func(samples, good, bad)
    assert promise.shape == samples["a"].shape == (sampler._n_ei_candidates,)
    assert sampler._compare(samples, promise) == {"a": samples["a"][promise.argmax()]}


def test_a_constraint_is_kept_under_the_name_that_we_write():
    """`set_trial_system_attr(..., "constraints:NAME", excess)` is what `create_trial` writes."""
    trial = optuna.create_trial(values=[0.0], constraints={"size": 2.0})
    assert trial.system_attrs["constraints:size"] == 2.0


def test_optuna_is_held_below_the_next_minor_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (allowed,) = (r for r in map(Requirement, project["dependencies"]) if r.name == "optuna")
    here = version("optuna")
    major, minor = map(int, here.split(".")[:2])
    assert allowed.specifier.contains(here)
    assert not allowed.specifier.contains(f"{major}.{minor + 1}.0")
