"""What a job does about what its clips look like: from which scores on a clip is marked, made again, or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cosmos_ray.clip.checks import BETTER_ABOVE, MEASURES, Scores

Measure = Literal["black", "frozen", "saturated", "flicker", "sharpness", "given_psnr_db", "agreement"]
#: Of which a person reads a percentage.
_SHARES = ("black", "frozen", "saturated")
#: By a bundle's name, between what clips have and what those have whose views come from several clips.
MEASURED_AGREEMENT = {"tiny": 0.66}
_UNITS = {"flicker": " levels", "sharpness": " levels", "given_psnr_db": " dB"}


class CheckRules(BaseModel):
    """What becomes of clips by what they look like. Limits: null for one that marks nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_black: float | None = 0.5
    """Share of a view's frames that are black, above which its clip is marked."""
    max_frozen: float | None = 0.5
    """Share of a view's steps from a frame to the next in which nothing changes."""
    max_saturated: float | None = 0.3
    """Share of a view's pixels with a colour at its upper end."""
    max_flicker: float | None = 8.0
    """Mean jump of a view's brightness to and fro, in levels of 255."""
    min_sharpness: float | None = 1.0
    """Root mean square of the difference between neighbouring pixels of a view, in levels."""
    min_given_psnr_db: float | None = 20.0
    """dB of a view's first frames against those that were given."""
    min_agreement: float | None = None
    """Of neighbouring views where their pictures meet, mean of the clip, up to 1. Where it is not set, what was
    measured of the model: 0.66 for `tiny`, none for others. Look at your model's first clips and set it."""
    redo: tuple[Measure, ...] = ()
    """Marks for which a clip is made again with another seed: `[black, agreement]`, …"""
    redo_at_most: int = Field(2, ge=1, le=100)
    """How often that is done with one clip; what is marked then stays, marked."""
    fail: tuple[Measure, ...] = ()
    """Marks with which a clip fails, in class `model`; after it was made again, if that is asked for too."""

    def of_model(self, bundle: str) -> CheckRules:
        """With the limit of agreement that was measured of this model, if none is set. bundle: its name."""
        if "min_agreement" in self.model_fields_set:
            return self
        return self.model_copy(update={"min_agreement": MEASURED_AGREEMENT.get(bundle)})

    def limit(self, measure: str) -> float | None:
        found: float | None = getattr(self, f"{'min' if measure in BETTER_ABOVE else 'max'}_{measure}")
        return found

    def verdict(self, marks: Sequence[Mark], tries: int) -> Literal["keep", "redo", "fail"]:
        """What is done with a clip that has these marks and was made again `tries` times."""
        found = {mark.measure for mark in marks}
        if found.intersection(self.redo) and tries < self.redo_at_most:
            return "redo"
        return "fail" if found.intersection(self.fail) else "keep"


#: As a job has them that says nothing: all they do is mark.
DEFAULT_CHECKS = CheckRules()


@dataclass(frozen=True)
class Mark:
    """A score beyond its limit. view: "" for one of the clip as a whole."""

    measure: str
    view: str
    value: float
    limit: float

    def in_words(self) -> str:
        """`black: rear: 100 % (limit 50 %)`."""
        view = f"{self.view}: " if self.view else ""
        return f"{self.measure}: {view}{_said(self.measure, self.value)} (limit {_said(self.measure, self.limit)})"


def marks_of(scores: Mapping[str, Scores], rules: CheckRules) -> tuple[Mark, ...]:
    """scores: by view. One of agreement is the clip's, all others are of one view each."""
    found = []
    for measure in MEASURES:
        limit = rules.limit(measure)
        if limit is None:
            continue
        values = {view: getattr(of, measure) for view, of in scores.items()}
        if measure == "agreement":
            known = [value for value in values.values() if value is not None]
            values = {"": sum(known) / len(known)} if known else {}
        for view, value in values.items():
            if value is not None and (value < limit if measure in BETTER_ABOVE else value > limit):
                found.append(Mark(measure, view, value, limit))
    return tuple(found)


def worst(scores: Mapping[str, Scores]) -> Scores | None:
    """Each score of the view that is worst in it; agreement is the views' mean. None for no views."""
    if not scores:
        return None
    found: dict[str, float | None] = {}
    for measure in MEASURES:
        known = [value for of in scores.values() if (value := getattr(of, measure)) is not None]
        if measure == "agreement":
            found[measure] = sum(known) / len(known) if known else None
        else:
            found[measure] = (min if measure in BETTER_ABOVE else max)(known, default=None)
    return Scores(**found)  # type: ignore[arg-type]


def _said(measure: str, value: float) -> str:
    return f"{value:.0%}".replace("%", " %") if measure in _SHARES else f"{value:.3g}{_UNITS.get(measure, '')}"
