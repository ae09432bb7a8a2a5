"""What every answer of a server becomes, what is sent to it, and what is said of it before a job, as texts
(`tests/golden-surfaces/refine`). No server: what one has answered is given."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.surfaces import assert_as_it_was

from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.foreign import forms_of
from cosmos_ray.refine import check as check_module
from cosmos_ray.refine import endpoint as endpoint_module
from cosmos_ray.refine.answers import NoWordsError, words_of
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.check import check_refiner, findings_of
from cosmos_ray.refine.endpoint import KEY, Endpoint, _body, _seconds, _wait

URL = "http://h:1/v1"
SECRET = 'sk-aZ0/+q1"&<x=='
STATUSES = (
    200, 201, 302, 400, 401, 403, 404, 405, 408, 409, 410, 413, 418, 422, 425, 429, 500, 501, 502, 503, 504, 529,
)  # fmt: skip
BODIES: dict[str, bytes] = {
    "empty": b"",
    "words": b"no",
    "the protocol's": b'{"error": {"message": "why", "code": 7}}',
    "a plain error": b'{"error": "why"}',
    "a message": b'{"message": "why"}',
    "an error without words": b'{"error": {"code": 7}}',
    "a list": b"[1]",
    "no UTF-8": b"\xff\xfe",
    "the key": SECRET.encode(),
    "nested": b"[" * 100_000,
}
CHOICES: dict[str, Any] = {
    "words": {"choices": [{"message": {"content": "A bus."}}]},
    "two": {"choices": [{"message": {"content": "A bus."}}, {"message": {"content": "No."}}]},
    "no text": {"choices": [{"message": {"content": None}}]},
    "parts": {"choices": [{"message": {"content": [
        {"type": "text", "text": "A "}, {"text": "b"}, {"type": "output_text", "text": "us."}, {"type": "text"}, "x",
        {"type": "thinking", "text": "hm"}, {"type": "text", "text": 7},
    ]}}]},
    "filtered": {"choices": [{"finish_reason": "content_filter", "message": {"content": "A bus."}}]},
    "refused": {"choices": [{"message": {"content": "", "refusal": "no"}}]},
    "refused in parts": {"choices": [{"message": {"content": [{"refusal": "no"}, {"type": "text", "text": "A"}]}}]},
    "an error": {"error": {"message": "overloaded"}},
    "a plain error": {"error": f"who is {SECRET}"},
    "nothing": {},
    "none": {"choices": []},
    "no list": {"choices": {"a": 1}},
    "no message": {"choices": [{"message": "A bus."}]},
    "a list": [],
    "the key": {"choices": [{"message": {"content": f"A sign: {SECRET}."}}]},
}  # fmt: skip


def said(function: Any, *given: Any) -> str:
    try:
        return repr(function(*given))
    except NoWordsError as error:
        return f"{error} | {error.is_rows=} {error.passes=} {error.after_s=} {error.status=}"


def caption(found: Any, of: Endpoint) -> str:
    return words_of(endpoint_module._content(found, of._shown), 16)


def endpoint(monkeypatch: pytest.MonkeyPatch, key: str) -> Endpoint:
    monkeypatch.setenv(KEY, key)
    return Endpoint(Refining(RefinerRules(backend="endpoint", url=URL, max_tokens=16), "m", "do it"))


def test_what_a_servers_answer_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for key in ("", SECRET):
        one = endpoint(monkeypatch, key)
        for status in STATUSES:
            for name, body in BODIES.items() if status in (200, 400, 503) else [("empty", b""), ("words", b"no")]:
                answer: Any = SimpleNamespace(status=status, headers={"Retry-After": "7", "Content-Type": "text/x"})
                found = said(one._parsed, URL, answer, body)
                lines.append(f"{'key' if key else 'no key'}, {status}, {name}: {found}")
        for name, choice in CHOICES.items():
            found = said(caption, choice, one)
            lines.append(f"{'key' if key else 'no key'}, {name}: {found}")
    told = [line for line in lines if line.startswith("key") and SECRET in line]
    assert [line[:13] for line in told] == ["key, the key:"], "a caption with it in it goes no further: see below"
    assert_as_it_was("refine/answers.txt", "\n".join(lines).replace(SECRET, "(key)"))


def test_words_with_the_key_in_them_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(*_: Any) -> Any:
        return CHOICES["the key"]

    one = endpoint(monkeypatch, SECRET)
    monkeypatch.setattr(one, "_asked", asked)
    with pytest.raises(NoWordsError) as raised:
        asyncio.run(one._once(b"", 0.0, 0.0))
    assert str(raised.value) == "the model's answer cannot be used: it has the key in it"
    assert (raised.value.is_rows, raised.value.passes) == (True, False)


def test_how_long_is_waited_before_a_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it says, also where that is not at all; else longer each time."""
    monkeypatch.setattr("random.uniform", lambda least, most: most)

    def waited(error: Exception | None, tries: int = 1) -> float:
        outcome = None if error is None else SimpleNamespace(exception=lambda: error)
        state: Any = SimpleNamespace(outcome=outcome, attempt_number=tries)
        return _wait(state)

    assert [waited(NoWordsError("x", after_s=after_s)) for after_s in (0.0, 0.5, 300.0)] == [0.0, 0.5, 300.0]
    usual = [waited(NoWordsError("x"), tries) for tries in range(1, 9)]
    assert usual == sorted(usual)
    assert (usual[0] > 0, usual[-1]) == (True, 20)
    assert waited(None) == waited(ValueError("x")) == usual[0]


def test_when_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module.time, "time", lambda: 1_900_000_000.0)
    later, before = (datetime.fromtimestamp(1_900_000_000 + seconds, UTC) for seconds in (90, -90))
    texts = ["0", " 7 ", "9" * 9, "9" * 10, "-1", "1.5", "", "soon", "٧"]
    texts += [format_datetime(later), format_datetime(before)]
    assert [_seconds(text) for text in texts] == [0, 7, 999_999_999, None, None, None, None, None, None, 90, 0]


def test_what_is_sent() -> None:
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    lines = []
    for seen in (None, frames[:0], frames[:1], frames):
        for temperature in (None, 0.0, 0.5):
            rules = RefinerRules(backend="endpoint", url=URL, temperature=temperature, max_tokens=64)
            body = json.loads(_body(Ask("a \ud800 bus", seen), Refining(rules, "m", "do it")))
            content = body["messages"][1]["content"]
            if isinstance(content, list):
                for part in content[1:]:
                    part["image_url"]["url"] = part["image_url"]["url"][:23]
            lines.append(json.dumps(body))
    for key in (SECRET, "plain-key", "ünï keys"):
        forms = forms_of(key)
        assert [len(one) for one in forms] == sorted(map(len, forms), reverse=True), "one may be a part of another"
        lines.append(repr(sorted(forms)))
    assert_as_it_was("refine/asked.txt", "\n".join(lines))


def test_what_is_said_of_a_refiner_before_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each answer to the question for its models, and whether a job begins."""
    lines = []
    answers: dict[str, Any] = {
        "one": ["m"], "others": ["a", "b"], "many": [f"m{number}" for number in range(12)], "none": [],
        "out": NoWordsError("out", passes=True), "no list": NoWordsError("404", status=404),
        "refused": NoWordsError("401", status=401),
    }  # fmt: skip
    for name, answer in answers.items():

        def ask_once(refining: Any, question: Any, answer: Any = answer) -> Any:
            assert question == Endpoint.models
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(check_module, "ask_once", ask_once)
        for model, on_failure in (("m", "keep"), (None, "keep"), ("m", "fail")):
            rules = RefinerRules(backend="endpoint", url=URL, model=model, on_failure=on_failure)  # type: ignore[arg-type]
            told: list[str] = []
            ends = "begins"
            try:
                check_refiner(Refining(rules), told.append)
            except Exception as error:  # noqa: BLE001 - whichever it is, it is said
                ends = f"{type(error).__name__}: {error}"
            found = [f"{one.level} {one.subject}: {one.message}" for one in findings_of(rules)]
            lines.append(f"{name}, {model}, {on_failure}: {found} {told} {ends}")
    assert_as_it_was("refine/checked.txt", "\n".join(lines))


@pytest.mark.parametrize("words", ["a bus turns left and stops at the kerb.", "é" * 40, "a" * 51])
def test_what_a_terminal_is_told_is_none_of_a_captions_length(words: str) -> None:
    """A caption may have 128 characters here, whatever stands between them."""
    coloured = "\x1b[1m".join(words)
    assert 128 < len(coloured) <= 256
    assert words_of(coloured, 16) == words
