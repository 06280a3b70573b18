"""Bundle names of `adv` and everything that they use into one source text that imports torch only.

Definitions are copied from our own modules with their docstrings and comments. Annotations of
functions are removed, and so are methods that only training needs. Annotations of dataclass fields
stay, and are evaluated: a file that is loaded without an entry in `sys.modules` cannot have them
as text.
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

Symbol = tuple[str, str]  # a module and a name in it
_TRAINING_ONLY = ("fit", "figures")
_FOR_TOOLS = re.compile(r"  # (type: ignore|noqa).*")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Node = _Function | ast.ClassDef | ast.Assign | ast.AnnAssign


def bundle(symbols: Iterable[Symbol], renamed: dict[str, str], imports: dict[str, Symbol]) -> str:
    """Return source that defines the symbols and everything that they use.

    Args:
      symbols: (module, name) pairs of `adv`.
      renamed: names that must not be used, and their replacements.
      imports: names to import besides those that the definitions use.

    Raises:
      ValueError: a definition needs another package than torch.
    """
    needs = _closure([_resolve(*symbol) for symbol in symbols])
    names = _new_names(needs, renamed)
    external = {*imports.items(), *(use for uses in needs.values() for use in uses.items())}
    sections = [_imports({use for use in external if not _is_ours(use[1][0])})]
    for module in _sort_modules(needs):
        own = [name for name in _parse_module(module).definitions if (module, name) in needs]
        sections.append(_title(module))
        sections += [_source_of(module, name, needs, names) for name in own]
    return "\n\n\n".join(sections) + "\n"


@dataclass(frozen=True)
class _Module:
    """A parsed module: its text, its definitions, and where its imported names are from."""

    text: bytes
    tree: ast.Module
    definitions: dict[str, _Node]
    imports: dict[str, Symbol]


@cache
def _parse_module(name: str) -> _Module:
    module = importlib.import_module(name)
    text = Path(inspect.getfile(module)).read_bytes()
    tree = ast.parse(text)
    definitions: dict[str, _Node] = {}
    for node in tree.body:
        if isinstance(node, _Function | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            definitions |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return _Module(text, tree, definitions, dict(_imported_names(tree)))


def _imported_names(tree: ast.AST) -> Iterator[tuple[str, Symbol]]:
    """Yield each imported name with its module and its name there, "" for a module itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((a.asname or a.name, (node.module, a.name)) for a in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.asname or a.name, (a.name, "")) for a in node.names)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "adv"


def _resolve(module: str, name: str) -> Symbol:
    """Return where a name of ours is defined, following re-exports."""
    found = _parse_module(module)
    if name in found.definitions:
        return module, name
    if name not in found.imports:
        raise ValueError(f"{module} defines no {name!r} that can be copied")
    return _resolve(*found.imports[name])


# --- which definitions are needed ---


def _closure(symbols: list[Symbol]) -> dict[Symbol, dict[str, Symbol]]:
    """Return all symbols that are needed; for each, the names it uses and their symbols."""
    needs: dict[Symbol, dict[str, Symbol]] = {}
    while symbols:
        symbol = symbols.pop()
        if symbol not in needs:
            needs[symbol] = _uses(*symbol)
            symbols += [used for used in needs[symbol].values() if _is_ours(used[0])]
    return needs


def _uses(module: str, name: str) -> dict[str, Symbol]:
    found = _parse_module(module)
    uses: dict[str, Symbol] = {}
    for node, copied in _walk(found.definitions[name]):
        if copied and isinstance(node, ast.Name) and node.id != name:
            if node.id in found.definitions:
                uses[node.id] = module, node.id
            elif node.id in found.imports:
                symbol = found.imports[node.id]
                uses[node.id] = _resolve(*symbol) if _is_ours(symbol[0]) else symbol
    return uses


def _walk(node: ast.AST, parent: ast.AST | None = None) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the nodes of a definition and whether they are copied; nodes below a no are skipped."""
    yield node, True
    for child in ast.iter_child_nodes(node):
        if _is_dropped(child, node, parent):
            yield child, False
        else:
            yield from _walk(child, node)


def _is_dropped(node: ast.AST, parent: ast.AST, grandparent: ast.AST | None) -> bool:
    """Return whether a node, a child of `parent`, which is one of `grandparent`, is left out."""
    if isinstance(node, ast.ImportFrom):
        return _is_ours(node.module or "")
    if isinstance(node, _Function):
        return isinstance(parent, ast.ClassDef) and node.name in _TRAINING_ONLY
    if isinstance(parent, ast.AnnAssign) and parent.value is not None:
        return node is parent.annotation and not isinstance(grandparent, ast.ClassDef)
    return node is getattr(parent, "returns", None) or (
        isinstance(parent, ast.arg) and node is parent.annotation
    )


def _sort_modules(needs: dict[Symbol, dict[str, Symbol]]) -> list[str]:
    """Return the modules, each after those that it uses."""
    order: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in order or module in path:
            return
        for (user, _), uses in needs.items():
            if user == module:
                for used in sorted({symbol for symbol, _ in uses.values() if _is_ours(symbol)}):
                    visit(used, (*path, module))
        order.append(module)

    for module in sorted({module for module, _ in needs}):
        visit(module, ())
    return order


def _new_names(needs: Iterable[Symbol], renamed: dict[str, str]) -> dict[Symbol, str]:
    """Return the name of each definition in the copy, unique even if two modules share one."""
    names: dict[Symbol, str] = {}
    for module, name in sorted(needs):
        chosen = renamed.get(name, name)
        if chosen in names.values():
            chosen = f"{chosen}_{module.rpartition('.')[2]}"
        names[module, name] = chosen
    return names


# --- writing them as source ---


def _imports(external: set[tuple[str, Symbol]]) -> str:
    plain, members = set(), dict[str, set[str]]()
    for alias, (module, name) in external:
        package = module.partition(".")[0]
        if package != "torch" and package not in sys.stdlib_module_names:
            raise ValueError(f"the net needs {package}, which model.py must not import")
        renamed = f" as {alias}" if alias != (name or module) else ""
        if name:
            members.setdefault(module, set()).add(name + renamed)
        else:
            plain.add(f"import {module}{renamed}")
    lines = [f"from {module} import {', '.join(sorted(members[module]))}" for module in members]
    return "\n".join(sorted(plain) + sorted(lines))


def _title(module: str) -> str:
    first = (ast.get_docstring(_parse_module(module).tree) or "").partition("\n")[0]
    return f"# --- {module}: {first}"


def _source_of(
    module: str, name: str, needs: Mapping[Symbol, dict[str, Symbol]], names: dict[Symbol, str]
) -> str:
    """Return the text of a definition, edited from the end so that positions stay valid."""
    found = _parse_module(module)
    node = found.definitions[name]
    begin, end = _line_span(found.text, node)
    text = found.text
    targets = {**needs[module, name], name: (module, name)}
    new_names = {old: names[symbol] for old, symbol in targets.items() if symbol in names}
    edits = [*_deletions(text, node), *_renames(text, node, new_names)]
    for start, stop, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
        end += len(new) - (stop - start)
    return _FOR_TOOLS.sub("", text[begin:end].decode()).strip("\n")


Edit = tuple[int, int, bytes]  # start, stop, replacement


def _deletions(text: bytes, definition: _Node) -> Iterator[Edit]:
    for node, copied in _walk(definition):
        if copied:
            continue
        if isinstance(node, ast.stmt):  # whole lines, and the blank lines before
            start, stop = _line_span(text, node)
            yield len(text[:start].rstrip()) + 1, stop, b""
        elif isinstance(node, ast.expr):  # an annotation, with the colon or arrow before it
            start, stop = _span(text, node)
            before = text[:start].rstrip()
            start = len(before.removesuffix(b"->").removesuffix(b":").rstrip())
            yield start, stop, b""


def _renames(text: bytes, definition: _Node, names: Mapping[str, str]) -> Iterator[Edit]:
    for node, copied in _walk(definition):
        old = getattr(node, "id", None) if node is not definition else getattr(node, "name", None)
        if copied and old is not None and names.get(old, old) != old:
            at = text.index(old.encode(), _span(text, node)[0])  # type: ignore[arg-type]
            yield at, at + len(old.encode()), names[old].encode()


def _line_span(text: bytes, node: ast.stmt) -> tuple[int, int]:
    """Return where the lines of a statement begin and end, decorators included."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return _line_start(text, first), _line_start(text, (node.end_lineno or node.lineno) + 1)


def _span(text: bytes, node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
    stop = _line_start(text, node.end_lineno or node.lineno) + (node.end_col_offset or 0)
    return _line_start(text, node.lineno) + node.col_offset, stop


def _line_start(text: bytes, number: int) -> int:
    """Return where a line, counted from 1, begins; the end of the text after the last line."""
    return sum(map(len, text.splitlines(keepends=True)[: number - 1]))
