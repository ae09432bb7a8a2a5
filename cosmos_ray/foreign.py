"""What strangers wrote, as it may be printed: names of inputs and columns, URIs, errors of libraries.

Whatever is shown to people or kept for them (terminal, logs, records, report) goes through `shown`, a URI through
`shown_uri`. Nothing in it moves a cursor, begins a line, turns the direction of writing, or tells a secret: of URIs
neither user and password are shown nor what follows `?` or `#`, where presigned ones have their signature; nor is what
this process has for a secret in its environment, in any text, nor what has the form of a well-known kind of key.
"""

from __future__ import annotations

import base64
import functools
import html
import itertools
import json
import logging
import os
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_plus

T = TypeVar("T")

#: Longest text that is shown, and longest name or URI within one, characters.
MOST, MOST_NAME = 4000, 200
#: What is looked through of a longer one, as a million rows may each have, and the longest name of a host.
_LOOKED_AT, _HOST_MOST = 2000, 255
#: Lists and objects within each other that are shown.
_DEEPEST = 20

_CUT = "…"
#: Repetitions have a bound, or a text of a million letters would be gone through a million times.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}:/{1,3}"
#: A URI in the middle of a text ends with a blank or a quote.
_URI = re.compile(rf"{_SCHEME}[^\s'\"<>`]+")
_WHOLE = re.compile(rf"({_SCHEME})([^/?#]*)(.*)", re.DOTALL)
#: `user:password@`, wherever it stands; and the beginning of a query.
_USER = re.compile(r"[^\s/'\"<>@:]{0,100}:[^\s/'\"<>@]{0,500}@")
_USER_WITH_BLANKS = re.compile(r"[^\s/'\"<>@:]{1,100}:[^/'\"<>@]{0,500}@(?=[^\s@])")
_QUERY = re.compile(r"(?:\?|%3[Ff])[^\s'\"<>?]{0,500}?(?:=|%3[Dd])[^\s'\"<>`]*")
_BEGINS_QUERY = re.compile(r"(?:\?|%3[Ff])\S{0,500}?(?:=|%3[Dd])")
_END = re.compile(r"[?#]|%3[Ff]|%23")
_HOST = re.compile(r"[\w.*{}\[\]$-]*(?::\d+)?")
#: What follows a URI in a sentence.
_MARKS = ",;:.)!"
#: Azure's form: a container, which is no secret, at an account.
_CONTAINER = re.compile(r"[\w$*-]+@[\w.-]+")
_AZURE = ("abfs://", "abfss://", "az://")
#: What variables of the environment are called that hold a secret, not its name, its id or its place.
_HOLDS_A_SECRET = re.compile(r"(?:^|_)(?:SECRET|TOKEN|PASSWORD|PASSWD|KEY|PAT|CONNECTION_STRING)$", re.IGNORECASE)
#: Shorter ones are what servers without keys are given, and may be words: `EMPTY`, `none`.
_SECRET_LEAST = 8
#: Keys that say by their beginning what they are: of OpenAI and its like, Hugging Face, NVIDIA, GitHub, AWS, and JWTs.
_A_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-(?=[\w-]{0,200}[A-Z])(?=[\w-]{0,200}\d)[\w-]{20,200}|hf_[A-Za-z0-9]{30,200}|nvapi-[\w-]{20,200}|gh[pousr]_[A-Za-z0-9]{20,200}"
    r"|AKIA[0-9A-Z]{16}|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,2000}\.[\w-]{10,2000})"
)
_KEYS_BEGIN = ("sk-", "hf_", "nvapi-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "AKIA", "eyJ")
#: Secrets within Azure's connection strings.
_CONNECTS = re.compile(r"(?:AccountKey|SharedAccessSignature)=([^;]+)", re.IGNORECASE)


def shown(text: object, most: int = MOST) -> str:
    """Any text as one line: unprintable characters escaped, URIs in it cut, at most `most` characters. Of its own
    result it makes the same."""
    return _bounded(_text_without_secrets(_printable(str(text)[: 2 * max(most, MOST)])), most)


def shown_uri(uri: object, most: int = MOST_NAME) -> str:
    """A URI or path, all of it: also one with blanks in it."""
    return _bounded(_uri_without_secrets(_printable(str(uri)[: most + _LOOKED_AT])), most)


def shown_value(value: object, most: int = MOST_NAME, depth: int = 0) -> str:
    """What was found in a row, as Python writes it; texts in it may be URIs. depth: of lists and objects around it."""
    if depth > _DEEPEST:
        return _CUT
    if isinstance(value, str):
        return _bounded(repr(_uri_without_secrets(value[: most + _LOOKED_AT])), most)
    if isinstance(value, Mapping):
        inside = ((shown_value(key), shown_value(of, depth=depth + 1)) for key, of in _first(value.items()))
        parts = (f"{key}: {of}" for key, of in inside)
        return _bounded("{" + ", ".join(parts) + "}", most)
    if isinstance(value, list | tuple):
        around = "[]" if isinstance(value, list) else "()"
        return _bounded(
            around[0] + ", ".join(shown_value(one, depth=depth + 1) for one in _first(value)) + around[1], most
        )
    return shown(repr(value), most)


def shown_lines(text: str) -> str:
    """A text of several lines, as long as it is: a prompt on a page."""
    return "\n".join(shown(line, len(line) * 10 + 1) for line in text.splitlines())


def shown_traceback(error: BaseException) -> str:
    """What Python prints of an error that nobody foresaw."""
    return "\n".join(shown(line) for line in "".join(traceback.format_exception(error)).splitlines())


def saying(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, which gets only what may be printed."""
    return lambda message: say(shown(message))


class ShownOnly(logging.Filter):
    """Passes every line of a log, as `shown` has it; of a traceback each line."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - a line with the wrong arguments must not end who logs it
            said = str(record.msg)
        record.msg, record.args = shown(said), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = shown_traceback(record.exc_info[1])
        return True


def log_shown_only() -> None:
    """Have all that this process logs from now on pass `ShownOnly`, and the errors that end its threads."""
    threading.excepthook = _thread_ended
    for handler in logging.getLogger().handlers:
        if not any(isinstance(one, ShownOnly) for one in handler.filters):
            handler.addFilter(ShownOnly())


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        logging.getLogger(__name__).error("a thread has ended", exc_info=ended.exc_value)


def _first(items: Iterable[T]) -> list[T]:
    """As many as could be shown: a list of a million names is not gone through."""
    return list(itertools.islice(items, MOST_NAME))


def looks_like_a_key(text: str) -> bool:
    """Is all of it what a person takes from a secret store, and nothing that may be kept?"""
    return _A_KEY.fullmatch(text.strip()) is not None or any(text.strip() in forms for forms in _own_secrets())


def forms_of(secret: str) -> tuple[str, ...]:
    """A secret as a server or a library may write it: in JSON, in a URL, in HTML, in Python, in base64; longer ones
    first, which may have a shorter one in them. () of what may be a word."""
    if len(secret) < _SECRET_LEAST:
        return ()
    in_json = json.dumps(secret)[1:-1]
    written = [secret, in_json, in_json.replace("/", "\\/"), *_in_urls(secret)]
    written += [html.escape(secret), repr(secret)[1:-1], base64.b64encode(secret.encode(errors="replace")).decode()]
    return tuple(sorted({*written, _printable(secret)}, key=len, reverse=True))


def _in_urls(secret: str) -> tuple[str, ...]:
    """An environment's bytes may be no text."""
    written = (quote(secret, errors="replace"), quote(secret, "", errors="replace"))
    return *written, quote_plus(secret, errors="replace")


def _own_secrets() -> list[tuple[str, ...]]:
    """Of this process's environment, as it is now."""
    holders = _holders(len(os.environ), int(time.monotonic()))
    return [_forms_of_value(os.environ.get(name, "")) for name in holders]


@functools.lru_cache(maxsize=1)
def _holders(count: int, now: int) -> tuple[str, ...]:
    """Names of variables. Looked for again when their count is another, and each second: a page of a million texts
    would otherwise wait for minutes."""
    return tuple(name for name in os.environ if _HOLDS_A_SECRET.search(name))


@functools.lru_cache(maxsize=256)
def _forms_of_value(value: str) -> tuple[str, ...]:
    """Of all that is secret in it; () for the place of a file."""
    if os.path.isabs(value) and os.path.exists(value):
        return ()
    # A key of many lines is met line by line, as a log has it.
    parts = [value.strip(), *_CONNECTS.findall(value), *(line for line in value.split("\n") if "\n" in value)]
    found = {form for part in parts for form in forms_of(part.strip())}
    return tuple(sorted(found, key=len, reverse=True))


def _without_own_secrets(text: str) -> str:
    for forms in _own_secrets():
        for form in forms:
            text = text.replace(form, _CUT)
    return _A_KEY.sub(_CUT, text) if any(mark in text for mark in _KEYS_BEGIN) else text


def _text_without_secrets(text: str) -> str:
    text = _without_own_secrets(text)
    if ":/" in text:
        text = _URI.sub(_in_a_sentence, text)
    if "@" in text:
        text = _USER.sub(f"{_CUT}@", text)
    if "?" in text or "%3" in text:
        text = _QUERY.sub("?" + _CUT, text)
    return text


def _in_a_sentence(found: re.Match[str]) -> str:
    uri = found.group().rstrip(_MARKS)
    return _without_secrets(uri) + found.group()[len(uri) :]


def _uri_without_secrets(text: str) -> str:
    text = _without_own_secrets(text)
    if "@" in text:
        text = _USER_WITH_BLANKS.sub(f"{_CUT}@", text)
    if _WHOLE.match(text):
        text = _without_secrets(text)
    elif ("?" in text or "%3" in text) and (query := _BEGINS_QUERY.search(text)):
        text = text[: query.start()] + "?" + _CUT
    return _text_without_secrets(text)


def _without_secrets(uri: str) -> str:
    found = _WHOLE.match(uri)
    if found is None:
        return uri
    scheme, authority, rest = found.groups()
    if authority.startswith(_CUT):
        return uri
    if len(authority) > _HOST_MOST:  # its `@` may lie beyond what is looked at
        return scheme + _CUT
    if "@" in authority and not (scheme.lower() in _AZURE and _CONTAINER.fullmatch(authority)):
        authority = _CUT + authority[authority.rindex("@") :]
        if not _HOST.fullmatch(authority[2:]):
            return scheme + _CUT
    elif "@" not in authority and not _HOST.fullmatch(authority):
        return scheme + _CUT  # a password with a slash in it, for one
    end = _END.search(rest)
    return scheme + authority + (rest if end is None else rest[: end.start()] + "?" + _CUT)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii") if not "\ud800" <= one <= "\udfff" else f"\\u{ord(one):04x}"


def _bounded(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + _CUT
