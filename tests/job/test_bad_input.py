"""Bad input, through a whole job with real files: records name column, found and expected; the others finish."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.job_runs import records, run_job, write_manifest

from cosmos_ray.clip.encode import encode_mp4, encode_png
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError, UsageError

CASES = Path(__file__).parents[1] / "clip" / "data"

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("one_node")]


class _RunsCode:
    """Unpickling this would leave a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.marker,)


def _movie(frames: int) -> bytes:
    return encode_mp4(np.full((frames, 64, 112, 3), 90, np.uint8), 10)


def pictures(name: str, count: int) -> dict[str, Any]:
    return {"input_frames": {view: [name] * count for view in VIEWS}}


def test_every_kind_of_bad_row_fails_alone_and_says_why(tmp_path: Path) -> None:
    whole = _movie(14)
    (tmp_path / "good.mp4").write_bytes(whole)
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "text.mp4").write_text("#EXTM3U\n/etc/hostname\n")
    (tmp_path / "odd.mp4").write_bytes(_movie(13))
    np.save(tmp_path / "narrow.npy", np.zeros((1, 7 * 512, 3), np.float32))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(_RunsCode(tmp_path / "was-run")))
    (tmp_path / "mkv.mp4").write_bytes((CASES / "mkv.mp4").read_bytes())
    (tmp_path / "picture.png").write_bytes(encode_png(np.full((64, 112, 3), 90, np.uint8)))
    cameras = ["good.mp4"] * 7
    rows: list[dict[str, Any]] = [
        {"id": "good", "prompt": ["a road"], "input_video": "good.mp4"},
        {"id": "missing", "prompt": ["a road"], "input_video": "nowhere.mp4"},
        {"id": "http", "prompt": ["a road"], "input_video": "http://example.com/a.mp4"},
        {"id": "climbs", "prompt": ["a road"], "input_video": "../outside.mp4"},
        {"id": "truncated", "prompt": ["a road"], "input_video": "cut.mp4"},
        {"id": "playlist", "prompt": ["a road"], "input_video": "text.mp4"},
        {"id": "uneven", "prompt": ["a road"], "input_video": "odd.mp4"},
        {"id": "short", "prompt": ["a road"], "input_video": "good.mp4", "num_conditional_frames": 5},
        {"id": "three-captions", "prompt": ["a", "b", "c"], "input_video": "good.mp4"},
        {"id": "six-cameras", "prompt": ["a road"], "input_videos": cameras[:6]},
        {"id": "narrow", "prompt_embedding": "narrow.npy"},
        {"id": "evil", "prompt_embedding": "evil.pkl"},
        {"id": "matroska", "prompt": ["a road"], "input_video": "mkv.mp4"},
        {"id": "folder", "prompt": ["a road"], "input_video": str(tmp_path)},
        {"id": "below-a-file", "prompt": ["a road"], "input_video": "good.mp4/a.mp4"},
        {"id": "long-name", "prompt": ["a road"], "input_video": "x" * 300},
        {"id": "slow", "prompt": ["a road"], "input_videos": cameras, "num_conditional_frames": 5, "fps": 60},
        {"id": "few-pictures", "prompt": ["a road"], **pictures("picture.png", 4), "num_conditional_frames": 5},
        {"id": "no-picture", "prompt": ["a road"], **pictures("good.mp4", 1)},
        {"id": "pictures", "prompt": ["a road"], **pictures("picture.png", 5), "num_conditional_frames": 5},
        {"id": "no-frames", "prompt": ["a road"], "num_conditional_frames": 5},
        {"id": "good-too", "prompt": ["a road"], "input_videos": cameras, "num_conditional_frames": 5},
    ]
    expected = {
        "missing": ("input_video", "nowhere.mp4", "a file that exists"),
        "http": ("input_video", "http://example.com/a.mp4", "scheme 'http'"),
        "climbs": ("input_video", "../outside.mp4", "'..'"),
        "truncated": ("input_video", "cut.mp4", "truncated"),
        "playlist": ("input_video", "text.mp4", "not an mp4"),
        "uneven": ("input_video", "13", "7"),
        "short": ("input_video", "2", "5"),
        "three-captions": ("prompt", "['a', 'b', 'c']", "one caption or 7"),
        "six-cameras": ("input_videos", "good.mp4", "7 URIs"),
        "narrow": ("prompt_embedding", "3584, 3", "3584, 1"),
        "evil": ("prompt_embedding", ".pkl file", "array"),
        "matroska": ("input_video", "mkv.mp4", "`ffmpeg -i FILE -c copy OUT.mp4`"),
        "folder": ("input_video", str(tmp_path), "a file, not a folder"),
        "below-a-file": ("input_video", "good.mp4/a.mp4", "is a file, not a folder"),
        "long-name": ("input_video", "xxx", "too long"),
        "slow": ("input_videos", "14 frames", "at the row's 60 a second"),
        "few-pictures": ("input_frames", "picture.png", "at least 5 pictures"),
        "no-picture": ("input_frames", "an mp4 or QuickTime video", "`input_video`"),
        "no-frames": ("num_conditional_frames", "5", "no input video"),
    }
    summary, _ = run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out", gang_size=1)
    found = records(tmp_path / "out")
    assert (summary.ok, summary.failed, summary.left) == (3, len(expected), 0)
    assert {clip for clip, one in found.items() if one.status == "ok"} == {"good", "good-too", "pictures"}
    for clip, (column, what, wanted) in expected.items():
        error = found[clip].error or ""
        assert found[clip].failure_class == "input", clip
        assert f"`{column}`" in error, (clip, error)
        assert what in error, (clip, error)
        assert wanted in error, (clip, error)
    assert not (tmp_path / "was-run").exists(), "a pickle from outside was run"


def test_what_is_doubtful_is_told_with_the_clip_and_refused_if_so_is_wished(tmp_path: Path) -> None:
    """30 frames a second, tall pixels: taken at the row's 10, and cropped."""
    tall = encode_mp4(np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8), 30)
    (tmp_path / "tall.mp4").write_bytes(tall)
    row = {"id": "a", "prompt": "x", "n_views": 1, "input_videos": ["tall.mp4"], "num_conditional_frames": 5}
    manifest = write_manifest(tmp_path / "m.parquet", [row])
    run_job(manifest, tmp_path / "out", gang_size=1)
    (record,) = records(tmp_path / "out").values()
    assert record.warnings == (
        "front_wide: 30 frames a second, taken at 10 (inputs.rate)",
        "front_wide: cropped by 43 % of its rows to fit 112x64 (inputs.fit)",
    )
    assert record.sidecar is not None
    sidecar = json.loads((tmp_path / "out" / record.sidecar.path).read_text())
    (told,) = sidecar["inputs"]
    assert (told["frames"], told["fps"], told["taken"]) == (24, 30.0, [11, 14, 17, 20, 23])
    assert told["facts"]["conversions"] == ["30 frames a second, taken at 10"]
    assert told["facts"]["matrix"] == {"value": "bt709", "is_tagged": True}
    summary, _ = run_job(manifest, tmp_path / "strict", gang_size=1, inputs={"strict": True})
    (refused,) = records(tmp_path / "strict").values()
    assert (summary.failed, refused.failure_class) == (1, "input")
    assert "inputs.strict is set: front_wide: 30 frames a second" in (refused.error or "")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}], "row 1: column `id`: found 'a'"),
        ([{"id": "../a", "prompt": "x"}], "row 0: column `id`: found '../a', expected"),
        ([{"id": "a", "prompt": "x", "seed": "seven"}], "column `seed`: found type string, expected an integer"),
        ([{"id": "a.s001", "prompt": "x"}, {"id": "a", "prompt": "x", "num_samples": 2}], "also asked for by row 0"),
    ],
)
def test_a_manifest_at_fault_is_refused_before_anything_starts(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ManifestError) as error:
        run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_edited_row_is_refused_or_made_again(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "x", "seed": 1}])
    run_job(manifest, tmp_path / "out", gang_size=1)
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "x", "seed": 2}])
    with pytest.raises(ManifestError, match="edited after their clips were made: 1 row "):
        run_job(manifest, tmp_path / "out", gang_size=1)
    summary, _ = run_job(manifest, tmp_path / "out", redo_changed=True, gang_size=1)
    assert (summary.ok, summary.failed) == (1, 0)


def test_another_model_may_not_go_on_with_an_output(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "x"}])
    run_job(manifest, tmp_path / "out", gang_size=1)
    with pytest.raises(UsageError, match=r"was made with other settings.*numerics"):
        run_job(manifest, tmp_path / "out", sampling={"numerics": "reference"})


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "x"}])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"the output .*/file/out cannot be read: NotADirectoryError"):
        run_job(manifest, tmp_path / "file" / "out")
