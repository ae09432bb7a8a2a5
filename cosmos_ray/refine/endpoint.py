"""Questions to a server that speaks OpenAI's chat protocol: few at a time, each with an end, again where that helps.

A server may be slow, out, busy, or lie: whatever it does, a question ends in words or in NoWordsError within its
patience. Its key is read from the environment where the questions are asked, sent to that server and no other (nothing
follows a redirect), and is in no message: what a server says is shown without it, and words that have it are none.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp
import tenacity

from cosmos_ray.clip.encode import encode_jpeg
from cosmos_ray.foreign import forms_of, shown, shown_uri
from cosmos_ray.refine.answers import NoWordsError, refusal, words_of
from cosmos_ray.refine.asks import Ask, Refining

T = TypeVar("T")
log = logging.getLogger(__name__)

KEY = "COSMOS_RAY_REFINER_KEY"
#: Largest answer, bytes: more is not read.
_MOST_BYTES = 2**20
_QUALITY = 92
#: Statuses that another try may change.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
#: What a person has to mend.
_MENDS = {
    401: f"the server wants another key than {KEY}",
    403: f"the server forbids it to the key in {KEY}",
    404: "the server has no such model, or no /chat/completions there",
    413: "the question is too large for the server",
}
_WITHOUT_KEY = f"the server wants a key, and {KEY} is not set here"
#: Once the server has not answered one prompt, the next ones are asked once, and not for long, until it does.
_SHORT_S = 15.0


class Endpoint:
    """One server, as one process asks it; in one event loop."""

    def __init__(self, refining: Refining) -> None:
        rules = refining.rules
        self._refining, self._rules = refining, rules
        self._key = os.environ.get(KEY, "").strip()
        self._secrets = forms_of(self._key)
        self._at_once = asyncio.Semaphore(rules.parallel)
        self._session: aiohttp.ClientSession | None = None
        self._is_out = False

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def words(self, ask: Ask) -> str:
        """The caption. Raises NoWordsError."""
        body = await asyncio.to_thread(_body, ask, self._refining)
        async with self._at_once:
            was_out = self._is_out
            tries = 1 if was_out else self._rules.attempts
            ends = time.monotonic() + self._rules.patience_s
            again = tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception(lambda error: isinstance(error, NoWordsError) and error.passes),
                stop=lambda state: state.attempt_number >= tries or _is_too_late(state, ends),
                wait=_wait,
                reraise=True,
            )
            try:
                words: str = await again(self._once, body, ends, _SHORT_S if was_out else self._rules.answer_s)
            except NoWordsError as error:
                self._is_out = not error.is_rows
                raise
            self._is_out = False
            return words

    async def models(self) -> list[str]:
        """Names of what the server has; none with the key in it, which an output would keep. Raises NoWordsError."""
        found = await self._asked("GET", "/models", b"", time.monotonic() + _SHORT_S, _SHORT_S)
        listed = found.get("data") if isinstance(found, dict) else None
        names = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        return [name for name in names if isinstance(name, str) and not self._tells(name)]

    async def _once(self, body: bytes, ends: float, answer_s: float) -> str:
        found = await self._asked("POST", "/chat/completions", body, ends, answer_s)
        words = words_of(_content(found, self._shown), self._rules.max_tokens)
        if self._tells(words):
            raise NoWordsError("the model's answer cannot be used: it has the key in it", is_rows=True)
        return words

    async def _asked(self, method: str, path: str, body: bytes, ends: float, answer_s: float) -> Any:
        """What the server answers, as JSON. The time is of all of it, also where bytes come one by one."""
        url, left = f"{self._rules.url}{path}", ends - time.monotonic()
        what = shown_uri(self._rules.url)
        limit = aiohttp.ClientTimeout(total=max(0.1, min(answer_s, left)))
        try:
            session = self._opened()
            async with session.request(method, url, data=body or None, timeout=limit, allow_redirects=False) as answer:
                data = await _read(answer)
                return self._parsed(what, answer, data)
        except TimeoutError:
            raise NoWordsError(f"the endpoint {what} took more than {limit.total:.0f} s", passes=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoWordsError(
                f"the endpoint {what} does not answer: {self._shown(error) or type(error).__name__}", passes=True
            ) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(headers=headers, auto_decompress=False)
        return self._session

    def _parsed(self, what: str, answer: aiohttp.ClientResponse, data: bytes) -> Any:
        status = answer.status
        if status != 200:
            mend = _WITHOUT_KEY if status in (401, 403) and not self._key else _MENDS.get(status, "")
            said = mend or self._shown(_reason(data)) or "nothing more"
            after_s = _seconds(answer.headers.get("Retry-After", "")) if status in _PASSING else None
            is_rows = status in (400, 413, 422)  # of this question, which others need not share
            message = f"the endpoint {what} answered {status}: {said}"
            raise NoWordsError(message, is_rows, status in _PASSING, after_s, status)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            kind = self._shown(answer.headers.get("Content-Type", "no content type"))
            raise NoWordsError(f"the endpoint {what} answered with what is no JSON ({kind})", passes=True) from None

    def _shown(self, text: object) -> str:
        """What a server or a library says, without the key."""
        said = str(text)
        for secret in self._secrets:
            said = said.replace(secret, "…")
        return shown(said, 200)

    def _tells(self, text: str) -> bool:
        return any(secret in text for secret in self._secrets)


def ask_once(refining: Refining, question: Callable[[Endpoint], Awaitable[T]]) -> T:
    """What an endpoint answers, in a loop of its own: one may be running here. Raises what the question raises."""

    async def ask() -> T:
        endpoint = Endpoint(refining)
        try:
            return await question(endpoint)
        finally:
            await endpoint.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = b""
    async for chunk in answer.content.iter_chunked(2**16):
        data += chunk
        if len(data) > _MOST_BYTES:
            raise NoWordsError(f"the endpoint answered with more than {_MOST_BYTES} bytes", passes=True)
    return data


def _reason(data: bytes) -> str:
    """Of a refusal, as the protocol has it, or the body as it is."""
    text = data.decode(errors="replace")
    try:
        found = json.loads(text)
        error = found.get("error", found)
        return str(error.get("message", text) if isinstance(error, dict) else error)
    except (ValueError, AttributeError, RecursionError):
        return text


def _content(found: Any, shown_without_key: Callable[[object], str]) -> Any:
    """The text in an answer of the protocol. An error in the body of a 200 is one all the same."""
    try:
        choice = found["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        error = found.get("error") if isinstance(found, dict) else None
        said = error.get("message", error) if isinstance(error, dict) else error
        more = f": {shown_without_key(said)}" if said else ""
        raise NoWordsError(f"the endpoint answered without a choice{more}", passes=True) from None
    parts = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    if choice.get("finish_reason") == "content_filter" or any(one.get("refusal") for one in (message, *parts)):
        raise refusal()
    if isinstance(content, list):  # of parts, as some servers have them, also what their models thought
        return "".join(one["text"] for one in parts if _is_said(one))
    return "" if content is None else content


def _is_said(part: dict[str, Any]) -> bool:
    return part.get("type", "text") in ("text", "output_text") and isinstance(part.get("text"), str)


def _wait(state: tenacity.RetryCallState) -> float:
    """As long as the server asks for, else longer each time, and not all at the same moment."""
    error = state.outcome.exception() if state.outcome else None
    said = error.after_s if isinstance(error, NoWordsError) and error.after_s is not None else None
    return tenacity.wait_random_exponential(multiplier=0.5, max=20)(state) if said is None else said


def _is_too_late(state: tenacity.RetryCallState, ends: float) -> bool:
    """Whether the next try would come after the end."""
    return time.monotonic() + state.upcoming_sleep >= ends


def _seconds(retry_after: str) -> float | None:
    """Of the header, which says seconds or a date."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        when = parsedate_to_datetime(text) if text else None
        if when is None:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)  # one without a zone is of that as well
        return max(0.0, when.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _body(ask: Ask, refining: Refining) -> bytes:
    rules = refining.rules
    seen = [] if ask.frames is None else list(ask.frames)
    pictures = [base64.b64encode(encode_jpeg(frame_HWC, _QUALITY)).decode() for frame_HWC in seen]
    parts = [
        {"type": "text", "text": ask.words},
        *({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{one}"}} for one in pictures),
    ]
    body: dict[str, Any] = {
        "model": refining.model,
        "messages": [
            {"role": "system", "content": refining.instructions},
            {"role": "user", "content": parts if pictures else ask.words},
        ],
        "max_tokens": rules.max_tokens,
        "seed": 0,
        "stream": False,
    }
    if rules.temperature is not None:
        body["temperature"] = rules.temperature
    return json.dumps(body).encode(errors="replace")
