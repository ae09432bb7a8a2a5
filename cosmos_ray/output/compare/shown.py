"""The table of cost against distance as a person reads it: its figures, for the page, and its lines, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from cosmos_ray.output.compare.lines import Line, Spread

_NONE = "–"


class Shown:
    """A line's figures."""

    def __init__(self, line: Line) -> None:
        self.name, self.ok, self.failed, self.left = line.name, line.ok, line.failed, line.left
        self.seconds = _spread(line.seconds, 1)
        self.gpu_hours = _spread(line.gpu_hours, 4)
        self.usd = _NONE if line.usd is None else f"{line.usd:,.4f}"
        self.cost = _NONE if line.cost is None else f"{100 * line.cost:.0f} %"
        self.saving = _NONE if line.saving is None else f"{100 * line.saving:.0f} %"
        self.psnr = _spread(line.psnr_db, 1)
        self.worst_psnr = "" if line.psnr_db is None else f"{line.psnr_db.least:.1f}"
        self.ssim = _spread(line.ssim, 3)
        self.worst_ssim = "" if line.ssim is None else f"{line.ssim.least:.3f}"
        self.agreement = _spread(line.agreement, 3)
        self.change = _spread(line.agreement_change, 3, signed=True)
        self.not_compared = [f"{count}: {why}" for why, count in (line.not_compared or {}).items()]


def unit_of(device: str) -> str:
    return "GPU-hours" if device == "cuda" else "rank-hours"


def text_table(lines: Sequence[Line], device: str) -> list[str]:
    """A heading, and a line a setting: a clip's mean. The first setting is what the others are compared with."""
    heads = ["setting", "seconds", unit_of(device), "saved", "PSNR, dB", "SSIM", "views agree", "change"]
    has_price = any(one.usd is not None for one in lines)
    rows = [[*heads, *(["USD"] if has_price else []), "clips made"]]
    for place, line in enumerate(lines):
        one = Shown(line)
        figures = [
            line.name, _mean(line.seconds, 1), _mean(line.gpu_hours, 4), one.saving if place else "the first",
            _mean(line.psnr_db, 1), _mean(line.ssim, 3), _mean(line.agreement, 3), one.change,
        ]  # fmt: skip
        made = [
            f"{one.ok}",
            *([f"{one.failed} failed"] if one.failed else []),
            *([f"{one.left} left"] if one.left else []),
        ]
        rows.append([*figures, *([one.usd] if has_price else []), ", ".join(made)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    reasons = [f"{one.name}, not compared, clips: {why}" for one in map(Shown, lines) for why in one.not_compared]
    return [*table, *reasons]


def _mean(of: Spread | None, digits: int) -> str:
    return _NONE if of is None else f"{of.mean:.{digits}f}"


def _spread(of: Spread | None, digits: int, signed: bool = False) -> str:
    if of is None:
        return _NONE
    mean = f"{of.mean:{'+' if signed else ''}.{digits}f}"
    return mean if of.deviation is None else f"{mean} ± {of.deviation:.{digits}f}"
