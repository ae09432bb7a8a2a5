"""Tables and specs that would take a machine with them are refused, with the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ray.errors import ManifestError, RowError
from cosmos_ray.manifest import parquet
from cosmos_ray.manifest.builders import sources, table_files
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.inference_specs import PredictSpec, objects_of, read_specs
from cosmos_ray.manifest.builders.table import from_table
from cosmos_ray.manifest.inputs import inputs_of

ROWS = {
    "m.csv": "id,prompt\n" + "".join(f"r{n},a street\n" for n in range(20)),
    "m.tsv": "id\tprompt\n" + "".join(f"r{n}\ta street\n" for n in range(20)),
    "m.jsonl": "".join(f'{{"id": "r{n}", "prompt": "a street"}}\n' for n in range(20)),
}


def build(path: Path) -> int:
    return from_table(str(path), str(path.parent / "out.parquet")).rows


@pytest.mark.parametrize("name", ROWS)
def test_a_table_is_read_up_to_its_bounds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty values of some bytes each: cells and lists of nothing take fifty bytes of memory each."""
    (tmp_path / name).write_text(ROWS[name])
    size = len(ROWS[name])
    monkeypatch.setattr(sources, "MAX_VALUES", 42)
    monkeypatch.setattr(table_files, "MAX_TABLE_BYTES", size)
    assert build(tmp_path / name) == 20
    monkeypatch.setattr(sources, "MAX_VALUES", 39)
    with pytest.raises(ManifestError, match=rf"{name}: found about 4\d values, expected at most 39: write several"):
        build(tmp_path / name)
    monkeypatch.setattr(table_files, "MAX_TABLE_BYTES", size - 1)
    with pytest.raises(ManifestError, match=rf"{name}: found {size} bytes, expected at most {size - 1}: write several"):
        build(tmp_path / name)


def test_a_table_in_parquet_is_read_with_a_manifests_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), ["x" * 2**20])
    columns = {"id": [f"r{n}" for n in range(2000)], "prompt": texts}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet", store_schema=False)
    with pytest.raises(ManifestError, match="2000 rows of it hold"):
        build(tmp_path / "m.parquet")
    pq.write_table(pa.table({"id": ["a", "b"], "prompt": ["one", "two"]}), tmp_path / "m.parquet", row_group_size=1)
    assert build(tmp_path / "m.parquet") == 2
    monkeypatch.setattr(parquet, "MAX_TABLE", 15)
    with pytest.raises(ManifestError, match="more than 15 bytes"):
        build(tmp_path / "m.parquet")


def test_json_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "m.jsonl").write_text(f'{{"id": "a", "prompt": {deep}{"]" * 100_000}}}\n')
    (tmp_path / "m.json").write_text(deep)
    with pytest.raises(ManifestError, match=r"line 1 of .*m\.jsonl is JSON that nests too deep"):
        build(tmp_path / "m.jsonl")
    with pytest.raises(ManifestError, match=r"m\.json is JSON that nests too deep"):
        from_batch_json(str(tmp_path / "m.json"), str(tmp_path / "out.parquet"))
    with pytest.raises(ManifestError, match="cannot be read"):
        objects_of(str(tmp_path / "m.json"))


def test_json_of_too_many_values_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_VALUES", 100)
    (tmp_path / "m.json").write_text("[" + "[]," * 100 + "[]]")
    for read in (lambda path: from_batch_json(path, str(tmp_path / "out.parquet")), objects_of):
        with pytest.raises(ManifestError, match="found about 202 values, expected at most 100"):
            read(str(tmp_path / "m.json"))


@pytest.mark.parametrize("names_it", ["name: *a9", "? *a9\n: 1"])
def test_aliases_in_yaml_stand_for_so_many_values(names_it: str, tmp_path: Path) -> None:
    """Ten lists of ten of the list before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (tmp_path / "spec.yaml").write_text("\n".join([*lines, names_it]))
    with pytest.raises(ManifestError, match=r"spec\.yaml: found aliases that stand for more than 100000 values"):
        objects_of(str(tmp_path / "spec.yaml"))
    (tmp_path / "spec.yaml").write_text("a: &a [*a]\n")
    with pytest.raises(ManifestError, match="found aliases"):
        objects_of(str(tmp_path / "spec.yaml"))
    (tmp_path / "spec.yaml").write_text("a: &a {b: 1}\nc: *a\n")
    assert objects_of(str(tmp_path / "spec.yaml")) == [{"a": {"b": 1}, "c": {"b": 1}}]


def test_an_object_of_thousands_of_keys_is_no_spec(tmp_path: Path) -> None:
    """A fault of each would be kept: millions fit into a file that may be read."""
    (tmp_path / "spec.json").write_text(json.dumps({f"k{n}": 1 for n in range(1001)}))
    with pytest.raises(ManifestError, match=r"spec\.json: found an object of 1001 keys, expected those of a spec$"):
        read_specs([str(tmp_path / "spec.json")], PredictSpec, {})


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


NAMES = 500


def _json(names: list[str]) -> None:
    sources.check_each_once(names)


def _header(names: list[str]) -> None:
    table_files._check_names("m.csv", names)


def _cameras(names: list[str]) -> None:
    inputs_of({"input_videos": [(name, "a.mp4") for name in names]}, ("front_wide",), "/in")


@pytest.mark.parametrize("check", [_json, _header, _cameras])
def test_of_many_names_not_each_is_compared_with_all(check: Callable[[list[str]], None]) -> None:
    """A row, a header or an object of a million names, the last of which is there twice, took hours."""
    Counted.compared = 0
    with pytest.raises((ManifestError, RowError), match=f"n{NAMES - 1}"):
        check([*(Counted(f"n{number}") for number in range(NAMES)), Counted(f"n{NAMES - 1}")])
    assert Counted.compared < 10 * NAMES
