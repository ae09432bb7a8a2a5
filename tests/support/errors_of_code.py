"""What the code can tell a person of errors, and what docs/troubleshooting.md has of that.

The code's side is read from its syntax: the fixed words of what is given to an exception of ours, to a failure of a
clip or to a finding, with `…` for what is put in. The page's side are the code spans in the first column of its tables.
Words that only pass another message on (`…: …`) are that message's affair.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT

PACKAGE = ROOT / "cosmos_ray"
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
#: What a person is told by: exceptions, a clip's failure, and findings of these levels.
_TELLERS = re.compile(r"\w*Error|Fault|LeaseHeld|LeaseLost|_unavailable|_complain")
_FINDINGS = {"Finding", "HubAnswer"}
_LEVELS = {"problem", "unavailable"}
#: Where an error of Python's own is a mistake of the code that calls, and no person's; and what is caught inside.
_CALLERS = (
    "models/network/", "models/vae/", "models/parallel.py", "models/sampler.py", "models/unipc.py", "models/ab2.py",
    "clip/encode.py", "clip/resize.py", "clip/samples.py", "clip/fragments.py", "store/storage.py", "__init__.py",
)  # fmt: skip
_PYTHONS = {"ValueError", "RuntimeError", "AttributeError"}
_CAUGHT = {"what these frames are decoded from is most of the file", "the key frame before them is none to begin with"}


def _texts(node: ast.expr) -> list[str]:
    """What an expression can say, `…` standing for what is not written in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(one.value if isinstance(one, ast.Constant) else "…" for one in node.values)]  # type: ignore[misc]
    if isinstance(node, ast.BinOp):
        return [a + b for a in _texts(node.left) or ["…"] for b in _texts(node.right) or ["…"]]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return []


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                yield place, node.func.id if isinstance(node.func, ast.Name) else node.func.attr, node


def _tells(place: str, name: str, call: ast.Call) -> bool:
    if place == "models/fake.py" or (name in _PYTHONS and place.startswith(_CALLERS)):
        return False  # its faults are ordered by tests
    if name == "append":  # what is gathered to be told together
        return ast.unparse(call.func) in ("problems.append", "faults.append")
    level = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    return bool(_TELLERS.fullmatch(name)) or (name in _FINDINGS and level in _LEVELS)


@functools.cache
def messages() -> dict[str, str]:
    """Where each message stands, by its words."""
    found = {}
    for place, name, call in _calls():
        if _tells(place, name, call):
            for text in (_plain(text) for argument in call.args for text in _texts(argument)):
                if len(re.findall(r"[a-z]{2,}", text)) >= 2 and text not in _CAUGHT:
                    found[text] = f"{place}:{call.lineno}"
    return found


@functools.cache
def patterns() -> list[str]:
    """The code spans in the first cells of the page's tables of messages."""
    cells = re.findall(r"^\| (`.*?) \| ", TROUBLESHOOTING.partition("## Found and expected")[2], re.MULTILINE)
    return [span.strip("` ") for cell in cells for span in cell.split("<br>")]


def expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(_plain(part)) for part in pattern.strip("… ").split("…")))


@functools.cache
def all_texts() -> str:
    """Every text of the code, a line each: what is said in other ways than by an exception, such as a line of a log."""
    return "\n".join(_plain(text) for path in PACKAGE.rglob("*.py") for text in _texts_in(path))


def _texts_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.expr):
            yield from _texts(node)
