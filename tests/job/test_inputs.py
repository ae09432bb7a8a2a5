"""`plan --inputs`: every input is asked for, some rows are taken as a gang takes them, in the words of a record."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.job_runs import write_manifest
from support.waiting import PATIENCE_S

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.config import InputsConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang import inputs as gang_inputs
from cosmos_ray.gang.prepare import prepare
from cosmos_ray.job import inputs
from cosmos_ray.job.inputs import InputsLook, look_at_inputs
from cosmos_ray.job.plan import manifest_clips, row_defaults
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import byte_size

BUNDLE = load_bundle("fake")


def clips_of(tmp_path: Path, rows: list[dict[str, Any]]) -> list[Clip]:
    from cosmos_ray.clip.sampling import SamplingConfig

    manifest = write_manifest(tmp_path / "m.parquet", [{"prompt": "a road", "n_views": 1, **row} for row in rows])
    return list(manifest_clips(manifest, row_defaults(BUNDLE, SamplingConfig())))


def look(clips: list[Clip], taken: int | None = None, **settings: Any) -> InputsLook:
    return look_at_inputs(clips, BUNDLE, InputsConfig(**settings), "", taken)


def movie(frames: int = 2, height: int = 64, width: int = 112, fps: float = 10) -> bytes:
    return encode_mp4(np.full((frames, height, width, 3), 90, np.uint8), fps)


def test_faults_have_the_words_of_the_gang_and_come_by_kind(tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(movie())
    for name in ("one", "two"):
        (tmp_path / f"{name}.mp4").write_bytes(movie()[:600])
    rows = [
        {"id": "good", "input_video": "good.mp4"},
        {"id": "missing", "input_video": "nowhere.mp4"},
        {"id": "one", "input_video": "one.mp4"},
        {"id": "two", "input_video": "two.mp4"},
        {"id": "from-text"},
        {"id": "bad-row", "input_video": "good.mp4", "seed": -1},
    ]
    clips = {clip.id: clip for clip in clips_of(tmp_path, rows)}
    found = look(list(clips.values()))
    assert (found.rows, found.asked, found.taken) == (4, 4, 3), "neither text alone nor what the plan refuses"
    assert found.size == sum((tmp_path / f"{name}.mp4").stat().st_size for name in ("good", "one", "two"))
    assert [kind.count for kind in found.faults] == [2, 1]
    said = {row_id: message for kind in found.faults for row_id, message in kind.examples}
    assert said.keys() == {"one", "two", "missing"}
    for row_id, message in said.items():
        with pytest.raises(RowError) as raised:
            prepare(clips[row_id], BUNDLE, 1)
        assert str(raised.value) == message


def test_warnings_are_told_and_are_faults_of_a_strict_job(tmp_path: Path) -> None:
    (tmp_path / "square.mp4").write_bytes(movie(height=112, width=112))
    clips = clips_of(tmp_path, [{"id": "square", "input_video": "square.mp4"}])
    ((row_id, message),) = look(clips).warnings[0].examples
    assert row_id == "square"
    assert "cropped" in message
    assert look(clips).faults == ()
    strict = look(clips, strict=True)
    assert strict.warnings == ()
    assert message in strict.faults[0].examples[0][1]


def test_as_many_rows_are_taken_as_asked_for_and_the_same_ones_every_time(tmp_path: Path) -> None:
    (tmp_path / "square.mp4").write_bytes(movie(height=112, width=112))
    rows = [{"id": f"r{number}", "input_video": "square.mp4", "num_samples": 2} for number in range(12)]
    clips = clips_of(tmp_path, rows)
    some = look(clips, 4)
    assert (some.rows, some.asked, some.taken, some.warnings[0].count) == (12, 12, 4, 4), "samples share their row's"
    assert look(clips, 4) == some
    assert look(clips, 0).taken == 0
    assert look(clips).taken == 12


def test_pictures_and_embeddings_are_asked_for_too(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "pictures", "input_frames": {"front_wide": ["a.jpg", "b.jpg"]}},
        {"id": "embedding", "prompt": None, "prompt_embedding": "e.npy"},
    ]
    said = [example for kind in look(clips_of(tmp_path, rows)).faults for example in kind.examples]
    assert {row_id for row_id, _ in said} == {"pictures", "embedding"}
    assert any("`input_frames`" in message and "b.jpg" in message for _, message in said)
    assert any("`prompt_embedding`" in message and "e.npy" in message for _, message in said)


def test_a_row_of_several_missing_files_is_one_fault_told_by_the_first(tmp_path: Path) -> None:
    rows = [{"id": "a", "n_views": 2, "input_videos": {"front_wide": "one.mp4", "cross_right": "two.mp4"}}]
    (kind,) = look(clips_of(tmp_path, rows)).faults
    assert (kind.count, [row_id for row_id, _ in kind.examples]) == (1, ["a"])
    assert "one.mp4" in kind.examples[0][1]


def test_many_are_asked_for_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them meet: one after the other they would wait for ever."""
    together = threading.Barrier(inputs._AT_ONCE, timeout=PATIENCE_S)

    def size(*_: object) -> int:
        together.wait()
        return 1

    monkeypatch.setattr(inputs, "input_size", size)
    rows = [{"id": f"r{number}", "input_video": f"{number}.mp4"} for number in range(inputs._AT_ONCE)]
    assert look(clips_of(tmp_path, rows), 0).size == inputs._AT_ONCE


def test_what_a_store_does_not_give_is_told_with_the_rest_unless_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inputs.input_size

    def size(column: str, uri: str, *more: Any) -> int:
        if uri.startswith("s3:"):
            raise PermissionError("Forbidden")
        return real(column, uri, *more)

    monkeypatch.setattr(inputs, "input_size", size)
    (tmp_path / "good.mp4").write_bytes(movie())
    remote = [{"id": f"r{number}", "input_video": f"s3://b/{number}.mp4"} for number in range(21)]
    found = look(clips_of(tmp_path, [{"id": "good", "input_video": "good.mp4"}, *remote[:20]]))
    assert (found.taken, found.faults[0].count) == (1, 20)
    message = found.faults[0].examples[0][1]
    assert "s3://b/0.mp4 is not given by its store, for which a job would wait, and stop" in message
    assert message.endswith("PermissionError: Forbidden")
    with pytest.raises(OSError, match="and 20 inputs before it: PermissionError: Forbidden"):
        look(clips_of(tmp_path, remote))


def test_whose_fault_it_is_does_not_depend_on_which_is_asked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One forbidden file, asked for before any other has answered; the others show that the disk is well."""
    real, asked = gang_inputs.stat_of, threading.Event()

    def stat(uri: str) -> Any:
        if "forbidden" in uri:
            asked.set()
            raise PermissionError(errno.EACCES, "Permission denied")
        assert asked.wait(PATIENCE_S)
        return real(uri)

    monkeypatch.setattr(gang_inputs, "_read_before", {})
    monkeypatch.setattr(gang_inputs, "stat_of", stat)
    rows = [{"id": name, "input_video": f"{name}.mp4"} for name in ("forbidden", "good")]
    for row in rows:
        (tmp_path / row["input_video"]).write_bytes(movie())
    (fault,) = look(clips_of(tmp_path, rows), 0).faults
    assert "an object that can be read: its store gives others" in fault.examples[0][1]


@pytest.mark.slow
def test_inputs_in_a_bucket(tmp_path: Path, s3: str) -> None:
    Storage(s3).write("good.mp4", movie())
    rows = [{"id": name, "input_video": f"{s3}/{name}.mp4"} for name in ("good", "missing")]
    rows.append({"id": "elsewhere", "input_video": "s3://no-such-bucket/a.mp4"})
    found = look(clips_of(tmp_path, rows))
    assert (found.asked, found.taken, found.size) == (3, 1, len(movie()))
    assert {fault.examples[0][0]: fault.examples[0][1] for fault in found.faults} == {
        "missing": f"column `input_video`: found '{s3}/missing.mp4', expected a file that exists",
        "elsewhere": "column `input_video`: found 's3://no-such-bucket/a.mp4', expected an object of a bucket that "
        "exists",
    }


def test_what_people_read(tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(movie())
    rows = [{"id": "good", "input_video": "good.mp4"}, {"id": "missing", "input_video": "nowhere.mp4"}]
    first, second, third = look(clips_of(tmp_path, rows)).lines()
    assert first == f"inputs: 2 rows with 2 files, {byte_size(len(movie()))}; 1 row looked into"
    assert second == "1 row would fail, as:"
    assert third.startswith("  missing: column `input_video`: found ")


def test_captions_that_the_encoder_cuts_are_told_of_rows_without_inputs_too(tmp_path: Path) -> None:
    tiny = load_bundle("tiny")
    (clip,) = clips_of(tmp_path, [{"id": "long", "prompt": "car " * 600}])
    ((row_id, message),) = look_at_inputs([clip], tiny, InputsConfig(), "", 0).warnings[0].examples
    assert row_id == "long"
    assert "caption cut: 601 tokens" in message
    strict = look_at_inputs([clip], tiny, InputsConfig(strict=True), "", 0)
    assert message in strict.faults[0].examples[0][1]
