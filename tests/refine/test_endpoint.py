"""A server that is slow, out, busy, or lies: a question ends in words or in a fault, and tells nobody's key."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from support.chat_server import MODEL, Answer, ChatServer, chat_server, refines, refused, said

from cosmos_ray.clip.pictures import read_picture
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.endpoint import KEY, Endpoint, ask_once

SECRET = "sk-very-secret-7f3a"
GOOD = said("A bus turns left.")


def message(finish_reason: str = "stop", **parts: Any) -> Answer:
    return Answer(json.dumps({"choices": [{"finish_reason": finish_reason, "message": parts}]}).encode())


def refining(url: str, **rules: Any) -> Refining:
    usual = {"patience_s": 20.0, "attempts": 3, "backend": "endpoint", "url": url}
    return Refining(RefinerRules(**{**usual, **rules}), MODEL, "Rewrite it.")


def words(server: ChatServer, ask: Ask | None = None, **rules: Any) -> str:
    return ask_once(refining(server.url, **rules), lambda endpoint: endpoint.words(ask or Ask("a bus")))


def one_after_the_other(*answers: Answer) -> Callable[[dict[str, Any]], Answer]:
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_a_question_has_the_instructions_the_words_and_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    frames = np.full((2, 16, 32, 3), 128, np.uint8)
    frames[1] = 250
    with chat_server() as server:
        found = words(server, Ask("a bus", frames), temperature=0.5, max_tokens=64)
    assert found == "a bus Seen in fine detail."
    (body,) = server.asked
    assert body["messages"][0] == {"role": "system", "content": "Rewrite it."}
    text, *pictures = body["messages"][1]["content"]
    assert (text, len(pictures)) == ({"type": "text", "text": "a bus"}, 2)
    levels = []
    for part in pictures:
        kind, _, data = part["image_url"]["url"].partition(",")
        assert (part["type"], kind) == ("image_url", "data:image/jpeg;base64")
        picture = read_picture(base64.b64decode(data))
        levels.append((picture.shape, round(float(picture.mean()))))
    assert levels == [((16, 32, 3), 128), ((16, 32, 3), 250)]
    rest = {name: body[name] for name in body if name != "messages"}
    assert rest == {"model": MODEL, "max_tokens": 64, "seed": 0, "stream": False, "temperature": 0.5}
    assert server.keys == [None]


def test_pictures_are_sent_as_good_as_they_are_seen() -> None:
    """Fine enough to read a sign: noise keeps most of itself."""
    frame = np.random.RandomState(0).randint(0, 256, (1, 32, 64, 3)).astype(np.uint8)
    with chat_server() as server:
        words(server, Ask("a bus", frame))
    sent = server.asked[0]["messages"][1]["content"][1]["image_url"]["url"].partition(",")[2]
    seen = read_picture(base64.b64decode(sent)).astype(int).mean(axis=-1)  # brightness: colours are sent coarser
    assert np.abs(seen - frame[0].mean(axis=-1)).mean() < 6


def test_words_alone_go_as_a_text_and_the_model_chooses_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, f"  {SECRET}\n")
    with chat_server() as server:
        words(server)
    assert server.asked[0]["messages"][1]["content"] == "a bus"
    assert "temperature" not in server.asked[0]
    assert server.keys == [f"Bearer {SECRET}"]


@pytest.mark.parametrize("text", ["Ein Bus biegt ab. 你好, автобус, حافلة, बस 🚌", 'x"}], "max_tokens": 9999, "a": "'])
def test_what_a_person_wrote_is_words_and_never_settings(text: str) -> None:
    with chat_server() as server:
        assert words(server, Ask(text)).startswith(text)
    (body,) = server.asked
    assert (body["messages"][1]["content"], body["max_tokens"]) == (text, 512)
    assert len(body["messages"]) == 2


@pytest.mark.parametrize(
    "first",
    [
        refused(500),
        refused(503),
        refused(429, Retry_After="0"),
        refused(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        refused(429, Retry_After="soon"),
        Answer(b"not json"),
        Answer(b""),
        Answer(b"<html><body>Gateway</body></html>", headers={"Content-Type": "text/html"}),
        Answer(b'{"error": {"message": "overloaded"}}'),
        Answer(b'{"error": "overloaded"}'),
        Answer(b"[]"),
        Answer(b"[" * 100_000),
        Answer(b'{"choices": []}'),
        Answer(b'{"choices": [{"message": null}]}'),
        Answer(GOOD.body, cut=20),
        Answer(GOOD.body, cut=0),
        Answer(b" " * (2**20 + 1)),
        Answer(GOOD.body, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}, cut=10),
        said(""),
        said(None),
        said("<!doctype html>"),
        said("x" * 10_000),
        said("I'm sorry, but I can't help with that."),
        Answer(b" " * 2**16, endless=True),
        Answer(b'{"choices": {"a": 1}}'),
        Answer(b'{"choices": ["A bus."]}'),
        Answer(b'{"choices": [{"message": "A bus."}]}'),
        message(content="", refusal="I can't help with that."),
        message(content=[{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "A bus."}]),
        message("content_filter", content="A bus"),
        message(content=None, reasoning_content="It is a bus.", reasoning="So it is."),
        message(content=[{"type": "reasoning", "text": "It is a bus."}]),
        message(content=[{"type": "text", "text": None}]),
    ],
    ids=range(33),
)
def test_another_try_may_find_a_caption(first: Answer) -> None:
    with chat_server(one_after_the_other(first, GOOD)) as server:
        assert words(server) == "A bus turns left."
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(
            json.dumps({"choices": [json.loads(GOOD.body)["choices"][0], {"message": {"content": "No."}}]}).encode()
        ),
        message(content="A bus turns left.", reasoning_content="I cannot say.", refusal=None, tool_calls=[]),
        message("length", content="A bus turns left."),
        message(content=[{"type": "thinking", "text": "A car?"}, {"type": "text", "text": "A bus turns left."}]),
    ],
    ids=["several choices", "reasoning aside", "cut off", "thoughts among parts"],
)
def test_what_stands_beside_a_caption_is_none(answer: Answer) -> None:
    with chat_server(lambda _: answer) as server:
        assert words(server) == "A bus turns left."
    assert len(server.asked) == 1


@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"], ids=["usual", "without a zone"])
def test_a_date_to_ask_again_after_is_heeded_whatever_zone_this_machine_is_in(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour from now is beyond patience, so nobody asks again."""
    later = time.strftime(form, time.gmtime(time.time() + 3600))
    monkeypatch.setenv("TZ", "UTC-14")
    time.tzset()
    try:
        with chat_server(lambda _: refused(429, Retry_After=later)) as server, pytest.raises(NoWordsError, match="429"):
            words(server)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(server.asked) == 1


def test_a_wrong_content_type_is_no_fault_of_the_words() -> None:
    with chat_server(lambda _: Answer(GOOD.body, headers={"Content-Type": "text/html"})) as server:
        assert words(server) == "A bus turns left."


def test_parts_of_an_answer_are_put_together() -> None:
    with chat_server(
        lambda _: said([{"type": "text", "text": "A bus "}, {"type": "text", "text": "turns."}])
    ) as server:
        assert words(server) == "A bus turns."


@pytest.mark.parametrize(
    ("answer", "tries", "is_rows", "why"),
    [
        (refused(400, "no pictures, please"), 1, True, "answered 400: no pictures, please"),
        (refused(401), 1, False, f"answered 401: the server wants a key, and {KEY} is not set here"),
        (refused(403), 1, False, f"answered 403: the server wants a key, and {KEY} is not set here"),
        (refused(404), 1, False, "no such model, or no /chat/completions there"),
        (refused(413), 1, True, "too large"),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:9/v1"}), 1, False, "answered 302: nothing more"),
        (refused(500, "boom"), 3, False, "answered 500: boom"),
        (refused(429, Retry_After="3600"), 1, False, "answered 429"),
        (said(""), 3, True, "the model's answer cannot be used: found nothing"),
        (message(content=None, refusal="I can't help with that."), 3, True, "cannot be used: found a refusal"),
        (Answer(b"{}"), 3, False, "without a choice"),
        (Answer(b"\x1b[2J\xff"), 3, False, "what is no JSON"),
        (refused(400, "\x1b[2J\n" + "x" * 5000), 1, True, r"\\x1b\[2J\\nxxx"),
    ],
    ids=range(13),
)
def test_what_no_try_changes_ends_soon_and_says_why(
    answer: Answer, tries: int, is_rows: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with chat_server(lambda _: answer) as server, pytest.raises(NoWordsError, match=why) as raised:
        words(server)
    assert (len(server.asked), raised.value.is_rows) == (tries, is_rows)
    assert len(str(raised.value)) < 400
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_these_refusals_pass(status: int) -> None:
    with chat_server(one_after_the_other(refused(status), GOOD)) as server:
        assert words(server) == "A bus turns left."


@pytest.mark.parametrize("status", [400, 413, 422])
def test_these_refusals_are_of_one_question(status: int) -> None:
    with chat_server(lambda _: refused(status)) as server, pytest.raises(NoWordsError) as raised:
        words(server)
    assert (len(server.asked), raised.value.is_rows) == (1, True)


@pytest.mark.parametrize(
    ("status", "why"),
    [(401, f"the server wants another key than {KEY}"), (403, f"the server forbids it to the key in {KEY}")],
)
def test_a_key_that_is_none_is_told_from_one_that_is_missing(
    status: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-old")
    with chat_server(lambda _: refused(status)) as server, pytest.raises(NoWordsError, match=why):
        words(server)


@pytest.mark.parametrize(
    "answer",
    [Answer(GOOD.body, after_s=1.5), Answer(GOOD.body, a_byte_s=0.05), Answer(b" ", endless=True, a_byte_s=0.05)],
    ids=["late", "byte by byte", "endless"],
)
def test_a_slow_answer_has_an_end(answer: Answer) -> None:
    """Also one of which each byte comes in time."""
    with chat_server(one_after_the_other(answer, GOOD)) as server:
        assert words(server, timeout_s=0.4) == "A bus turns left."
    assert len(server.asked) == 2


def test_patience_with_one_prompt_has_an_end() -> None:
    with chat_server(lambda _: Answer(b"", after_s=0.3)) as server, pytest.raises(NoWordsError):
        words(server, attempts=100, patience_s=0.5)
    assert 1 <= len(server.asked) <= 3


def test_patience_ends_in_the_middle_of_an_answer_that_might_take_longer() -> None:
    late = chat_server(lambda _: Answer(GOOD.body, after_s=1.5))
    with late as server, pytest.raises(NoWordsError, match="took more than"):
        words(server, timeout_s=60.0, patience_s=0.3)


def test_nobody_there_is_said() -> None:
    with chat_server() as server:
        gone = server.url
    with pytest.raises(NoWordsError, match=r"the endpoint http://127.0.0.1:\d+/v1 does not answer") as raised:
        ask_once(refining(gone), lambda endpoint: endpoint.words(Ask("a bus")))
    assert not raised.value.is_rows


async def _all(endpoint: Endpoint, prompts: Sequence[str]) -> list[Any]:
    return await asyncio.gather(*(endpoint.words(Ask(one)) for one in prompts), return_exceptions=True)


def test_only_so_many_questions_are_open_at_once() -> None:
    def slowly(body: dict[str, Any]) -> Answer:
        return Answer(refines(body).body, after_s=0.05)

    with chat_server(slowly) as server:
        found = ask_once(refining(server.url, parallel=3), lambda one: _all(one, [f"bus {n}" for n in range(12)]))
    assert found == [f"bus {n} Seen in fine detail." for n in range(12)]
    assert server.at_once == 3


def test_a_server_that_is_out_is_asked_once_a_prompt_until_it_answers() -> None:
    """Else each clip would wait for all tries, and the clip before it would be long done."""
    with chat_server(lambda _: refused(500)) as server:

        async def one_by_one(endpoint: Endpoint) -> list[int]:
            counts = []
            for number in range(5):
                if number == 3:
                    server.answer = refines
                if number == 4:
                    server.answer = lambda _: refused(500)
                await _all(endpoint, ["a bus"])
                counts.append(len(server.asked))
            return counts

        assert ask_once(refining(server.url), one_by_one) == [3, 4, 5, 6, 9]


def test_a_prompt_without_words_is_no_sign_that_the_server_is_out() -> None:
    with chat_server(lambda _: said("")) as server:

        async def twice(endpoint: Endpoint) -> None:
            await _all(endpoint, ["a bus"])
            await _all(endpoint, ["a car"])

        ask_once(refining(server.url), twice)
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "answer",
    [
        refused(400, f"wrong key Bearer {SECRET}"),
        refused(400, f"{SECRET} is wrong, not {SECRET}"),
        refused(500, SECRET),
        Answer(json.dumps({"error": {"message": f"who is {SECRET}?"}}).encode()),
        said(f"A sign says {SECRET}."),
        Answer(SECRET.encode(), headers={"Content-Type": f"text/{SECRET}"}),
        Answer(b"", 302, {"Location": f"http://127.0.0.1:9/?key={SECRET}"}),
    ],
    ids=range(7),
)
def test_a_server_that_repeats_the_key_has_nobody_told(
    answer: Answer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY, SECRET)
    caplog.set_level(logging.DEBUG)
    with chat_server(lambda _: answer) as server, pytest.raises(NoWordsError) as raised:
        words(server, attempts=2)
    assert server.keys[0] == f"Bearer {SECRET}"
    assert SECRET not in str(raised.value) + repr(raised.value) + caplog.text


@pytest.mark.parametrize(
    "written",
    [
        '{"detail": "aZ0\\/+q1\\"&<x==yy"}',
        "aZ0%2F%2Bq1%22%26%3Cx%3D%3Dyy",
        "aZ0/%2Bq1%22%26%3Cx%3D%3Dyy",
        "<p>aZ0/+q1&quot;&amp;&lt;x==yy</p>",
        base64.b64encode(b'aZ0/+q1"&<x==yy').decode(),
    ],
    ids=["JSON", "URL", "path", "HTML", "base64"],
)
def test_nor_is_a_key_told_that_a_server_writes_in_another_way(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, 'aZ0/+q1"&<x==yy')
    with chat_server(lambda _: Answer(written.encode(), 400)) as server, pytest.raises(NoWordsError) as raised:
        words(server)
    said = str(raised.value)
    assert "answered 400" in said
    assert "aZ0" not in said
    assert written not in said


def test_the_key_of_a_server_without_keys_may_be_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "EMPTY")
    with chat_server(lambda _: said("An EMPTY street.")) as server:
        assert words(server) == "An EMPTY street."


def test_the_key_goes_to_that_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    with chat_server() as other:
        moved = Answer(b"", 307, {"Location": f"{other.url}/chat/completions"})
        with chat_server(lambda _: moved) as server, pytest.raises(NoWordsError, match="answered 307"):
            words(server)
    assert other.asked == []


def test_a_server_says_which_models_it_has() -> None:
    with chat_server() as server:
        assert ask_once(refining(server.url), Endpoint.models) == [MODEL]
        server.models = None
        with pytest.raises(NoWordsError, match="answered 404"):
            ask_once(refining(server.url), Endpoint.models)


def test_a_model_that_is_named_after_the_key_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name would be in messages, and in what an output says of itself."""
    monkeypatch.setenv(KEY, SECRET)
    with chat_server() as server:
        server.models = (f"for-{SECRET}", MODEL)
        assert ask_once(refining(server.url), Endpoint.models) == [MODEL]


def test_it_is_asked_within_a_loop_that_runs_too() -> None:
    async def in_a_notebook() -> str:
        with chat_server() as server:
            return words(server)

    assert asyncio.run(in_a_notebook()) == "a bus Seen in fine detail."
