"""Find the definitions that a definition of `adv` needs, from the source of its modules."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Symbol = tuple[str, str]  # a module and a name in it
Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = Function | ast.ClassDef | ast.Assign | ast.AnnAssign
_TRAINING_ONLY = ("fit", "figures")


@dataclass(frozen=True)
class Module:
    """A parsed module: its text, its definitions, and where its imported names are from."""

    text: bytes
    tree: ast.Module
    definitions: dict[str, Node]
    imports: dict[str, Symbol]


@cache
def parse_module(name: str) -> Module:
    module = importlib.import_module(name)
    text = Path(inspect.getfile(module)).read_bytes()
    tree = ast.parse(text)
    definitions: dict[str, Node] = {}
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            definitions |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return Module(text, tree, definitions, dict(_imported_names(tree)))


def _imported_names(tree: ast.AST) -> Iterator[tuple[str, Symbol]]:
    """Yield each imported name with its module and its name there, "" for a module itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((a.asname or a.name, (node.module, a.name)) for a in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.asname or a.name, (a.name, "")) for a in node.names)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "adv"


def resolve(module: str, name: str) -> Symbol:
    """Return where a name of ours is defined, following re-exports."""
    found = parse_module(module)
    if name in found.definitions:
        return module, name
    if name not in found.imports:
        raise ValueError(f"{module} defines no {name!r} that can be copied")
    return resolve(*found.imports[name])


def closure(symbols: list[Symbol]) -> dict[Symbol, dict[str, Symbol]]:
    """Return every symbol that is needed, each with the names that it uses and their symbols."""
    needs: dict[Symbol, dict[str, Symbol]] = {}
    while symbols:
        symbol = symbols.pop()
        if symbol not in needs:
            needs[symbol] = _uses(*symbol)
            symbols += [used for used in needs[symbol].values() if is_ours(used[0])]
    return needs


def _uses(module: str, name: str) -> dict[str, Symbol]:
    found = parse_module(module)
    uses: dict[str, Symbol] = {}
    for node, copied in walk(found.definitions[name]):
        if copied and isinstance(node, ast.Name) and node.id != name:
            if node.id in found.definitions:
                uses[node.id] = module, node.id
            elif node.id in found.imports:
                symbol = found.imports[node.id]
                uses[node.id] = resolve(*symbol) if is_ours(symbol[0]) else symbol
    return uses


def walk(node: ast.AST, parent: ast.AST | None = None) -> Iterator[tuple[ast.AST, bool]]:
    """Yield each node of a definition and whether it is copied.

    A node that is not copied is yielded without the nodes below it.
    """
    yield node, True
    for child in ast.iter_child_nodes(node):
        if _is_dropped(child, node, parent):
            yield child, False
        else:
            yield from walk(child, node)


def _is_dropped(node: ast.AST, parent: ast.AST, grandparent: ast.AST | None) -> bool:
    """Return whether a node is left out of the copy; `grandparent` is the parent of its parent."""
    if isinstance(node, ast.ImportFrom):
        return is_ours(node.module or "")
    if isinstance(node, Function):
        return isinstance(parent, ast.ClassDef) and node.name in _TRAINING_ONLY
    if isinstance(parent, ast.AnnAssign) and parent.value is not None:
        return node is parent.annotation and not isinstance(grandparent, ast.ClassDef)
    return node is getattr(parent, "returns", None) or (
        isinstance(parent, ast.arg) and node is parent.annotation
    )


def sort_modules(needs: dict[Symbol, dict[str, Symbol]]) -> list[str]:
    """Return the modules, each after those that it uses."""
    order: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in order or module in path:
            return
        for (user, _), uses in needs.items():
            if user == module:
                for used in sorted({symbol for symbol, _ in uses.values() if is_ours(symbol)}):
                    visit(used, (*path, module))
        order.append(module)

    for module in sorted({module for module, _ in needs}):
        visit(module, ())
    return order
