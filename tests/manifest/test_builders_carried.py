"""Columns that are only carried: whatever their values are, they come into the manifest, as text if nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.manifests import put

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.notes import Built
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.table import from_table

WARNING = "columns whose values have no type in common, which are carried as text: 1: `x`: "


def of_lines(folder: Path, rows: list[dict[str, Any]]) -> Built:
    source = put(folder / "t.jsonl", "\n".join(json.dumps(row) for row in rows))
    return from_table(str(source), str(folder / "m.parquet"))


def of_list(folder: Path, rows: list[dict[str, Any]]) -> Built:
    source = put(folder / "b.json", json.dumps(rows))
    return from_batch_json(str(source), str(folder / "m.parquet"), rig=rig_of("video"))


@pytest.mark.parametrize("build", [of_lines, of_list])
@pytest.mark.parametrize(
    ("values", "carried", "kinds"),
    [
        (["rain", 7, None, 2.5], ["rain", "7", None, "2.5"], {"a text": 0, "a number": 1}),
        ([7, True], ["7", "true"], {"a number": 0, "true or false": 1}),
        ([{"a": 1}, "é"], ['{"a": 1}', "é"], {"an object": 0, "a text": 1}),
        ([[1, "é"], [2]], ['[1, "é"]', "[2]"], {"a list": 0}),
        ([{"a": 1}, {"a": "b"}], ['{"a": 1}', '{"a": "b"}'], {"an object": 0}),
        ([2**70, 1], [str(2**70), "1"], {"a number": 0}),
    ],
)
def test_values_without_a_type_in_common_are_texts(
    build: Callable[..., Built], values: list[Any], carried: list[Any], kinds: dict[str, int], tmp_path: Path
) -> None:
    rows = [{"id": f"r{number}", "prompt": "p", "x": value} for number, value in enumerate(values)]
    built = build(tmp_path, rows)
    assert pq.read_table(tmp_path / "m.parquet").column("x").to_pylist() == carried
    place = "line {} of " + f"{tmp_path}/t.jsonl" if build is of_lines else "item {} of " + f"{tmp_path}/b.json"
    places = [f"{kind} in {place.format(row + (build is of_lines))}" for kind, row in kinds.items()]
    assert built.warnings == (WARNING + ", ".join(places),)


@pytest.mark.parametrize("build", [of_lines, of_list])
@pytest.mark.parametrize(
    "values", [[1, 2.5], [2**64 - 1, 2**63 + 1, 0], [[1], []], [{"a": 1}, {"b": "x"}], [None, True]]
)
def test_values_that_have_one_are_carried_as_they_are(
    build: Callable[..., Built], values: list[Any], tmp_path: Path
) -> None:
    built = build(tmp_path, [{"id": f"r{n}", "prompt": "p", "x": value} for n, value in enumerate(values)])
    found = pq.read_table(tmp_path / "m.parquet").column("x").to_pylist()
    assert [
        {k: v for k, v in one.items() if v is not None} if isinstance(one, dict) else one for one in found
    ] == values
    assert built.warnings == ()


@pytest.mark.parametrize("build", [of_lines, of_list])
def test_what_is_carried_is_as_deep_as_parquet_can_hold_and_no_deeper(
    build: Callable[..., Built], tmp_path: Path
) -> None:
    """As deep as is allowed, whoever reads it reads it."""
    for deep, is_carried in ((32, True), (33, False)):
        value: Any = 1
        for level in range(deep):
            value = {"in": value} if level % 2 else [value]
        if is_carried:
            build(tmp_path, [{"id": "a", "prompt": "p", "x": value}])
            assert pq.read_table(tmp_path / "m.parquet").column("x").to_pylist() == [value]
        else:
            with pytest.raises(ManifestError, match="column `x`: found lists and objects 33 deep, expected at most 32"):
                build(tmp_path, [{"id": "a", "prompt": "p", "x": value}])


def test_columns_of_ours_are_never_guessed(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p", "seed": 1}, {"id": "b", "prompt": "p", "seed": "many"}]
    for build in (of_lines, of_list):
        with pytest.raises(ManifestError, match="`seed` is 'many'"):
            build(tmp_path, rows)
        assert not (tmp_path / "m.parquet").exists()


def test_a_row_that_no_model_takes_is_named_wherever_its_table_is_cut(tmp_path: Path) -> None:
    """Columns that are carried keep the pieces that their file has them in."""
    rows = {"id": list("abcd"), "prompt": ["p"] * 4, "weather": list("wxyz")}
    pq.write_table(pa.table(rows | {"num_steps": [1, 1, 0, 1]}), tmp_path / "t.parquet", row_group_size=2)
    with pytest.raises(ManifestError, match=r"row 2 of .*t\.parquet: column `num_steps`: found 0"):
        from_table(str(tmp_path / "t.parquet"), str(tmp_path / "m.parquet"))
