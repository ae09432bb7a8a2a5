"""A manifest of a few kilobytes that stands for gigabytes is refused, before anything is unpacked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ray.errors import ManifestError
from cosmos_ray.job.plan import make_plan
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest import pages, parquet
from cosmos_ray.manifest.files import open_manifest, row_group_batches
from cosmos_ray.manifest.page_headers import DATA, DICTIONARY, PREFIXES, Page, pages_of
from cosmos_ray.manifest.pages import MAX_ROWS, held
from cosmos_ray.manifest.parquet import batches_of, size_of
from cosmos_ray.manifest.rows import RowDefaults

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
MEGABYTE = "x" * 2**20


def repeated(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text])


def written(path: Path, columns: dict[str, Any], **options: Any) -> str:
    pq.write_table(pa.table(columns), path, compression="zstd", **options)
    return str(path)


@pytest.mark.parametrize("of", ["prompt", "carried", "struct", "list", "map", "input_videos"])
def test_a_text_that_stands_in_every_row_is_held_once(of: str, tmp_path: Path) -> None:
    """Two thousand rows of one text of a megabyte are a file of some kilobytes, and two gigabytes in memory."""
    rows = 2000
    texts = repeated(MEGABYTE, rows)
    offsets = pa.array(range(rows + 1), pa.int32())
    column = {
        "struct": lambda: pa.StructArray.from_arrays([texts], ["of"]),
        "list": lambda: pa.ListArray.from_arrays(offsets, texts),
        "map": lambda: pa.MapArray.from_arrays(offsets, repeated("a", rows), texts),
        "input_videos": lambda: pa.ListArray.from_arrays(offsets, texts),
    }.get(of, lambda: texts)()
    name = of if of in ("prompt", "input_videos") else "carried"
    columns = {"id": [f"r{n}" for n in range(rows)], "prompt": ["a"] * rows, name: column}
    path = written(tmp_path / "m.parquet", columns, store_schema=False)
    assert Path(path).stat().st_size < 30_000
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(ManifestError, match=rf"2000 rows of it hold 2\d{{9}} bytes, most of them in column `{name}`"):
        make_plan(path, DEFAULTS, LedgerState.empty())
    assert pa.default_memory_pool().max_memory() < max(before, 2**28)


BY_PREFIXES = {"id": "PLAIN", "prompt": "PLAIN", "extra": "DELTA_BYTE_ARRAY"}


@pytest.mark.parametrize(
    ("column", "options", "most"),
    [
        (pa.array(["x" * 2**21] * 3), {}, 2**21),
        (pa.ListArray.from_arrays([0, 2**20, 2**20, 2**20], pa.nulls(2**20, pa.int8())), {}, 2**20),
        (pa.array(["x" * 2**16] * 3), {"column_encoding": BY_PREFIXES}, 2**17),
        (pa.array(["x" * 2**16] * 3), {"column_encoding": BY_PREFIXES, "data_page_version": "2.0"}, 2**17),
        (pa.array([[["x" * 2**19]] * 3] * 3), {}, 2**19),
    ],
    ids=["a page", "a list", "prefixes", "prefixes, as the second kind", "texts in lists"],
)
def test_what_unpacks_to_much_is_refused_by_its_pages(
    column: pa.Array, options: dict[str, Any], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes each: pages of zeros, levels that repeat, values that begin as the one before them."""
    path = written(
        tmp_path / "m.parquet",
        {"id": list("abc"), "prompt": list("abc"), "extra": column},
        use_dictionary=False,
        **options,
    )
    assert Path(path).stat().st_size < 5000
    monkeypatch.setattr(pages, "MAX_HELD", most)
    before = pa.total_allocated_bytes()
    with pytest.raises(ManifestError, match=r"m\.parquet: column `extra.*` unpacks to more than may be held at once"):
        make_plan(path, DEFAULTS, LedgerState.empty())
    assert pa.total_allocated_bytes() - before < most


def test_a_page_of_more_than_half_a_gigabyte_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "m.parquet", {"id": ["a"], "prompt": ["x" * 2**20]}, use_dictionary=False)
    monkeypatch.setattr(pages, "_MAX_PAGE", 2**20)
    with pytest.raises(ManifestError, match=r"column `prompt` unpacks .* at most 1048576 bytes a page"):
        make_plan(path, DEFAULTS, LedgerState.empty())


def test_a_row_group_of_countless_pages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"id": [f"r{n}" for n in range(100)], "prompt": ["a"] * 100}
    path = written(tmp_path / "m.parquet", columns, use_dictionary=False, data_page_size=1, write_batch_size=1)
    make_plan(path, DEFAULTS, LedgerState.empty())
    monkeypatch.setattr(pages, "MAX_PAGES", 150)
    with pytest.raises(ManifestError, match="more than 150 pages"):
        make_plan(path, DEFAULTS, LedgerState.empty())


@pytest.mark.parametrize(
    ("bound", "words"),
    [("_MAX_FOOTERS", r"100 row groups and \d+ bytes"), ("_MAX_GROUP", r"a row group of \d+ bytes"),
     ("MAX_COLUMNS", "2 columns"), ("MAX_FOOTER", r"a footer of \d+ bytes")],
)  # fmt: skip
def test_what_the_footer_itself_says_has_bounds(
    bound: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again for each row group: 25 MB of them took hours."""
    columns = {"id": [f"r{n}" for n in range(100)], "prompt": ["a"] * 100}
    path = written(tmp_path / "m.parquet", columns, row_group_size=1)
    monkeypatch.setattr(parquet, bound, 1)
    with pytest.raises(ManifestError, match=words):
        make_plan(path, DEFAULTS, LedgerState.empty())


def test_rows_that_are_read_together_are_counted_together() -> None:
    """Of texts only those of pages that MAX_ROWS rows lie in, of lists all of a row group."""
    page = Page(DATA, 1000, MAX_ROWS // 4, 0)
    assert held([page] * 100, 0, in_list=False) == 5 * 1000  # three of them, and parts of two
    assert held([page] * 3, 0, in_list=False) == 3 * 1000
    assert held([Page(DATA, 1000, 10 * MAX_ROWS, 0)] * 9, 0, in_list=False) == 2 * 1000
    assert held([Page(DICTIONARY, 500, 3, 0), page], 0, in_list=False) == 1500
    assert held([page] * 100, 0, in_list=True) == 100 * (1000 + MAX_ROWS // 4 * 16)
    assert held([Page(DATA, 1000, 50, PREFIXES)], 0, in_list=False) == 50_000
    assert held([page], 2**16, in_list=False) == 1000 + MAX_ROWS * 2**16


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x15",
        b"\x15\x00\x15\x80",
        b"\x00",
        b"\x15\x00\x15\x01\x15\x02\x00",  # a page of -1 bytes
        b"\x15" + b"\xff" * 20,
        b"\x1c" * 50,
        b"\x19\xf1" + b"\xff" * 8 + b"\x01",  # a list of a million million booleans
    ],
)  # fmt: skip
def test_headers_that_are_none_end_at_once(header: bytes) -> None:
    with pytest.raises(ValueError, match=r"page|number"):
        list(pages_of(header or b"\x15", 1, 10))


@pytest.mark.parametrize("length", [3, 14, 15, 20, 200])
def test_lists_in_a_header_are_passed_over_whatever_their_length(length: int) -> None:
    """Whoever writes files to come may have some, of numbers, of truths and of lists."""
    long = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    size, varint = (length << 4, b"") if length < 15 else (0xF0, long)

    def of(kind: int, each: bytes) -> bytes:
        return bytes([size | kind]) + varint + each * length

    begins = b"\x15\x00\x15\x14\x15\x14"  # a page of values, of ten bytes, packed and not
    lists = (
        b"\x69" + of(5, b"\x03") + b"\x19" + of(1, b"\x01") + b"\x19" + of(9, b"\x15\x07") + b"\x1a" + of(8, b"\x02ab")
    )
    header = begins + b"\x2c\x15\x0e\x15\x0e\x00" + lists + b"\x00"
    assert list(pages_of(header + bytes(10), 7, 10)) == [Page(DATA, 10, 7, PREFIXES, len(header), 10)]


def test_pages_are_told_as_pyarrow_wrote_them(tmp_path: Path) -> None:
    """Of both kinds, compressed and not."""
    texts = [f"a caption of some length, number {n}" for n in range(30_000)]
    for version in ("1.0", "2.0"):
        path = tmp_path / f"{version}.parquet"
        pq.write_table(pa.table({"text": texts}), path, data_page_version=version, use_dictionary=False)
        chunk = pq.read_metadata(path).row_group(0).column(0)
        data = path.read_bytes()[chunk.data_page_offset :][: chunk.total_compressed_size]
        found = list(pages_of(data, chunk.num_values, 1000))
        assert sum(page.values for page in found) == len(texts)
        assert 0 <= chunk.total_uncompressed_size - sum(page.unpacked for page in found) < 200 * len(found)


@pytest.mark.parametrize("written_out", [2**28, 3])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
def test_what_is_read_is_what_was_written(
    compression: str, written_out: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With texts written out, and as dictionaries, where that would take too much."""
    monkeypatch.setattr(pages, "_WRITTEN_OUT", written_out)
    table = pa.table({
        "id": [f"r{n}" for n in range(50)],
        "prompt": [["a", "b"]] * 49 + [["c", "d"]],
        "text": pa.array(["e", None] * 25),
        "map": pa.array([[("k", "vv")]] * 50, pa.map_(pa.string(), pa.string())),
        "deep": [{"of": [{"it": ["x", None]}]}] * 50,
        "numbers": [[1.5]] * 50,
    })  # fmt: skip
    path = str(tmp_path / "m.parquet")
    pq.write_table(table, path, row_group_size=20, compression=compression)
    manifest = open_manifest(path)
    found = [one for number in range(3) for one in row_group_batches(manifest.files[0], number, manifest.schema, 7)]
    assert max(one.num_rows for one in found) == 7
    assert pa.Table.from_batches(found).to_pylist() == table.to_pylist()
    raw = next(batches_of(path, 0))
    assert bool(re.search("dictionary", str(raw.schema))) == (written_out == 3)
    assert size_of(raw.column("map")) >= 20 * 3
    assert size_of(raw.slice(3, 2).column("map")) < 50


def test_only_long_texts_that_repeat_are_read_as_dictionaries(tmp_path: Path) -> None:
    """Looking for each text takes its time, of a million rows."""
    for length, is_kept in ((2**10, False), (2**16, True)):
        columns = {"id": [f"r{n}" for n in range(100)], "prompt": ["y", *["x" * length] * 99]}
        raw = next(batches_of(written(tmp_path / "m.parquet", columns), 0))
        assert ("dictionary" in str(raw.schema)) == is_kept


def test_what_a_row_holds_in_fields_and_lists_is_counted_together() -> None:
    """Each of a struct's fields, and each value of a list."""
    texts = pa.array(["x" * 1000, "y" * 1000])
    one = size_of(texts)
    assert one >= 2000
    for number in (1, 2, 5):
        struct = pa.StructArray.from_arrays([texts] * number, [f"f{field}" for field in range(number)])
        assert number * one <= size_of(struct) <= number * one + 2
        lists = pa.ListArray.from_arrays([0, number], pa.concat_arrays([texts] * number))
        assert number * 1000 <= size_of(lists) <= number * 1000 + 40
