"""What only a newer release writes into the ledger is refused: not taken for damage, not lost when records move."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.settings import Settings
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger import parts
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.parts import PART_SCHEMA, list_parts, write_part
from cosmos_ray.ledger.record import FileEntry, Record, Try, record_path, table_of
from cosmos_ray.store.storage import Storage

SCORES = {"rear": Scores(0.1, 0.2, 0.3, 4.5, 5.5, 30.25, 0.75)}
RECORD = Record(
    "a", 0, "ok", None, 1, None, "row", 1, seconds={"denoise": 1.5}, files=(FileEntry("rear", "p", 3, "s"),),
    sidecar=FileEntry("", "c", 2, "t"), seed=0, scores=SCORES, tries=(Try(6, ("x",), SCORES),), blurred={"rear": 2},
    settings=Settings("tiny", 1.5, 9, ("rear",), "no", Approximations(attention="fp8").in_effect, "64x32", 29, 12),
)  # fmt: skip
PATH = record_path("a", 0)


@pytest.fixture
def held(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path))
    Ledger(storage).commit(RECORD)
    return storage


def _at(facts: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        facts = facts[key]
    return facts


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ((), "new"),
        (("files", 0), "files.new"),
        (("sidecar",), "sidecar.new"),
        (("settings",), "settings.new"),
        (("settings", "approximations"), "settings.approximations.new"),
        (("scores", "rear"), "scores.new"),
        (("tries", 0), "tries.new"),
        (("tries", 0, "scores", "rear"), "tries.scores.new"),
    ],
    ids=lambda value: value if isinstance(value, str) else "in",
)
def test_a_record_that_says_more_is_neither_damaged_nor_read_without_it(
    held: Storage, way: tuple[Any, ...], name: str
) -> None:
    facts = json.loads(held.read(PATH))
    _at(facts, way)["new"] = 1
    held.write(PATH, json.dumps(facts).encode())
    words = rf"ledger/../a\.0\.json is not of this version: found {name}, which a newer release may know"
    with pytest.raises(UsageError, match=words):
        Ledger(held).state()
    with pytest.raises(UsageError, match=words):
        Ledger(held).find("a", 0)
    with pytest.raises(UsageError, match=words):
        Ledger(held).commit(dataclasses.replace(RECORD, attempt=2))


def test_maps_have_whatever_keys_they_have(held: Storage) -> None:
    facts = json.loads(held.read(PATH))
    facts["seconds"]["new"] = facts["blurred"]["new"] = 1
    held.write(PATH, json.dumps(facts).encode())
    assert Ledger(held).state().is_settled("a")


@pytest.mark.parametrize("change", [{"id": "b"}, {"row_hash": ...}])
def test_what_is_damaged_is_made_again_whatever_it_says(held: Storage, change: dict[str, Any]) -> None:
    facts = {**json.loads(held.read(PATH)), "new": 1, **change}
    facts = {name: value for name, value in facts.items() if value is not ...}
    held.write(PATH, json.dumps(facts).encode())
    state = Ledger(held).state()
    assert (state.is_settled("a"), state.generation("a")) == (False, 1)


def _wider(kind: pa.DataType, way: tuple[str, ...]) -> pa.DataType:
    """With one more field at the end of the way."""
    if pa.types.is_list(kind):
        return pa.list_(_wider(kind.value_type, way))
    fields = [field.with_type(_wider(field.type, way[1:])) if field.name in way[:1] else field for field in kind]
    return pa.struct([*fields, *([] if way else [pa.field("new", pa.int64())])])


@pytest.mark.parametrize(
    "way",
    [(), ("files",), ("settings",), ("settings", "approximations"), ("tries", "scores")],
    ids=lambda way: ".".join(way) or "column",
)
def test_a_part_with_more_is_not_read_without_it(
    held: Storage, way: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = pa.schema(list(_wider(pa.struct(list(PART_SCHEMA)), way)))
    with monkeypatch.context() as patch:
        patch.setattr(parts, "PART_SCHEMA", schema)
        path = write_part(held, 1, [schema.empty_table()])
    words = rf"{path} is not of this version: found {'.'.join((*way, 'new'))}, which a newer release may know"
    with pytest.raises(UsageError, match=words):
        list_parts(held)
    with pytest.raises(UsageError, match=words):
        Ledger(held).state()


def test_ours_has_nothing_newer(held: Storage) -> None:
    assert Ledger(held).find("a", 0) == RECORD
    table = table_of([RECORD]).append_column("compacted_by", pa.array([1], pa.int64()))
    write_part(held, 1, [table])
    held.delete(PATH)
    assert list(Ledger(held).records()) == [RECORD]
