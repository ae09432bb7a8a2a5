"""One clip in Python: the manifest's columns as keywords, its files, and what is refused. With the tiny model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_ray import Generator, load_bundle
from cosmos_ray.clip.frames import inspect_video
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.request import PICTURE, VIEWS, ClipRequest, ClipText
from cosmos_ray.errors import CosmosRayError, RowError, UsageError
from cosmos_ray.gang.prepare import Prepared
from cosmos_ray.job.generator import clip_of
from cosmos_ray.job.made_clip import MadeClip
from cosmos_ray.manifest.columns import COLUMNS

TINY = load_bundle("tiny")


def made(*views: str) -> MadeClip:
    """Frames of one grey a view, in pictures of 4 x 6."""
    request = ClipRequest("a", ("p",), "", len(views), 0, 0, 3.0, 1)
    frames = {view: np.full((2, 4, 6, 3), 10 + 20 * VIEWS.index(view), np.uint8) for view in views}
    return MadeClip(request, frames, 10)


def greys(picture_HWC: np.ndarray) -> list[list[int]]:
    """Of the grid's cells: the view's number, -1 for black."""
    return [[(int(cell) - 10) // 20 if cell else -1 for cell in row] for row in picture_HWC[::4, ::6, 0]]


@pytest.mark.slow
def test_a_clip_by_keywords_is_the_one_by_request(tmp_path: Path) -> None:
    """Loaded by name; defaults are the model's. Its frames are those of the request that says the same."""
    generator = Generator.load("tiny")
    clip = generator.generate(prompt="A clear day.", n_views=2, num_steps=1, seed=3)
    request = ClipRequest("a", ("A clear day.",), TINY.sampling.negative_prompt, 2, 0, 3, TINY.sampling.guidance, 1)
    again = generator.generate(request)
    assert list(clip.frames) == list(again) == ["front_wide", "cross_right"]
    for view, video in again.items():
        np.testing.assert_array_equal(clip.frames[view], video)
    assert clip.request.num_steps == 1
    place = clip.save(tmp_path / "a.mp4")
    found = inspect_video(Path(place))
    assert (found.frames, found.height, found.width) == (29, 64, 2 * 112)
    with pytest.raises(UsageError, match="a request says everything: found seed beside it"):
        generator.generate(request, seed=3)  # type: ignore[call-overload]


def test_the_grid_shows_the_views_as_they_look() -> None:
    """Left, front, right above; behind below; the tele camera last. Rows and columns without a view are left out."""
    assert greys(made(*VIEWS).together()[0]) == [[5, 0, 1], [4, 3, 2], [6, -1, -1]]
    assert greys(made("front_wide").together()[0]) == [[0]]
    assert greys(made("front_wide", "rear").together()[0]) == [[0], [3]]
    assert greys(made("front_wide", "rear_left").together()[0]) == [[-1, 0], [4, -1]]
    assert greys(made("front_wide", "rear").together("stack")[0]) == [[0], [3]]
    assert made("front_wide", "cross_right").together("stack").shape == (2, 8, 6, 3)


def test_views_are_files_in_a_folder(tmp_path: Path) -> None:
    assert made("front_wide", "rear").save(str(tmp_path / "clip"), layout="views") == str(tmp_path / "clip")
    assert {path.name for path in (tmp_path / "clip").iterdir()} == {"front_wide.mp4", "rear.mp4"}
    assert inspect_video(tmp_path / "clip" / "rear.mp4").fps == 10
    with pytest.raises(UsageError, match="layout: found 'row', expected one of grid, stack, views"):
        made("rear").save(tmp_path / "a.mp4", layout="row")  # type: ignore[arg-type]


PICTURE_ALONE = MadeClip(made("rear").request, {PICTURE: np.full((1, 4, 6, 3), 90, np.uint8)}, 10)


@pytest.mark.parametrize(
    ("clip", "name", "layout", "words"),
    [
        (made("rear"), "a.gif", "grid", "found suffix `.gif`, expected .mp4; or a folder, with layout='views'"),
        (made("rear"), "a.webm", "stack", "found suffix `.webm`, expected .mp4"),
        (made("rear"), "a", "grid", "found suffix ``, expected .mp4"),
        (made("rear"), "a.png", "grid", "found suffix `.png`, expected .mp4"),
        (made("rear"), "a.mp4", "views", "found suffix `.mp4`, expected a folder"),
        (PICTURE_ALONE, "a.mp4", "grid", "found suffix `.mp4`, expected .png, .jpg, .jpeg: it is a picture"),
        (PICTURE_ALONE, "a.gif", "grid", "found suffix `.gif`, expected .png"),
        (made("rear"), "file/a.mp4", "grid", "file/a.mp4 cannot be written: "),
        (made("rear"), "file/a", "views", "file/a cannot be written: "),
    ],
)
def test_a_file_of_another_kind_is_refused_and_not_written(
    clip: MadeClip, name: str, layout: Any, words: str, tmp_path: Path
) -> None:
    """A video's player goes by the name; what is in it would be an mp4 all the same."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        clip.save(tmp_path / name, layout=layout)
    assert "path: " in str(caught.value)
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_looked_at_is_written_short() -> None:
    """In a notebook's cell: no arrays, however many there are."""
    frames = np.zeros((1, 1, 64, 112, 3), np.uint8)
    embedding = np.zeros((512, 1024), np.float32)
    text = ClipText((embedding,), None, ("cut",))
    request = ClipRequest("a", ("p" * 5000,), "", 1, 1, 0, 3.0, 1, frames, text)
    assert repr(MadeClip(request, made("rear", "front_wide").frames, 10, ("cut",))) == (
        "<MadeClip a: rear, front_wide; 2 frames, 6x4, 10 fps, 1 warning>"
    )
    assert repr(text) == "ClipText(positive=(float32 [512, 1024]), negative=None, warnings=('cut'))"
    assert "frames=uint8 [1, 1, 64, 112, 3], text=ClipText(positive=" in repr(request)
    assert len(repr(request)) < 800


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("a.jpg", b"\xff\xd8"), ("A.JPEG", b"\xff\xd8"), ("a.JPG", b"\xff\xd8")]
)
def test_a_picture_is_written_as_its_name_says(tmp_path: Path, name: str, begins: bytes) -> None:
    picture = MadeClip(made("rear").request, {PICTURE: np.full((1, 4, 6, 3), 90, np.uint8)}, 10)
    assert Path(picture.save(tmp_path / name)).read_bytes().startswith(begins)


def test_a_clip_is_shown_in_a_notebook_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    made("front_wide").show()
    assert "video/mp4;base64," in shown[0]._repr_html_()
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(UsageError, match=r"needs a notebook .*clip\.save"):
        made("front_wide").show()


def test_columns_are_those_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths start from the current folder; paths are paths; `video` names a file or a file a camera."""
    monkeypatch.chdir(tmp_path)
    defaults = clip_of({"prompt": "p"}, TINY)
    assert (defaults.num_steps, defaults.n_views, defaults.fps) == (TINY.sampling.num_steps, 7, 10)
    one = clip_of({"prompt": ["p", "q"], "n_views": 2, "video": "in.mp4", "seed": 4}, TINY)
    assert (one.prompts, one.inputs, one.num_conditional_frames, one.seed) == (
        ("p", "q"),
        (f"{tmp_path}/in.mp4",),
        1,
        4,
    )
    each = clip_of({"prompt": "p", "views": ["rear"], "video": {"rear": Path("r.mp4")}}, TINY)
    assert (each.inputs, each.cameras) == ((f"{tmp_path}/r.mp4",), ("rear",))
    assert clip_of({"prompt": "p", "n_views": 1, "video": [Path("r.mp4")]}, TINY).inputs == each.inputs
    assert clip_of({"prompt": "p", "n_views": 1, "input_video": Path("r.mp4")}, TINY).inputs == each.inputs
    several: tuple[Any, ...] = ([Path("r.mp4"), "s.mp4"], (Path("r.mp4"), Path("s.mp4")))
    assert {clip_of({"prompt": "p", "n_views": 2, "video": two}, TINY).inputs for two in several} == {
        (f"{tmp_path}/r.mp4", f"{tmp_path}/s.mp4")
    }
    nothing = {"input_video": None, "input_videos": None, "prompt_embedding": None, "num_samples": None, "seed": None}
    assert clip_of({"prompt": "p", "n_views": 1, "video": Path("r.mp4"), **nothing}, TINY).inputs == each.inputs


@pytest.mark.parametrize("value", [object(), 2**70, b"bytes", [b"bytes"], {1: object()}, np.zeros((2, 2)), int])
@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "num_samples"])
def test_a_value_that_no_column_can_hold_is_one_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"column `{name}`: found "):
        clip_of({"prompt": "p", name: value}, TINY)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prompt": "p", "steps": 3}, "there is no column `steps`; `num_steps` is near"),
        ({"prompt": "p", "colour": 3}, "there is no column `colour`: expected prompt,"),
        ({"seed": 3}, "neither `prompt` nor `prompt_embedding`"),
        ({"prompt": "p", "seed": "three"}, "column `seed`: found type string, expected an integer"),
        ({"prompt": "p", "seed": -1}, "column `seed`: found -1, expected an integer from 0"),
        ({"prompt": "p", "num_samples": 2}, "num_samples: one clip a call"),
        ({"prompt": "p", "num_samples": np.ones(2)}, "num_samples: one clip a call"),
        ({"prompt": "p", "video": "a.mp4", "input_video": "b.mp4"}, "found `video` and `input_video`"),
        ({"prompt": "p", "num_conditional_frames": 5}, "0, because the row has no input video"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_is_refused(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(CosmosRayError) as caught:
        clip_of(columns, TINY)
    assert words in str(caught.value)
    assert isinstance(caught.value, UsageError | RowError)


def test_a_generator_of_test_patterns_is_no_model() -> None:
    with pytest.raises(UsageError, match="`fake` makes test patterns"):
        Generator.load("fake")


def test_a_clip_says_what_was_doubtful_and_plays_as_its_row_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its inputs, then in its captions; at the row's frame rate, and without the noise that it was made from."""
    request = ClipRequest("a", ("p",), "", 1, 0, 0, 3.0, 1, noise=np.zeros(3))
    rules = InputRules(rate="as_is")

    def prepared(clip: Any, bundle: Any, attempt: int, given: InputRules) -> Prepared:
        assert (bundle, attempt, given) == (TINY, 1, rules)
        return Prepared(request, (), ("dark input",))

    monkeypatch.setattr("cosmos_ray.job.generator.prepare", prepared)
    monkeypatch.setattr("cosmos_ray.models.generator.Generator.generate", lambda *_: {"rear": np.ones((1, 2, 2, 3))})
    generator = Generator.__new__(Generator)
    object.__setattr__(generator, "bundle", TINY)
    for text, warnings in (
        (ClipText((), None, ("caption cut",)), ("dark input", "caption cut")),
        (None, ("dark input",)),
    ):
        monkeypatch.setattr(Generator, "embed", lambda _, request, text=text: replace(request, text=text))
        clip = generator.generate(prompt="p", n_views=1, fps=24, rules=rules)
        assert (clip.warnings, clip.fps, list(clip.frames)) == (warnings, 24, ["rear"])
        assert (clip.request.noise, clip.request.prompts) == (None, ("p",))
