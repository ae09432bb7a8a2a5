"""A clip's words: the ones that were kept, else those of an answer, else the row's own, or a failure."""

from __future__ import annotations

import asyncio
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from support.compaction_scenes import CrashError, WatchedStorage, crash_at

from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.kept import KeptWords
from cosmos_ray.refine.refiner import Answer, NotRefinedError, Words, refined
from cosmos_ray.store.storage import Storage

REFINING = Refining(RefinerRules(backend="endpoint", url="http://127.0.0.1:1/v1"), "m", "do it")
FAILING = Refining(REFINING.rules.model_copy(update={"on_failure": "fail"}), "m", "do it")


class Model:
    """Answers with what it is told to, and remembers what it was asked."""

    def __init__(self, *faults: Exception) -> None:
        self.asked: list[str] = []
        self._faults = list(faults)

    async def answer(self, ask: Ask) -> str:
        self.asked.append(ask.words)
        if self._faults:
            raise self._faults.pop(0)
        return f"{ask.words}, in detail {self.asked.count(ask.words)}"


def kept(folder: Path) -> KeptWords:
    return KeptWords(Storage(str(folder)), "_cosmos_ray/refined")


def run(words: list[str], folder: Path, answer: Answer, refining: Refining = REFINING) -> Words:
    asks = [Ask(one) if one else None for one in words]
    return asyncio.run(refined(words, asks, refining, kept(folder), answer))


def test_what_was_kept_is_asked_for_once_and_never_again(tmp_path: Path) -> None:
    model = Model()
    first = run(["a bus", "", "a car"], tmp_path, model.answer)
    assert (first.prompts, first.how) == (("a bus, in detail 1", "", "a car, in detail 1"), "asked")
    again = run(["a bus", "", "a car"], tmp_path, model.answer)
    assert (again.prompts, again.how) == (first.prompts, "kept")
    assert run(["a car"], tmp_path, model.answer).prompts == ("a car, in detail 1",)
    assert len(model.asked) == 2
    assert run(["a car", "a dog"], tmp_path, model.answer).how == "asked", "one of them was"
    assert run(["a car", "a dog"], tmp_path, model.answer).how == "kept"
    assert run(["a car"], tmp_path, model.answer, Refining(REFINING.rules, "other", "do it")).how == "asked"


def test_of_two_that_ask_at_once_both_have_the_words_that_were_kept_first(tmp_path: Path) -> None:
    class Slow(Model):
        async def answer(self, ask: Ask) -> str:
            found = await super().answer(ask)
            run_other()
            return found

    other = Model()

    def run_other() -> None:
        kept(tmp_path).keep(Ask("a bus").key(REFINING), "the other's words", "m")

    slow = Slow()
    assert run(["a bus"], tmp_path, slow.answer).prompts == ("the other's words",)
    assert run(["a bus"], tmp_path, other.answer).prompts == ("the other's words",)
    assert (len(slow.asked), other.asked) == (1, [])


@pytest.mark.parametrize("found", [b"", b"{", b"[]", b'{"words": 7}', b'{"words": " "}', b"\xff", b"[" * 100_000])
def test_what_is_kept_and_cannot_be_read_is_asked_for_again(tmp_path: Path, found: bytes) -> None:
    key = Ask("a bus").key(REFINING)
    Storage(str(tmp_path)).write(f"_cosmos_ray/refined/{key[:2]}/{key}.json", found)
    assert run(["a bus"], tmp_path, Model().answer).prompts == ("a bus, in detail 1",)
    assert run(["a bus"], tmp_path, Model().answer).how == "kept"


def test_killed_at_any_moment_the_words_that_were_kept_hold_and_others_are_found_again(tmp_path: Path) -> None:
    """By any operation of the store; and cut off at any byte, as a disk that was full may leave a file."""
    for step in range(100):
        output = tmp_path / str(step)
        crashed, model = KeptWords(WatchedStorage(str(output), crash_at(step)), "_cosmos_ray/refined"), Model()
        try:
            first = asyncio.run(refined(["a bus"], [Ask("a bus")], REFINING, crashed, model.answer))
        except CrashError:
            before = [json.loads(path.read_bytes())["words"] for path in output.rglob("*.json")]
            found = run(["a bus"], output, model.answer)
            assert before in ([], list(found.prompts))
            assert run(["a bus"], output, Model().answer).how == "kept"
        else:
            break
    assert (first.how, step > 1) == ("asked", True)
    (path,) = output.rglob("*.json")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = run(["a bus"], output, Model().answer)
        assert found.how == "asked"
        assert run(["a bus"], output, Model().answer) == Words(found.prompts, "kept")


def test_nothing_secret_is_kept(tmp_path: Path) -> None:
    run(["a bus"], tmp_path, Model().answer)
    (file,) = tmp_path.rglob("*.json")
    assert set(json.loads(file.read_text())) == {"words", "model", "by"}


def test_without_an_answer_the_rows_own_words_are_taken_and_that_is_said(tmp_path: Path) -> None:
    """Of all captions: half of them refined would be neither."""
    words = run(["a bus", "a car"], tmp_path, Model(NoWordsError("no \x1b[2J")).answer)
    assert (words.prompts, words.how, words.refined) == (("a bus", "a car"), "own", ())
    assert words.warnings == ("prompt not refined: no \\x1b[2J",)
    assert words.as_dict() == {"prompts": ["a bus", "a car"], "how": "own", "fault": "no \\x1b[2J"}


def test_a_prompt_that_was_not_refined_is_asked_for_again_another_time(tmp_path: Path) -> None:
    model = Model(NoWordsError("no"))
    assert run(["a bus"], tmp_path, model.answer).how == "own"
    assert run(["a bus"], tmp_path, model.answer).how == "asked"


@pytest.mark.parametrize(("is_rows", "failure_class"), [(True, "model"), (False, "internal")])
def test_or_the_clip_fails_for_its_answer_or_for_the_model(tmp_path: Path, is_rows: bool, failure_class: str) -> None:
    """What is wrong with an answer is a verdict on the row; a server that is out is no row's fault."""
    with pytest.raises(NotRefinedError, match="the prompt could not be refined: no") as raised:
        run(["a bus"], tmp_path, Model(NoWordsError("no", is_rows)).answer, FAILING)
    found: Any = pickle.loads(pickle.dumps(raised.value))
    assert (found.failure_class, found.is_verdict, str(found)) == (failure_class, is_rows, str(raised.value))


def test_what_nobody_foresaw_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(["a bus", "a car"], tmp_path, Model(NoWordsError("no"), ZeroDivisionError()).answer)


def test_of_several_captions_without_words_the_first_ones_fault_is_told(tmp_path: Path) -> None:
    async def answer(ask: Ask) -> str:
        raise NoWordsError(f"none for {ask.words}")

    assert run(["a bus", "", "a car"], tmp_path, answer).fault == "none for a bus"
