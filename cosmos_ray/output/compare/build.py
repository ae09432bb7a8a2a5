"""Measure how far clips are apart; write `compare.html`, `compare.parquet` and `compare.json`."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import posixpath
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.ledger.layout import COMPARISON
from cosmos_ray.ledger.record import now
from cosmos_ray.output.compare.distance import Distance, distance, pair
from cosmos_ray.output.compare.gather import Compared, Side, Taken, gather
from cosmos_ray.output.compare.lines import Line, line
from cosmos_ray.output.compare.page import PAGE, write_page
from cosmos_ray.output.compare.shown import text_table
from cosmos_ray.output.report.files import names_in
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import counted

TABLE = "compare.parquet"
#: Clips that are decoded at once.
_WORKERS = 4
#: A row a clip and setting. psnr_db, ssim, agreement_change: to the first setting's clip; null for that itself.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("setting", pa.string()),
        ("status", pa.string()),
        ("class", pa.string()),
        ("error", pa.string()),
        ("seed", pa.int64()),
        ("seconds", pa.float64()),
        ("gpu_hours", pa.float64()),
        ("is_first_of_gang", pa.bool_()),
        ("psnr_db", pa.float64()),
        ("ssim", pa.float64()),
        ("agreement", pa.float64()),
        ("agreement_change", pa.float64()),
        ("not_compared", pa.string()),
        ("views", pa.list_(pa.struct([("view", pa.string()), ("psnr_db", pa.float64()), ("ssim", pa.float64())]))),
        ("folder", pa.string()),
        ("files", pa.string()),
    ]
)


@dataclass(frozen=True)
class Written:
    """page: its URI. table: the page's table as lines of text."""

    page: str
    table: tuple[str, ...]


def write_comparison(
    home: Storage,
    settings: Sequence[Compared],
    clip_ids: Sequence[str],
    say: Callable[[str], None],
    price: float | None = None,
) -> Written:
    """The first setting is what the others are compared with; clip_ids: which clips, in their order.

    Distances that an earlier table has of the same files are not measured again.
    """
    takens = [gather(setting, clip_ids) for setting in settings]
    first = takens[0]
    known = _known(home)
    distances: list[dict[str, Distance]] = [{}]
    for taken in takens[1:]:
        say(f"comparing {counted(len(clip_ids), 'clip')} of {taken.setting.name} with those of {first.setting.name}")
        distances.append(_distances(first, taken, known))
    lines = [line(first, taken, of, price) for taken, of in zip(takens, distances, strict=True)]
    table = _table(home, takens, distances)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    read = names_in(home, PAGE)
    for path in (PAGE, COMPARISON):  # whoever is killed leaves no page, and none of another table
        home.delete(path)
    home.write(TABLE, buffer.getvalue())
    home.write(COMPARISON, _summary(takens, lines).encode())
    return Written(write_page(home, takens, lines, table, read), tuple(text_table(lines, first.device)))


def _known(home: Storage) -> dict[str, Distance]:
    """Distances of an earlier table, by what they are of; none if that is damaged, or somebody else's."""
    try:
        rows = pq.read_table(io.BytesIO(home.read(TABLE)), columns=["files", "psnr_db", "ssim", "views"]).to_pylist()
        return {
            row["files"]: Distance(
                row["psnr_db"], row["ssim"], None,
                {one["view"]: (one["psnr_db"], one["ssim"]) for one in row["views"]}, row["files"],
            )
            for row in rows
            if row["files"] and row["psnr_db"] is not None
        }  # fmt: skip
    except (OSError, pa.ArrowException, KeyError, TypeError):
        return {}


def _distances(first: Taken, other: Taken, known: dict[str, Distance]) -> dict[str, Distance]:
    """By clip; of clips that were made, or failed, under both."""

    def of(sides: tuple[Side, Side]) -> Distance:
        one, side = sides
        if one.record is not None and side.record is not None:
            there = known.get(pair(one.record, side.record))
            if there is not None and one.status == side.status == "ok":
                return there
        return distance((first.storage, one), (other.storage, side))

    sides = list(zip(first.sides, other.sides, strict=True))
    with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
        found = pool.map(of, sides)
        return {one.clip_id: each for (one, _), each in zip(sides, found, strict=True)}


def _table(home: Storage, takens: Sequence[Taken], distances: Sequence[dict[str, Distance]]) -> pa.Table:
    """Clip by clip, its settings together."""
    rows = []
    for place, one in enumerate(takens[0].sides):
        for taken, of in zip(takens, distances, strict=True):
            rows.append(_row(home, taken, one, taken.sides[place], of.get(one.clip_id, Distance())))
    return pa.Table.from_pylist(rows, SCHEMA)


def _row(home: Storage, taken: Taken, one: Side, side: Side, of: Distance) -> dict[str, object]:
    record = side.record
    files = () if record is None else record.files
    change = None if one.agreement is None or side.agreement is None else side.agreement - one.agreement
    return {
        "id": side.clip_id,
        "setting": taken.setting.name,
        "status": side.status,
        "class": None if record is None else record.failure_class,
        "error": None if record is None else record.error,
        "seed": None if record is None else record.seed,
        "seconds": side.seconds,
        "gpu_hours": side.gpu_hours,
        "is_first_of_gang": side.is_first if side.status == "ok" else None,
        "psnr_db": of.psnr_db,
        "ssim": of.ssim,
        "agreement": side.agreement,
        "agreement_change": change if one is not side else None,
        "not_compared": of.why_not,
        "views": [{"view": view, "psnr_db": psnr, "ssim": ssim} for view, (psnr, ssim) in of.views.items()],
        "folder": f"{_place(home, taken)}/{posixpath.dirname(files[0].path)}" if files else None,
        "files": of.of or None,
    }


def _place(home: Storage, taken: Taken) -> str:
    return posixpath.relpath(taken.storage.uri, home.uri)


def _summary(takens: Sequence[Taken], lines: Sequence[Line]) -> str:
    facts = [
        dataclasses.asdict(one) | {"saving": one.saving, "settings": taken.setting.given, "device": taken.device}
        for taken, one in zip(takens, lines, strict=True)
    ]
    dump = partial(json.dumps, indent=2, allow_nan=False, default=str)
    return str(dump({"made_at": now(), "compared_with": lines[0].name, "settings": facts}))
