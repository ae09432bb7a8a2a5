"""What counts as an answer: one line of words, whatever a model or a server makes of the question."""

from __future__ import annotations

import re
import unicodedata

#: Longest answer, characters for each token that was asked for: English has about four.
_CHARS_A_TOKEN = 8
#: What models that reason aloud put before their answer; of some the question has the mark that it begins with.
_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"<think>", re.IGNORECASE)
_HTML = re.compile(r"<\s*(!doctype|/?(html|head|body|script|style|title|div|span|p|a|br|table|meta)\b)", re.IGNORECASE)
#: A terminal's orders: `ESC [ … letter`, `ESC ] … BEL`, and the rest of the kind.
_TERMINAL = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_a-z0-9=>]?")
#: How models begin that refuse, in English, as they are asked to write; no caption speaks of whoever writes it.
_REFUSAL = re.compile(
    r"\s*[\"\u201c]?(?:"
    r"(?:i['\u2019]?m|i am|we['\u2019]?re|we are)\s+(?:(?:very|so|really)\s+)?(?:sorry|unable|not able)\b"
    r"|(?:i|we)\s+(?:can(?:no|['\u2019])t|can not|won['\u2019]t|will not|must decline|apologi[sz]e)\b"
    r"|sorry\s*[,.!]|as an ai\b)",
    re.IGNORECASE,
)
#: Joiners: without them words of some scripts are other words.
_JOINERS = "\u200c\u200d"
_QUOTES = (('"', '"'), ("\u201c", "\u201d"))


class NoWordsError(Exception):
    """A prompt could not be refined. is_rows: for what its answer is, while the model is well; else others would not
    be either. passes: it may be otherwise when asked again, not before `after_s` seconds where somebody says so.
    status: of a server's refusal, 0 for none."""

    def __init__(
        self, message: str, is_rows: bool = False, passes: bool = False, after_s: float | None = None, status: int = 0
    ) -> None:
        super().__init__(message)
        self.is_rows, self.passes, self.after_s, self.status = is_rows, passes, after_s, status

    def __reduce__(self) -> tuple[type[NoWordsError], tuple[str, bool, bool, float | None, int]]:
        return type(self), (str(self), self.is_rows, self.passes, self.after_s, self.status)


def words_of(answer: object, max_tokens: int) -> str:
    """The caption in an answer: one line, printable, of no more characters than its tokens can have.

    Raises NoWordsError for what is no caption: nothing, a thought without an end, a page, a refusal, too much of it.
    """
    if not isinstance(answer, str):
        raise _unusable(f"found {type(answer).__name__}, expected a text")
    most = _CHARS_A_TOKEN * max_tokens
    text = _THOUGHT.sub("", answer)
    if _OPEN_THOUGHT.search(text):
        raise _unusable("found a thought that does not end, expected a caption")
    if len(text) > 2 * most:  # before anything is done with it
        raise _unusable(f"found {len(text)} characters, expected at most {most}")
    if _HTML.search(text):
        raise _unusable("found HTML, expected a caption")
    if _REFUSAL.match(text):
        raise refusal()
    text = " ".join(_printable(_TERMINAL.sub("", text)).split())
    for first, last in _QUOTES:
        if len(text) > 1 and text.startswith(first) and text.endswith(last) and text.count(first) <= 2:
            text = text[1:-1].strip()
    if not any(one.isalnum() for one in text):
        raise _unusable("found nothing, expected a caption")
    if len(text) > most:
        raise _unusable(f"found {len(text)} characters, expected at most {most}")
    return text


def refusal() -> NoWordsError:
    """For a model that would not say it."""
    return _unusable("found a refusal, expected a caption")


def _unusable(what: str) -> NoWordsError:
    return NoWordsError(f"the model's answer cannot be used: {what}", is_rows=True, passes=True)


def _printable(text: str) -> str:
    """Lines and tabs become blanks; what is neither a sign nor a joiner goes."""
    return "".join(
        " " if one.isspace() else one
        for one in text
        if one.isspace() or one in _JOINERS or not unicodedata.category(one).startswith("C")
    )
