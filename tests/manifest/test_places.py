"""Where a manifest lies and what it is known by: its home, its version, its hash; each part of them counts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.files import open_manifest, version_of
from cosmos_ray.manifest.other_tables import way_out_of


def put(path: Path, row_id: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": [row_id], "prompt": ["p"]}), path)
    return path


def test_home_is_the_folder_that_all_files_lie_in(tmp_path: Path) -> None:
    alone = put(tmp_path / "m" / "day=1" / "city=x" / "a.parquet", "a")
    assert open_manifest(str(alone)).home == str(alone.parent)
    assert open_manifest(str(tmp_path / "m")).home == str(alone.parent)
    put(tmp_path / "m" / "day=1" / "city=xy" / "b.parquet", "b")
    assert open_manifest(str(tmp_path / "m")).home == str(tmp_path / "m" / "day=1")
    put(tmp_path / "m" / "day=2" / "c.parquet", "c")
    assert open_manifest(str(tmp_path / "m")).home == str(tmp_path / "m")
    assert open_manifest(str(tmp_path / "m" / "day=1" / "*" / "*.parquet")).home == str(tmp_path / "m" / "day=1")


def test_a_manifests_version_changes_with_every_file_and_its_name(tmp_path: Path) -> None:
    first, second = put(tmp_path / "a.parquet", "a"), put(tmp_path / "b.parquet", "b")
    seen = [version_of(str(tmp_path))]
    assert version_of(str(tmp_path)) == seen[0]
    assert {len(seen[0]), len(version_of(str(first)))} == {64}
    second.rename(tmp_path / "c.parquet")
    seen.append(version_of(str(tmp_path)))
    os.utime(first, ns=(1, 1))
    seen.append(version_of(str(tmp_path)))
    with first.open("ab") as file:
        file.write(b"more")
    os.utime(first, ns=(1, 1))
    seen.append(version_of(str(tmp_path)))
    first.unlink()
    seen.append(version_of(str(tmp_path)))
    assert len(set(seen)) == len(seen)
    assert version_of(str(tmp_path / "none.parquet")) == ""
    (tmp_path / "c.parquet").unlink()
    assert version_of(str(tmp_path)) == ""


def test_a_manifests_hash_is_its_files_bytes_and_of_several_their_names_too(tmp_path: Path) -> None:
    first, second = put(tmp_path / "m" / "a.parquet", "a"), put(tmp_path / "m" / "b.parquet", "b")
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    assert open_manifest(str(first)).sha256() == hashes[0]
    both = f"a.parquet\0{hashes[0]}\nb.parquet\0{hashes[1]}\n"
    assert open_manifest(str(tmp_path / "m")).sha256() == hashlib.sha256(both.encode()).hexdigest()


def test_a_place_that_is_read_is_not_written_to(tmp_path: Path) -> None:
    put(tmp_path / "m" / "a.parquet", "a")
    folder, file = open_manifest(str(tmp_path / "m")), open_manifest(str(tmp_path / "m" / "a.parquet"))
    pattern = open_manifest(str(tmp_path / "m" / "*.parquet"))
    for manifest, out, is_read in (
        (file, "m/a.parquet", True),
        (file, "m/b.parquet", False),
        (folder, "m/b.parquet", True),
        (folder, "m/deep/b.PQ", True),
        (folder, "m/b.csv", False),
        (folder, "m2/b.parquet", False),
        (pattern, "m/b.parquet", True),
        (pattern, "m/deep/b.parquet", False),
        (pattern, "m/b.pq", False),
    ):
        if is_read:
            with pytest.raises(ManifestError, match=f"--out: found {tmp_path}/{out}, which is read"):
                manifest.check_not_read(str(tmp_path / out))
        else:
            manifest.check_not_read(str(tmp_path / out))


@pytest.mark.parametrize(
    ("names", "way"),
    [
        ("a.csv a.tsv a.jsonl a.ndjson A.CSV", "`cosmos-ray manifest from-table {} --out m.parquet` makes one"),
        ("a.json", "`cosmos-ray manifest from-batch-json {} --out m.parquet` makes one"),
        ("a.xlsx a.xls a.ods", "save it as `CSV UTF-8` for `manifest from-table`"),
        ("a.csv.gz a.zip a.zst a.bz2 a.xz", "unpack it first"),
        ("a.feather a.arrow a.ipc", "`pandas.read_feather(FILE).to_parquet(OUT)` makes Parquet of it"),
        ("a.orc", "`pandas.read_orc(FILE).to_parquet(OUT)` makes Parquet of it"),
        ("a.avro", "`polars.read_avro(FILE).write_parquet(OUT)` makes Parquet of it"),
        ("a.parquet a.txt a", ""),
    ],
)
def test_each_kind_of_table_has_a_way_out_of_its_own(names: str, way: str) -> None:
    assert [way_out_of(name) for name in names.split()] == [way.format(name) for name in names.split()]
