"""How many tokens captions have, by the model's own tokenizer, and which are too long for the encoder. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.bundle.files import cached_path

_FILE = "tokenizer.json"
#: So many bytes of ASCII are never cut: each makes a token at most, beside one before and one after the text.
READ_ASCII_BYTES = TEXT_TOKENS - 2
#: Nor are so many of any text: normalising makes of three bytes at most 18 characters (U+FDFA).
READ_BYTES = (TEXT_TOKENS - 2) // 6


def token_counter(bundle: Bundle) -> Callable[[str], int] | None:
    """Counts the tokens of a text, the end-of-text token included; None if the tokenizer is not on this machine, or
    has no `tokenizer.json`."""
    path = cached_path(bundle, "tokenizer") if bundle.files else None
    file = path if path is None or path.is_file() else path / _FILE
    if file is None or not file.is_file():
        return None
    return _counter(file)


def _counter(file: Path) -> Callable[[str], int]:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text).ids)


def texts_of(views: Sequence[str], captions: Sequence[str], negative_prompt: str) -> Iterator[tuple[str, str]]:
    """(whose it is, text) of what is encoded for a clip; one caption is the first view's."""
    yield from zip(views, captions, strict=False)
    yield "negative prompt", negative_prompt


def is_surely_read(text: str) -> bool:
    """Whether a text is so short that nobody needs its tokens to know that it is read to its end."""
    return len(text.encode()) <= (READ_ASCII_BYTES if text.isascii() else READ_BYTES)


def cut_captions(texts: Iterable[tuple[str, str]], count: Callable[[str], int]) -> tuple[str, ...]:
    """A warning for each text of which the encoder reads only the beginning. texts: (whose it is, text)."""
    counts = [(name, count(text)) for name, text in texts if not is_surely_read(text)]
    return tuple(
        f"{name}: caption cut: {tokens} tokens, of which the text encoder reads the first {TEXT_TOKENS}"
        for name, tokens in counts
        if tokens > TEXT_TOKENS
    )
