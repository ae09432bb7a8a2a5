"""How many tokens captions have, by the model's own tokenizer, and which are too long for the encoder. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from cosmos_ray.clip.family import Family
from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.bundle.files import cached_path

_FILE = "tokenizer.json"
#: What Cosmos-Reason1 is told before each caption.
SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."
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
    return _counter(file, bundle.recipe.text_encoder == "reason1")


def _counter(file: Path, is_chat: bool) -> Callable[[str], int]:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if is_chat:
        return lambda text: len(tokenizer.encode(chat_text(text), add_special_tokens=False).ids)
    return lambda text: len(tokenizer.encode(text).ids)


def chat_text(caption: str) -> str:
    """The conversation of which Cosmos-Reason1 reads the tokens."""
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{caption}<|im_end|>\n"


def texts_of(views: Sequence[str], captions: Sequence[str], negative_prompt: str) -> Iterator[tuple[str, str]]:
    """(whose it is, text) of what is encoded for a clip; one caption is the first view's."""
    yield from zip(views, captions, strict=False)
    yield "negative prompt", negative_prompt


def overhead_of(family: Family) -> int:
    """How many tokens there are beside a caption's own, at most."""
    return len(chat_text("")) if family.text_encoder == "reason1" else 0


def is_surely_read(text: str, overhead: int = 0) -> bool:
    """Whether a text is so short that nobody needs its tokens to know that it is read to its end."""
    most = READ_ASCII_BYTES - overhead
    return len(text.encode()) <= (most if text.isascii() else most // 6)


def cut_captions(texts: Iterable[tuple[str, str]], count: Callable[[str], int], overhead: int = 0) -> tuple[str, ...]:
    """A warning for each text of which the encoder reads only the beginning. texts: (whose it is, text)."""
    counts = [(name, count(text)) for name, text in texts if not is_surely_read(text, overhead)]
    return tuple(
        f"{name}: caption cut: {tokens} tokens, of which the text encoder reads the first {TEXT_TOKENS}"
        for name, tokens in counts
        if tokens > TEXT_TOKENS
    )
