"""`inspect`: what would be taken from a video, in a line for people and in one for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import assert_one_line
from support.job_runs import write_manifest

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.gang.prepare import prepare
from cosmos_ray.job.plan import manifest_clips
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.models.bundle.bundle import load_bundle

KEYS = {
    "file", "ok", "error", "frames", "fps", "width", "height", "pixel_aspect", "field_order", "transfer", "matrix",
    "range", "track", "taken", "conversions", "warnings",
}  # fmt: skip


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Fourteen frames at 30 a second; each is brighter than the one before."""
    frames = np.repeat(np.arange(14, dtype=np.uint8)[:, None, None, None] * 12 + 40, 3, axis=3)
    path = tmp_path / "drive.mp4"
    path.write_bytes(encode_mp4(np.broadcast_to(frames, (14, 64, 112, 3)), 30))
    return path


def lines_of(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.out.splitlines()]


def test_a_line_says_all_that_is_known(cosmos_ray: Any, video: Path) -> None:
    answer = cosmos_ray("inspect", video, "--model", "tiny", "--num-conditional-frames", 5, "--json")
    (line,) = lines_of(answer)
    assert answer.code == 0
    assert line.keys() >= KEYS
    assert (line["ok"], line["error"], line["frames"], line["fps"]) == (True, None, 14, 30.0)
    assert (line["width"], line["height"], line["matrix"], line["range"]) == (112, 64, "bt709", "tv")
    assert line["taken"] == [1, 4, 7, 10, 13]
    assert line["conversions"] == ["30 frames a second, taken at 10"]
    assert "30 frames a second" in line["warnings"][0]


def test_settings_of_inputs_are_those_of_a_job(cosmos_ray: Any, video: Path) -> None:
    flags = ("inspect", video, "--model", "tiny", "--num-conditional-frames", 5, "--json")
    assert lines_of(cosmos_ray(*flags, "--set", "inputs.rate=as_is"))[0]["taken"] == [9, 10, 11, 12, 13]
    assert lines_of(cosmos_ray(*flags, "--fps", 30))[0]["taken"] == [9, 10, 11, 12, 13]
    assert "expected 1 to 120" not in cosmos_ray(*flags, "--fps", 120).err
    assert "--fps 121: expected 1 to 120" in cosmos_ray(*flags, "--fps", 121).err
    strict = cosmos_ray(*flags, "--set", "inputs.strict=true")
    assert strict.code == 1
    assert "inputs.strict" in lines_of(strict)[0]["error"]


def test_frames_are_written_as_the_model_sees_them(cosmos_ray: Any, video: Path, tmp_path: Path) -> None:
    """The bytes of a gang's frames: PNG keeps them."""
    cosmos_ray("inspect", video, "--model", "tiny", "--n-views", 7, "--to", tmp_path / "seen")
    names = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert len(names) == 7
    assert "drive.front_tele.0.png" in names
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p", "input_video": str(video)}])
    (clip,) = manifest_clips(manifest, RowDefaults(n_views=7, num_steps=1, guidance=1.0, negative_prompt=""))
    frames = prepare(clip, load_bundle("tiny"), 1).request.frames
    assert frames is not None
    from PIL import Image

    seen = np.asarray(Image.open(tmp_path / "seen" / "drive.rear.0.png"))
    assert np.array_equal(seen, frames[3, 0])


@pytest.mark.parametrize("is_long", [False, True])
def test_what_was_written_is_told(cosmos_ray: Any, video: Path, tmp_path: Path, is_long: bool) -> None:
    to = tmp_path / "seen"
    video.write_bytes(encode_mp4(np.zeros((35, 64, 112, 3), np.uint8), 10))
    flags = ("--n-views", 7, "--num-conditional-frames", 5) if is_long else ()
    ask = ("inspect", video, "--model", "tiny", *flags)
    names = (
        "35 pictures in SEEN, drive.front_wide.0.png to drive.front_tele.4.png"
        if is_long
        else ("1 picture in SEEN, drive.front_wide.0.png")
    )
    assert f"  written: {names}\n".replace("SEEN", str(to)) in cosmos_ray(*ask, "--to", to).out
    (line,) = lines_of(cosmos_ray(*ask, "--to", to, "--json"))
    assert sorted(line["written"]) == sorted(str(path) for path in to.iterdir())
    assert lines_of(cosmos_ray(*ask, "--json"))[0]["written"] is None


def test_who_looks_at_a_file_is_told_of_no_column(cosmos_ray: Any, video: Path, tmp_path: Path) -> None:
    """There is no manifest. A program reads what a failed row would say."""
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:700])
    for name in ("cut.mp4", "none.mp4"):
        out = cosmos_ray("inspect", tmp_path / name, "--model", "tiny").out
        assert out.startswith(f"{tmp_path / name}: refused: "), out
        assert "column" not in out, out


def test_a_file_that_is_refused_says_why_as_a_row_would_and_the_others_are_told(
    cosmos_ray: Any, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:700])
    answer = cosmos_ray("inspect", tmp_path / "cut.mp4", tmp_path / "none.mp4", video, "--model", "tiny", "--json")
    assert answer.code == 1
    cut, missing, good = lines_of(answer)
    assert "truncated" in cut["error"]
    assert cut.keys() == good.keys(), "a program finds every key, whatever the file is"
    assert "a file that exists" in missing["error"]
    assert good["ok"]


def test_a_store_that_does_not_answer_is_told_of_its_file_alone(
    cosmos_ray: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cosmos_ray.gang import inputs

    real = inputs.stat_of

    def stat_of(uri: str) -> Any:
        if uri.startswith("s3:"):
            raise PermissionError("Forbidden")
        return real(uri)

    monkeypatch.setattr(inputs, "stat_of", stat_of)
    answer = cosmos_ray("inspect", "s3://b/a.mp4", video, "--model", "tiny", "--json")
    away, good = lines_of(answer)
    assert (answer.code, away["ok"], good["ok"]) == (1, False, True)
    assert away["error"] == "s3://b/a.mp4 cannot be read: PermissionError: Forbidden"


def test_frames_of_two_videos_of_one_name_do_not_overwrite_each_other(
    cosmos_ray: Any, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "drive.mp4").write_bytes(video.read_bytes())
    both = ("inspect", video, tmp_path / "other" / "drive.mp4", "--model", "tiny")
    assert cosmos_ray(*both).code == 0
    assert_one_line(cosmos_ray(*both, "--to", tmp_path / "seen"), 2, "found 2 videos named 'drive'")
    assert not (tmp_path / "seen").exists()


def test_a_file_that_may_hold_several_views_says_how_to_look_at_them(cosmos_ray: Any, video: Path) -> None:
    """Fourteen frames may be two of seven cameras: taken as one view, the last camera's frame is no front_wide."""
    assert "taken as one view; if it has 7" in cosmos_ray("inspect", video, "--model", "tiny").out
    assert "as one view" not in cosmos_ray("inspect", video, "--model", "tiny", "--n-views", 7).out


def test_for_people(cosmos_ray: Any, video: Path) -> None:
    answer = cosmos_ray("inspect", video, "--model", "tiny", "--num-conditional-frames", 5)
    for part in ("h264", "14 frames, 30 a second", "112x64", "matrix bt709", "taken: 1, 4, 7, 10, 13", "warning:"):
        assert part in answer.out, part


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--num-conditional-frames", 0], "expected 1 or 5"),
        (["--n-views", 8], "--n-views 8: expected 1 to 7"),
        (["--fps", 0], "--fps 0: expected 1 to 120"),
        (["--set", "inputs.fit=zoom"], "inputs.fit"),
    ],
)
def test_flags_that_cannot_be(cosmos_ray: Any, video: Path, flags: list[Any], part: str) -> None:
    assert_one_line(cosmos_ray("inspect", video, "--model", "tiny", *flags), 2, part)


def test_frames_cannot_be_written_into_a_file(cosmos_ray: Any, video: Path, tmp_path: Path) -> None:
    assert_one_line(cosmos_ray("inspect", video, "--model", "tiny", "--to", video), 2, "--to", "expected a folder")
