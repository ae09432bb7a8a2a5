"""Tables that are no plain Parquet are refused by name, with what makes one of them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.files import open_manifest

TABLE = pa.table({"id": ["a"], "prompt": ["p"]})
LOGS = {
    "Delta Lake": "_delta_log/00000000000000000000.json",
    "Iceberg": "metadata/00001-5f3c-9a.metadata.json",
    "Hudi": ".hoodie/hoodie.properties",
}


def lake(folder: Path, kind: str) -> Path:
    """A table of that kind, of which two files have the row `a`: it was written again since."""
    for part in ("data/day=1/0.parquet", "data/day=1/1.parquet"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(TABLE, folder / part)
    (folder / LOGS[kind]).parent.mkdir()
    (folder / LOGS[kind]).write_text("{}")
    return folder


def refused(uri: Path | str) -> str:
    with pytest.raises(ManifestError) as caught:
        open_manifest(str(uri))
    return str(caught.value)


@pytest.mark.parametrize("asked", ["", "/data", "/data/day=1", "/data/day=*/*.parquet"])
@pytest.mark.parametrize("kind", LOGS)
def test_a_table_whose_log_says_which_files_count_is_no_folder_of_files(tmp_path: Path, kind: str, asked: str) -> None:
    """Its files also hold what was deleted: rows that nobody wants would be made."""
    table = lake(tmp_path / "table", kind)
    said = refused(f"{table}{asked}")
    assert said.startswith(f"{table} is a table of {kind}, whose folder `{LOGS[kind].partition('/')[0]}` says which of")
    assert "write its rows as plain Parquet (" in said


def test_one_of_its_files_may_be_asked_for_and_other_folders_are_like_none(tmp_path: Path) -> None:
    table = lake(tmp_path / "table", "Delta Lake")
    assert open_manifest(str(table / "data/day=1/0.parquet")).rows == 1
    (tmp_path / "data" / "metadata").mkdir(parents=True)
    (tmp_path / "data" / "metadata" / "our.metadata.json").write_text("{}")
    pq.write_table(TABLE, tmp_path / "data" / "0.parquet")
    assert open_manifest(str(tmp_path / "data")).rows == 1


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("m.ndjson", "`cosmos-ray manifest from-table .*m.ndjson --out m.parquet` makes one"),
        ("m.feather", r"`pandas.read_feather\(FILE\).to_parquet\(OUT\)` makes Parquet of it"),
        ("m.ARROW", r"`pandas.read_feather\(FILE\)"),
        ("m.orc", r"`pandas.read_orc\(FILE\)"),
        ("m.avro", r"`polars.read_avro\(FILE\)"),
        ("m.xlsx", "save it as `CSV UTF-8` for `manifest from-table`"),
        ("m.csv.gz", "unpack it first"),
    ],
)
def test_a_file_is_told_the_way_out_of_its_kind_alone_or_in_a_folder(tmp_path: Path, name: str, way: str) -> None:
    (tmp_path / name).write_bytes(b"rows of another kind")
    for asked in (tmp_path / name, tmp_path):
        assert re.fullmatch(f"the manifest {tmp_path}/{name} is no Parquet file; {way}.*", refused(asked))


def test_what_is_only_called_parquet_is_named_by_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pyarrow.feather.write_feather(TABLE, path)
    assert refused(path) == f"the manifest {path} cannot be read as Parquet: it is an Arrow table"
    pyarrow.orc.write_table(TABLE, path)
    assert refused(path).endswith(": it is an ORC table")
    for text in ("id,prompt\na,p\n", "id,prompt\na,straße\n" * 100, 766 * "a" + "ß"):
        path.write_bytes(text.encode())
        assert ": it is text; under its own suffix (.csv, .tsv, .jsonl) `cosmos-ray manifest from-table`" in refused(
            path
        )
    path.write_bytes(gzip.compress(b"id,prompt\na,p\n"))
    assert refused(path).endswith(": it is gzip (unpack it first)")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert refused(path).endswith("it is a Git LFS pointer, not the file it stands for (`git lfs pull` fetches it)")
    path.write_bytes(b"PARE" + bytes(40) + b"PARE")
    assert refused(path).endswith("is encrypted, expected plain Parquet: write it without encryption")
    path.write_bytes(b"")
    assert refused(path).endswith(": it is an empty file")
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "Parquet magic bytes not found" in refused(path)
    assert "store" not in refused(path)
