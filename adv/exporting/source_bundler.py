"""Bundle names of `adv` and everything that they use into one source text that imports torch only.

Definitions are copied from our own modules with their docstrings and comments. Annotations of
functions are removed, and so are methods that only training needs. Annotations of dataclass fields
stay, and are evaluated: a file that is loaded without an entry in `sys.modules` cannot have them
as text.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

from adv.exporting.dependencies import (
    Function,
    Node,
    Symbol,
    closure,
    is_ours,
    parse_module,
    resolve,
    sort_modules,
    walk,
)

_FOR_TOOLS = re.compile(r"  # (type: ignore|noqa).*")


def bundle(symbols: Iterable[Symbol], renamed: dict[str, str], imports: dict[str, Symbol]) -> str:
    """Return source that defines the symbols and everything that they use.

    Args:
      symbols: (module, name) pairs of `adv`.
      renamed: names that must not be used, and their replacements.
      imports: names to import besides those that the definitions use.

    Raises:
      ValueError: a definition needs another package than torch.
    """
    needs = closure([resolve(*symbol) for symbol in symbols])
    names = _new_names(needs, renamed)
    external = {*imports.items(), *(use for uses in needs.values() for use in uses.items())}
    sections = [_imports({use for use in external if not is_ours(use[1][0])})]
    for module in sort_modules(needs):
        own = [name for name in parse_module(module).definitions if (module, name) in needs]
        sections.append(_title(module))
        sections += [_source_of(module, name, needs, names) for name in own]
    return "\n\n\n".join(sections) + "\n"


def _new_names(needs: Iterable[Symbol], renamed: dict[str, str]) -> dict[Symbol, str]:
    """Return the name of each definition in the copy, unique even if two modules share one."""
    names: dict[Symbol, str] = {}
    for module, name in sorted(needs):
        chosen = renamed.get(name, name)
        if chosen in names.values():
            chosen = f"{chosen}_{module.rpartition('.')[2]}"
        names[module, name] = chosen
    return names


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
    first = (ast.get_docstring(parse_module(module).tree) or "").partition("\n")[0]
    return f"# --- {module}: {first}"


def _source_of(
    module: str, name: str, needs: Mapping[Symbol, dict[str, Symbol]], names: dict[Symbol, str]
) -> str:
    """Return the text of a definition, edited from the end so that positions stay valid."""
    found = parse_module(module)
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


def _deletions(text: bytes, definition: Node) -> Iterator[Edit]:
    for node, copied in walk(definition):
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


def _renames(text: bytes, definition: Node, names: Mapping[str, str]) -> Iterator[Edit]:
    for node, copied in walk(definition):
        if not copied or not isinstance(node, ast.Name | Function | ast.ClassDef):
            continue
        if isinstance(node, ast.Name):
            old = node.id
        elif node is definition:  # methods and inner functions keep their names
            old = node.name
        else:
            continue
        if names.get(old, old) != old:
            at = text.index(old.encode(), _span(text, node)[0])
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
