"""Which captions of a manifest the text encoder will cut, as far as that can be said in the time that a plan takes.

Of a caption that is short enough in bytes nobody needs the tokens. Of the others the longest are counted.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.manifest.table import CheckedRows
from cosmos_ray.manifest.vectors import flat
from cosmos_ray.models.text.tokens import READ_ASCII_BYTES
from cosmos_ray.words import counted

#: Of all captions that are counted: a few seconds' work.
_MOST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class PlanWarning:
    """count things (`clip`, `caption`) of which `words` is true. row: one that has such, where that helps."""

    count: int
    noun: str
    words: str
    row: str | None = None

    def in_words(self) -> str:
        return f"{counted(self.count, self.noun)}: {self.words}" + (f" (as in row {self.row})" if self.row else "")


class LongCaptions:
    """The longest captions of a manifest, each with the number of clips that have it and a row of theirs."""

    def __init__(self, most_bytes: int = _MOST_BYTES, overhead: int = 0) -> None:
        """overhead: tokens beside a caption's own (`tokens.overhead_of`)."""
        self._ascii_bytes = READ_ASCII_BYTES - overhead
        self._room = most_bytes
        self._order = itertools.count()
        self._longest: list[tuple[int, int, str, int, str]] = []  # a heap: bytes, order, caption, clips, row
        self._left_out = 0

    def add_rows(self, checked: CheckedRows, clips: np.ndarray, ids: pa.StringArray) -> None:
        """Of the rows that are right. clips: how many each row asks for."""
        clips, prompts, rows = np.where(checked.right, clips, 0), checked.prompts, np.arange(len(clips))
        if pa.types.is_list(prompts.type):
            prompts, rows, _ = flat(prompts)
        self._add(prompts, clips[rows], ids.take(pa.array(rows)))
        self._add(checked.negative_prompts, clips, ids)

    def add_clips(self, clips: list[Clip]) -> None:
        """Of clips that were looked at one by one."""
        captions = [(text, clip.row_id) for clip in clips for text in (*clip.prompts, clip.negative_prompt)]
        texts, ids = zip(*captions, strict=True) if captions else ((), ())
        self._add(pa.array(texts, pa.string()), np.ones(len(texts), int), pa.array(ids, pa.string()))

    def _add(self, texts: pa.StringArray, clips: np.ndarray, rows: pa.StringArray) -> None:
        """texts: captions, may be null."""
        size = pc.fill_null(pc.binary_length(texts), 0)
        is_short = pc.less_equal(size, pc.if_else(pc.string_is_ascii(texts), self._ascii_bytes, self._ascii_bytes // 6))
        places = np.flatnonzero(~pc.fill_null(is_short, True).to_numpy(zero_copy_only=False) & (clips > 0))
        if not len(places):
            return
        codes = texts.take(pa.array(places)).dictionary_encode()
        numbers = codes.indices.to_numpy()
        counts = np.bincount(numbers, weights=clips[places]).astype(int)
        _, firsts = np.unique(numbers, return_index=True)
        for text, count, place in zip(codes.dictionary.to_pylist(), counts.tolist(), places[firsts], strict=True):
            size_of_text = len(text.encode())
            self._room -= size_of_text
            heapq.heappush(self._longest, (size_of_text, next(self._order), text, count, rows[int(place)].as_py()))
            while self._room < 0:
                shortest, _, _, clips_left_out, _ = heapq.heappop(self._longest)
                self._room += shortest
                self._left_out += clips_left_out

    def warnings(self, count: Callable[[str], int]) -> list[PlanWarning]:
        found = sorted(self._longest, key=lambda one: one[1])
        cut = [one for one in found if count(one[2]) > TEXT_TOKENS]
        told = []
        if cut:
            words = f"longer than the {TEXT_TOKENS} tokens that the text encoder reads, and cut"
            told.append(PlanWarning(sum(clips for _, _, _, clips, _ in cut), "caption", words, cut[0][4]))
        if self._left_out:
            words = f"maybe cut, maybe not: only the tokens of the longest {len(found)} were counted"
            told.append(PlanWarning(self._left_out, "caption", words))
        return told
