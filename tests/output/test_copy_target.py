"""The folder of a copy: what goes before anything is written, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_ray.output.copy_target import CopyTarget, Earlier
from cosmos_ray.store.storage import Storage


class Counted(Storage):
    """told: what was written and deleted, in order."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.told: list[str] = []

    def write(self, path: str, data: bytes) -> None:
        self.told.append(f"write {path}")
        super().write(path, data)

    def delete(self, path: str) -> None:
        self.told.append(f"delete {path}")
        super().delete(path)


@pytest.fixture
def copy(tmp_path: Path) -> Counted:
    """A copy that is whole, with a file of the same clip that this one does not have."""
    found = Counted(str(tmp_path))
    for path in ("a", "b", "old", "seal"):
        found.write(path, path.encode())
    found.told.clear()
    return found


FILES = {"a": b"a", "b": b"b"}


@pytest.mark.parametrize(
    ("there", "known", "told"),
    [
        ({}, {}, []),
        ({"b": None}, {}, ["delete seal", "write b"]),
        ({"b": b"x"}, {}, ["delete seal", "delete old", "delete b", "write b"]),
        ({}, {"a": "wrong"}, ["delete seal", "delete old", "delete a", "write a"]),
        ({}, {"a": "none", "b": "none"}, ["delete seal", "write a", "write b"]),
        ({"a": b"x"}, {"a": "right"}, []),
    ],
    ids=["whole", "one is missing", "one is wrong", "known to be wrong", "known to be missing", "known to be right"],
)
def test_what_is_wrong_goes_with_all_of_its_clip_before_anything_is_written(
    copy: Counted, there: dict[str, bytes | None], known: dict[str, Earlier], told: list[str]
) -> None:
    """What is only missing is added, and takes nothing else away."""
    for path, data in there.items():
        if data is None:
            copy.delete(path)
        else:
            copy.write(path, data)
    copy.told.clear()
    assert CopyTarget(copy, seal="seal").put(FILES, known, beside=["old"]) is bool(told)
    assert copy.told == told


def test_the_seal_goes_once_however_much_is_changed(copy: Counted) -> None:
    target = CopyTarget(copy, seal="seal")
    target.drop(["old"])
    target.put({"a": b"another", "c": b"c"}, {})
    target.put({"seal": b"whole"}, {})
    assert copy.told == ["delete seal", "delete old", "delete a", "write a", "write c", "write seal"]


def test_where_nothing_is_to_go_the_copy_stays_whole(copy: Counted) -> None:
    """Without its seal readers would take it for none."""
    CopyTarget(copy, seal="seal").drop([])
    assert copy.told == []


def test_who_only_looks_says_what_would_be_and_changes_nothing(copy: Counted) -> None:
    target = CopyTarget(copy, checks=True, seal="seal")
    target.put({"a": b"another", "b": b"b", "c": b"c"}, {}, beside=["old"])
    target.drop(["old"])
    target.drop([])
    assert target.faults == ["a: other than it should be", "c: missing", "old: of another copy"]
    assert copy.told == []
