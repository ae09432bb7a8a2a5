"""Whatever strangers wrote is printed as one line that does nothing and tells no secret."""

from __future__ import annotations

import html
import io
import json
import logging
import os
import threading
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_ray.errors import Fault, ManifestError, RowError, UsageError, column_error, first_line
from cosmos_ray.foreign import (
    MOST,
    ShownOnly,
    log_shown_only,
    looks_like_a_key,
    saying,
    shown,
    shown_lines,
    shown_uri,
    shown_value,
)

SECRETS = [
    "s3://AKIA:SECRET@bucket/key.mp4",
    "s3://AKIA:SEC/SECRET+x@bucket/key.mp4",
    "https://bucket.s3.amazonaws.com/a.mp4?X-Amz-Credential=a&X-Amz-Signature=SECRET",
    "https://host/a.mp4%3Fsig%3DSECRET",
    "abfs://c@account.dfs.core.windows.net/a.mp4?sv=1&sig=SECRET",
    "abfs://c:SECRET@account.dfs.core.windows.net/a.mp4",
    "sftp://SECRET@host/a.mp4",
    "http:/user:SECRET@host/a.mp4",
    "gs://bucket/a.mp4#access_token=SECRET",
    "HTTPS://host/a.mp4?token=SECRET",
    "a.mp4?sig=SECRET",
    "user:SECRET@host:/a.mp4",
    "simplecache::https://user:SECRET@host/a.mp4?sig=SECRET",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_no_secret_of_a_uri_is_printed_alone_or_in_a_text(uri: str) -> None:
    assert "SECRET" not in shown_uri(uri)
    assert "SECRET" not in shown(f"column `input_video`: found {uri!r}, expected another; {uri}")
    assert "SECRET" not in shown_value([uri, {uri: (uri,)}])
    assert "SECRET" not in shown_uri(uri.replace("SECRET", "two words SECRET"))


def test_a_secret_that_is_longer_than_what_is_looked_at_is_not_printed_either() -> None:
    for uri in ("https://{}@host/a", "s3://key:{}@host/a", "sftp://{}"):
        assert "TTT" not in shown_uri(uri.format("T" * 10**5))
        assert "TTT" not in shown_value(uri.format("T" * 10**5))


#: What a process is given, as its environment has it, and the part of it that nobody may be told.
GIVEN = {
    "AWS_SECRET_ACCESS_KEY": "wJalr/XUtn+FEMI",
    "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjEJr",
    "HF_TOKEN": "hf_short1",
    "COSMOS_RAY_REFINER_KEY": 'a key " of <any> form',
    "MY_PASSWORD": "hunter2secret",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=ann;AccountKey=QUJDREVGR0g==;EndpointSuffix=x",
    "TLS_PRIVATE_KEY": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----",
}
TOLD = {**GIVEN, "AZURE_STORAGE_CONNECTION_STRING": "QUJDREVGR0g==", "TLS_PRIVATE_KEY": "MIIEvQIBADANBgkqhkiG"}
PLAIN = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "RAY_AUTH_MODE": "token-of-some-kind", "API_KEY": "EMPTY", "A_KEY": "/usr"}


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("form", [str, quote, html.escape, repr, json.dumps, _base64])
def test_what_a_process_has_for_a_secret_is_in_nothing_that_it_says(
    monkeypatch: pytest.MonkeyPatch, name: str, form: Callable[[str], str]
) -> None:
    """A library that fails may put all that it was given into its error."""
    monkeypatch.setenv(name, GIVEN[name])
    secret = TOLD[name]
    written = form(secret)
    inside = written.strip("'\"") if form in (repr, json.dumps) else written
    for told in (
        shown(f"boom {written}!"), shown_uri(f"s3://b/{written}"), shown_value({"a": [f"x {secret}"]}),
        shown_lines(f"one\ntwo {written}"), str(UsageError(f"x{written}x")), Fault("internal", written).message,
        shown(dict(os.environ), 10**5),
    ):  # fmt: skip
        assert inside not in told
        assert secret not in told
        assert shown_lines(told) == told
    monkeypatch.setenv(name, "another-one")
    assert shown("boom another-one") == "boom …"
    monkeypatch.delenv(name)
    assert shown(f"boom {written}") != "boom …", "it is nobody's"


def test_a_secret_may_be_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", os.fsdecode(b"\xff\xfe no text \x80"))
    assert shown(f"boom {os.environ['HF_TOKEN']}") == "boom …"
    assert shown("boom") == "boom"


def test_a_variable_that_holds_no_secret_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)
    text = " ".join(PLAIN.values())
    assert shown(text) == text


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-Ab1" + "x" * 30, "hf_" + "aB3" * 11, "nvapi-" + "x" * 40, "ghp_" + "a1" * 18, "AKIA" + "A1" * 8,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w",
    ],
)  # fmt: skip
def test_what_has_the_form_of_a_key_is_not_said_whoever_has_it(key: str) -> None:
    assert shown(f"no such model `{key}`, expected") == "no such model `…`, expected"
    assert looks_like_a_key(f" {key}\n")
    assert not looks_like_a_key(f"models/{key}")


def test_what_only_begins_as_a_key_does_is_said() -> None:
    for text in ("sk-bratislava-2024-at-night-in-rain", "hf_models", "task-A1" * 5, "eyJ.eyJ.", "AKIA", "ghp_1"):
        assert shown(text) == text
        assert not looks_like_a_key(text)


def test_what_is_no_secret_stays() -> None:
    for uri in (
        "s3://bucket/folder/what's [this].mp4", "/data/a#1.mp4", "abfs://container@account.dfs.core.windows.net/a.mp4",
        "hf://owner/repo@0123/file", "http://host:8000/a", "/data/now?.mp4", "gs://bucket/*.parquet",
    ):  # fmt: skip
        assert shown_uri(uri) == shown(uri) == uri
    for text in ("s3://bucket: not there", "(s3://bucket/a), gs://b; az://c.", "nosuch://x: no way to read it"):
        assert shown(text) == text
    assert shown("found 3 clips, expected 4 (a: b): why? 3 = 4") == "found 3 clips, expected 4 (a: b): why? 3 = 4"


def test_nothing_printed_moves_a_cursor_begins_a_line_or_turns_the_writing() -> None:
    evil = "a\x1b[2J\r\n\x07b\u202ec\u2028\x9b\ud800d\u200b"
    assert shown(evil) == r"a\x1b[2J\r\n\x07b\u202ec\u2028\x9b\ud800d\u200b"
    assert shown_value(evil) == f"'{shown(evil)}'"
    assert shown_uri(evil).isprintable()


def test_a_long_text_ends() -> None:
    assert shown("x" * 10**6) == "x" * (MOST - 1) + "…"
    assert len(shown_uri("s3://bucket/" + "x" * 10**6)) == 200
    assert len(shown_value(["x" * 10**6] * 10**6)) == 200
    deep: object = "x"
    for _ in range(5000):
        deep = {"a": [deep]}
    assert "…" in shown_value(deep)


@settings(max_examples=300)
@given(st.text(st.sampled_from("aé @:/?#=%3F&'\"…\x1b\n\u202e\udc80."), max_size=40), st.integers(5, 50))
def test_what_was_printed_once_is_printed_alike_again(text: str, most: int) -> None:
    """Errors are made of errors."""
    once = shown(text)
    assert once.isprintable()
    assert shown(once) == once
    assert len(shown(text, most)) <= most


@pytest.mark.parametrize("kind", [UsageError, ManifestError, RowError])
def test_errors_can_be_printed_as_they_are(kind: type[Exception]) -> None:
    assert str(kind("s3://a:SECRET@b \n")) == "s3://…@b \\n"


def test_faults_of_rows_and_attempts_can_be_kept() -> None:
    assert str(column_error("input_video", "a\n?sig=SECRET", "x")) == r"column `input_video`: found 'a\n?…', expected x"
    assert Fault("storage", "\x1b https://u:SECRET@h").message == r"\x1b https://…@h"
    assert first_line(OSError("403 https://h/x?sig=SECRET\nmore")) == "403 https://h/x?…"


def test_a_page_keeps_the_lines_of_a_prompt() -> None:
    assert shown_lines("one\n\u202etwo") == "one\n\\u202etwo"
    long = "a word, " * MOST
    assert shown_lines(f"{long}\n{long}") == f"{long}\n{long}", "a prompt is shown whole, however long its lines"


def test_a_log_tells_no_secret_also_not_in_a_traceback() -> None:
    """Whoever logs: libraries too."""
    to = io.StringIO()
    handler = logging.StreamHandler(to)
    handler.addFilter(ShownOnly())
    log = logging.Logger("somebody")
    log.addHandler(handler)
    log.warning("%s \n%s", "https://h/x?sig=SECRET", "two")
    try:
        raise OSError("403, url='https://h/x?sig=SECRET'\x1b[2J")
    except OSError:
        log.exception("failed")
    log.warning("%d", "no number")
    said = to.getvalue()
    assert "SECRET" not in said
    assert "\x1b" not in said
    assert r"https://h/x?… \ntwo" in said
    assert "OSError: 403" in said
    assert "%d" in said


def test_all_that_a_process_logs_is_shown_only_whatever_else_its_handlers_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to, handlers = io.StringIO(), [logging.StreamHandler(), logging.StreamHandler()]
    for handler in handlers:
        handler.setStream(to)
    handlers[1].addFilter(lambda record: record.name != "noise")
    monkeypatch.setattr(logging.getLogger(), "handlers", handlers)
    for _ in range(3):
        log_shown_only()
    assert [sum(isinstance(one, ShownOnly) for one in handler.filters) for handler in handlers] == [1, 1]
    logging.getLogger("somebody").error("https://h/x?sig=SECRET")
    logging.getLogger("noise").error("x")
    assert to.getvalue() == "https://h/x?…\n" * 2 + "x\n"


def test_what_a_job_says_goes_the_same_way() -> None:
    told: list[str] = []
    saying(told.append)("a\nb")
    assert told == [r"a\nb"]


def test_what_ends_a_thread_is_logged_as_it_may_be_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setenv("HF_TOKEN", "a-secret-of-hers")
    log_shown_only()

    def boom(error: BaseException) -> None:
        raise error

    for error in (ValueError("a-secret-of-hers is no token"), SystemExit(1)):
        thread = threading.Thread(target=boom, args=[error])
        thread.start()
        thread.join()
    assert [record.getMessage() for record in caplog.records] == ["a thread has ended"]
    assert "ValueError: … is no token" in caplog.text
    assert "hers" not in caplog.text + "".join(capsys.readouterr())
