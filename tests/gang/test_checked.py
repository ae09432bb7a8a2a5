"""What a leader does with a clip that checks have marked: keep it, make it again with the next seed, or fail it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cosmos_ray.clip.check_rules import CheckRules, marks_of
from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.gang.commit import Made
from cosmos_ray.gang.leader import GangLeader, Outcome
from cosmos_ray.gang.prepare import Prepared
from cosmos_ray.ledger.record import Try
from cosmos_ray.manifest.rows import MAX_SEED, Clip, sample_seed
from cosmos_ray.pool.workload import is_rows_own

CLIP = Clip("a", "a", ("A street.",), n_views=1, seed=4, row_hash="row")
#: Of the clip, and of the tries that may follow.
AGAIN = [CLIP]
for _ in range(3):
    AGAIN.append(AGAIN[-1].with_next_seed())
SEEDS = [clip.seed for clip in AGAIN]
GOOD = {"front_wide": Scores(0, 0, 0, 0, 9.0)}
BLACK = {"front_wide": replace(GOOD["front_wide"], black=1.0)}
WORDS = ("black: front_wide: 100 % (limit 50 %)",)


class Delivery:
    """What became of each clip."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.delivered: list[Made] = []

    async def found(self, clip: Clip) -> None:
        return None

    async def drop(self, place: str) -> None:
        self.dropped.append(place)

    async def made(self, place: str, made: Made, mark: str = "") -> Any:
        self.delivered.append(made)
        return "its record"


def run(rules: CheckRules, black_seeds: set[int], clip: Clip = CLIP) -> tuple[Outcome, Delivery, list[Clip]]:
    """One attempt of a leader whose ranks make black clips with these seeds."""
    leader: Any = object.__new__(GangLeader)
    leader._spec, leader._delivery, leader._phases = SimpleNamespace(checks=rules), Delivery(), {"publish": 0}
    asked: list[Clip] = []

    async def make(clip: Clip, attempt: int) -> tuple[Made, str, None]:
        asked.append(clip)
        scores = BLACK if clip.seed in black_seeds else GOOD
        prepared = Prepared(ClipRequest(clip.id, clip.prompts, "", 1, 0, clip.seed, 0.0, 1), ())
        marks = marks_of(scores, rules)
        return Made(clip, 1, prepared, "g", "n", "", 0, {}, scores=scores, marks=marks), f"place {clip.seed}", None

    leader._make = make
    return asyncio.run(leader._run(clip, 1, "")), leader._delivery, asked


def test_by_default_a_clip_is_only_marked() -> None:
    outcome, delivery, asked = run(CheckRules(), {4})
    assert outcome.record == "its record"
    assert (asked, delivery.dropped) == ([CLIP], [])
    (made,) = delivery.delivered
    assert (tuple(mark.in_words() for mark in made.marks), made.scores, made.tries) == (WORDS, BLACK, ())


def test_a_clip_is_made_again_with_the_next_seed_until_it_has_no_such_mark() -> None:
    outcome, delivery, asked = run(CheckRules(redo=("frozen", "black"), redo_at_most=5), {*SEEDS[:2]})
    assert outcome.record == "its record"
    assert [(clip.seed, clip.redone) for clip in asked] == [(4, 0), (SEEDS[1], 1), (SEEDS[2], 2)]
    (made,) = delivery.delivered
    assert (made.clip.seed, made.marks, made.tries) == (
        SEEDS[2],
        (),
        (Try(4, WORDS, BLACK), Try(SEEDS[1], WORDS, BLACK)),
    )
    assert {clip.row_hash for clip in asked} == {"row"}  # it is still that row's


def test_it_is_made_again_so_often_and_then_stays_marked() -> None:
    _, delivery, asked = run(CheckRules(redo=("black",), redo_at_most=1), {*SEEDS})
    assert [clip.seed for clip in asked] == SEEDS[:2]
    (made,) = delivery.delivered
    assert ([one.seed for one in made.tries], [mark.measure for mark in made.marks]) == ([4], ["black"])


def test_other_marks_do_not_have_it_made_again() -> None:
    _, delivery, asked = run(CheckRules(redo=("frozen",), fail=("flicker",)), {4})
    assert (asked, len(delivery.delivered)) == ([CLIP], 1)


@pytest.mark.parametrize("redo", [(), ("black",)])
def test_a_clip_fails_for_what_it_looks_like_and_keeps_what_was_tried(redo: tuple[Any, ...]) -> None:
    outcome, delivery, asked = run(CheckRules(redo=redo, redo_at_most=2, fail=("black",)), {*SEEDS})
    assert outcome.record is None
    assert outcome.fault is not None
    assert (outcome.fault.failure_class, outcome.fault.message) == ("model", f"checks: {WORDS[0]}")
    assert is_rows_own(outcome.fault)
    seeds = SEEDS[:3] if redo else [4]
    assert [one.seed for one in outcome.tries] == [clip.seed for clip in asked] == seeds
    assert (delivery.delivered, delivery.dropped) == ([], [f"place {seeds[-1]}"])


def test_the_next_seed_is_no_other_rows() -> None:
    """Neither of rows that count their seeds, nor of samples; and always the same."""
    assert SEEDS == [4, 956205658, 1732335887, 144618137]
    rows = [replace(CLIP, seed=seed) for seed in (*range(300), MAX_SEED)]
    taken = {sample_seed(row.seed, sample) for row in rows for sample in range(5)}
    again = [row.with_next_seed().seed for row in rows] + [row.with_next_seed().with_next_seed().seed for row in rows]
    assert not taken.intersection(again)
    assert len(set(again)) == len(again)
    assert all(0 <= seed <= MAX_SEED for seed in again)


def test_each_try_is_another_request() -> None:
    """A stored state of one is none of the next."""
    prepared = Prepared(ClipRequest("a", (), "", 1, 0, 4, 0.0, 1), ())
    again = CLIP.with_next_seed()
    hashes = {prepared.request_hash(clip, "model") for clip in (CLIP, again, again.with_next_seed())}
    assert len(hashes) == 3
