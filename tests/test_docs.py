"""What the documents promise: links that lead somewhere, flags and names that exist."""

import re
from pathlib import Path

import pytest

import adv
import launch
import spaces

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_begins_with_the_two_commands():
    blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks[0] == "python -m pip install -e . && python launch.py --space rse_sigmas\n"
    assert blocks[1] == 'python -m pip install -e ".[test]" && python -m pytest\n'


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_name_flags_and_spaces_that_exist(page):
    flags = {flag for parameter in launch.main.params for flag in parameter.opts} | {"--help"}
    for line in re.findall(r"python launch\.py[^\n`#]*", page.read_text()):
        for flag in re.findall(r"(?<=\s)--[a-z-]+", line):
            assert flag in flags, line
        for name in re.findall(r"--space (\w+)", line):
            assert name in (*spaces.names(), "NAME"), line


def test_the_readme_lists_each_space_with_its_question():
    text = (ROOT / "README.md").read_text()
    for name in spaces.names():
        assert f"| `{name}` |" in text


def test_names_in_the_python_example_exist():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    compile(example, "README.md", "exec")
    (line,) = re.findall(r"from adv import ([^\n]+)", example)
    for name in line.split(", "):
        assert hasattr(adv, name)


def test_the_scales_in_the_docs_are_the_real_ones():
    text = (ROOT / "docs" / "search.md").read_text()
    laptop, full = spaces.scale("laptop"), spaces.scale("full")
    rows = [
        f"| data | {laptop.data} | {full.data} |",
        f"| trials, epochs | {laptop.trials}, {laptop.epochs} | {full.trials}, {full.epochs} |",
        f"| images that score a trial | {laptop.images} | {full.images:,} |",
        f"| of these, for the masking gap | {laptop.gap_images} | {full.gap_images} |",
    ]
    for row in rows:
        assert row in text
