"""What the report shows of a clip, made where its frames are: each rank leaves small frames of its views on the node's
disk, and the leader makes one small video and a picture of all of them. No Ray.

A clip is not lost for want of it: what goes wrong here is said in the gang's log, and the report shows the views' own
files instead.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cosmos_ray.clip.preview import WIDTH, encode_preview, shrink
from cosmos_ray.clip.request import ALL_VIEWS, VIEWS
from cosmos_ray.ledger.layout import PREVIEWS
from cosmos_ray.ledger.record import FileEntry

log = logging.getLogger(__name__)

_SMALL = ".small.npy"
#: Pixels that the view of a model of one is wide.
_ALONE = 4 * WIDTH
#: What both files are called in a `FileEntry`, and on the node's disk.
NAME = "preview"


def leave_small(place: str, view: str, frames_THWC: np.ndarray) -> None:
    """On this node's disk, for `previews_in`. uint8 [T, H, W, 3]."""
    try:
        np.save(Path(place, view + _SMALL), shrink(frames_THWC, WIDTH if view in VIEWS else _ALONE))
    except OSError as error:
        log.warning("no small frames of %s: %s", view, error)


def previews_in(place: str, clip_id: str, attempt: int, views: Sequence[str], fps: int) -> tuple[FileEntry, ...]:
    """Makes them in `place`, and says as what they are to be stored; nothing if that cannot be done."""
    try:
        paths = [Path(place, view + _SMALL) for view in sorted(views, key=ALL_VIEWS.index)]
        made = encode_preview([np.load(path) for path in paths], fps)
        entries = []
        for data, suffix in zip(made, (".mp4", ".jpg"), strict=True):
            Path(place, NAME + suffix).write_bytes(data)
            entry = FileEntry(NAME, f"{NAME}{suffix}", len(data), hashlib.sha256(data).hexdigest())
            entries.append(replace(entry, path=preview_path(clip_id, attempt, entry)))
        for one in paths:
            one.unlink()
        return tuple(entries)
    except Exception as error:  # noqa: BLE001 - whatever it is, the clip is made
        log.warning("%s: no preview: %s: %s", clip_id, type(error).__name__, error)
        return ()


def preview_path(clip_id: str, attempt: int, entry: FileEntry) -> str:
    """Where a file of this attempt's previews lies in the output."""
    return f"{PREVIEWS}/{clip_id}/{attempt}{Path(entry.path).suffix}"
