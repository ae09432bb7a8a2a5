"""Longer videos: which chunks a row may ask for, and which frames each begins with.

A chunk of F frames has its first o in common with the one before, so that chunk k begins at frame k (F - o) of the
whole (`Family.frames` counts that). Of these o it is conditioned on those that fill latent frames.

Legend for shape suffixes: V views, k frames that a chunk is conditioned on, n that the clip is, H/W height and width.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cosmos_ray.clip.family import Family
from cosmos_ray.clip.request import latent_frames_of
from cosmos_ray.errors import column_error
from cosmos_ray.words import counted

#: Numbers that seeds are of.
_SEEDS = 2**32


class _Asked(Protocol):
    """A row's clip, or its request."""

    @property
    def num_conditional_frames(self) -> int: ...
    @property
    def num_chunks(self) -> int: ...
    @property
    def chunk_overlap(self) -> int | None: ...


def check_chunks(asked: _Asked, family: Family, chunk_frames: int, model: str) -> None:
    """Raises RowError for chunks that this family's models do not make, and for more frames in common than fit."""
    if asked.num_chunks > 1 and family.chunk_seed is None:
        raise column_error("num_chunks", asked.num_chunks, f"1, because model `{model}` makes no longer videos")
    if asked.num_chunks < 1:
        raise column_error("num_chunks", asked.num_chunks, "at least 1")
    if (overlap := asked.chunk_overlap) is None:
        return
    if family.overlaps == "asked":
        if not 1 <= overlap < chunk_frames:
            expected = f"1 to {chunk_frames - 1}: a chunk of model `{model}` has {counted(chunk_frames, 'frame')}"
            raise column_error("chunk_overlap", overlap, expected)
    elif overlap != (own := family.overlap(asked.num_conditional_frames)):
        why = "as many as the first is conditioned on" if family.overlaps == "given" else "one frame of the one before"
        raise column_error(
            "chunk_overlap", overlap, f"{own}, or null: later chunks of model `{model}` begin with {why}"
        )


def chunk_seed(seed: int, number: int, family: Family) -> int:
    """Of the noise of this chunk, counted from 0. After the largest seed that there is follows the smallest, so that a
    row may have any."""
    return (seed + number) % _SEEDS if family.chunk_seed == "next" else seed


def chunks_behind(overlap: int, chunk_frames: int) -> int:
    """From how many of the last chunks the next one's first frames come: one, unless they are more than half."""
    return -(-overlap // max(chunk_frames - overlap, 1))


def conditioned_frames(overlap: int) -> int:
    """How many of the frames in common fill latent frames, and so are what a later chunk is made from: one, or five,
    or nine and so on."""
    return 1 + 4 * (latent_frames_of(overlap) - 1)


def keep_given(frames_VkHWC: np.ndarray, given_VnHWC: np.ndarray, start: int) -> None:
    """Of a later chunk's first frames (in place), those that the clip itself started from are as they were given, not
    as they were decoded. start: where in the clip the chunk begins."""
    still_VHWC = given_VnHWC[:, start : start + frames_VkHWC.shape[1]]
    frames_VkHWC[:, : still_VHWC.shape[1]] = still_VHWC
