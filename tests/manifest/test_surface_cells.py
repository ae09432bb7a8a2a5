"""What each kind of column makes of each cell of a table, and which batches of maps are surely right, as it was."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.job_runs import write_manifest
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.cells import cell
from cosmos_ray.manifest.captions import parsed
from cosmos_ray.manifest.files import open_manifest, row_group_batches
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.manifest.table import check_batch

CELLS: tuple[Any, ...] = (
    None, "", " ", "a", " a ", "nan", "NaN", "N/A", "#N/A", "none", "null", "-", "<NA>", "#REF!", "#DIV/0!", "#x",
    0, 1, -1, 1.0, 1.5, True, float("nan"), float("inf"), 2**70, 1e400, decimal.Decimal("2.50"), decimal.Decimal("3"),
    "0", "1",
    "1.0", "1.5", "1,5", "1.000", "12.345.678", "1e3", "0x1", "inf", "1 000", '["a", "b"]', "['a', 'b']", "['a' 'b']",
    "[1",
    '{"rear": "x"}', ["a"], {"rear": "x"}, [1], b"x",
)  # fmt: skip


@pytest.mark.parametrize("decimal_comma", [False, True])
def test_cells(decimal_comma: bool) -> None:
    lines = []
    for column in ("id", "prompt", "negative_prompt", "seed", "guidance", "input_video", "views"):
        alike: dict[str, list[str]] = {}
        for value in CELLS:
            try:
                said = repr(cell(column, value, "row 1", decimal_comma))
            except (ManifestError, AttributeError, TypeError) as error:
                said = f"{type(error).__name__}: {error}".replace(repr(value), "IT")
            alike.setdefault("itself" if said == repr(value) else said, []).append(repr(value))
        lines += [f"== {column}", *(f"{' '.join(values)} -> {said}" for said, values in alike.items())]
    assert_as_it_was(f"manifest/cells_{'comma' if decimal_comma else 'point'}.txt", "\n".join(lines))


def test_texts_of_lists() -> None:
    texts = ('["a", null]', "['a', None]", "['a' 'b' nan]", "[nan]", "['it''s']", "['a', ['b']]", '{"a": [1]}',
    "{'a': 1}", "[a]",
             "[", "[]", "{}", " [1] ", "(1,)", "['a'\n 'b']", "array(['a'])", "[array(['a'])]", "['a'] x", "[1 2]",
             "[-1]")  # fmt: skip
    assert_as_it_was("manifest/lists.txt", "\n".join(f"{text!r}: {parsed(text)!r}" for text in texts))


def test_which_maps_of_cameras_are_surely_right() -> None:
    """A row alone, and beside one that is right: what is wrong with one says nothing of the other."""
    whole = [(view, f"{view}.mp4") for view in VIEWS]
    maps: dict[str, Any] = {
        "whole": whole, "reversed": whole[::-1], "none": None, "empty": [], "one": whole[:1], "one too few": whole[:-1],
        "unknown": [*whole, ("nobody", "x")], "unknown alone": [("nobody", "x")], "twice": [*whole, ("rear", "y")],
        "null": [*whole[:-1], (VIEWS[-1], None)], "strange": [(view, f"../{view}.mp4") for view in VIEWS],
    }  # fmt: skip
    lines = []
    for name, value in maps.items():
        for others in ([], [whole], [None]):
            for more in ({}, {"n_views": 1}, {"input_video": "v.mp4"}):
                rows = [value, *others]
                columns = {"id": [f"r{n}" for n in range(len(rows))], "prompt": ["p"] * len(rows)}
                columns |= {key: [one, *[None] * len(others)] for key, one in more.items()}
                batch = pa.RecordBatch.from_pydict(columns)
                batch = batch.append_column("input_videos", pa.array(rows, pa.map_(pa.string(), pa.string())))
                right = check_batch(batch, RowDefaults(7, 35, 7.0, "blurry"), "/data").right.tolist()
                lines.append(f"{name} beside {len(others)} {'null' if others == [None] else ''} {more}: {right}")
    assert_as_it_was("manifest/maps.txt", "\n".join(lines))


def test_the_first_row_that_contradicts_its_folder_is_told_by_its_number(tmp_path: Path) -> None:
    """Also where it is in no first batch."""
    (tmp_path / "seed=3").mkdir()
    rows = [{"id": f"r{number}", "prompt": "p", "seed": 4 if number in (5, 7) else 3} for number in range(9)]
    write_manifest(tmp_path / "seed=3" / "m.parquet", rows)
    manifest, lines = open_manifest(str(tmp_path)), []
    for most in (2, 3, 100):
        try:
            for batch in row_group_batches(manifest.files[0], 0, manifest.schema, most):
                lines.append(f"{most}: {batch.num_rows} rows")
        except ManifestError as error:
            lines.append(f"{most}: {error}")
    assert_as_it_was("manifest/contradicted.txt", masked("\n".join(lines), tmp_path))
