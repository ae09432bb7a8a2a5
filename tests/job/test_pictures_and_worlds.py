"""Models of one view from Python, in a row's own columns: what is made, and its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.videos import moving_picture

from cosmos_ray import Generator
from cosmos_ray.clip.encode import encode_png
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.pictures import PNG, read_picture
from cosmos_ray.errors import RowError


def test_a_picture_becomes_a_picture_file(tmp_path: Path) -> None:
    clip = Generator.load("tiny-text2image", "cpu").generate(prompt="A cup.", num_steps=1)
    assert {view: frames.shape for view, frames in clip.frames.items()} == {"picture": (1, 64, 128, 3)}
    png, jpeg = (Path(clip.save(tmp_path / name)).read_bytes() for name in ("a.png", "a.jpg"))
    assert (read_picture(png) == clip.frames["picture"][0]).all()
    assert jpeg.startswith(b"\xff\xd8\xff")


@pytest.mark.slow
@pytest.mark.long
def test_a_world_is_a_picture_and_a_video(tmp_path: Path) -> None:
    """Its short sibling: `tests/models/test_text2world.py`."""
    clip = Generator.load("tiny-text2world", "cpu").generate(prompt="A cup.", num_steps=1)
    assert list(clip.frames) == ["video", "picture"]
    assert decode_mp4(Path(clip.save(tmp_path / "a.mp4")).read_bytes()).shape == (29, 64, 112, 3)
    clip.save(tmp_path, layout="views")
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_a_video_wants_an_input_and_takes_a_picture_for_one_frame(tmp_path: Path) -> None:
    (tmp_path / "a.PNG").write_bytes(encode_png(moving_picture(1, 48, 96)[0]))
    generator = Generator.load("tiny-video2world", "cpu")
    clip = generator.generate(prompt="A cup.", video=str(tmp_path / "a.PNG"), num_steps=1)
    assert (list(clip.frames), clip.fps, len(clip.frames["video"])) == (["video"], 16, 29)
    with pytest.raises(RowError, match=r"found 0, expected an input .*, and 1 \(Image2World\) or 5"):
        generator.generate(prompt="A cup.")
    with pytest.raises(RowError, match="at least 5 pictures"):
        generator.generate(prompt="A cup.", video=str(tmp_path / "a.PNG"), num_conditional_frames=5)
