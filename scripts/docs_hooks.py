"""Hooks of mkdocs: pages that lie beside docs/, and links to files that are no pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie beside docs/ to the site, under their own paths."""
    for path in OUTSIDE:
        name = "readme.md" if path == "README.md" else path  # else it would be the start page
        files.append(File.generated(config, name, content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Return the page with its links as the site has them."""
    source = page.file.src_uri
    known = {file.src_uri for file in files}
    inside = page.file.abs_src_path is not None
    here = posixpath.dirname(f"docs/{source}" if inside else source)

    def translate(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(here, target))
        site = "readme.md" if path == "README.md" else path.removeprefix("docs/")
        if site not in known and (ROOT / path).exists():  # a source file, or a folder
            return text if text.startswith("`") else f"`{path}`"
        return f"[{text}]({posixpath.relpath(site, posixpath.dirname(source) or '.')}{anchor})"

    return _LINK.sub(translate, markdown)
