"""Errors cross processes, from a rank to its leader and on to the driver: what arrives there is what was raised."""

from __future__ import annotations

import ast
import copy
import pickle
from collections.abc import Iterator

import pytest
from support.paths import ROOT

from cosmos_ray.clip.ffmpeg import FfmpegFailed
from cosmos_ray.errors import CosmosRayError, LeaseLost, RowError, UncheckedError
from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.limits import TimeIsUp
from cosmos_ray.manifest.unknown_cameras import UnknownCamerasError
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.refiner import NotRefinedError
from cosmos_ray.store.regular import TooLargeError

ERRORS: list[BaseException] = [
    CosmosRayError("what a job says"),
    FfmpegFailed(["frame 3: broken", "no frame at all"], "cut off"),
    GangBrokenError("oom", "a rank has no memory left"),
    LeaseLost("another job"),
    NoWordsError("no answer", is_rows=True, passes=True, after_s=2.5, status=429),
    NotRefinedError("no words", "model", is_verdict=True),
    RowError("column `a`", "storage"),
    TimeIsUp("reading it took too long"),
    TooLargeError(700, 30),
    UncheckedError("a check that raised", "guardrail"),
    UnknownCamerasError("which is it", {"front": ["front_wide", "front_tele"]}, ["front_wide", "front_tele"]),
]


def with_own_arguments() -> Iterator[str]:
    """Names of errors that are not made from a message alone; those of one module do not leave it."""
    for path in sorted((ROOT / "cosmos_ray").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith(_BASES) for base in node.bases):
                made = any(isinstance(of, ast.FunctionDef) and of.name == "__init__" for of in node.body)
                if made and not node.name.startswith("_"):
                    yield node.name


_BASES = ("Error", "Exception", "IsUp", "Lost", "Held", "Failed")


def test_each_error_with_arguments_of_its_own_is_tried_here() -> None:
    assert set(with_own_arguments()) - {type(one).__name__ for one in ERRORS} == set()


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: type(one).__name__)
def test_an_error_arrives_as_it_was_raised(error: BaseException) -> None:
    for there in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(there) is type(error)
        assert (str(there), vars(there)) == (str(error), vars(error))
