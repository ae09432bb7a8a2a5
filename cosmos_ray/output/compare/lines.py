"""The table of cost against distance: a line a setting, of all its clips together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosmos_ray.output.compare.distance import Distance
from cosmos_ray.output.compare.gather import Side, Taken


@dataclass(frozen=True)
class Spread:
    """Of one number over clips. deviation: standard deviation over clips (n - 1); None of a single one."""

    clips: int
    mean: float
    deviation: float | None
    least: float
    most: float


@dataclass(frozen=True)
class Line:
    """Of a setting. seconds, gpu_hours: of a clip; without clips that a gang made first, where there are others.

    cost: mean GPU-hours of clips that were made under the first setting too, as a share of what they cost there;
    saving: 1 minus that. psnr_db, ssim, agreement_change: to the first setting's clips. usd: of a clip.
    not_compared: why clips have no distance, and how many.
    """

    name: str
    ok: int
    failed: int
    left: int
    seconds: Spread | None
    gpu_hours: Spread | None
    cost: float | None
    psnr_db: Spread | None
    ssim: Spread | None
    agreement: Spread | None
    agreement_change: Spread | None
    usd: float | None = None
    not_compared: Mapping[str, int] | None = None

    @property
    def saving(self) -> float | None:
        return None if self.cost is None else 1 - self.cost


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of those that are known; None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    squares = math.fsum((value - mean) ** 2 for value in known)
    deviation = math.sqrt(squares / (len(known) - 1)) if len(known) > 1 else None
    return Spread(len(known), mean, deviation, min(known), max(known))


def line(first: Taken, other: Taken, distances: Mapping[str, Distance], price: float | None = None) -> Line:
    """distances: by clip; none of the first setting itself. price: USD of a GPU for an hour."""
    timed = _timed(other.sides)
    gpu_hours = spread([side.gpu_hours for side in timed])
    known = [distances[side.clip_id] for side in other.sides if side.clip_id in distances]
    changes = [_change(*sides) for sides in zip(first.sides, other.sides, strict=True)] if first is not other else []
    counts = {status: sum(side.status == status for side in other.sides) for status in ("ok", "failed", "left")}
    return Line(
        other.setting.name,
        **counts,
        seconds=spread([side.seconds for side in timed]),
        gpu_hours=gpu_hours,
        cost=1.0 if first is other else _cost(first, other),
        psnr_db=spread([one.psnr_db for one in known]),
        ssim=spread([one.ssim for one in known]),
        agreement=spread([side.agreement for side in other.sides if side.status == "ok"]),
        agreement_change=spread(changes),
        usd=None if price is None or gpu_hours is None else price * gpu_hours.mean,
        not_compared=_reasons(known),
    )


def _timed(sides: Sequence[Side]) -> list[Side]:
    """Those whose times tell what a clip takes."""
    made = [side for side in sides if side.seconds is not None]
    return [side for side in made if not side.is_first] or made


def _cost(first: Taken, other: Taken) -> float | None:
    """None where no clip has a time under both. A clip counts as it does in the setting's own mean, where it can."""
    pairs = [
        (one.gpu_hours, side.gpu_hours, one.is_first or side.is_first)
        for one, side in zip(first.sides, other.sides, strict=True)
        if one.gpu_hours and side.gpu_hours is not None
    ]
    counted = [pair for pair in pairs if not pair[2]] or pairs
    if not counted:
        return None
    return math.fsum(pair[1] for pair in counted) / math.fsum(pair[0] for pair in counted)


def _change(one: Side, other: Side) -> float | None:
    if "ok" not in {one.status} & {other.status} or one.agreement is None or other.agreement is None:
        return None
    return other.agreement - one.agreement


def _reasons(distances: Sequence[Distance]) -> dict[str, int]:
    """Why clips have no distance, and how many."""
    found: dict[str, int] = {}
    for one in distances:
        if one.why_not is not None:
            found[one.why_not] = found.get(one.why_not, 0) + 1
    return found
