"""JSON tables are read an object at a time, whatever their size and however they are laid out."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.manifests import read

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders import sources
from cosmos_ray.manifest.builders.caption_files import Captions
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.multiview_json import from_multiview_json
from cosmos_ray.manifest.builders.sources import Folder, each_object, list_folder
from cosmos_ray.manifest.files import open_manifest

ROWS: list[dict[str, Any]] = [
    {"name": "a", "nested": {"list": [1, 2, {"b": "]},{"}]}},
    {},
    {"text": 'ü "quoted" \\ and [brackets', "number": -1.5e3, "none": None},
]


@pytest.mark.parametrize("piece", [1, 2, 7, 2**20])
@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":"), "ensure_ascii": False}])
def test_objects_come_whole_wherever_the_pieces_end(
    piece: int, layout: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_PIECE", piece)
    for mark in ("", "\ufeff"):
        (tmp_path / "t.json").write_text(f"{mark} {json.dumps(ROWS, **layout)}\n", encoding="utf-8")
        assert list(each_object(str(tmp_path / "t.json"))) == ROWS
    (tmp_path / "t.json").write_text(" [ ] ")
    assert list(each_object(str(tmp_path / "t.json"))) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON list of objects, or ends too early"),
        ('[{"a": 1}, {"b": 2', "no JSON list of objects, or ends too early"),
        ('[{"a": 1}', "no JSON list of objects, or ends too early"),
        ('[{"a": 1}] [', "no JSON list of objects, or ends too early"),
        ("[{'a': 1}]", "no JSON list of objects"),
        ('{"a": 1}', "expected a list of objects, found dict"),
        ("[1, 2]", "expected a list of objects, found int"),
        ("[" + "x" * 100, "no JSON list of objects, or has one without an end"),
        (b"[\xff]", "is no UTF-8 text"),
    ],
)
def test_what_is_no_list_of_objects_is_refused(
    text: str | bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_LARGEST", 60)
    monkeypatch.setattr(sources, "_PIECE", 25)
    (tmp_path / "t.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ManifestError, match=said):
        list(each_object(str(tmp_path / "t.json")))


def test_a_table_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    import tracemalloc

    row = json.dumps({"token": "x" * 400})
    (tmp_path / "t.json").write_text(f"[{','.join([row] * 30_000)}]")
    tracemalloc.start()
    assert sum(1 for _ in each_object(str(tmp_path / "t.json"))) == 30_000
    assert tracemalloc.get_traced_memory()[1] < 6 * sources._PIECE, "of 12 MB"
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["clip/front_wide.mp4", "clip/rear/0001.jpg", "clip/caption.txt", "clip.mp4"])
def test_a_pipe_among_the_files_is_a_fault_of_the_folder(name: str, tmp_path: Path) -> None:
    """Nothing is read of it, for nobody may ever answer; a link to one is one."""
    (tmp_path / "clip/rear").mkdir(parents=True)
    pipe = tmp_path / f".pipe{Path(name).suffix}"
    os.mkfifo(pipe)
    for make in (os.mkfifo, lambda path: os.symlink(pipe, path)):
        make(tmp_path / name)
        with pytest.raises(ManifestError, match=rf"{name} is a pipe, a device or a socket"):
            from_folder(str(tmp_path), str(tmp_path / "m.parquet"), captions=Captions("x"))
        (tmp_path / name).unlink()


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sample.json")
    with pytest.raises(ManifestError, match=r"sample\.json is a pipe, a device or a socket"):
        next(each_object(str(tmp_path / "sample.json")))


def test_a_device_is_no_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clips")
    with pytest.raises(ManifestError, match="clips is a file, expected a folder"):
        from_folder(str(tmp_path / "clips"), str(tmp_path / "m.parquet"))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".yaml"])
def test_specs_of_every_suffix_are_texts_of_every_kind(tmp_path: Path, suffix: str) -> None:
    spec, out = tmp_path / f"spec{suffix}", str(tmp_path / "m.parquet")
    text = '{"prompt": "Straße", "rear": {"input_path": "a.mp4"}}'
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        spec.write_bytes(text.encode(encoding))
        from_multiview_json([str(spec)], out)
        assert read(Path(out))[0]["prompt"] == "Straße"
    spec.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(ManifestError, match=rf"spec\{suffix} is no UTF-8 text: it is gzip"):
        from_multiview_json([str(spec)], out)
    spec.unlink()
    os.mkfifo(spec)
    with pytest.raises(ManifestError, match=rf"spec\{suffix} is a pipe, a device or a socket"):
        from_multiview_json([str(spec)], out)


def test_a_manifest_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.parquet")
    for uri in (tmp_path / "m.parquet", tmp_path):
        with pytest.raises(ManifestError, match=r"m\.parquet is a pipe, a device or a socket, expected a regular file"):
            open_manifest(str(uri))


@pytest.mark.parametrize("piece", [1, 30, 1000])
def test_how_large_an_object_may_be_is_counted_from_its_own_beginning(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others come with it."""
    monkeypatch.setattr(sources, "_PIECE", piece)
    monkeypatch.setattr(sources, "_LARGEST", 40)
    rows = [{"token": f"{number:02d}", "words": "x" * 8} for number in range(40)]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    assert list(each_object(str(tmp_path / "t.json"))) == rows


def test_a_file_that_dvc_has_fetched_is_like_any_other(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mp4.dvc", "a.txt", "notes.dvc"):
        (tmp_path / name).write_text("A street.")
    list_folder(str(tmp_path)).check_media()
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(ManifestError, match=r"stands for a\.mp4, which `dvc pull` fetches"):
        list_folder(str(tmp_path)).check_media()


def test_a_stores_marker_of_a_folder_is_none_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles make an empty object of the folder's own name; hidden ones count as little."""
    names = ("b/in/", "b/in/.hidden", "b/in/a.mp4")
    listed = [{"name": name, "type": "file", "size": number} for number, name in enumerate(names)]
    listed.append({"name": "b/in/rear/", "type": "directory", "size": 0})

    class Store:
        def ls(self, path: str, detail: bool) -> list[dict[str, Any]]:
            return listed

    monkeypatch.setattr(sources, "filesystem_of", lambda uri: (Store(), "b/in"))
    assert list_folder("s3://b/in") == Folder("s3://b/in", {"a.mp4": 2}, ("rear",))
