"""The page, the tables and the words of a comparison, as they were: of two whole outputs, one of which lacks some."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.surfaces import as_lines, assert_as_it_was, masked, page_lines, table_lines
from support.whole_output import write_whole_output

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.output.compare import build
from cosmos_ray.output.compare.build import write_comparison
from cosmos_ray.output.compare.distance import Distance, distance, pair
from cosmos_ray.output.compare.gather import Compared, Side, gather
from cosmos_ray.output.derived import make
from cosmos_ray.store.storage import Storage

CLIPS = ["a", "b.s000", "b.s001", "c", "d", "f0", "left", "open"]


def settings_in(folder: Path) -> list[Compared]:
    """The second is of half the steps, failed one clip and has no index."""
    found = []
    for name, given in (("exact", {}), ("few", {"sampling": {"num_steps": 9, "preset": None}, "model": "fake"})):
        (folder / name).mkdir(parents=True)
        output, run, _ = write_whole_output(folder / name)
        if name == "exact":
            make(output, run, Ledger(output).state())
        else:
            Ledger(output).redo(["c"])
        found.append(Compared(name, output.uri, given))
    return found


def test_a_comparison_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written twice: distances that are known are not measured again."""
    measured: list[str] = []

    def stand_in(first: Any, other: Any) -> Distance:
        side = other[1]
        measured.append(side.clip_id)
        if side.status != "ok" or first[1].status != "ok":
            return Distance(why_not="not made under both settings")
        number = float(len(side.clip_id))
        views = {"front_wide": (30.0 + number, 0.5 + number / 100), "rear": (20.0, 0.25)}
        return Distance(25.0 + number, 0.75, None, views, pair(first[1].record, side.record))

    monkeypatch.setattr(build, "distance", stand_in)
    monkeypatch.setattr(build, "_WORKERS", 1)
    home, said, lines = Storage(str(tmp_path / "home")), list[str](), list[str]()
    settings = settings_in(tmp_path / "home")
    for price in (None, 2.5):
        written = write_comparison(home, settings, CLIPS, said.append, price)
        lines += [*said, f"measured: {measured}", written.page, *written.table]
        said.clear()
        measured.clear()
    lines += as_lines(json.loads(home.read("compare.json")))
    lines += [*table_lines(Path(home.uri, "compare.parquet")), *page_lines(Path(home.uri, "compare.html"))]
    text = masked("\n".join(lines), tmp_path)
    assert_as_it_was("output/compare.txt", re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{20}(?=\.js)", "(sha256)", text))


def test_why_clips_are_not_compared(tmp_path: Path) -> None:
    output, _, _ = write_whole_output(tmp_path)
    state = Ledger(output).state()
    (one,) = RecordReader(output, state).newest(["b.s000"])
    assert one.settings is not None
    side = Side("b", "ok", one)
    others = {
        "left": Side("b", "left"), "failed": Side("b", "failed", one), "views": {"files": one.files[:1]},
        "seed": {"seed": 9},
        "size": {"settings": replace(one.settings, size="1x1")}, "frames": {"settings": replace(one.settings,
        frames=5)},
        "no settings": {"settings": None, "files": ()}, "not there": {"files": tuple(replace(f,
        path="x.mp4") for f in one.files)},
    }  # fmt: skip
    lines = []
    for name, change in others.items():
        other = change if isinstance(change, Side) else Side("b", "ok", replace(one, **change))  # type: ignore[arg-type]
        for pair_of in (((output, side), (output, other)), ((output, other), (output, side))):
            lines.append(f"{name}: {distance(*pair_of).why_not}")
    taken = gather(Compared("x", output.uri, {}), CLIPS)
    for one in taken.sides:
        costs = f"{one.gang_size} ranks, {one.seconds} s, {one.gpu_hours} h"
        lines.append(f"{one.clip_id} {one.status} first {one.is_first}, {costs}, agrees {one.agreement}")
    lines.append(f"{taken.device} {len(taken.jobs)}")
    assert_as_it_was("output/compare_reasons.txt", masked("\n".join(lines), tmp_path))
