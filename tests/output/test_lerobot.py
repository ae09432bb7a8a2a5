"""The tables of a LeRobot data set by their numbers: episodes in several files, frames counted through all of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ray.ledger.layout import INDEX
from cosmos_ray.output import lerobot
from cosmos_ray.output.columns import Columns
from cosmos_ray.output.lerobot import Episode, tables, video_path
from cosmos_ray.store.storage import Storage


def episode(number: int, task: str = "drive", frames: int = 3, views: tuple[str, ...] = ("rear",)) -> Episode:
    return Episode(number, f"clip{number}", task, frames, 32, 48, 10, views)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of five episodes, two a file; the third of the clips that were chosen was left out."""
    monkeypatch.setattr(lerobot, "_CHUNK", 2)
    episodes = [
        episode(0), episode(1, "turn", 4), episode(3, frames=5), episode(4, "turn", 1), episode(5, "park", 2),
    ]  # fmt: skip
    found = list(tables(episodes, Columns(Storage(str(tmp_path)))))
    assert found[-1][0] == "meta/info.json"
    return {
        path: json.loads(data) if path.endswith("json") else pq.read_table(io.BytesIO(data)) for path, data in found
    }


def test_names_of_videos_count_a_thousand_a_folder() -> None:
    assert [video_path("rear", number) for number in (0, 999, 1000, 2001)] == [
        f"videos/observation.images.rear/chunk-{chunk:03d}/file-{file:03d}.mp4"
        for chunk, file in ((0, 0), (0, 999), (1, 0), (2, 1))
    ]


def test_every_table_has_a_file_for_so_many_episodes(made: dict[str, Any]) -> None:
    files = [f"{kind}/chunk-000/file-{number:03d}.parquet" for number in range(3) for kind in ("data", "meta/episodes")]
    assert list(made) == ["meta/tasks.parquet", *files, "meta/info.json"]
    together = pa.concat_tables([made[f"meta/episodes/chunk-000/file-{number:03d}.parquet"] for number in range(3)])
    assert together.to_pydict() == {
        "episode_index": [0, 1, 2, 3, 4],
        "tasks": [["drive"], ["turn"], ["drive"], ["turn"], ["park"]],
        "length": [3, 4, 5, 1, 2],
        "dataset_from_index": [0, 3, 7, 12, 13],
        "dataset_to_index": [3, 7, 12, 13, 15],
        "id": ["clip0", "clip1", "clip3", "clip4", "clip5"],
        "data/chunk_index": [0] * 5,
        "data/file_index": [0, 0, 1, 1, 2],
        "meta/episodes/chunk_index": [0] * 5,
        "meta/episodes/file_index": [0, 0, 1, 1, 2],
        "videos/observation.images.rear/chunk_index": [0, 0, 1, 2, 2],
        "videos/observation.images.rear/file_index": [0, 1, 1, 0, 1],
        "videos/observation.images.rear/from_timestamp": [0.0] * 5,
        "videos/observation.images.rear/to_timestamp": [0.3, 0.4, 0.5, 0.1, 0.2],
    }


def test_frames_are_counted_within_an_episode_and_through_all(made: dict[str, Any]) -> None:
    frames = pa.concat_tables([made[f"data/chunk-000/file-{number:03d}.parquet"] for number in range(3)])
    found = frames.to_pydict()
    assert found["frame_index"] == [*range(3), *range(4), *range(5), 0, 0, 1]
    assert found["episode_index"] == [0] * 3 + [1] * 4 + [2] * 5 + [3] + [4] * 2
    assert found["index"] == list(range(15))
    assert found["task_index"] == [0] * 3 + [1] * 4 + [0] * 5 + [1] + [2] * 2
    assert found["timestamp"][3:7] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert made["meta/tasks.parquet"].to_pydict() == {"task_index": [0, 1, 2], "task": ["drive", "turn", "park"]}


def test_the_whole_is_told_last(made: dict[str, Any]) -> None:
    info = made["meta/info.json"]
    totals = {name: info[f"total_{name}"] for name in ("episodes", "frames", "tasks")}
    assert totals == {"episodes": 5, "frames": 15, "tasks": 3}
    assert (info["codebase_version"], info["fps"], info["splits"]) == ("v3.0", 10, {"train": "0:5"})
    video = info["features"]["observation.images.rear"]
    assert (video["shape"], video["names"]) == ([32, 48, 3], ["height", "width", "channels"])
    assert (video["info"]["video.height"], video["info"]["video.width"], video["info"]["video.fps"]) == (32, 48, 10)
    assert {name: of["dtype"] for name, of in info["features"].items() if name != "observation.images.rear"} == {
        "timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
        "task_index": "int64",
    }  # fmt: skip
    assert info["video_path"].format(video_key="observation.images.rear", chunk_index=1, file_index=2) == (
        "videos/observation.images.rear/chunk-001/file-002.mp4"
    )
    assert info["data_path"].format(chunk_index=0, file_index=2) == "data/chunk-000/file-002.parquet"


def test_an_episode_that_the_index_does_not_have_carries_nothing(tmp_path: Path) -> None:
    """And takes no other clip's columns."""
    storage, buffer = Storage(str(tmp_path)), io.BytesIO()
    pq.write_table(pa.table({"id": ["clip2", "clip0"], "weather": ["snow", "rain"]}), buffer)
    storage.write(INDEX, buffer.getvalue())
    found = dict(tables([episode(0), episode(1), episode(2)], Columns(storage)))
    carried = pq.read_table(io.BytesIO(found["meta/episodes/chunk-000/file-000.parquet"]))
    assert carried.select(["id", "weather"]).to_pylist() == [
        {"id": "clip0", "weather": "rain"},
        {"id": "clip1", "weather": None},
        {"id": "clip2", "weather": "snow"},
    ]


def test_a_column_with_maps_at_any_depth_becomes_json() -> None:
    """Of an index of an earlier release; ours has none."""
    of_map = pa.map_(pa.string(), pa.int64())
    for kind, value in (
        (of_map, [("k", 1)]),
        (pa.list_(of_map), [[("k", 1)]]),
        (pa.struct([("a", of_map)]), {"a": []}),
    ):
        found = lerobot._readable(pa.chunked_array([pa.array([value, None], kind)]))
        assert found.type == pa.string(), kind
        assert found.to_pylist()[1] is None
        json.loads(found.to_pylist()[0])
