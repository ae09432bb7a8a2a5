"""The published blocklist: words that are censored however they are disguised, and entries that are matched exactly.

Three stages. (a) better_profanity censors the listed words and their spellings (0 for o, ...), and whitelisted tokens
are put back; any mark that is left blocks. (b) The same on the words' lemmas. (c) A list of whole words and phrases.
Its limits are the published ones: everything beyond ASCII is a blank to it, and a `*` in a prompt blocks it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

#: What stands in the place of a censored word.
MARK = "*"
#: Entries of the exact list from this length on may differ by part of a letter, which is none: those that end in
#: punctuation, beyond which no word has a boundary, are found by it.
MIN_CHARS, LETTERS = 6, 0.4
_NOT_ASCII = re.compile(r"[^\x00-\x7F]+")
_BLANKS = re.compile(r"\s+")


def to_ascii(text: str) -> str:
    """With a blank in the place of each run of other characters."""
    return _NOT_ASCII.sub(" ", text)


@dataclass(frozen=True)
class WordLists:
    """custom: words and phrases to be censored; whitelist: tokens that are not; exact: entries matched as they are."""

    custom: tuple[str, ...]
    whitelist: tuple[str, ...]
    exact: tuple[str, ...]

    @staticmethod
    def read(folder: Path) -> WordLists:
        """Of the published layout: every file of `custom`, `whitelist` and `exact_match`, an entry a line."""
        return WordLists(*(tuple(_entries(folder / name)) for name in ("custom", "whitelist", "exact_match")))


def _entries(folder: Path) -> list[str]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    lines = [line.strip() for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line]


class Censor:
    """Stage (a). Raises ImportError without better_profanity."""

    def __init__(self, lists: WordLists) -> None:
        from better_profanity import Profanity

        self._whitelist = {word.lower() for word in lists.whitelist}
        self._profanity: Any = (
            Profanity()
        )  # with its own list first, as published: it fixes how many words a phrase has
        self._profanity.load_censor_words(list(lists.custom), whitelist_words=list(lists.whitelist))

    def censored(self, text: str) -> str:
        return str(self._profanity.censor(text, censor_char=MARK))

    def restored(self, text: str, censored: str) -> str:
        """What is censored, with whitelisted tokens of the text in their places."""
        tokens = censored.split()
        for place, token in enumerate(text.split()):
            if token.strip(string.punctuation).lower() in self._whitelist and place < len(tokens):
                tokens[place] = token
        return " ".join(tokens)

    def blocks(self, text: str) -> bool:
        return MARK in self.restored(text, self.censored(text))


def matched(text: str, entries: Sequence[str], min_chars: int = MIN_CHARS, letters: float = LETTERS) -> str:
    """Stage (c): how an entry is in the text, `exact` or `partial`; "" if none is."""
    words = _normal(text)
    for entry in map(_normal, entries):
        if re.search(rf"\b{re.escape(entry)}\b", words):
            return "exact"
        if len(entry) >= min_chars and _is_nearly_in(words.split(), entry, letters):
            return "partial"
    return ""


def _normal(text: str) -> str:
    return _BLANKS.sub(" ", text).strip().lower()


def _is_nearly_in(tokens: Sequence[str], entry: str, letters: float) -> bool:
    count, length = len(entry.split()), len(entry)
    least = (length - letters) / length
    windows = (" ".join(tokens[start : start + count]) for start in range(len(tokens) - count + 1))
    # Of these lengths there is no more in common than the shorter one: that spares most comparisons.
    near = (one for one in windows if 2 * min(len(one), length) >= least * (len(one) + length))
    return any(SequenceMatcher(None, window, entry).ratio() >= least for window in near)


class Blocklist:
    """All of it, as a check of texts. lemmatise: stage (b)'s text of a text."""

    name = "blocklist"
    changes_pixels = False

    def __init__(self, lists: WordLists, lemmatise: Callable[[str], str], version: str) -> None:
        self._censor, self._exact, self._lemmatise = Censor(lists), lists.exact, lemmatise
        self.version = version

    def check_text(self, text: str) -> str | None:
        if not text:
            return "empty prompt"
        plain = to_ascii(text)
        if self._censor.blocks(plain):
            return "word list"
        if self._censor.blocks(self._lemmatise(plain)):
            return "word list, by lemma"
        return "exact list" if matched(plain, self._exact) else None


def lemmatiser(nltk_data: Path) -> Callable[[str], str]:
    """nltk's words and WordNet's lemmas, from data in this folder (regular files: nltk follows no links).

    Raises ImportError without nltk, LookupError without the data.
    """
    import nltk

    if str(nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(nltk_data))
    lemmatizer = nltk.WordNetLemmatizer()

    def lemmas(text: str) -> str:
        return " ".join(lemmatizer.lemmatize(token) for token in nltk.word_tokenize(text))

    lemmas("cars are here")  # loads the data, before several threads could
    return lemmas
