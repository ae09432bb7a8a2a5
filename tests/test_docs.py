"""What the pages show is there: files, functions, tests, headings, commands, and the tree of folders with its floors.

Their blocks of shell and Python are run by tests or say why not, and every error has its entry under troubleshooting.

History may speak of what is gone: dated results, the changelog, and the decision that tells what the tree once was.
"""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import typer
from support.errors_of_code import TROUBLESHOOTING, all_texts, expression, messages, patterns
from support.pages import Block, blocks
from support.paths import ROOT

from cosmos_ray.cli.main import app
from cosmos_ray.errors import FailureClass

PACKAGE = ROOT / "cosmos_ray"
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "datasets/*.md", "cluster/*.md", ".github/**/*.md")
    for page in ROOT.glob(pattern)
)
#: A command that is asked for in an issue before every release has it.
LATER_COMMANDS = set[str]()


def _named(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=_named)


@functools.cache
def _defined(file: Path) -> frozenset[str]:
    """Names that a module defines: functions, classes, their methods as `Class.method`, and what is assigned."""
    found = set[str]()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            found.update(f"{node.name}.{method.name}" for method in methods)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found.update(target.id for target in targets if isinstance(target, ast.Name))
    return frozenset(found)


def _anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links(page: Path) -> Iterator[tuple[str, str, str]]:
    """(text, path, anchor) of each link that is not to the web."""
    for text, path, anchor in re.findall(r"\[([^\[\]]*)\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        yield " ".join(text.split()), path, anchor


@each_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for text, path, anchor in _links(page):
        target = page.parent / path if path else page
        assert target.exists(), f"[{text}]({path})"
        assert not anchor or anchor in _anchors(target), f"[{text}]({path}#{anchor}): there are {_anchors(target)}"


@each_page
def test_what_follows_a_table_is_parted_from_it(page: Path) -> None:
    """The site's Markdown takes it for a row: so a heading was lost there, and not on GitHub."""
    stuck = re.findall(r"^\|.*\n(?!\||\n)(.+)", page.read_text(), flags=re.MULTILINE)
    assert stuck == []


@each_page
def test_a_link_that_names_a_function_leads_to_the_file_that_defines_it(page: Path) -> None:
    for text, path, _ in _links(page):
        if match := re.fullmatch(r"`([\w/]+\.py)` `([\w.]+)`", text):
            file, name = match.groups()
            target = (page.parent / path).resolve()
            assert target == (PACKAGE / file), f"[{text}]({path})"
            assert name in _defined(target), f"{file} does not define {name}"


def test_one_clip_is_followed_through_every_room_that_it_passes() -> None:
    """The architecture page shows the way: a room with code of a clip's way that is not on it is a way unknown."""
    page = ROOT / "docs" / "architecture.md"
    on_the_way = {path.split("cosmos_ray/")[1].split("/")[0] for _, path, _ in _links(page) if "cosmos_ray/" in path}
    assert on_the_way >= {"manifest", "job", "ledger", "pool", "gang", "models", "store", "output"}


def _mentions(text: str) -> Iterator[tuple[str, str]]:
    """(file, test function or "") of each Python file that is named, with its folders as far as they are said."""
    for match in re.finditer(r"(?<![\w./<-])((?:[\w-]+/)*[\w-]+\.py)(?:::(\w+))?", text):
        yield match[1], match[2] or ""


def _find(file: str, page: Path) -> Path | None:
    """A file is named from the repository's root, from `cosmos_ray/`, or from the page's own folder."""
    places = (ROOT / file, PACKAGE / file, page.parent / file)
    return next((place for place in places if place.is_file()), None)


@each_page
def test_files_and_tests_that_are_named_are_there(page: Path) -> None:
    if _named(page) in ("CHANGELOG.md", "docs/decisions/0007-a-house-with-streets.md"):
        return
    text = re.sub(r"\w+://\S+", "", page.read_text())
    for file, function in _mentions(text):
        if Path(file).stem.isupper() or file in ("cosmos_ray/generate.py", "__init__.py"):
            continue  # a placeholder; the module that must not be; any folder's
        found = _find(file, page)
        assert found is not None, f"{file} is not there"
        assert not function or function in _defined(found), f"{file} has no {function}"


@each_page
def test_tests_are_named_with_their_file(page: Path) -> None:
    bare = re.findall(r"`(test_\w+)`", page.read_text())
    assert bare == []


def _tree() -> list[tuple[int, str]]:
    """(floor, path below cosmos_ray) of each line of the tree that the architecture page shows. 0: not said there."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    (block,) = re.findall(r"^```\ncosmos_ray/\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    found, floor, parent = list[tuple[int, str]](), 0, ""
    for line in block.splitlines():
        match = re.fullmatch(r"( (\d\d| \d|  )  ( *))?([\w.]+/?) +\S.*", line)
        assert match, line
        said, depth, name = match[2], len(match[3] or ""), match[4]
        if match[1] is None:
            found.append((0, name))
            continue
        floor = int(said) if said and said.strip() else floor
        parent = name if depth == 0 else parent
        found.append((floor, name if depth == 0 else parent + name))
    return found


def test_the_tree_has_every_folder_and_file_of_the_top() -> None:
    folders = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("__init__.py")} - {"./"}
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for floor, name in _tree() if floor} == folders | files


def test_the_tree_has_every_folder_of_the_repository() -> None:
    made_here = ("build", "dist", "demo")
    there = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."}
    hidden = {name for name in there if name.endswith(".egg-info/") or name[:-1] in made_here}
    assert {name for floor, name in _tree() if not floor} == there - hidden - {"cosmos_ray/"}


def test_the_floors_that_are_shown_are_those_that_are_kept() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    kept = {(floor, name.strip()) for floor, layer in enumerate(reversed(layers), start=1) for name in layer.split("|")}
    shown = {(floor, re.sub(r"/$|\.py$", "", name)) for floor, name in _tree() if floor and "/" not in name[:-1]}
    assert shown == kept


def test_each_room_says_at_its_door_where_to_begin() -> None:
    for door in sorted(PACKAGE.rglob("__init__.py")):
        if door.parent == PACKAGE:
            continue
        tree = ast.parse(door.read_text())
        words = ast.get_docstring(tree) or ""
        assert "Begin with" in words, f"{door.relative_to(ROOT)} does not say where to begin"
        assert len(tree.body) == 1, f"{door.relative_to(ROOT)} gives out names"
        for file, _ in _mentions(words):
            assert (door.parent / file).is_file() or (PACKAGE / file).is_file(), f"{door.relative_to(ROOT)}: {file}"


def _commands() -> set[str]:
    root = typer.main.get_command(app)
    groups = getattr(root, "commands", {})
    return set(groups) | {
        f"{name} {below}" for name, group in groups.items() for below in getattr(group, "commands", ())
    }


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml"], ids=_named)
def test_commands_that_are_named_are_there(page: Path) -> None:
    named = set(re.findall(r"(?:^|`|-- )cosmos-ray ((?:manifest |model )?[a-z][\w-]*)", page.read_text(), re.MULTILINE))
    assert named - _commands() <= LATER_COMMANDS


def _flags() -> dict[str, set[str]]:
    """Of each command that has arguments of its own."""
    found = dict[str, set[str]]()
    groups = getattr(typer.main.get_command(app), "commands", {})
    for name, group in groups.items():
        for below, command in (getattr(group, "commands", None) or {"": group}).items():
            found[f"{name} {below}".strip()] = {
                flag for one in command.params for flag in one.opts + one.secondary_opts
            }
    return found


@each_page
def test_flags_that_are_named_are_their_commands(page: Path) -> None:
    """In blocks and in code spans."""
    flags = _flags()
    for line in re.findall(r"(?:^|`|-- )cosmos-ray ([^`\n#|>]+)", page.read_text().replace("\\\n", " "), re.MULTILINE):
        words = line.split()
        command = next((name for name in (" ".join(words[:2]), words[0]) if name in flags), None)
        if command is not None:
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= {*flags[command], "--help"}, (
                line
            )


def test_the_glossary_is_short() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs" / "glossary.md").read_text(), flags=re.MULTILINE)
    assert 10 <= len(words) <= 15
    assert len(set(words)) == len(words)


def test_every_page_can_be_reached_from_the_table_of_readers() -> None:
    """From docs/README.md in two steps, decisions through their folder."""
    start = ROOT / "docs" / "README.md"
    first = {(start.parent / path).resolve() for _, path, _ in _links(start) if path}
    second = {(page.parent / path).resolve() for page in first if page.suffix == ".md" for _, path, _ in _links(page)}
    pages = {page for page in PAGES if page.parent == ROOT / "docs"}
    assert pages - first - second - {start} == set()


@pytest.mark.parametrize("place", sorted({place.partition(":")[0] for place in messages().values()}))
def test_every_error_has_an_entry_under_troubleshooting(place: str) -> None:
    """Of each file of the package: messages that people can meet, by their fixed words."""
    known = [expression(pattern) for pattern in patterns()]
    here = {text: where for text, where in messages().items() if where.partition(":")[0] == place}
    missing = {where: text for text, where in here.items() if not any(one.search(text) for one in known)}
    assert missing == {}, "docs/troubleshooting.md has no entry for these"


def test_no_entry_under_troubleshooting_is_of_an_error_that_is_gone() -> None:
    raised = messages()
    others = [pattern for pattern in patterns() if not any(expression(pattern).search(text) for text in raised)]
    assert [pattern for pattern in others if not expression(pattern).search(all_texts())] == []


def test_entries_under_troubleshooting_say_enough_to_be_found_by() -> None:
    assert len(messages()) > 350
    assert [pattern for pattern in patterns() if len(re.sub(r"[^a-z]", "", pattern.lower())) < 5] == []


def test_every_failure_class_is_told() -> None:
    table = TROUBLESHOOTING.partition("## Failure classes")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE) == list(get_args(FailureClass))


@pytest.mark.parametrize("block", list(blocks()), ids=lambda block: block.place)
def test_every_block_of_shell_or_python_is_run_or_says_why_not(block: Block) -> None:
    if match := re.fullmatch(r"not run: (.+)", block.mark):
        assert len(match[1].split()) >= 2, f"{block.place}: {match[1]!r} is no reason"
        return
    match = re.fullmatch(r"run by (tests/\S+\.py)::(\w+)", block.mark)
    assert match, f"{block.place}: the line above it says neither `run by tests/…` nor `not run: …`"
    file, test = ROOT / match[1], match[2]
    assert test in _defined(file)
    assert f'shown_to(__file__, "{test}")' in file.read_text(), f"{block.place}: {match[1]} does not ask for it"


@each_page
def test_a_command_stands_in_a_block_that_a_test_looks_at(page: Path) -> None:
    """Not in an indented one, which has no line above it that could name the test."""
    assert not re.findall(r"^ {4}(?:cosmos-ray|python jobs|pip|ray) .*", page.read_text(), re.MULTILINE)


@each_page
def test_brackets_of_a_command_are_quoted(page: Path) -> None:
    """zsh takes them for a pattern of files, and refuses the line."""
    unquoted = re.sub(r"'[^'\n]*'", "", page.read_text())
    assert not re.findall(r"--set [\w.]+=\[.*|pip install [^`\n]*\[.*", unquoted)


def test_the_sites_navigation_has_every_page_for_readers() -> None:
    named = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted({*named}) == sorted(named)
    below = (ROOT / "docs").glob("*.md")
    assert {_named(page) for page in (*below, *ROOT.glob("*.md"), *ROOT.glob("[bcd]*/README.md"))} <= {*named}
