"""The pages of the documentation, and the code in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/**/*.md")])


def code_in(page: Path) -> list[str]:
    """Return what stands in backticks, in fenced blocks and in indented blocks, in lines."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    inline = re.findall(r"`([^`]+)`", text)
    return [" ".join(one.split()) for one in inline] + blocks_in(page)


def blocks_in(page: Path) -> list[str]:
    """Return what stands in fenced blocks and in indented blocks, in lines."""
    text = page.read_text()
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    indented = re.findall(r"^(?: {4}[^\n]*\n)+", text, re.MULTILINE)
    blocks = [re.sub(r"\\?\n {8,}", " ", block) for block in [*fenced, *indented]]
    return [line.strip() for line in "\n".join(blocks).splitlines()]
