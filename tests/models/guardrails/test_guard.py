"""What a job's checks do to a clip: the first objection ends it, and so does a check that fails."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cosmos_ray.clip.guardrail_rules import Guardrails
from cosmos_ray.errors import RowError, UncheckedError, UsageError
from cosmos_ray.models.guardrails.check import facts_of
from cosmos_ray.models.guardrails.guard import Guard, load_guard

FRAMES = np.full((2, 8, 8, 3), 9, np.uint8)


@dataclass(eq=False)
class Text:
    """Says this of any text, or raises it."""

    says: Any = None
    name: str = "words"
    version: str = "1"
    asked: list[str] = field(default_factory=list)

    def check_text(self, text: str) -> Any:
        self.asked.append(text)
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says


@dataclass(eq=False)
class Video:
    says: Any = None
    name: str = "looks"
    version: str = "1"
    changes_pixels: bool = True

    def check_video(self, frames: np.ndarray) -> Any:
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says(frames) if callable(self.says) else self.says


def blocked(guard: Guard, *captions: str, has_embedding: bool = False) -> str:
    with pytest.raises(RowError) as caught:
        guard.check_captions(captions, has_embedding)
    assert caught.value.failure_class == "guardrail"
    return str(caught.value)


def test_the_first_objection_ends_it_with_the_checks_name_and_category() -> None:
    second, third = Text("S1 Violent Crimes", "model"), Text("never asked", "third")
    assert blocked(Guard([Text(), second, third], ()), "a street") == "blocked by the check `model`: S1 Violent Crimes"
    assert third.asked == []


def test_every_caption_is_asked_about_once_and_empty_ones_not() -> None:
    check = Text()
    guard = Guard([check], ())
    guard.check_captions(["a street", "", "a street", "its rear"])
    guard.check_captions(["its rear"])
    assert check.asked == ["a street", "its rear"]


def test_a_clip_without_any_caption_is_asked_about_as_an_empty_one() -> None:
    check = Text()
    Guard([check], ()).check_captions(["", ""])
    assert check.asked == [""]


def test_a_blocked_caption_is_not_remembered_as_fine() -> None:
    check = Text("bad")
    guard = Guard([check], ())
    blocked(guard, "a street")
    blocked(guard, "a street")
    assert len(check.asked) == 2


def test_the_verdicts_that_were_asked_for_first_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosmos_ray.models.guardrails.guard._REMEMBERED", 2)
    check = Text()
    guard = Guard([check], ())
    for caption in ("one", "two", "three", "three", "two", "one"):
        guard.check_captions([caption])
    assert check.asked == ["one", "two", "three", "one"]


def test_numbers_instead_of_words_are_blocked_where_words_are_checked() -> None:
    assert blocked(Guard([Text()], ()), has_embedding=True) == "blocked by the check `words`: prompt embedding"
    Guard((), [Video()]).check_captions((), has_embedding=True)  # nobody asks about words


def test_a_check_that_raises_blocks_and_its_words_are_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        said = blocked(Guard([Text(ValueError("the gronk of the prompt"))], ()), "the gronk of the prompt")
    assert said == "the check `words` raised ValueError: what it could not check is not published"
    assert "gronk" not in caplog.text
    assert "raised ValueError at" in caplog.text


def test_a_check_that_leaves_the_program_has_raised() -> None:
    said = blocked(Guard([Text(SystemExit(0))], ()), "a street")
    assert said == "the check `words` raised SystemExit: what it could not check is not published"


def test_frames_that_hide_some_of_themselves_are_frames() -> None:
    frames, _ = Guard((), [Video((np.ma.masked_array(FRAMES), 1))]).check_view(FRAMES)
    assert type(frames) is np.ndarray


def test_a_check_that_raises_is_told_from_one_that_objects_in_another_process_too() -> None:
    with pytest.raises(RowError) as raised:
        Guard([Text(ValueError())], ()).check_captions(["a street"])
    with pytest.raises(RowError) as objected:
        Guard([Text("bad")], ()).check_captions(["a street"])
    kinds = [type(pickle.loads(pickle.dumps(caught.value))) for caught in (raised, objected)]
    assert kinds == [UncheckedError, RowError]


def test_memory_that_runs_out_is_the_gangs_fault() -> None:
    with pytest.raises(MemoryError):
        Guard([Text(MemoryError())], ()).check_captions(["a street"])


@pytest.mark.parametrize("category", ["a\nb", "", "x" * 81, "<b>", "the “gronk”", 3, True])
def test_a_category_is_a_few_plain_words_or_not_shown(category: object) -> None:
    assert blocked(Guard([Text(category)], ()), "a street") == "blocked by the check `words`: no category"


@pytest.mark.parametrize(
    "text", ["北京", "\u202egnork", "a\x00b", "\ud800", "🙂" * 5000, "'; DROP TABLE clips; --", "{{7*7}}"]
)
def test_hostile_and_other_scripts_texts_reach_a_check_as_they_are(text: str) -> None:
    check = Text()
    Guard([check], ()).check_captions([text])
    assert check.asked == [text]


def test_a_video_is_blocked_or_changed_and_regions_are_counted() -> None:
    def darker(frames: np.ndarray) -> tuple[np.ndarray, int]:
        return frames // 3, 2

    guard = Guard((), [Video(darker), Video(), Video(darker)])
    frames, regions = guard.check_view(FRAMES)
    assert (frames.max(), regions) == (1, 4)
    with pytest.raises(RowError, match="blocked by the check `looks`: Violence"):
        Guard((), [Video("Violence"), Video(darker)]).check_view(FRAMES)


def test_frames_cannot_be_written_to() -> None:
    def write(frames: np.ndarray) -> None:
        frames[:] = 0

    with pytest.raises(RowError, match="raised ValueError"):
        Guard((), [Video(write)]).check_view(FRAMES)
    assert FRAMES.min() == 9


@pytest.mark.parametrize(
    "check",
    [
        Video((FRAMES, 1), changes_pixels=False),
        Video((FRAMES[:1], 1)),
        Video((FRAMES.astype(np.float32), 1)),
        Video((FRAMES.tolist(), 1)),
        Video(FRAMES),
        Video(True),
        Video((FRAMES, -1)),
        Video((FRAMES, 10**30)),
        Video((FRAMES, float("nan"))),
        Video(SystemExit(0)),
    ],
    ids=["not said", "shape", "dtype", "list", "no count", "truth", "fewer than none", "too many", "no number", "left"],
)
def test_what_is_no_answer_blocks(check: Video) -> None:
    with pytest.raises(RowError, match="raised") as caught:
        Guard((), [check]).check_view(FRAMES)
    assert caught.value.failure_class == "guardrail"


def test_a_machine_with_other_checks_than_the_jobs_runs_none() -> None:
    guardrails = Guardrails(checks=(facts_of(Text(version="2")),))
    with pytest.raises(UsageError, match=r"this machine has words 1; the job began with words 2$"):
        load_guard(guardrails, [Text(version="1")], "cpu", True, True)
    load_guard(guardrails, [Text(version="2")], "cpu", True, True)
