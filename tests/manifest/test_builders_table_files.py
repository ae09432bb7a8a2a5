"""What files of tables are: other kinds under a table's name, pipes; marks, blanks, separators at the ends of lines."""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.manifests import put, read

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.table import from_table


def built(tmp_path: Path, content: str | bytes, **options: str) -> list[dict[str, object]]:
    from_table(str(put(tmp_path / "rows.csv", content)), str(tmp_path / "m.parquet"), **options)
    return read(tmp_path / "m.parquet")


def refused(path: Path, **options: str) -> str:
    with pytest.raises(ManifestError) as caught:
        from_table(str(path), str(path.parent / "m.parquet"), **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet", "rows"])
def test_a_pipe_is_named_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    """As a shell's `<(command)` and /dev/stdin are: nobody is told to rename it."""
    os.mkfifo(tmp_path / name)
    assert f"{name} is a pipe, a device or a socket, expected a regular file" in refused(tmp_path / name)
    with pytest.raises(ManifestError, match="is a pipe, a device or a socket"):
        captions_of(prompts=str(tmp_path / name))


@pytest.mark.parametrize("encoding", [None, "utf-8", "cp1252"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_of_another_kind_is_named_and_no_encoding_is_proposed(
    tmp_path: Path, suffix: str, encoding: str | None
) -> None:
    path = tmp_path / f"rows{suffix}"
    options = {} if encoding is None else {"encoding": encoding}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    excel = path.read_bytes()
    pq.write_table(pa.table({"id": ["a"], "prompt": ["x"]}), path)
    for content, said in (
        (excel, "it is an Excel file (save it as `CSV UTF-8`"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), "it is an Excel file, of old (save it as"),
        (gzip.compress(b"id,prompt\na,x\n"), "it is gzip (unpack it first)"),
        (path.read_bytes(), "it is Parquet"),
    ):
        path.write_bytes(content)
        words = refused(path, **options)
        assert said in words
        assert "--encoding" not in words


def test_a_text_that_begins_as_a_picture_does_is_a_text(tmp_path: Path) -> None:
    (row,) = built(tmp_path, "BM,id,prompt\nx,a,BMW\n")
    assert row == {"id": "a", "prompt": "BMW", "BM": "x"}
    put(tmp_path / "clips/a/caption.txt", "BMW in the rain")
    from_folder(str(tmp_path / "clips"), str(tmp_path / "m.parquet"))
    put(tmp_path / "clips/a/caption.txt", gzip.compress(b"x"))
    with pytest.raises(ManifestError, match=r"caption\.txt is no UTF-8 text: it is gzip \(unpack it first\)"):
        from_folder(str(tmp_path / "clips"), str(tmp_path / "m.parquet"))


def test_the_mark_of_windows_is_no_letter_of_the_first_name(tmp_path: Path) -> None:
    content = "\ufeffid,prompt\na,x\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16-le"):
        data = content.lstrip("\ufeff").encode(encoding) if encoding == "utf-8-sig" else content.encode(encoding)
        assert built(tmp_path, data, encoding=encoding) == [{"id": "a", "prompt": "x"}]


def test_blanks_after_a_separator_are_none_of_a_cells(tmp_path: Path) -> None:
    """Else a quote behind one is a part of the caption, and what separates within it ends it."""
    rows = built(tmp_path, 'id, prompt, seed\na, "wet, dark", 3\nb, "dry", 4\nc,as it is, \n')
    assert [(row["id"], row["prompt"], row["seed"]) for row in rows] == [
        ("a", "wet, dark", 3), ("b", "dry", 4), ("c", "as it is", None)
    ]  # fmt: skip


def test_separators_at_the_ends_of_lines_are_nothing(tmp_path: Path) -> None:
    rows = built(tmp_path, "id,prompt\na,x,\nb,y\nc,z,,,\n")
    assert [(row["id"], row["prompt"]) for row in rows] == [("a", "x"), ("b", "y"), ("c", "z")]
    words = refused(put(tmp_path / "rows.csv", "id,prompt\na,x,\nb,y,,more\n"))
    assert "Expected 2 fields in line 2, saw 3; texts with ',' stand in quotes" in words


def test_a_map_that_has_a_camera_twice_is_refused_as_a_manifest_of_it_is(tmp_path: Path) -> None:
    """Whoever makes an object of it keeps the last one."""
    cameras = pa.array([[("rear", "a.mp4"), ("rear", "b.mp4")]], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"id": ["a"], "prompt": ["x"], "input_videos": cameras}), tmp_path / "rows.parquet")
    words = refused(tmp_path / "rows.parquet")
    assert "row 0 of " in words
    assert "`input_videos`: found the key 'rear' twice in one object, expected each once" in words


@pytest.mark.parametrize("kind", [pa.list_view, pa.large_list_view, pa.large_list], ids=lambda kind: kind.__name__)
def test_lists_of_every_kind_are_lists(tmp_path: Path, kind: Callable[[pa.DataType], pa.DataType]) -> None:
    views = pa.array([["front_wide", "rear"], ["rear"]], kind(pa.string()))
    table = pa.table({"id": ["a", "b"], "prompt": ["x", "y"], "views": views, "more": views})
    pq.write_table(table, tmp_path / "rows.parquet")
    from_table(str(tmp_path / "rows.parquet"), str(tmp_path / "m.parquet"))
    for row, expected in zip(read(tmp_path / "m.parquet"), (["front_wide", "rear"], ["rear"]), strict=True):
        assert row["views"] == row["more"] == expected
