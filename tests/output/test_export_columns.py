"""What an export carries of the manifest, which clips it takes, and that it goes on where it was cut off."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import tarfile
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.outcomes import DEFAULTS, clips
from support.pages import shown_to
from support.videos import moving_picture

from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.builders.by_camera import from_rds_hq
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.output.clip_copy import Layout
from cosmos_ray.output.export import export
from cosmos_ray.output.index import write_index
from cosmos_ray.store.storage import Storage

TAKEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
VIEWS = ("front_wide", "cross_right")
#: By id: what a manifest carries.
CARRIED: dict[str, dict[str, Any]] = {
    "a": {"split": "train", "weather": "rain", "speed": 4.5, "tags": ["wet", "night"], "taken": TAKEN},
    "b": {"split": "val", "weather": "sun", "speed": None, "tags": None, "taken": None},
    "c": {"split": "train", "weather": "rain", "speed": 1.0, "tags": [], "taken": TAKEN},
}
SCORES = {view: Scores(0, 0.25, 0, 1, 9, None, 0.8) for view in VIEWS}


def _commit(storage: Storage, clip: Clip, frames: int) -> None:
    def store(view: str, path: str, data: bytes) -> FileEntry:
        storage.write(path, data)
        return FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest())

    video = encode_mp4(moving_picture(frames, 32, 48), clip.fps)
    files = tuple(store(view, f"clips/{clip.id}/1/{view}.mp4", video) for view in clip.cameras)
    facts = {"clip": asdict(clip), "model": {"name": "fake", "numerics": "float32"}}
    sidecar = store("", f"clips/{clip.id}/1/clip.json", json.dumps(facts).encode())
    Ledger(storage).commit(
        Record(
            clip.id, 0, "ok", None, 1, None, clip.row_hash, 1, files=files, sidecar=sidecar,
            seconds={"denoise": 1.0}, scores=SCORES, seed=clip.seed,
        )
    )  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    """Three clips of 5, 7 and 9 frames."""
    rows = [{"id": name, "prompt": f"Street {name}.", "n_views": 2, **more} for name, more in CARRIED.items()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    storage = Storage(str(tmp_path / "out"))
    for number, clip in enumerate(clips(str(tmp_path / "m.parquet")).values()):
        _commit(storage, clip, 5 + 2 * number)
    write_index(storage, open_manifest(str(tmp_path / "m.parquet")), DEFAULTS, Ledger(storage).state())
    return storage


def copy(output: Storage, layout: Layout, to: Path, **more: Any) -> list[str]:
    """What was said."""
    said: list[str] = []
    export(output.uri, layout, str(to), said.append, **more)
    return said


def samples(to: Path) -> dict[str, dict[str, Any]]:
    """Facts of each clip, by id."""
    found = {}
    for path in sorted(to.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    facts = json.loads(tar.extractfile(member).read())  # type: ignore[union-attr]
                    found[facts["id"]] = facts
    return found


def state_of(to: Path) -> dict[str, tuple[int, bytes]]:
    """When each file was written, and what it is."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in to.rglob("*") if path.is_file()}


def test_a_webdataset_has_every_column_of_the_manifest(output: Storage, tmp_path: Path) -> None:
    copy(output, "webdataset", tmp_path / "to")
    found = samples(tmp_path / "to")
    assert list(found) == ["a", "b", "c"]
    for clip_id, carried in CARRIED.items():
        columns = found[clip_id]["columns"]
        expected = {name: value.isoformat() if value is TAKEN else value for name, value in carried.items()}
        assert {name: columns[name] for name in expected} == expected
        assert found[clip_id]["scores"]["agreement"] == pytest.approx(0.8)
        assert (found[clip_id]["views"], found[clip_id]["marks"], found[clip_id]["warnings"]) == (list(VIEWS), [], [])


def test_webdataset_itself_reads_the_shards_as_shown(
    output: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("webdataset")
    copy(output, "webdataset", tmp_path / "to", clips_a_shard=2)
    monkeypatch.chdir(tmp_path / "to")
    for block in shown_to(__file__, "test_webdataset_itself_reads_the_shards_as_shown"):
        exec(block, seen := {"__name__": "page"})
    sizes = [len(output.read(f"clips/{name}/1/front_wide.mp4")) for name in CARRIED]
    assert capsys.readouterr().out.split() == [str(one) for pair in zip(CARRIED, sizes, strict=True) for one in pair]
    columns = seen["clip"]["json"]["columns"]
    assert (columns["split"], columns["speed"], columns["tags"]) == ("train", 1.0, [])


def test_a_condition_chooses_the_clips(output: Storage, tmp_path: Path) -> None:
    copy(output, "webdataset", tmp_path / "to", where="split = 'train' AND speed < 2 AND scores.frozen < 0.5")
    assert list(samples(tmp_path / "to")) == ["c"]
    with pytest.raises(UsageError, match="no clip of"):
        copy(output, "webdataset", tmp_path / "to", where="split = 'test'")
    with pytest.raises(UsageError, match="where 'splt = 1'"):
        copy(output, "webdataset", tmp_path / "to", where="splt = 1")
    output.delete("index.parquet")
    with pytest.raises(UsageError, match="cosmos-ray report"):
        copy(output, "webdataset", tmp_path / "to", where="split = 'train'")
    assert copy(output, "webdataset", tmp_path / "other")[0].startswith("3 clips not in the index")


def test_rds_hq_comes_back_as_a_manifest_with_captions_and_columns(output: Storage, tmp_path: Path) -> None:
    copy(output, "rds-hq", tmp_path / "to")
    built = from_rds_hq(str(tmp_path / "to"), str(tmp_path / "again.parquet"))
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "again.parquet").to_pylist()}
    assert list(rows) == ["a_0", "b_0", "c_0"]
    for clip_id, carried in CARRIED.items():
        row = rows[f"{clip_id}_0"]
        assert row["prompt"] == f"Street {clip_id}."
        assert (row["split"], row["weather"], row["speed"]) == (carried["split"], carried["weather"], carried["speed"])
        assert set(dict(row["input_videos"])) == set(VIEWS)
    assert built.warnings == ()


#: A column of each kind that people carry; how JSON has its value.
AWKWARD: dict[str, tuple[pa.Array, Any]] = {
    "nested": (pa.array([{"at": TAKEN.date(), "of": [[0.5, None]]}]), {"at": "2026-01-02", "of": [[0.5, None]]}),
    "map": (pa.array([[("k", [1])]], pa.map_(pa.string(), pa.list_(pa.int8()))), [{"key": "k", "value": [1]}]),
    "bytes": (pa.array([b"\0\xff<"]), "AP88"),
    "none": (pa.nulls(1), None),
    "decimal": (pa.array([Decimal("12345678901234567890.12")]), "12345678901234567890.12"),
    "wide": (pa.array([Decimal("1" * 50)], pa.decimal256(60, 0)), "1" * 50),
    "unsigned": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    "half": (pa.array([0.5], pa.float16()), 0.5),
    "nan": (pa.array([float("nan")]), None),
    "span": (pa.array([datetime.timedelta(days=1)]), "1 day, 0:00:00"),
    "nano": (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
    "infinity": (pa.array([2**63 - 1], pa.timestamp("us")), str(2**63 - 1)),
    "infinities": (pa.array([[2**63 - 1]], pa.list_(pa.timestamp("us"))), [str(2**63 - 1)]),
    'a "<b>/ü': (pa.array(["路 🚗\n"]), "路 🚗\n"),
}
#: As long as an id can be.
LONG = "A.b-c_" + "x" * 122


@pytest.fixture
def awkward(tmp_path: Path) -> Storage:
    """One clip of a long id, whose row carries all of them."""
    row = {"id": [LONG], "prompt": ["Straße 路.\n"], "n_views": [2], **{name: of for name, (of, _) in AWKWARD.items()}}
    pq.write_table(pa.table(row), tmp_path / "m.parquet")
    storage = Storage(str(tmp_path / "out"))
    _commit(storage, clips(str(tmp_path / "m.parquet"))[LONG], 5)
    write_index(storage, open_manifest(str(tmp_path / "m.parquet")), DEFAULTS, Ledger(storage).state())
    return storage


def test_columns_of_any_kind_are_in_every_layout(awkward: Storage, tmp_path: Path) -> None:
    for layout in ("webdataset", "rds-hq", "lerobot"):
        copy(awkward, layout, tmp_path / layout, where="unsigned > 5 and half < 1 and nested.of is not null")
    expected = {name: value for name, (_, value) in AWKWARD.items()}
    for columns in (
        samples(tmp_path / "webdataset")[LONG]["columns"],
        json.loads((tmp_path / f"rds-hq/columns/{LONG}_0.json").read_bytes())["columns"],
    ):
        assert {name: columns[name] for name in expected} == expected
    table = pq.read_table(tmp_path / "lerobot/meta/episodes/chunk-000/file-000.parquet")
    for name, (column, _) in AWKWARD.items():
        if name not in ("map", "nan"):  # lists there; equal to nothing
            assert table[name].combine_chunks().equals(column.cast(table[name].type)), name


def test_a_long_id_and_its_columns_come_back_from_rds_hq(awkward: Storage, tmp_path: Path) -> None:
    copy(awkward, "rds-hq", tmp_path / "to")
    from_rds_hq(str(tmp_path / "to"), str(tmp_path / "again.parquet"))
    (row,) = pq.read_table(tmp_path / "again.parquet").to_pylist()
    assert (row["id"], row["prompt"]) == (LONG, "Straße 路.\n")
    expected = {name: value for name, (_, value) in AWKWARD.items() if value is not None}
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("layout", ["webdataset", "rds-hq", "lerobot"])
def test_what_is_there_and_right_is_not_copied_again(output: Storage, tmp_path: Path, layout: Layout) -> None:
    to = tmp_path / "to"
    copy(output, layout, to, clips_a_shard=1)
    before = state_of(to)
    copy(output, layout, to, clips_a_shard=1)
    again = state_of(to)
    assert {path: data for path, (_, data) in again.items()} == {path: data for path, (_, data) in before.items()}
    heavy = [path for path in before if path.endswith((".mp4", ".tar"))]
    assert heavy
    assert [path for path in heavy if again[path] != before[path]] == []
    spoilt = Path(heavy[1])
    spoilt.write_bytes(bytes(reversed(spoilt.read_bytes())))  # of the same size
    Path(heavy[2]).unlink()
    copy(output, layout, to, clips_a_shard=1)
    assert {path: data for path, (_, data) in state_of(to).items()} == {
        path: data for path, (_, data) in before.items()
    }


def test_a_lerobot_data_set_has_an_episode_a_clip(output: Storage, tmp_path: Path) -> None:
    """By its published layout; the package itself reads it so, too."""
    to = tmp_path / "to"
    copy(output, "lerobot", to)
    info = json.loads((to / "meta/info.json").read_bytes())
    assert (info["codebase_version"], info["fps"], info["splits"]) == ("v3.0", 10, {"train": "0:3"})
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 21, 3)
    videos = [name for name, feature in info["features"].items() if feature["dtype"] == "video"]
    assert videos == [f"observation.images.{view}" for view in VIEWS]
    assert info["features"][videos[0]]["shape"] == [32, 48, 3]
    episodes = pq.read_table(to / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["length"] for row in episodes] == [5, 7, 9]
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in episodes] == [(0, 5), (5, 12), (12, 21)]
    assert [row["tasks"] for row in episodes] == [["Street a."], ["Street b."], ["Street c."]]
    assert [row["split"] for row in episodes] == ["train", "val", "train"]
    for row, clip_id in zip(episodes, CARRIED, strict=True):
        for view, name in zip(VIEWS, videos, strict=True):
            place = {"chunk_index": row[f"videos/{name}/chunk_index"], "file_index": row[f"videos/{name}/file_index"]}
            path = to / info["video_path"].format(video_key=name, **place)
            assert path.read_bytes() == output.read(f"clips/{clip_id}/1/{view}.mp4")
            assert row[f"videos/{name}/from_timestamp"] == 0
            assert row[f"videos/{name}/to_timestamp"] == pytest.approx(row["length"] / 10)
    frames = pq.read_table(io.BytesIO((to / info["data_path"].format(chunk_index=0, file_index=0)).read_bytes()))
    assert frames["index"].to_pylist() == list(range(21))
    assert frames["episode_index"].to_pylist() == [0] * 5 + [1] * 7 + [2] * 9
    assert frames["frame_index"].to_pylist()[5:12] == list(range(7))
    assert frames["timestamp"].to_pylist()[4:6] == [pytest.approx(0.4), 0]
    assert frames["task_index"].to_pylist() == [0] * 5 + [1] * 7 + [2] * 9
    tasks = pq.read_table(to / "meta/tasks.parquet").to_pandas()
    assert list(tasks.index) == ["Street a.", "Street b.", "Street c."]
    assert tasks["task_index"].tolist() == [0, 1, 2]


def test_a_damaged_first_clip_is_left_out_of_a_lerobot_data_set_like_any_other(output: Storage, tmp_path: Path) -> None:
    output.delete("clips/a/1/clip.json")
    said = copy(output, "lerobot", tmp_path / "to")
    assert said[-1] == "left out: a: clips/a/1/clip.json is missing"
    assert json.loads((tmp_path / "to/meta/info.json").read_bytes())["total_episodes"] == 2


def test_clips_that_are_no_episodes_like_the_first_are_left_out(output: Storage, tmp_path: Path) -> None:
    _commit(output, Clip("d", "d", ("x",), n_views=3, fps=10), 5)
    _commit(output, Clip("e", "e", ("x",), n_views=2, fps=30), 5)
    said = copy(output, "lerobot", tmp_path / "to")
    three = "front_wide, cross_right, rear_right"
    alike = ", for all clips of a LeRobot data set are alike: `--where` chooses the clips of one"
    assert [line for line in said if line.startswith("left out")] == [
        f"left out: d: found views {three}, expected front_wide, cross_right as of a{alike}",
        f"left out: e: found fps 30, expected 10 as of a{alike}",
    ]
