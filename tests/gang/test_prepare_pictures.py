"""A clip from pictures: which of each camera are taken, what its hash depends on, and which file a fault is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import DEFAULT_RULES, InputRules
from cosmos_ray.clip.pictures import MAX_BYTES
from cosmos_ray.errors import RowError
from cosmos_ray.gang import prepare as module
from cosmos_ray.gang.prepare import InputFile, Prepared, prepare, refuse_doubtful
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle

BUNDLE = load_bundle("fake")
FIRST = load_bundle("tiny25").model_copy(update={"height": BUNDLE.height, "width": BUNDLE.width})


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Two cameras of seven pictures, grey: 10 to 16 times ten, and 10 to 16."""
    frames = []
    for view, step in (("front", 10), ("right", 1)):
        for number in range(7):
            level = np.full((BUNDLE.height, BUNDLE.width, 3), (10 + number) * step, np.uint8)
            Image.fromarray(level).save(tmp_path / f"{view}{number}.png")
        frames.append(tuple(str(tmp_path / f"{view}{number}.png") for number in range(7)))
    return Clip("a", "a", ("A street.",), n_views=2, frames=tuple(frames), num_conditional_frames=5)


@pytest.mark.parametrize("count", [1, 5])
def test_the_last_pictures_of_each_camera_or_the_first_as_the_family_takes_them(clip: Clip, count: int) -> None:
    for bundle, numbers in ((BUNDLE, range(7 - count, 7)), (FIRST, range(count))):
        made = prepare(replace(clip, num_conditional_frames=count), bundle, 1)
        assert made.request.frames is not None
        levels = made.request.frames.mean(axis=(2, 3, 4))
        assert levels.tolist() == [[(10 + n) * step for n in numbers] for step in (10, 1)]
        expected = [given[number] for given in clip.frames for number in numbers]
        assert [file.uri for file in made.inputs] == expected
        assert {(file.height, file.width) for file in made.inputs} == {(BUNDLE.height, BUNDLE.width)}
        assert [file.size for file in made.inputs] == [Path(uri).stat().st_size for uri in expected]


def test_a_camera_with_too_few_pictures_is_named(clip: Clip) -> None:
    few = replace(clip, frames=(clip.frames[0], clip.frames[1][:4]))
    with pytest.raises(
        RowError, match=r"^column `input_frames`: view cross_right: found 4 pictures, expected at least 5$"
    ):
        prepare(few, BUNDLE, 1)
    exact = replace(clip, frames=(clip.frames[0], clip.frames[1][:5]))
    assert len(prepare(exact, BUNDLE, 1).inputs) == 10


@pytest.mark.parametrize(("view", "number"), [(0, 2), (0, 5), (1, 3), (1, 6)])
def test_a_damaged_picture_is_named_by_its_own_file(clip: Clip, view: int, number: int) -> None:
    path = clip.frames[view][number]
    Path(path).write_bytes(b"no picture")
    with pytest.raises(RowError) as error:
        prepare(clip, BUNDLE, 1)
    assert str(error.value).startswith(f"column `input_frames`: {path}: view {clip.cameras[view]}: picture ")


def test_a_picture_that_is_too_large_is_refused_unread(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would come whole from its store."""
    with open(clip.frames[0][4], "r+b") as file:
        file.truncate(MAX_BYTES + 1)
    monkeypatch.setattr(module, "read_pictures", None)
    with pytest.raises(RowError, match=rf"^column `input_frames`: .*4\.png: found a file of {MAX_BYTES + 1} bytes, "):
        prepare(clip, BUNDLE, 1)


# --- what decides a video --------------------------------------------------------------------------------------------


def facts(**changes: object) -> VideoInfo:
    return replace(VideoInfo(35, 64, 112, 10.0), **changes)


def test_what_was_done_to_an_input_decides_and_what_is_only_known_of_it_does_not(clip: Clip) -> None:
    """As an earlier release has taken it, its hash is that release's."""
    request = prepare(replace(clip, num_conditional_frames=0, frames=()), BUNDLE, 1).request
    plain = InputFile("a.mp4", 3, "v")

    def hash_of(*files: InputFile, rules: InputRules = DEFAULT_RULES) -> str:
        return Prepared(request, files, rules=rules).request_hash(clip, "f")

    known = replace(plain, taken=(3, 4), facts=facts(codec="h264", warnings=("doubtful",)))
    assert hash_of(known) == hash_of(plain)
    done = replace(known, facts=facts(conversions=("resampled",)))
    others = [done, replace(done, taken=(3, 5)), replace(done, facts=facts(conversions=("padded",)))]
    assert len({hash_of(file) for file in (plain, *others)}) == 4
    as_is = InputRules(rate="as_is")
    assert hash_of(plain, rules=as_is) != hash_of(plain)
    assert hash_of(rules=as_is) == hash_of(), "of a clip without inputs nothing is taken"


def test_a_strict_job_refuses_what_another_warns_of() -> None:
    refuse_doubtful((), is_strict=True)
    refuse_doubtful(("cropped",), is_strict=False)
    with pytest.raises(RowError, match=r"^doubtful, and inputs.strict is set: cropped; cut$"):
        refuse_doubtful(("cropped", "cut"), is_strict=True)
