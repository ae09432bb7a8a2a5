"""How far a clip under one setting is from the same clip under the first: files of both, decoded side by side."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cosmos_ray.clip.ffmpeg import FfmpegFailed
from cosmos_ray.clip.likeness import Likeness, likeness, psnr_db
from cosmos_ray.clip.request import ALL_VIEWS
from cosmos_ray.ledger.record import Record
from cosmos_ray.output.compare.gather import Side
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage, fetch_to_file


@dataclass(frozen=True)
class Distance:
    """psnr_db, ssim: of all views together, and of each; None, with the reason, where there is nothing to compare.
    of: names both clips' files, so that it need not be measured again."""

    psnr_db: float | None = None
    ssim: float | None = None
    why_not: str | None = None
    views: dict[str, tuple[float, float]] = field(default_factory=dict)
    of: str = ""


def distance(first: tuple[Storage, Side], other: tuple[Storage, Side]) -> Distance:
    """Of two sides of one clip."""
    (one_storage, one_side), (storage, side) = first, other
    one, record = one_side.record, side.record
    if one is None or record is None or {one_side.status, side.status} != {"ok"}:
        return Distance(why_not="not made under both settings")
    if (why_not := _why_not(one, record)) is not None:
        return Distance(why_not=why_not)
    found: dict[str, Likeness] = {}
    paths = [{entry.view: entry.path for entry in each.files} for each in (one, record)]
    try:
        for view in (view for view in ALL_VIEWS if view in paths[0]):
            found[view] = _of_view((one_storage, paths[0][view]), (storage, paths[1][view]))
    except (OSError, FfmpegFailed, subprocess.TimeoutExpired) as error:
        return Distance(why_not=f"its files cannot be compared: {error}")
    squares = [of.mean_square for of in found.values()]
    return Distance(
        psnr_db(squares),
        sum(of.ssim for of in found.values()) / len(found),
        views={view: (psnr_db([of.mean_square]), of.ssim) for view, of in found.items()},
        of=pair(one, record),
    )


def pair(one: Record, other: Record) -> str:
    """Which files of both."""
    hashes = sorted((entry.view, place, entry.sha256) for place, of in enumerate((one, other)) for entry in of.files)
    return hashlib.sha256(repr(hashes).encode()).hexdigest()


def _why_not(one: Record, other: Record) -> str | None:
    if {entry.view for entry in one.files} != {entry.view for entry in other.files}:
        return "made of other views"
    if one.seed != other.seed:
        return f"made with another seed ({other.seed}, not {one.seed}), as checks asked for"
    if one.settings is None or other.settings is None:
        return None
    for what, name in (("size", "size"), ("length, in frames", "frames")):
        here, there = getattr(other.settings, name), getattr(one.settings, name)
        if here != there:
            return f"of another {what} ({here}, not {there})"
    return None


def _of_view(first: tuple[Storage, str], other: tuple[Storage, str]) -> Likeness:
    with scratch() as folder:
        files = []
        for name, (storage, path) in (("first", first), ("other", other)):
            files.append(Path(folder, f"{name}{Path(path).suffix}"))
            fetch_to_file(storage.uri_of(path), files[-1])
        return likeness(*files)
