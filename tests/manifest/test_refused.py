"""What makes a manifest unusable: no Parquet, columns of wrong types, ids that are illegal or repeated.

Every message names the column, what was found and what was expected.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest

from cosmos_ray.errors import ManifestError
from cosmos_ray.job.plan import Plan, make_plan, manifest_clips
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.parquet import batches_in
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.store.storage import Storage

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")


def plan_of(manifest: str) -> Plan:
    """What a job would do into an empty output."""
    return make_plan(manifest, DEFAULTS, LedgerState.empty())


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=f"there is no manifest at {tmp_path}/none.parquet"):
        open_manifest(str(tmp_path / "none.parquet"))


@pytest.mark.parametrize("content", [b"", b"id,prompt\na,b\n", b"PAR1 but no more PAR1"], ids=["empty", "csv", "torn"])
def test_a_file_that_is_not_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.parquet").write_bytes(content)
    with pytest.raises(ManifestError, match=r"m\.parquet cannot be read as Parquet: "):
        open_manifest(str(tmp_path / "m.parquet"))


def nested(depth: int) -> pa.DataType:
    return pa.int8() if not depth else pa.struct([("a", nested(depth - 1))])


def with_a_footer_of_garbage() -> bytes:
    written = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["a"], "prompt": ["a street"]}), written)
    data = bytearray(written.getvalue().to_pybytes())
    length = int.from_bytes(data[-8:-4], "little")
    data[-8 - length : -8] = b"\xff" * length
    return bytes(data)


def with_columns_too_deep() -> bytes:
    written = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["a"], "prompt": ["a street"], "deep": pa.nulls(1, nested(120))}), written)
    return bytes(written.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_a_footer_of_garbage(), "Couldn't deserialize thrift"),
        (with_columns_too_deep(), "too deeply nested"),
        (b"PAR1" + bytes(9) + b"\xff\xff\xff\x7fPAR1", ""),
    ],
    ids=["garbage", "nested", "length"],
)
def test_what_is_wrong_with_the_content_is_asked_of_no_store_again(
    tmp_path: Path, content: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "m.parquet").write_bytes(content)
    with pytest.raises(ManifestError, match=f"cannot be read as Parquet: ArrowInvalid: .*{said}") as caught:
        open_manifest(str(tmp_path / "m.parquet"))
    assert "again in about" not in caplog.text
    assert "the variables that stores read" not in str(caught.value)


def test_a_store_that_fails_while_rows_are_read_is_the_stores_fault(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"id": ["a"], "prompt": ["a street"]}), path)

    class Cut(io.FileIO):
        """A line that is cut once the footer is read."""

        def read(self, size: int = -1) -> bytes:
            if size > 0 and self.tell() < 10:
                raise ConnectionResetError("the line is cut")
            return super().read(size)

    with pytest.raises(ConnectionResetError, match="the line is cut"):
        list(batches_in(Cut(str(path)), str(path), 0))


def test_a_parquet_file_with_a_damaged_page(tmp_path: Path) -> None:
    """The footer is right, so the damage shows when the rows are read."""
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"id": [f"clip{n}" for n in range(1000)], "prompt": ["a street"] * 1000}), path)
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)
    with pytest.raises(ManifestError, match="cannot be read as Parquet") as caught:
        plan_of(str(path))
    assert "the variables that stores read" not in str(caught.value)


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    latin = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9"))
    pq.write_table(pa.table({"id": ["a"], "prompt": latin}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"cannot be read as Parquet: .*UTF"):
        plan_of(str(tmp_path / "m.parquet"))


def test_an_empty_manifest(tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([], pa.string()), "prompt": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="is empty"):
        open_manifest(str(tmp_path / "m.parquet"))


def test_a_manifest_in_an_object_store(s3: str, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "a street", "input_video": "in/a.mp4"}])
    Storage(s3).write("m.parquet", (tmp_path / "m.parquet").read_bytes())
    [clip] = manifest_clips(f"{s3}/m.parquet", DEFAULTS)
    assert clip.inputs == (f"{s3}/in/a.mp4",)
    with pytest.raises(ManifestError, match="there is no manifest"):
        open_manifest(f"{s3}/none.parquet")


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        ("id", pa.int64(), "string"),
        ("prompt", pa.int64(), "string or list<string>"),
        ("prompt", pa.list_(pa.int64()), "string or list<string>"),
        ("prompt_embedding", pa.list_(pa.float32()), "string (a URI)"),
        ("prompt_embedding", pa.date32(), "string (a URI)"),
        ("input_video", pa.date32(), "string (a URI)"),
        ("input_videos", pa.string(), "struct or map camera -> URI, or list<string>"),
        ("input_videos", pa.map_(pa.string(), pa.int64()), "struct or map camera -> URI, or list<string>"),
        ("input_videos", pa.struct([("rear", pa.int64())]), "struct or map camera -> URI, or list<string>"),
        ("num_conditional_frames", pa.string(), "an integer"),
        ("negative_prompt", pa.float64(), "string"),
        ("guidance", pa.string(), "a number"),
        ("seed", pa.string(), "an integer"),
        ("seed", pa.bool_(), "an integer"),
        ("num_steps", pa.timestamp("s"), "an integer"),
        ("n_views", pa.list_(pa.int64()), "an integer"),
        ("fps", pa.string(), "an integer"),
        ("num_samples", pa.string(), "an integer"),
    ],
)
def test_a_column_of_a_wrong_type(tmp_path: Path, column: str, kind: pa.DataType, expected: str) -> None:
    columns = {"id": pa.array(["a"]), "prompt": pa.array(["a street"]), column: pa.nulls(1, kind)}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    found = pq.read_schema(tmp_path / "m.parquet").field(column).type  # Parquet has names of its own for some
    with pytest.raises(ManifestError, match=re.escape(f"column `{column}`: found type {found}, expected {expected}")):
        open_manifest(str(tmp_path / "m.parquet"))


def test_all_problems_of_the_columns_are_said_at_once(tmp_path: Path) -> None:
    pq.write_table(pa.table({"seed": ["1"], "fps": ["10"]}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError) as caught:
        open_manifest(str(tmp_path / "m.parquet"))
    for part in ("column `id` is missing", "neither a column `prompt` nor", "column `seed`", "column `fps`"):
        assert part in str(caught.value)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "prompt", "prompt"])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"column `prompt`: found 2 of this name, expected one"):
        open_manifest(str(tmp_path / "m.parquet"))


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=["large-string", "dictionary"]
)
def test_text_columns_as_other_writers_make_them(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"id": pa.array(["a"], kind), "prompt": pa.array(["p"], kind)}), tmp_path / "m.parquet")
    [clip] = manifest_clips(str(tmp_path / "m.parquet"), DEFAULTS)
    assert (clip.id, clip.prompts) == ("a", ("p",))


@pytest.mark.parametrize(
    "found",
    [None, "", "a/b", "../a", ".hidden", "-a", "_a", "a b", "a\n", "ä", "a" * 129],
    ids=lambda found: repr(found)[:12],
)
def test_an_illegal_id(tmp_path: Path, found: str | None) -> None:
    """It would have to name a folder and an object."""
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "good", "prompt": "p"}, {"id": found, "prompt": "p"}])
    message = f"row 1: column `id`: found {found!r}, expected [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}"
    with pytest.raises(ManifestError, match=re.escape(message)):
        plan_of(manifest)


@pytest.mark.parametrize("found", ["a", "0", "A.b_c-d", "a..", "a" * 128], ids=lambda found: found[:8])
def test_a_legal_id(tmp_path: Path, found: str) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": found, "prompt": "p"}])
    assert [clip.id for clip in manifest_clips(manifest, DEFAULTS)] == [found]


def test_a_repeated_id(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p"}, {"id": "b", "prompt": "p"}, {"id": "a", "prompt": "other"}]
    with pytest.raises(ManifestError, match=r"row 2: column `id`: found 'a', .* also asked for by row 0"):
        plan_of(write_manifest(tmp_path / "m.parquet", rows))


def test_an_id_that_collides_with_a_sample_of_another_row(tmp_path: Path) -> None:
    """Row `a` fans out to `a.s000` and `a.s001`; the other row has that name for itself."""
    rows = [{"id": "a", "prompt": "p", "num_samples": 2}, {"id": "a.s000", "prompt": "p", "num_samples": 1}]
    with pytest.raises(ManifestError, match=r"row 1: column `id`: found 'a\.s000', .* also asked for by row 0"):
        plan_of(write_manifest(tmp_path / "m.parquet", rows))
