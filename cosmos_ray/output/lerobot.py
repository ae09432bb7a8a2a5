"""The tables of a LeRobot data set, format v3.0: a clip is an episode, its caption the task, a view a camera.

    meta/info.json, meta/tasks.parquet, meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet                                   a row a frame
    videos/observation.images.<view>/chunk-000/file-000.mp4           one clip's video each, as it was made

There are no states and actions in it, and no `meta/stats.json`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.clip.request import ALL_VIEWS
from cosmos_ray.manifest.python_values import values_in
from cosmos_ray.output.column_names import beside
from cosmos_ray.output.columns import Columns, plain

#: The folders of a data set, and the file without which it is none.
FOLDERS, INFO = ("videos", "data", "meta"), "meta/info.json"
#: Files in a folder, and episodes in a table.
_CHUNK = 1000
_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_SCALARS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}


@dataclass(frozen=True)
class Episode:
    """A clip that was copied. number: which decides the names of its videos."""

    number: int
    clip_id: str
    task: str
    frames: int
    height: int
    width: int
    fps: int
    views: tuple[str, ...]


def key(view: str) -> str:
    return f"observation.images.{view}"


def video_path(view: str, number: int) -> str:
    """Of an episode's video, in the data set."""
    chunk, file = divmod(number, _CHUNK)
    return f"videos/{key(view)}/{_PLACE.format(chunk_index=chunk, file_index=file)}.mp4"


def tables(episodes: Sequence[Episode], columns: Columns) -> Iterator[tuple[str, bytes]]:
    """Path and content of all but the videos of `episodes`, one or more, which are alike in views, size and rate.

    `INFO` comes last: readers take a folder without it for no data set.
    """
    tasks = list(dict.fromkeys(episode.task for episode in episodes))
    starts = np.append(0, np.cumsum([episode.frames for episode in episodes])).tolist()
    yield "meta/tasks.parquet", _packed(_tasks(tasks))
    for first in range(0, len(episodes), _CHUNK):
        part = range(first, min(first + _CHUNK, len(episodes)))
        place = _PLACE.format(chunk_index=0, file_index=first // _CHUNK)
        yield f"data/{place}.parquet", _packed(_frames(episodes, part, starts, tasks))
        yield f"meta/episodes/{place}.parquet", _packed(_episodes(episodes, part, starts, columns))
    yield INFO, json.dumps(_info(episodes, starts[-1], len(tasks)), indent=4).encode()


def _tasks(tasks: list[str]) -> pa.Table:
    """Readers take the task from the index that pandas puts there."""
    import pandas as pd

    return pa.Table.from_pandas(pd.DataFrame({"task_index": range(len(tasks))}, index=pd.Index(tasks, name="task")))


def _frames(episodes: Sequence[Episode], part: range, starts: list[int], tasks: list[str]) -> pa.Table:
    lengths = [episodes[number].frames for number in part]
    within = np.concatenate([np.arange(length) for length in lengths])
    task_of = {task: number for number, task in enumerate(tasks)}
    return pa.table(
        {
            "timestamp": pa.array((within / episodes[0].fps).astype(np.float32)),
            "frame_index": within,
            "episode_index": np.repeat(np.array(part), lengths),
            "index": np.arange(starts[part.start], starts[part.stop]),
            "task_index": np.repeat([task_of[episodes[number].task] for number in part], lengths),
        }
    )


def _episodes(episodes: Sequence[Episode], part: range, starts: list[int], columns: Columns) -> pa.Table:
    chosen = [episodes[number] for number in part]
    own: dict[str, Any] = {
        "episode_index": list(part),
        "tasks": [[episode.task] for episode in chosen],
        "length": [episode.frames for episode in chosen],
        "dataset_from_index": [starts[number] for number in part],
        "dataset_to_index": [starts[number + 1] for number in part],
        "id": [episode.clip_id for episode in chosen],
    }
    for place in ("data", "meta/episodes"):
        own[f"{place}/chunk_index"] = [0] * len(chosen)
        own[f"{place}/file_index"] = [part.start // _CHUNK] * len(chosen)
    for view in chosen[0].views:
        chunks, files = zip(*(divmod(episode.number, _CHUNK) for episode in chosen), strict=True)
        own[f"videos/{key(view)}/chunk_index"], own[f"videos/{key(view)}/file_index"] = list(chunks), list(files)
        own[f"videos/{key(view)}/from_timestamp"] = [0.0] * len(chosen)
        own[f"videos/{key(view)}/to_timestamp"] = [episode.frames / episode.fps for episode in chosen]
    carried = columns.table([episode.clip_id for episode in chosen])
    table = pa.table(own)
    for name, new in zip(carried.column_names, beside(carried.column_names, table.column_names), strict=True):
        table = table.append_column(new, _readable(carried[name]))
    return table


def _readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The library that reads it knows no maps: what has one becomes JSON."""
    if "map<" not in str(column.type):
        return column
    return pa.chunked_array([[None if value is None else json.dumps(plain(value)) for value in values_in(column)]])


def _info(episodes: Sequence[Episode], frames: int, tasks: int) -> dict[str, Any]:
    one = episodes[0]
    video = {
        "video.height": one.height,
        "video.width": one.width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": one.fps,
        "video.channels": 3,
        "has_audio": False,
    }
    shape = {"dtype": "video", "shape": [one.height, one.width, 3], "names": ["height", "width", "channels"]}
    scalars = {**_SCALARS, "task_index": "int64"}
    return {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(episodes),
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": _CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": one.fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": f"data/{_PLACE}.parquet",
        "video_path": f"videos/{{video_key}}/{_PLACE}.mp4",
        "features": {
            **{key(view): {**shape, "info": video} for view in one.views},
            **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in scalars.items()},
        },
    }


def is_info(found: object) -> bool:
    """Is this what `INFO` says of a data set of ours, and of none with states, actions or cameras of somebody's?"""
    if not isinstance(found, dict) or not isinstance(found.get("features"), dict):
        return found is None
    ours = {*_SCALARS, "task_index", *map(key, ALL_VIEWS)}
    return found.get("robot_type") is None and set(found["features"]) <= ours


def _packed(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
