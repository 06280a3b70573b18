"""The documents name only links, paths, modules, commands and flags that exist."""

import pkgutil
import re

import pytest
import rich_click as click
from documents import PAGES, ROOT, code_in

import adv
import launch
import search
import spaces
from adv.__main__ import adv as adv_command
from search.replay.__main__ import main as replay_command

README = (ROOT / "README.md").read_text()
FOLDERS = "adv|benchmarks|docs|scripts|search|spaces|tests"
PLACEHOLDERS = ("NAME", "FILE")
OTHER_FLAGS = {"--num-samples"}  # of the course's test script

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def flags_of(*commands: click.Command) -> set[str]:
    """Return all flags of some commands and of their subcommands."""
    found = {"--help", "-h"}
    for command in commands:
        found |= {flag for parameter in command.params for flag in parameter.opts}
        found |= {flag for parameter in command.params for flag in parameter.secondary_opts}
        if isinstance(command, click.Group):
            found |= flags_of(*command.commands.values())
    return found


def program_of(line: str) -> tuple[str, set[str]] | None:
    """Return the arguments and the known flags of a command line of ours; None for another."""
    if match := re.match(r"python launch\.py(.*)", line):
        return match[1], flags_of(launch.main)
    if match := re.match(r"python -m search\.replay(.*)", line):
        return match[1], flags_of(replay_command)
    if match := re.match(r"python -m adv ([a-z]+)(.*)", line):
        assert match[1] in adv_command.commands, line
        return match[2], flags_of(adv_command.commands[match[1]])
    if match := re.match(r"python (benchmarks/\w+\.py)(.*)", line):
        return match[2], set(re.findall(r'"(--[a-z-]+)', (ROOT / match[1]).read_text()))
    return None


@each_page
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@each_page
def test_links_into_a_page_name_one_of_its_headings(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        where = (page.parent / target) if target else page
        titles = re.findall(r"^#+ (.+)$", where.read_text(), re.MULTILINE)
        words = [re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles]
        assert anchor in [re.sub(r"[\s]+", "-", one) for one in words], (target, anchor)


def test_the_readme_begins_with_the_demonstrations_and_the_tests():
    fences = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fences if not language]
    assert blocks[0] == "python -m pip install -e . && python launch.py --space rse_sigmas\n"
    assert blocks[1] == "python launch.py --space tradeoff\n"
    assert blocks[2] == 'python -m pip install -e ".[test]" && python -m pytest\n'


def test_the_readme_is_short():
    assert len(README.split()) < 700


@each_page
def test_commands_name_flags_and_spaces_that_exist(page):
    for line in code_in(page):
        found = program_of(line)
        if found is None:
            continue
        arguments, known = found
        for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*(?=[\s=]|$)", arguments.partition("#")[0]):
            assert flag in known, line
        for name in re.findall(r"--space (\w+)", line):
            assert name in (*spaces.names(), *PLACEHOLDERS), line


@each_page
def test_flags_that_stand_alone_exist(page):
    known = flags_of(launch.main, adv_command, replay_command) | OTHER_FLAGS
    for path in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'"(--[a-z-]+)', path.read_text()))
    for code in code_in(page):
        if code.startswith("--"):
            assert code.split()[0].partition("=")[0] in known, code


@each_page
def test_paths_exist(page):
    for code in code_in(page):
        for path in re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*", code):
            if not any(word in path for word in PLACEHOLDERS):
                assert (ROOT / path.rstrip(".")).exists(), path


@each_page
def test_modules_exist(page):
    """A dotted name is a module, or a name in one."""
    for code in code_in(page):
        for name in re.findall(r"(?<![\w/.])(?:adv|search|spaces)(?:\.[A-Za-z_]\w*)+", code):
            if not name.endswith((".py", ".pyi", ".md")):
                pkgutil.resolve_name(name)


def test_a_page_lists_each_space_with_its_question():
    text = (ROOT / "docs" / "spaces.md").read_text()
    for name in spaces.names():
        assert f"| `{name}` | {spaces.load(name).question} |" in text


def test_names_in_the_python_example_exist():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
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


@pytest.mark.parametrize(("page", "names"), [("adv", dir(adv)), ("search", list(search._PLACES))])
def test_the_reference_lists_each_public_name(page, names):
    text = (ROOT / "docs" / "api" / f"{page}.md").read_text()
    listed = set(re.findall(r"\w+", text))
    assert listed.issuperset(names), sorted(set(names) - listed)


def test_each_page_is_in_the_menu_of_the_site_or_behind_a_page_that_is():
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert f": {name}\n" in menu or name.startswith("decisions/"), name
