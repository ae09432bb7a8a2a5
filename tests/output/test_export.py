"""`cosmos-ray export`: layouts for training, from an output's records alone.

* webdataset: a key a clip whatever its id, all of its videos and facts in it, the same files again
* rds-hq: a folder a camera, captions of those views that have one
* what is not as committed is left out, said, and exit code 3; what was not made is not there
* nothing is written into the output
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cosmos_ray.cli.main import app, run
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.output.clip_copy import CAMERAS
from cosmos_ray.output.export import export
from cosmos_ray.store.storage import Storage

ONE = Clip(id="b", row_id="b", prompts=("A street.",), seed=4, num_steps=9, n_views=2, row_hash="h")
CLIPS = [
    replace(ONE, id="two.s001"),
    replace(ONE, id="two.s000"),
    replace(ONE, id="each", prompts=("Front.", "Right.")),
    replace(ONE, id="embedded", prompts=(), prompt_embedding="s3://b/e.pt"),
    replace(ONE, id="all", n_views=7),
]


def commit(storage: Storage, clip: Clip, status: str = "ok", generation: int = 0) -> Record:
    files = []
    for view in VIEWS[: clip.n_views]:
        files.append(_store(storage, view, f"clips/{clip.id}/1/{view}.mp4", f"{clip.id} {view}".encode()))
    facts = json.dumps({"clip": asdict(clip), "model": {"name": "fake", "numerics": "float32"}, "more": 1}).encode()
    sidecar = _store(storage, "", f"clips/{clip.id}/1/clip.json", facts)
    made = status == "ok"
    return Ledger(storage).commit(
        Record(
            clip.id, generation, "ok" if made else "failed", None if made else "input", 1, None, "h", 1,
            files=tuple(files) if made else (), sidecar=sidecar if made else None,
        )
    )  # fmt: skip


def _store(storage: Storage, view: str, path: str, data: bytes) -> FileEntry:
    storage.write(path, data)
    return FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "out"))
    for clip in CLIPS:
        commit(storage, clip)
    commit(storage, replace(ONE, id="failed"), "failed")
    commit(storage, replace(ONE, id="opened"))
    Ledger(storage).redo(["opened"])
    return storage


def shards(folder: Storage) -> dict[str, dict[str, bytes]]:
    """Members of each tar file, by name."""
    found = {}
    for path in folder.list_files("data"):
        with tarfile.open(fileobj=io.BytesIO(folder.read(path))) as tar:
            found[path.removeprefix("data/")] = {
                member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
                for member in tar
            }
    return found


def test_a_webdataset_has_a_key_a_clip(output: Storage, s3: str) -> None:
    """On a real S3 server."""
    target = Storage(s3)
    done = export(output.uri, "webdataset", target.uri_of("data"), print, clips_a_shard=2)
    assert (done.clips, done.uncaptioned, done.left_out) == (5, 1, ())
    found = shards(target)
    assert list(found) == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    samples: dict[str, dict[str, bytes]] = {}
    for members in found.values():
        for name, data in members.items():
            key, _, field = name.partition(".")  # as webdataset does
            samples.setdefault(key, {})[field] = data
    facts = {json.loads(sample["json"])["id"]: sample for sample in samples.values()}
    assert list(facts) == ["all", "each", "embedded", "two.s000", "two.s001"]
    for clip in CLIPS:
        sample = facts[clip.id]
        videos = {f"{view}.mp4": f"{clip.id} {view}".encode() for view in VIEWS[: clip.n_views]}
        assert sample == {**videos, "json": sample["json"]}
        said = json.loads(sample["json"])
        assert (tuple(said["prompts"]), said["seed"], said["num_steps"]) == (clip.prompts, 4, 9)
        assert said["model"] == {"name": "fake", "numerics": "float32"}
    before = {path: target.read(path) for path in target.list_files("data")}
    export(output.uri, "webdataset", target.uri_of("data"), print, clips_a_shard=2)
    assert {path: target.read(path) for path in target.list_files("data")} == before


def test_rds_hq_has_a_folder_a_camera(output: Storage, tmp_path: Path) -> None:
    assert set(CAMERAS) == set(VIEWS)
    done = export(output.uri, "rds-hq", str(tmp_path / "to"), print)
    assert (done.clips, done.uncaptioned, done.left_out) == (5, 1, ())
    front, right = CAMERAS["front_wide"], CAMERAS["cross_right"]
    expected = {f"videos/{CAMERAS[view]}/all_0.mp4": f"all {view}" for view in VIEWS}
    captions = {(front, "all"): "A street.", (front, "each"): "Front.", (right, "each"): "Right."}
    for clip_id in ("each", "embedded", "two.s000", "two.s001"):
        for view in VIEWS[:2]:
            expected[f"videos/{CAMERAS[view]}/{clip_id}_0.mp4"] = f"{clip_id} {view}"
    for clip_id in ("two.s000", "two.s001"):
        captions[front, clip_id] = "A street."
    for (camera, clip_id), text in captions.items():
        expected[f"captions/{camera}/{clip_id}_0.json"] = json.dumps({"caption": text})
        expected[f"metas/{camera}/{clip_id}_0.txt"] = text
    to = tmp_path / "to"
    found = {str(path.relative_to(to)): path.read_text() for path in to.rglob("*") if path.is_file()}
    signs = {name: json.loads(found.pop(name)) for name in list(found) if name.startswith("columns/")}
    assert found == expected
    assert {name: sign["id"] for name, sign in signs.items()} == {
        f"columns/{clip_id}_0.json": clip_id for clip_id in ("all", "each", "embedded", "two.s000", "two.s001")
    }
    assert all(sign["columns"] == {} for sign in signs.values()), "they are not in the index"


@pytest.mark.parametrize("layout", ["webdataset", "rds-hq"])
def test_what_is_not_as_committed_is_left_out_and_said(
    output: Storage, tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output.write("clips/all/1/rear.mp4", b"spoilt")
    output.delete("clips/each/1/cross_right.mp4")
    output.write("clips/two.s000/1/clip.json", b"{}")
    command = ["cosmos-ray", "export", output.uri, "--format", layout, "--to", str(tmp_path / "to")]
    monkeypatch.setattr(sys, "argv", command)
    assert run(app) == 3
    answer = capsys.readouterr()
    assert answer.out == f"{tmp_path / 'to'}: 2 clips, 1 of them without a caption, 3 left out\n"
    assert "left out: all: clips/all/1/rear.mp4: found 6 bytes of another sha256" in answer.err
    assert "left out: each: clips/each/1/cross_right.mp4 is missing" in answer.err
    written = b"".join(path.read_bytes() for path in (tmp_path / "to").rglob("*") if path.is_file())
    assert b"two.s001 front_wide" in written
    for clip_id in ("all", "each", "two.s000", "failed", "opened"):
        assert f"{clip_id} front_wide".encode() not in written


@pytest.mark.parametrize("layout", ["webdataset", "rds-hq"])
def test_a_copy_is_verified_without_being_written(
    output: Storage, tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    command = ["cosmos-ray", "export", output.uri, "--format", layout, "--to", str(to)]

    def answer(*more: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        code, (out, err) = run(app), capsys.readouterr()
        return code, out.strip(), err

    code, out, err = answer("--verify")
    assert (code, to.exists()) == (3, False)
    assert " missing or not as it should be, 0 left out" in out
    assert ": missing" in err
    assert answer()[:2] == (0, f"{to}: 5 clips, 1 of them without a caption, 0 left out")
    whole = f"{to}: 5 clips, 1 of them without a caption, 0 files missing or not as it should be, 0 left out"
    assert answer("--verify")[:2] == (0, whole)
    spoilt = max(path for path in to.rglob("*") if path.suffix in (".tar", ".mp4"))
    spoilt.write_bytes(spoilt.read_bytes()[:-3] if spoilt.suffix == ".mp4" else spoilt.read_bytes()[:1600])
    code, out, err = answer("--verify")
    assert (code, f"{spoilt.relative_to(to)}: other than it should be" in err) == (3, True)
    assert "1 file missing or not as it should be" in out
    there = 0 if layout == "webdataset" else 4
    told = f", {there} of them there already" if there else ""
    assert answer()[:2] == (0, f"{to}: 5 clips, 1 of them without a caption{told}, 0 left out")
    assert answer()[1] == f"{to}: 5 clips, 1 of them without a caption, 5 of them there already, 0 left out"


def test_a_sidecar_that_says_too_little_leaves_its_clip_out_alone(output: Storage, tmp_path: Path) -> None:
    """Committed as it is, by another's program: its hash is right."""
    record = commit(output, replace(ONE, id="strange"))
    facts = _store(output, "", "clips/strange/1/other.json", b'{"model": {}, "clip": {"prompts": []}}')
    Ledger(output).redo(["strange"])
    Ledger(output).commit(replace(record, generation=1, sidecar=facts))
    done = export(output.uri, "webdataset", str(tmp_path / "to"), print)
    (left_out,) = done.left_out
    assert left_out.startswith("strange: clips/strange/1/other.json: found a sidecar without 'prompt_embedding'")
    assert done.clips == 5


def test_folders_a_camera_are_for_clips_of_cameras(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "out"))
    file = _store(storage, "video", "clips/a/1/video.mp4", b"a cup")
    facts = {"clip": asdict(replace(ONE, id="a")), "model": {"name": "fake"}}
    sidecar = _store(storage, "", "clips/a/1/clip.json", json.dumps(facts).encode())
    Ledger(storage).commit(Record("a", 0, "ok", None, 1, None, "h", 1, files=(file,), sidecar=sidecar))
    with pytest.raises(UsageError, match="clip a has the view video, expected cameras of a rig; webdataset takes"):
        export(storage.uri, "rds-hq", str(tmp_path / "to"), print)
    assert export(storage.uri, "webdataset", str(tmp_path / "to"), print).clips == 1


def test_nothing_is_written_into_the_output(output: Storage, tmp_path: Path) -> None:
    for inside in (output.uri, f"{output.uri}/", f"{output.uri}/export"):
        with pytest.raises(UsageError, match="expected a folder outside the output"):
            export(output.uri, "webdataset", inside, print)
    (tmp_path / "link").symlink_to(output.uri)
    with pytest.raises(UsageError, match="expected a folder outside the output"):
        export(output.uri, "webdataset", str(tmp_path / "link/export"), print)
    beside = f"{output.uri}-export"
    assert export(output.uri, "webdataset", beside, print).clips == 5
    nothing = str(tmp_path / "nothing")
    with pytest.raises(UsageError, match=f"there is no run at {nothing}: expected "):
        export(nothing, "rds-hq", str(tmp_path / "to"), print)
