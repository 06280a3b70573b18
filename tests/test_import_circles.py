"""The import graph: no circle between files or between rooms, and no import from below.

A room is a folder with its `__init__.py`; a nested package is a room of its own, and so is each
file that lies directly in `adv/`, `search/` or `spaces/`. Every import counts: those for type
checkers only, those inside functions, and those of the lazily loaded face, `adv/__init__.pyi`.

    python tests/test_import_circles.py [ROOT]
        prints the sizes of the largest circles of another checkout
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FACE = "adv/__init__.py"
# From the ground up: a room imports rooms that stand before it, and none that stands after it.
ORDER = (
    "adv/intervals.py",
    "adv/suggestions.py",
    "adv/files.py",
    "adv/keys.py",
    "adv/one_line.py",
    "adv/user_code.py",
    "adv/shape.py",
    "adv/shell.py",
    "adv/version.py",
    "adv/terminal",
    "adv/runtime",
    "adv/models",
    "adv/external",
    "adv/net_flags.py",
    "adv/attacks",
    "adv/augment",
    "adv/data",
    "adv/defences",
    "adv/evaluation/engine",
    "adv/evaluation",
    "adv/training",
    "adv/auditing",
    "adv/checkpoints",
    "adv/distillation",
    "adv/generative",
    "adv/exporting",
    "adv/net_plots.py",
    "adv",
    "spaces/_knob.py",
    "spaces/_objectives.py",
    "spaces/_space.py",
    "spaces/_narrow.py",
    "spaces/_threat_model.py",
    "spaces/_scale.py",
    "spaces",
    "spaces/_template.py",
    "spaces/NAME.py",  # a search space; one may be built from others
    "adv/cli",
    "adv/cli/synthesis",
    "adv/__main__.py",
    "search/errors.py",
    "search/formatting.py",
    "search/interrupt.py",
    "search/recipes.py",
    "search/command_line.py",
    "search/record",
    "search/stopping",
    "search/surrogates",
    "search/samplers",
    "search/trials",
    "search/study.py",
    "search/backends",
    "search/storage",
    "search/finals",
    "search/outcome",
    "search/reporting",
    "search/comparison",
    "search/tracking",
    "search/session",
    "search/from_python.py",
    "search/run_plots.py",
    "search",
    "search/replay",
    "launch.py",
)
# The one import of the face from below it: a recipe's expression looks names up in `adv`.
SANCTIONED = {("adv/checkpoints/expressions.py", FACE)}

Arrows = Mapping[tuple[str, str], int]  # (importing file, imported file): line number
Graph = dict[str, set[str]]


def import_arrows(root: Path) -> Arrows:
    """Return every import of one project file by another, with the line where it stands."""
    found = [path for part in ("adv", "search", "spaces") for path in root.glob(f"{part}/**/*.py")]
    files = {str(p.relative_to(root)) for p in [*found, *root.glob("launch.py")]}
    arrows: dict[tuple[str, str], int] = {}
    for name in sorted(files):
        for text in (root / name, (root / name).with_suffix(".pyi")):
            if text.exists():
                for target, line in _imports(name, ast.parse(text.read_text()), files):
                    arrows.setdefault((name, target), line)
    return arrows


def _imports(name: str, tree: ast.Module, files: set[str]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        modules = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            above = Path(name).parts[: -node.level] if node.level else ()
            base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            inner = [f"{base}.{alias.name}" for alias in node.names]
            modules = [module if _file(module, files) else base for module in inner]
        for module in modules:
            target = _file(module, files)
            if target is not None and target != name:
                yield target, node.lineno


def _file(module: str, files: set[str]) -> str | None:
    path = module.replace(".", "/")
    return next((f for f in (f"{path}.py", f"{path}/__init__.py") if f in files), None)


def room(file: str) -> str:
    """Return the room of a file: its folder, or the file itself where it lies at the top."""
    path = Path(file)
    if path.name == "__init__.py":
        return str(path.parent)
    return file if len(path.parts) <= 2 else str(path.parent)


def place(name: str) -> str:
    """Return a room's entry in `ORDER`: all search spaces share one."""
    is_space = name.startswith("spaces/") and not name.startswith("spaces/_")
    return "spaces/NAME.py" if is_space else name


def file_graph(arrows: Arrows) -> Graph:
    """Return the files that each file imports."""
    graph: Graph = {}
    for source, target in arrows:
        graph.setdefault(source, set()).add(target)
    return graph


def room_graph(arrows: Arrows) -> Graph:
    """Return the rooms from which each room imports."""
    graph: Graph = {}
    for source, target in arrows:
        if room(source) != room(target):
            graph.setdefault(room(source), set()).add(room(target))
    return graph


def largest_circle(graph: Graph) -> int:
    """Return the number of nodes of the largest strongly connected component; 0: no circle."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            fresh = graph.get(todo.pop(), set()) - seen
            seen |= fresh
            todo += fresh
        return seen

    reached = {node: reach(node) for node in graph}
    sizes = (
        sum(node in reached.get(other, ()) for other in others) for node, others in reached.items()
    )
    return max(sizes, default=0)


def one_circle(graph: Graph) -> list[str]:
    """Return the nodes of a circle, the first again at the end; [] if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1][::-1])
    return []


def explained(circle: list[str], arrows: Arrows) -> str:
    """Return one line for each arrow of a circle, with the file and line of an import."""
    lines = []
    for source, target in pairwise(circle):
        file, imported = next(
            (a, b) for a, b in arrows if source in (a, room(a)) and target in (b, room(b))
        )
        lines.append(f"{file}:{arrows[file, imported]} imports {imported}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def arrows() -> Arrows:
    """Return the imports of the project, but for those that are sanctioned."""
    found = import_arrows(ROOT)
    return {pair: line for pair, line in found.items() if pair not in SANCTIONED}


@pytest.mark.parametrize("make_graph", [file_graph, room_graph])
def test_no_import_circle(make_graph, arrows):
    graph = make_graph(arrows)
    circle = one_circle(graph)
    size = largest_circle(graph)
    assert not circle, f"largest circle: {size}; one of them:\n{explained(circle, arrows)}"
    assert size == 0


def test_no_import_goes_up(arrows):
    rank = {name: number for number, name in enumerate(ORDER)}
    rooms = {place(room(file)) for pair in arrows for file in pair}
    assert rooms <= rank.keys(), f"give {sorted(rooms - rank.keys())} a place in ORDER"
    gone = [name for name in ORDER if not name.endswith("NAME.py") and not (ROOT / name).exists()]
    assert not gone, f"take {gone} out of ORDER"
    upward = [
        f"{source}:{line} imports {target}"
        for (source, target), line in arrows.items()
        if rank[place(room(target))] > rank[place(room(source))]
    ]
    assert not upward, "\n".join(upward)


def test_the_command_line_is_imported_by_its_entry_point_alone(arrows):
    above = {
        source
        for source, target in arrows
        if target.startswith("adv/cli/") and not source.startswith("adv/cli/")
    }
    assert above == {"adv/__main__.py"}


def test_only_the_command_line_of_adv_knows_the_spaces(arrows):
    knowing = {
        source
        for source, target in arrows
        if source.startswith("adv/") and target.startswith("spaces/")
    }
    assert all(source.startswith(("adv/cli/", "adv/__main__.py")) for source in knowing)


def test_nothing_in_adv_imports_the_face(arrows):
    """Except the sanctioned arrow, which must still be there."""
    every = import_arrows(ROOT)
    assert every.keys() >= SANCTIONED
    inside = {
        f"{source}:{line}"
        for (source, target), line in every.items()
        if target == FACE and source.startswith("adv/") and (source, target) not in SANCTIONED
    }
    assert not inside


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_rules_see_type_only_and_late_imports(tmp_path):
    write(
        tmp_path,
        adv__a__x="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from adv.b import y\n",
        adv__b__y="def f():\n    from ..a.z import g\n",
        adv__a__z="import json\n",
        launch="from adv.a import x\n",
    )
    (tmp_path / "adv" / "a" / "__init__.py").write_text("")
    arrows = import_arrows(tmp_path)
    assert arrows == {
        ("adv/a/x.py", "adv/b/y.py"): 3,
        ("adv/b/y.py", "adv/a/z.py"): 2,
        ("launch.py", "adv/a/x.py"): 1,
    }
    assert one_circle(file_graph(arrows)) == [] and largest_circle(file_graph(arrows)) == 0
    rooms = room_graph(arrows)
    assert largest_circle(rooms) == 2 and sorted(set(one_circle(rooms))) == ["adv/a", "adv/b"]
    said = explained(one_circle(rooms), arrows).splitlines()
    assert sorted(said) == ["adv/a/x.py:3 imports adv/b/y.py", "adv/b/y.py:2 imports adv/a/z.py"]


def test_a_circle_of_files_in_one_room_is_seen(tmp_path):
    write(tmp_path, adv__a__x="import adv.a.y\n", adv__a__y="from adv.a.x import f\n")
    arrows = import_arrows(tmp_path)
    assert largest_circle(file_graph(arrows)) == 2 and largest_circle(room_graph(arrows)) == 0
    assert "adv/a/y.py:1 imports adv/a/x.py" in explained(one_circle(file_graph(arrows)), arrows)


if __name__ == "__main__":
    measured = import_arrows(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    measured = {pair: line for pair, line in measured.items() if pair not in SANCTIONED}
    for title, graph in (("files", file_graph(measured)), ("rooms", room_graph(measured))):
        print(f"largest circle of {title}: {largest_circle(graph)}")
