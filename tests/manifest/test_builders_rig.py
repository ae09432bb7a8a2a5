"""Which cameras a row is made with, where the row and the command both say something."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from support.manifests import put, read

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.rig import rig_of


def test_a_rows_own_number_counts_whatever_the_command_says() -> None:
    for rig in (rig_of(), rig_of(views="rear,front_tele"), rig_of(n_views=5), rig_of("nuscenes")):
        row = {"n_views": 2}
        assert rig.views_of(row, ["rear"], "row 1") == VIEWS[:2]
        assert row == {"n_views": 2}


def test_the_commands_words_are_written_into_rows_that_say_nothing() -> None:
    for rig, views, written in (
        (rig_of(n_views=2), VIEWS[:2], {"n_views": 2}),
        (rig_of(views="rear,front_wide"), ("rear", "front_wide"), {"views": ["rear", "front_wide"]}),
        (rig_of(), ("cross_right", "rear"), {"views": ["cross_right", "rear"]}),
        (rig_of(views=",".join(VIEWS)), VIEWS, {}),
        (rig_of(views=",".join(VIEWS[::-1])), VIEWS[::-1], {"views": list(VIEWS[::-1])}),
    ):
        row: dict[str, object] = {}
        assert rig.views_of(row, ["rear", "cross_right"], "row 1") == views
        assert row == written
    assert rig_of().views_of({}, [], "row 1") is None, "the model's own"


@pytest.mark.parametrize(("views", "n_views"), [("rear", 1), ("", 1), ("rear", 0)])
def test_the_command_says_how_many_or_which(views: str, n_views: int) -> None:
    """Nothing and none are said, too: what a script's empty variable was to name is not left out."""
    with pytest.raises(ManifestError, match="--views and --n-views: found both, expected one of them"):
        rig_of(views=views, n_views=n_views)


@pytest.mark.parametrize(
    "beside",
    [("rear.mp4",), ("rear_0001.jpg",), ("rear/0001.jpg",)],
    ids=["a video", "a picture", "pictures"],
)
def test_what_lies_beside_a_video_of_all_views_is_not_used_and_said(beside: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("video.mp4", *beside):
        put(tmp_path / "clips" / "one" / name)
    built = from_folder(str(tmp_path / "clips"), str(tmp_path / "m.parquet"), captions=captions_of("A street."))
    (row,) = read(tmp_path / "m.parquet")
    assert (row["input_video"], set(row)) == ("clips/one/video.mp4", {"id", "prompt", "input_video"})
    assert built.warnings == ("clips with a video of all views, whose cameras' own files are not used: 1: one",)


@pytest.mark.parametrize(("lines", "complaint"), [(1, ""), (2, ""), (3, "found 3 lines that are not empty")])
def test_a_clips_captions_are_those_of_the_cameras_that_are_made(lines: int, complaint: str, tmp_path: Path) -> None:
    """However many others it has inputs of."""
    for name in ("rear.mp4", "front_wide.mp4", "front_tele.mp4"):
        put(tmp_path / "clips" / "one" / name)
    put(tmp_path / "clips" / "one" / "caption.txt", "\n".join(f"caption {number}" for number in range(lines)))
    with pytest.raises(ManifestError, match=complaint) if complaint else nullcontext():
        from_folder(str(tmp_path / "clips"), str(tmp_path / "m.parquet"), rig=rig_of(views="rear,front_wide"))
        (row,) = read(tmp_path / "m.parquet")
        assert row["prompt"] == ("caption 0" if lines == 1 else ["caption 0", "caption 1"])
