"""The table that one decides by, from numbers that one can reckon by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.likeness import Likeness, psnr_db
from cosmos_ray.clip.settings import Settings
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.output.compare import distance as module
from cosmos_ray.output.compare.distance import Distance, distance, pair
from cosmos_ray.output.compare.gather import Compared, Side, Taken, _firsts
from cosmos_ray.output.compare.lines import line, spread
from cosmos_ray.output.compare.shown import text_table
from cosmos_ray.store.storage import Storage

NOWHERE = Storage("/nowhere")
RECORD = Record(
    "a", 0, "ok", None, 1, None, "h", 1, seconds={"denoise": 36.0}, seed=1,
    files=(FileEntry("rear", "clips/a/1/rear.mp4", 1, "x"),), scores={"rear": Scores(0, 0, 0, 1, 9, None, 0.5)},
)  # fmt: skip


def side(clip_id: str, seconds: float, is_first: bool = False, agreement: float = 0.5, size: int = 2) -> Side:
    scores = {"rear": Scores(0, 0, 0, 1, 9, None, agreement)}
    record = replace(RECORD, id=clip_id, seconds={"denoise": seconds}, scores=scores)
    return Side(clip_id, "ok", record, size, is_first)


def taken(name: str, *sides: Side) -> Taken:
    return Taken(Compared(name, f"/o/{name}", {}), NOWHERE, sides)


def test_a_spread_is_mean_deviation_least_and_most() -> None:
    found = spread([1.0, None, 2.0, 3.0])
    assert found is not None
    assert (found.clips, found.mean, found.deviation, found.least, found.most) == (3, 2.0, 1.0, 1.0, 3.0)
    alone = spread([4.0])
    assert alone is not None
    assert alone.deviation is None
    assert spread([None]) is None


def test_cost_is_of_clips_of_both_and_without_those_that_warm_a_gang_up() -> None:
    """2 GPUs: 36 s are 0.02 GPU-hours."""
    first = taken("a", side("1", 100, is_first=True), side("2", 36), side("3", 72), side("4", 900))
    other = taken("b", side("1", 90, is_first=True), side("2", 18), side("3", 36), Side("4", "failed", RECORD))
    found = line(first, other, {}, price=10.0)
    assert found.seconds is not None
    assert found.gpu_hours is not None
    assert (found.seconds.mean, found.gpu_hours.mean) == (27.0, pytest.approx(0.015))
    assert (found.cost, found.saving) == (pytest.approx(0.5), pytest.approx(0.5))  # 54 of 108 s: clip 4 has no pair
    assert found.usd == pytest.approx(0.15)
    assert (line(first, other, {}, price=0.0).usd, line(first, other, {}).usd) == (0.0, None)
    assert (found.ok, found.failed, found.left) == (3, 1, 0)
    assert found.agreement is not None
    assert found.agreement.clips == 3, "of clips that were made"


def test_one_clip_that_warmed_its_gang_up_is_better_than_none() -> None:
    first, other = taken("a", side("1", 40, is_first=True)), taken("b", side("1", 10, is_first=True))
    assert line(first, other, {}).cost == 0.25


def test_a_pair_of_which_one_warmed_its_gang_up_counts_in_no_cost() -> None:
    for one_is, other_is in ((True, False), (False, True)):
        first = taken("a", side("1", 100, is_first=one_is), side("2", 36))
        other = taken("b", side("1", 20, is_first=other_is), side("2", 18))
        assert line(first, other, {}).cost == pytest.approx(0.5)


def test_a_larger_gang_costs_more_though_its_clips_take_less_time() -> None:
    first, other = taken("a", side("1", 40, size=1)), taken("b", side("1", 30, size=2))
    assert line(first, other, {}).cost == 1.5


def test_gangs_whose_size_nobody_has_written_down_have_no_cost() -> None:
    first, other = taken("a", side("1", 40)), taken("b", replace(side("1", 30), gang_size=None))
    found = line(first, other, {}, price=1.0)
    assert (found.cost, found.saving, found.usd, found.gpu_hours) == (None, None, None, None)


def test_views_that_agree_less_are_told_clip_by_clip() -> None:
    first = taken("a", side("1", 1, agreement=0.5), side("2", 1, agreement=0.7))
    other = taken("b", side("1", 1, agreement=0.4), side("2", 1, agreement=0.4))
    found = line(first, other, {}).agreement_change
    assert found is not None
    assert found.mean == pytest.approx(-0.2)
    assert line(first, first, {}).agreement_change is None


def test_why_clips_have_no_distance_is_counted() -> None:
    first = taken("a", side("1", 1), side("2", 1))
    why = {"1": Distance(why_not="no"), "2": Distance(30.0, 0.9)}
    found = line(first, taken("b", side("1", 1), side("2", 1)), why)
    assert found.not_compared == {"no": 1}
    assert found.psnr_db is not None
    assert (found.psnr_db.clips, found.psnr_db.mean) == (1, 30.0)


def test_the_first_of_a_gang_is_of_each_job() -> None:
    made = [
        replace(RECORD, id=name, epoch=epoch, gang=gang, finished=finished)
        for name, epoch, gang, finished in (
            *(("a", 1, "g1", "2"), ("b", 1, "g1", "1"), ("c", 1, "g2", "9")),
            *(("d", 2, "g1", "3"), ("e", 2, "g1", "4")),
        )
    ]
    assert _firsts(made) == {"b", "c", "d"}


SETTINGS = Settings("tiny", 3.0, 4, ("rear",), "", {}, "64x32", 9, 10)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"seed": 2}, "made with another seed (2, not 1), as checks asked for"),
        ({"files": (FileEntry("front_wide", "p", 1, "x"),)}, "made of other views"),
        ({"settings": replace(SETTINGS, size="32x32")}, "of another size (32x32, not 64x32)"),
        ({"settings": replace(SETTINGS, frames=5)}, "of another length, in frames (5, not 9)"),
    ],
)
def test_clips_that_are_no_pair_are_not_compared(other: dict[str, object], why: str) -> None:
    one = replace(RECORD, settings=SETTINGS, attempt=2)
    sides = [Side("a", "ok", one), Side("a", "ok", replace(one, **other))]
    assert distance(*((NOWHERE, each) for each in sides)) == Distance(why_not=why)


def test_views_count_alike_and_their_errors_together(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"front_wide.mp4": Likeness(10.0, 0.9), "rear.mp4": Likeness(30.0, 0.5)}
    monkeypatch.setattr(module, "_of_view", lambda first, _: found[first[1]])
    record = replace(RECORD, files=tuple(FileEntry(path[:-4], path, 1, path) for path in found))
    made = distance((NOWHERE, Side("a", "ok", record)), (NOWHERE, Side("a", "ok", record)))
    assert made.psnr_db == pytest.approx(psnr_db([20.0]))
    assert made.ssim == pytest.approx(0.7)
    assert made.views == {"front_wide": (psnr_db([10.0]), 0.9), "rear": (psnr_db([30.0]), 0.5)}


def test_a_pair_of_files_is_known_by_their_hashes_and_which_is_which() -> None:
    changed = replace(RECORD, files=(replace(RECORD.files[0], sha256="y"),))
    assert len({pair(RECORD, RECORD), pair(RECORD, changed), pair(changed, RECORD)}) == 3


def test_the_table_as_text_has_a_line_a_setting_with_what_is_saved_and_how_far_it_is() -> None:
    first = taken("exact", side("1", 36), side("2", 72))
    other = taken("fast", side("1", 18, agreement=0.4), side("2", 36, agreement=0.5))
    far = {"1": Distance(30.0, 0.9), "2": Distance(20.0, 0.7)}
    small = taken("small", side("1", 18), Side("2", "failed", RECORD), Side("3", "left"))
    lines = [line(first, first, {}), line(first, other, far)]
    assert text_table(lines, "cuda") == [
        "setting  seconds  GPU-hours  saved      PSNR, dB  SSIM   views agree  change          clips made",
        "exact    54.0     0.0300     the first  –         –      0.500        –               2",
        "fast     27.0     0.0150     50 %       25.0      0.800  0.450        -0.050 ± 0.071  2",
    ]
    three = taken("exact", side("1", 36), side("2", 72), side("3", 1))
    why = {"1": Distance(why_not="of another size"), "2": Distance(why_not="not made under both settings")}
    table = text_table([line(three, three, {}, 7.2), line(three, small, why, 7.2)], "cpu")
    assert "  rank-hours  " in table[0]
    assert table[0].endswith("  USD     clips made")
    assert table[1].endswith("  0.1453  3"), "36.3 s of two, at 7.20 an hour"
    assert table[2].endswith("  0.0720  1, 1 failed, 1 left")
    assert table[3:] == [
        "small, not compared, clips: 1: of another size",
        "small, not compared, clips: 1: not made under both settings",
    ]
