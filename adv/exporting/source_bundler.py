"""Some names of `adv` and all that they need, as one piece of source that imports torch only.

Definitions are copied from our own modules, with their docstrings and comments. Type annotations of
functions go, and what only training asks for. Those of dataclass fields stay, and are evaluated: a
file that is loaded without being named in `sys.modules` cannot have them as text.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Place = tuple[str, str]  # a module and a name in it
_TRAINING_ONLY = ("fit", "figures")
_FOR_TOOLS = re.compile(r"  # (type: ignore|noqa).*")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef | ast.Assign | ast.AnnAssign


def bundle(wanted: Iterable[Place], renamed: dict[str, str], imports: dict[str, Place]) -> str:
    """Source that defines the names of `wanted` and whatever they use.

    Args:
      wanted: (module, name) pairs of `adv`.
      renamed: names that may not be used, and what stands in for them.
      imports: names to import beside those that the definitions use.

    Raises:
      ValueError: something there needs another package than torch.
    """
    needs = _closure([_home(*place) for place in wanted])
    names = _names(needs, renamed)
    outside = {*imports.items(), *(use for uses in needs.values() for use in uses.items())}
    parts = [_imports({use for use in outside if not _ours(use[1][0])})]
    for module in _in_order(needs):
        own = [name for name in _read(module).definitions if (module, name) in needs]
        parts.append(_title(module))
        parts += [_printed(module, name, needs, names) for name in own]
    return "\n\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class _Module:
    """A parsed module: its text, what it defines, and what its names were imported as."""

    text: bytes
    tree: ast.Module
    definitions: dict[str, _Definition]
    imports: dict[str, Place]


@cache
def _read(name: str) -> _Module:
    module = importlib.import_module(name)
    text = Path(inspect.getfile(module)).read_bytes()
    tree = ast.parse(text)
    definitions: dict[str, _Definition] = {}
    for node in tree.body:
        if isinstance(node, _Function | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            definitions |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return _Module(text, tree, definitions, dict(_imported(tree)))


def _imported(tree: ast.AST) -> Iterator[tuple[str, Place]]:
    """Each imported name with its module and its name there; "" for a module itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((a.asname or a.name, (node.module, a.name)) for a in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.asname or a.name, (a.name, "")) for a in node.names)


def _ours(module: str) -> bool:
    return module.partition(".")[0] == "adv"


def _home(module: str, name: str) -> Place:
    """Where a name of ours is defined, through however many modules it is passed on."""
    found = _read(module)
    if name in found.definitions:
        return module, name
    if name not in found.imports:
        raise ValueError(f"{module} defines no {name!r} that can be copied")
    return _home(*found.imports[name])


# --- what is needed ---


def _closure(wanted: list[Place]) -> dict[Place, dict[str, Place]]:
    """What is needed, and by each what: its names, and the places that they mean."""
    needs: dict[Place, dict[str, Place]] = {}
    while wanted:
        place = wanted.pop()
        if place not in needs:
            needs[place] = _uses(*place)
            wanted += [used for used in needs[place].values() if _ours(used[0])]
    return needs


def _uses(module: str, name: str) -> dict[str, Place]:
    found = _read(module)
    uses: dict[str, Place] = {}
    for node, kept in _walk(found.definitions[name]):
        if kept and isinstance(node, ast.Name) and node.id != name:
            if node.id in found.definitions:
                uses[node.id] = module, node.id
            elif node.id in found.imports:
                place = found.imports[node.id]
                uses[node.id] = _home(*place) if _ours(place[0]) else place
    return uses


def _walk(node: ast.AST, above: ast.AST | None = None) -> Iterator[tuple[ast.AST, bool]]:
    """The nodes of a definition, each with whether it goes into the copy; below a no, none."""
    yield node, True
    for child in ast.iter_child_nodes(node):
        if _dropped(child, node, above):
            yield child, False
        else:
            yield from _walk(child, node)


def _dropped(node: ast.AST, above: ast.AST, higher: ast.AST | None) -> bool:
    """Whether a node, found in `above` and that in `higher`, is left out."""
    if isinstance(node, ast.ImportFrom):
        return _ours(node.module or "")
    if isinstance(node, _Function):
        return isinstance(above, ast.ClassDef) and node.name in _TRAINING_ONLY
    if isinstance(above, ast.AnnAssign) and above.value is not None:
        return node is above.annotation and not isinstance(higher, ast.ClassDef)
    return node is getattr(above, "returns", None) or (
        isinstance(above, ast.arg) and node is above.annotation
    )


def _in_order(needs: dict[Place, dict[str, Place]]) -> list[str]:
    """The modules, each behind those that it uses."""
    order: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in order or module in path:
            return
        for (user, _), uses in needs.items():
            if user == module:
                for used in sorted({place for place, _ in uses.values() if _ours(place)}):
                    visit(used, (*path, module))
        order.append(module)

    for module in sorted({module for module, _ in needs}):
        visit(module, ())
    return order


def _names(needs: Iterable[Place], renamed: dict[str, str]) -> dict[Place, str]:
    """What each definition is called in the copy, where two modules may use one name."""
    names: dict[Place, str] = {}
    for module, name in sorted(needs):
        chosen = renamed.get(name, name)
        if chosen in names.values():
            chosen = f"{chosen}_{module.rpartition('.')[2]}"
        names[module, name] = chosen
    return names


# --- how it is printed ---


def _imports(outside: set[tuple[str, Place]]) -> str:
    plain, members = set(), dict[str, set[str]]()
    for alias, (module, name) in outside:
        package = module.partition(".")[0]
        if package != "torch" and package not in sys.stdlib_module_names:
            raise ValueError(f"the net needs {package}, which a model.py may not")
        renamed = f" as {alias}" if alias != (name or module) else ""
        if name:
            members.setdefault(module, set()).add(name + renamed)
        else:
            plain.add(f"import {module}{renamed}")
    lines = [f"from {module} import {', '.join(sorted(members[module]))}" for module in members]
    return "\n".join(sorted(plain) + sorted(lines))


def _title(module: str) -> str:
    first = (ast.get_docstring(_read(module).tree) or "").partition("\n")[0]
    return f"# --- {module}: {first}"


def _printed(
    module: str, name: str, needs: Mapping[Place, dict[str, Place]], names: dict[Place, str]
) -> str:
    """The text of a definition, edited from its end on so that positions stay right."""
    found = _read(module)
    node = found.definitions[name]
    begin, end = _lines(found.text, node)
    text = found.text
    meant = {**needs[module, name], name: (module, name)}
    new_names = {old: names[place] for old, place in meant.items() if place in names}
    edits = [*_cuts(text, node), *_renamings(text, node, new_names)]
    for start, stop, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
        end += len(new) - (stop - start)
    return _FOR_TOOLS.sub("", text[begin:end].decode()).strip("\n")


Edit = tuple[int, int, bytes]  # start, stop, what stands there instead


def _cuts(text: bytes, definition: _Definition) -> Iterator[Edit]:
    for node, kept in _walk(definition):
        if kept:
            continue
        if isinstance(node, ast.stmt):  # whole lines, and the blank ones before
            start, stop = _lines(text, node)
            yield len(text[:start].rstrip()) + 1, stop, b""
        elif isinstance(node, ast.expr):  # an annotation, with the sign before it
            start, stop = _span(text, node)
            before = text[:start].rstrip()
            start = len(before.removesuffix(b"->").removesuffix(b":").rstrip())
            yield start, stop, b""


def _renamings(text: bytes, definition: _Definition, names: Mapping[str, str]) -> Iterator[Edit]:
    for node, kept in _walk(definition):
        old = getattr(node, "id", None) if node is not definition else getattr(node, "name", None)
        if kept and old is not None and names.get(old, old) != old:
            at = text.index(old.encode(), _span(text, node)[0])  # type: ignore[arg-type]
            yield at, at + len(old.encode()), names[old].encode()


def _lines(text: bytes, node: ast.stmt) -> tuple[int, int]:
    """Where the lines of a statement begin and end, decorators included."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return _line(text, first), _line(text, (node.end_lineno or node.lineno) + 1)


def _span(text: bytes, node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
    stop = _line(text, node.end_lineno or node.lineno) + (node.end_col_offset or 0)
    return _line(text, node.lineno) + node.col_offset, stop


def _line(text: bytes, number: int) -> int:
    """Where a line, counted from 1, begins; the end of the text behind the last."""
    return sum(map(len, text.splitlines(keepends=True)[: number - 1]))
