"""Which texts' embeddings are kept, and how much of a text is surely read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER
from cosmos_ray.models.text.cache import TextCache
from cosmos_ray.models.text.tokens import _counter, is_surely_read


def test_the_texts_that_were_asked_for_last_are_kept() -> None:
    made: list[str] = []

    def make(text: str) -> np.ndarray:
        made.append(text)
        return np.zeros(1)

    cache = TextCache(2)
    for text in "abacab":
        assert not cache.get(text, make).flags.writeable
    assert made == ["a", "b", "c", "b"], "a was asked for again before c came"
    assert len(cache) == 2


def test_tokens_of_a_whole_text_are_counted_whatever_its_file_says_of_cutting(tmp_path: Path) -> None:
    """Published tokenizers are set to cut and to fill up."""
    tokenizer = Tokenizer.from_file(str(BUILT_IN_FOLDER / "tiny" / "tokenizer.json"))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=600)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    count = _counter(tmp_path / "tokenizer.json", is_chat=False)
    assert [count("car"), count("car " * 599)] == [2, 600]


def test_a_short_text_is_surely_read_whatever_its_tokens_are() -> None:
    assert [is_surely_read("a" * length) for length in (510, 511)] == [True, False]
    assert [is_surely_read("é" * length) for length in (42, 43)] == [True, False], "of two bytes each, of 85"
    assert [is_surely_read("a" * length, 100) for length in (410, 411)] == [True, False]
