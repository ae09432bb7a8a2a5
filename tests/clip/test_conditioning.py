"""Which frames a clip is conditioned on, at which instants, and what is said of them; from real files.

Legend: V views, n frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.published_inputs import conditioning_frames
from support.videos import blocks, encode, ffmpeg, moving_picture, numbered, numbers, write

from cosmos_ray.clip.conditioning import (
    Conditioning,
    _converted,
    as_model_sees,
    of_view,
    read_conditioning,
    side_by_side,
)
from cosmos_ray.clip.family import PREDICT2, PREDICT25, PREDICT25_2025_10, Family
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import RowError
from cosmos_ray.limits import TimeIsUp, time_left, time_limit

DATA = Path(__file__).parent / "data"
AS_IS = InputRules(rate="as_is")


def read(
    source: Path | list[Path], count: int, fps: float = 10, views: int | None = None, rules: InputRules | None = None
) -> Conditioning:
    n_views = views or (1 if isinstance(source, Path) else len(source))
    return read_conditioning(source, VIEWS[:n_views], count, (32, 32), fps, rules or InputRules())


# --- the last frames ---


def test_one_file_gives_the_last_frames_of_each_view(tmp_path: Path) -> None:
    found = read(write(tmp_path / "clip.mp4", numbered(21)), 5, views=3)
    assert (found.frames.shape, found.frames.dtype) == ((3, 5, 32, 32, 3), np.uint8)
    assert numbers(found.frames) == [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20]
    assert found.taken == ((2, 3, 4, 5, 6), (9, 10, 11, 12, 13), (16, 17, 18, 19, 20))
    assert (len(found.infos), found.warnings) == (1, ())


def test_files_and_arrays_give_the_same_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(14, 50, 70))
    from_file = read_conditioning(path, VIEWS, 1, (32, 48), 10).frames
    assert np.array_equal(from_file, conditioning_frames(decode_mp4(path), 7, 1, (32, 48)))


def test_frames_as_they_are_are_each_files_last(tmp_path: Path) -> None:
    """As the published example takes them: each view may have a length and a rate of its own."""
    paths = [write(tmp_path / f"{k}.mp4", numbered(5 + k, first=10 * k), fps=10 * (k + 1)) for k in range(3)]
    found = read(paths, 1, rules=AS_IS)
    assert numbers(found.frames) == [4, 15, 26]
    assert found.warnings == ("cameras differ in rate: 10, 20, 30 frames a second",)
    assert [info.conversions for info in found.infos] == [()] * 3
    assert read(DATA / "fps30.mp4", 5, rules=AS_IS).taken == ((19, 20, 21, 22, 23),)


def test_a_camera_that_begins_later_by_its_edit_list_is_said(tmp_path: Path) -> None:
    early, late = write(tmp_path / "a.mp4", numbered(20)), tmp_path / "b.mp4"
    ffmpeg("-itsoffset", "1.5", "-i", early, "-f", "lavfi", "-i", "anullsrc", "-t", "3.5", "-c:v", "copy", late)
    said = "cameras begin 0 to 1.5 s after their files do: taken to have begun together"
    assert read([early, late], 5).warnings == (said,)
    assert read([late, late], 5).warnings == read([early, late], 5, rules=AS_IS).warnings == ()


# --- the row's rate ---


def test_the_reported_case_of_thirty_frames_a_second() -> None:
    found = read([DATA / "fps30.mp4"], 5)
    assert found.taken == ((11, 14, 17, 20, 23),)
    full = read_conditioning([DATA / "fps30.mp4"], VIEWS[:1], 5, (96, 160), 10)
    assert [blocks(frame) for frame in full.frames[0]] == [11, 14, 17, 20, 23]
    assert found.warnings[0] == "front_wide: 30 frames a second, taken at 10 (inputs.rate)"
    assert found.infos[0].conversions == ("30 frames a second, taken at 10",)
    alone = read([DATA / "fps30.mp4"], 1)
    assert (alone.taken, alone.infos[0].conversions) == (((23,),), ())


def test_cameras_of_different_rates_are_taken_at_the_same_instants(tmp_path: Path) -> None:
    """A second of each: the last instant of the slowest is what all have."""
    rates = (25, 30, 10)
    paths = [write(tmp_path / f"{rate}.mp4", numbered(rate), fps=rate) for rate in rates]
    found = read(paths, 5)
    assert numbers(found.frames) == [*(12, 15, 17, 20, 22), *(15, 18, 21, 24, 27), *(5, 6, 7, 8, 9)]
    for rate, taken in zip(rates, found.taken, strict=True):
        assert np.abs(np.array(taken) / rate - (0.9 - np.arange(4, -1, -1) / 10)).max() <= 0.5 / rate + 1e-9
    assert set(found.warnings) == {
        "front_wide: 25 frames a second, taken at 10 (inputs.rate)",
        "cross_right: 30 frames a second, taken at 10 (inputs.rate)",
    }


def test_frames_go_back_from_the_last_instant_that_all_cameras_have(tmp_path: Path) -> None:
    long, short = write(tmp_path / "long.mp4", numbered(30)), write(tmp_path / "short.mp4", numbered(12))
    found = read([long, short], 5)
    assert found.taken == ((7, 8, 9, 10, 11), (7, 8, 9, 10, 11))
    assert found.warnings == ("cameras end 1.1 to 2.9 s after their first frames: taken up to 1.1 s",)
    assert found.infos[0].conversions == ("10 frames a second, taken by their times",)
    assert found.infos[1].conversions == ()


def test_rates_that_vary_are_taken_by_display_times(tmp_path: Path) -> None:
    """A camera that was slow for a while: frames 0 to 9 a fifth of a second apart, then at 30 a second."""
    times = "if(lt(N,10),N*0.2,1.8+(N-9)/30)"
    path = encode(tmp_path / "a.mp4", numbered(34), "-vf", f"setpts='({times})/TB'", "-fps_mode", "vfr",
                  "-enc_time_base", "1:1000", "-pix_fmt", "yuv420p", "-qp", "4", fps=30)  # fmt: skip
    assert read([path], 5).taken == ((21, 24, 27, 30, 33),)
    assert read([path], 5, fps=5).taken == ((9, 15, 21, 27, 33),)


def test_views_one_after_the_other_are_taken_at_the_rows_rate_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", numbered(39), fps=30)
    found = read(path, 5, views=3)
    assert found.taken == ((0, 3, 6, 9, 12), (13, 16, 19, 22, 25), (26, 29, 32, 35, 38))
    assert numbers(found.frames) == [index for view in found.taken for index in view]
    assert "all views: 30 frames a second, taken at 10 (inputs.rate)" in found.warnings


def test_of_views_one_after_the_other_the_last_of_each_as_they_are_are_not_worth_a_word(tmp_path: Path) -> None:
    """At the row's rate nothing is done to them; a view may also be shorter than what is behind it."""
    path = write(tmp_path / "a.mp4", numbered(9))
    assert read(path, 2, views=3).infos[0].conversions == ()
    assert read(path, 2, fps=5, views=3).taken == ((0, 2), (3, 5), (6, 8))
    assert read(path, 2, fps=5, views=3).infos[0].conversions == ("10 frames a second, taken at 5",)
    first = InputRules().of(PREDICT25)
    assert (read(path, 2, views=3, rules=first).taken, read(path, 2, views=3, rules=first).infos[0].conversions) == (
        ((0, 1), (3, 4), (6, 7)),
        (),
    )


def test_what_is_done_to_one_view_of_a_file_of_several_is_done_to_the_file() -> None:
    """Also where the first one's frames are taken as they are."""
    info = VideoInfo(9, 64, 112, 12.0)
    for rules, as_is, others in ((InputRules(), [1, 2], [0, 2]), (InputRules().of(PREDICT25), [0, 1], [0, 2])):
        for taken, done in (
            ([as_is, as_is], ()),
            ([as_is, others], ("12 frames a second, taken at 10",)),
            ([others, as_is], ("12 frames a second, taken at 10",)),
        ):
            assert _converted(info, 10.0, np.array(taken), 3, rules).conversions == done


@pytest.mark.parametrize("is_stacked", [True, False])
def test_frames_of_a_numbered_recipe_are_taken_whatever_the_rates(tmp_path: Path, is_stacked: bool) -> None:
    rules = AS_IS.of(PREDICT25_2025_10)
    if is_stacked:
        found = read(write(tmp_path / "a.mp4", numbered(18), fps=30), 2, views=2, rules=rules)
        assert found.taken == ((3, 6), (12, 15))
    else:
        paths = [write(tmp_path / f"{fps}.mp4", numbered(7, first=fps), fps=fps) for fps in (10, 30)]
        found = read(paths, 2, rules=rules)
        assert (found.taken, numbers(found.frames)) == (((3, 6), (3, 6)), [13, 16, 33, 36])
    assert found.infos[-1].conversions == ("30 frames a second, of which frames 3, 6 and so on are taken",)
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("family", "rate", "taken"),
    [
        (PREDICT2, "resample", ((2, 5), (2, 5))),
        (PREDICT2, "as_is", ((10, 11), (4, 5))),
        (PREDICT25, "resample", ((0, 3), (0, 3))),
        (PREDICT25, "as_is", ((0, 3), (0, 3))),
    ],
)
def test_which_frames_are_taken_is_the_familys_and_the_rules_to_say(
    tmp_path: Path, family: Family, rate: str, taken: tuple[tuple[int, ...], ...]
) -> None:
    """Of one camera twelve frames and of another six, at thirty a second."""
    paths = [write(tmp_path / f"{count}.mp4", numbered(count), fps=30) for count in (12, 6)]
    rules = InputRules.model_validate({"rate": rate}).of(family)
    assert read(paths, 2, rules=rules).taken == taken


@pytest.mark.parametrize(
    ("family", "fit", "said", "warned"),
    [
        (PREDICT2, None, (), "cropped by 50 % of its rows"),
        (PREDICT2, "crop", (), "cropped by 50 % of its rows"),
        (PREDICT2, "pad", ("padded",), ""),
        (PREDICT2, "stretch", ("stretched",), ""),
        (PREDICT25, None, (), "stretched to 32x32, 2.00 times wider"),
        (PREDICT25, "crop", (), "cropped by 50 % of its rows"),
        (PREDICT25, "stretch", ("stretched",), ""),
    ],
)
def test_what_a_job_asked_for_is_no_doubt_and_what_a_model_does_is(
    tmp_path: Path, family: Family, fit: str | None, said: tuple[str, ...], warned: str
) -> None:
    tall = write(tmp_path / "a.mp4", moving_picture(2, 64, 32))
    found = read([tall], 1, rules=InputRules.model_validate({"fit": fit}).of(family))
    assert found.infos[0].conversions == said
    assert [text.startswith(f"front_wide: {warned}") for text in found.warnings] == [True] * bool(warned)


def test_only_a_model_that_stretches_by_itself_rounds_to_the_nearest() -> None:
    picture = np.repeat(np.array([[[10], [13]]], np.uint8), 3, axis=2)
    rounded = {
        (family.name, fit): as_model_sees(picture, (1, 4), InputRules.model_validate({"fit": fit}).of(family))[0, 1, 0]
        for family in (PREDICT2, PREDICT25)
        for fit in (None, "stretch")
    }
    assert list(rounded.values())[1:] == [10, 11, 11]


def test_a_file_with_more_frames_than_a_job_takes_is_refused_either_way(tmp_path: Path) -> None:
    path, rules = write(tmp_path / "a.mp4", moving_picture(6)), InputRules(max_frames=5)
    for source in (path, [path, path]):
        with pytest.raises(RowError, match=r"found more than 5 frames"):
            read(source, 1, views=2, rules=rules)
        assert len(read(source, 1, views=2, rules=InputRules(max_frames=6)).frames) == 2


# --- too few ---


def test_frames_that_are_missing_are_named_in_frames_and_seconds(tmp_path: Path) -> None:
    short, long = write(tmp_path / "short.mp4", moving_picture(3)), write(tmp_path / "long.mp4", moving_picture(8))
    with pytest.raises(RowError) as caught:
        read([long, short], 5)
    assert str(caught.value) == (
        "view cross_right: found 3 frames (0.3 s at 10 a second), expected at least 5 at the row's 10 a second, over "
        "0.4 s, back from 0.2 s, the last instant that all views have (`fps`, inputs.rate)"
    )
    with pytest.raises(RowError, match=r"^view cross_right: found 3 frames, expected at least 5$"):
        read([long, short], 5, rules=AS_IS)
    with pytest.raises(
        RowError, match=r"found 12 frames \(0.4 s at 30 a second\), expected at least 5 at the row's 10"
    ):
        read([write(tmp_path / "fast.mp4", moving_picture(12), fps=30)], 5)
    assert read([write(tmp_path / "fast.mp4", moving_picture(13), fps=30)], 5).taken == ((0, 3, 6, 9, 12),)
    with pytest.raises(RowError, match=r"found 4 frames .*: 8 frames / 2 views$"):
        read(long, 5, views=2)
    with pytest.raises(RowError, match="found 8 frames in all, expected a multiple of 7"):
        read(long, 1, views=7)
    with pytest.raises(RowError, match="found 2 videos, expected 7"):
        read_conditioning([long, short], VIEWS, 1, (32, 32), 10)


def test_no_frame_is_taken_twice(tmp_path: Path) -> None:
    slow = write(tmp_path / "slow.mp4", moving_picture(20), fps=5)
    with pytest.raises(RowError, match=r"20 frames .4 s at 5 a second., expected .*, none twice, back from 3.8 s"):
        read([slow], 5)
    assert read([slow], 1).taken == ((19,),)
    assert read([slow], 5, fps=5).taken == ((15, 16, 17, 18, 19),)


def test_frames_that_are_not_there_are_held_and_said(tmp_path: Path) -> None:
    """As a telephone writes it where nothing moves; a video a view, and views one after the other."""
    left_out = ("-vf", "select='not(eq(n,7)+eq(n,17))'", "-fps_mode", "vfr", "-c:v", "libx264", "-crf", "1")
    path = encode(tmp_path / "a.mp4", numbered(20), *left_out)
    found = read([path, write(tmp_path / "b.mp4", numbered(20))], 5)
    assert numbers(found.frames) == [15, 16, 16, 18, 19, 15, 16, 17, 18, 19]
    assert found.taken[0] == (14, 15, 15, 16, 17)
    assert found.infos[0].conversions == ("9 frames a second, taken at 10",)
    assert found.warnings[-1] == "front_wide: no frame between 1.6 and 1.8 s, where the one before is held"
    stacked = read(path, 5, views=2)
    assert numbers(stacked.frames) == [5, 6, 6, 8, 9, 15, 16, 16, 18, 19]
    assert "all views: no frame between 0.6 and 0.8 s, where the one before is held" in stacked.warnings
    first = read([path], 9, rules=InputRules().of(PREDICT25))
    assert numbers(first.frames) == [0, 1, 2, 3, 4, 5, 6, 6, 8]
    assert first.warnings[-1].endswith("where the one before is held")


def test_fault_of_one_views_file_names_the_view(tmp_path: Path) -> None:
    good = write(tmp_path / "good.mp4", moving_picture(5))
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(good.read_bytes()[:-50])
    with pytest.raises(RowError, match=r"^view rear_right: truncated: "):
        read([good, good, bad], 1)


def test_side_by_side_what_has_to_end_ends(tmp_path: Path) -> None:
    """Threads know until when their work may go on, and the first item's fault is told of several."""
    with time_limit(100):
        assert all(left <= 100 for left in side_by_side(lambda most: time_left(most, "work"), [300.0, 200.0]))
    with time_limit(0), pytest.raises(TimeIsUp):
        side_by_side(lambda most: time_left(most, "work"), [300.0])

    def fail(number: int) -> None:
        if number:
            raise RowError(str(number))

    with pytest.raises(RowError, match=r"^3$"):
        side_by_side(fail, [0, 3, 2, 0])
    assert side_by_side(str, []) == []


def test_a_view_whose_file_takes_too_long_stays_a_timeout() -> None:
    def slow() -> None:
        raise RowError("reading a.mp4 took more than 300 s", "timeout")

    with pytest.raises(RowError, match=r"^view rear: reading a\.mp4") as caught:
        of_view("rear", slow)
    assert caught.value.failure_class == "timeout"


# --- what is said ---


def test_a_rate_matters_where_more_than_the_first_frame_is_taken(tmp_path: Path) -> None:
    path, rules = write(tmp_path / "a.mp4", moving_picture(9, 32, 32), fps=25), InputRules().of(PREDICT25)
    assert read([path], 1, rules=rules).warnings == ()
    assert read([path], 2, rules=rules).warnings == ("front_wide: 25 frames a second, taken at 10 (inputs.rate)",)


def test_what_is_true_of_several_views_is_said_once(tmp_path: Path) -> None:
    tall = write(tmp_path / "tall.mp4", moving_picture(5, 64, 32))
    fit = write(tmp_path / "fit.mp4", moving_picture(5, 32, 32))
    cropped = "cropped by 50 % of its rows to fit 32x32 (inputs.fit)"
    assert read([tall, fit, tall], 1).warnings == (f"front_wide, rear_right: {cropped}",)
    assert read([tall, tall], 1).warnings == (f"all views: {cropped}",)
    assert read([tall], 1).warnings == (f"front_wide: {cropped}",)
    padded = read([tall, fit], 1, rules=InputRules(fit="pad"))
    assert (padded.warnings, padded.infos[0].conversions) == ((), ("padded",))


def test_a_drive_of_one_camera_that_is_taken_for_several_views_is_doubtful(tmp_path: Path) -> None:
    """35 frames of one shot divide by seven; five of each of seven shots do too."""
    shot = moving_picture(35, 48, 48)
    views = np.concatenate([moving_picture(5, 48, 48, seed) for seed in range(7)])
    doubtful = read(write(tmp_path / "shot.mp4", shot), 1, views=7).warnings
    assert len(doubtful) == 1
    assert doubtful[0].startswith("one shot that runs on across the boundaries of its 7 views: expected")
    assert read(write(tmp_path / "views.mp4", views), 1, views=7).warnings == ()
    assert read(tmp_path / "shot.mp4", 5, views=1).warnings == ()
