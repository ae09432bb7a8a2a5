"""With which settings each clip was made: what its record says, or what can still be told of an older release's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.ledger.record import SETTINGS
from cosmos_ray.ledger.run import Run
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row, rows_of
from cosmos_ray.output.settled import Settled

_OF_ROWS = ("guidance", "num_steps", "negative_prompt", "fps", "num_conditional_frames")


def in_effect(made: Settled, defaults: RowDefaults, run: Run | None) -> tuple[pa.Array, pa.Array]:
    """Seeds, and `SETTINGS`, of these clips.

    A record of an earlier release says less: its row and its run say the rest, but for size, frames, preset and
    camera_prefix, which are null.
    """
    seeds, settings = made.records["seed"].combine_chunks(), made.records["settings"].combine_chunks()
    newest = pc.struct_field(settings, "num_conditional_frames")
    older = np.flatnonzero(pc.or_(seeds.is_null(), newest.is_null()).to_numpy(zero_copy_only=False))
    if not len(older):
        return seeds, settings
    told_seeds, told = seeds.to_pylist(), settings.to_pylist()
    for place, clip in zip(older.tolist(), _asked_for(made, older, defaults), strict=True):
        if told_seeds[place] is None:
            told_seeds[place] = clip.seed
        known = {name: value for name, value in (told[place] or {}).items() if value is not None}
        told[place] = _of_row(clip, run) | known
    return pa.array(told_seeds, pa.int64()), pa.array(told, SETTINGS)


def _asked_for(made: Settled, which: np.ndarray, defaults: RowDefaults) -> Iterator[Clip]:
    """Of the clips made, those in these places, as their rows ask for them."""
    known, samples_of_row = -1, list[Clip]()
    samples = made.fan.samples[made.clips[which]]
    for row, sample in zip(made.rows[which].tolist(), samples.tolist(), strict=True):
        if row != known:
            known, samples_of_row = row, clips_of_row(rows_of(made.batch.slice(row, 1))[0], defaults, made.base)
        yield samples_of_row[sample]


def _of_row(clip: Clip, run: Run | None) -> dict[str, Any]:
    facts = {name: getattr(clip, name) for name in _OF_ROWS}
    facts["views"] = list(clip.cameras)
    if run is not None:
        facts["model"], facts["numerics"] = run.model, run.numerics
        facts["approximations"] = Approximations(**run.approximations).in_effect
    return facts
