"""Imports never go up a floor, and cheap imports load nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("adv/**/*.py*"), *ROOT.glob("spaces/**/*.py")])
SOURCES = [path for path in SOURCES if path.suffix in (".py", ".pyi")]
HIGHER_FLOORS = ("ray", "optuna", "wandb", "search", "launch")


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh process has loaded after `code`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_everything_below_search_runs_without_it():
    modules = modules_after(
        "import adv, spaces, adv.__main__, adv.checkpoints.checkpoint\n"
        "import adv.data.names, adv.data.datasets, adv.data.cifar\n"
        "everything = [getattr(adv, name) for name in adv.__all__]\n"
        "for name in spaces.names():\n"
        "    space = spaces.load(name)\n"
        "    recipe = spaces.scale('laptop').apply(space.build(**space.known[0]))\n"
        "    adv.build(recipe, 10, seed=0)\n"
        "    scale = spaces.scale('laptop')\n"
        "    recipe.gradient_steps(100), scale.battery(), scale.watch()\n"
    )
    assert {"adv", "spaces", "torch"} <= modules
    assert modules.isdisjoint(HIGHER_FLOORS)


@pytest.mark.parametrize(
    "code",
    [
        "import adv",
        "import spaces",
        "import adv.data.names",
        "import adv.__main__",
        "import spaces\nfor name in spaces.names(): spaces.load(name), spaces.docstring(name)",
    ],
)
def test_cheap_imports_load_nothing_heavy(code):
    """A command line may read names, help and every space without loading torch."""
    heavy = {"torch", "numpy", "torchvision", "kornia", "sklearn", "scipy"}
    assert modules_after(code).isdisjoint({*heavy, *HIGHER_FLOORS})


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return (top-level name, True outside of functions) for each import of a file."""
    tree = ast.parse(path.read_text())
    inside_functions = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found += [(name.partition(".")[0], id(node) not in inside_functions) for name in names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_import_never_goes_up(path):
    imported = imports(path)
    names = {name for name, _ in imported}
    assert names.isdisjoint(HIGHER_FLOORS)
    if path.is_relative_to(ROOT / "adv"):
        command_line = (ROOT / "adv" / "cli", ROOT / "adv" / "__main__.py")
        assert "spaces" not in names or any(map(path.is_relative_to, command_line))


def test_imports_inside_and_outside_functions_are_seen(tmp_path):
    (tmp_path / "a.py").write_text(
        "from search import x\ndef f():\n    import spaces.smoke\nif 1:\n    import ray.tune as t\n"
    )
    imported = set(imports(tmp_path / "a.py"))
    assert imported == {("search", True), ("spaces", False), ("ray", True)}
    assert len(SOURCES) > 25


def test_public_names_are_sorted_whole_and_real():
    import adv

    names = vars(adv)["__all__"]
    assert list(names) == sorted(names) and list(dir(adv)) == list(names)
    stub = ast.parse((ROOT / "adv" / "__init__.pyi").read_text())
    imports: list[Any] = stub.body
    promised = {alias.asname for node in imports for alias in node.names}
    assert promised == set(names)
    for name in names:
        value = getattr(adv, name)
        assert callable(value) and value.__name__ == name
        assert value.__doc__, name
    with pytest.raises(AttributeError, match="Nothing"):
        adv.Nothing  # type: ignore[attr-defined]  # noqa: B018


def test_what_the_packages_show_is_public():
    """Every class and function that a subpackage offers for use from outside is in `adv` too."""
    import adv
    from adv import attacks, defences, models

    shown = {
        name
        for package in (attacks, defences, models)
        for name in dir(package)
        if name[0].isupper()
    }
    assert shown - set(vars(adv)["__all__"]) == {"Normalize"}  # a layer, no value
