"""What makes a job's clips cheaper and changes them. The default is none: the published computation."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

#: A place in the schedule: 0 is its noisy begin, 1 its clean end.
Place = Annotated[float, Field(ge=0, le=1)]


class Approximations(BaseModel):
    """All are decided before a clip begins, from nothing but the step and the block: every rank decides alike.

    guidance_interval: where in the schedule guidance acts (arXiv 2404.07724, there as noise levels). A step outside is
    computed for the caption alone, at half the cost. Of N network evaluations (steps and the clean pass) number i
    lies at (i + 1/2) / N.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    guidance_interval: tuple[Place, Place] = (0.0, 1.0)

    @field_validator("guidance_interval")
    @classmethod
    def _check_interval(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"expected [first, last] with first <= last, found {list(value)}")
        return value

    @property
    def guided_share(self) -> float:
        """Of the schedule, to within a step."""
        first, last = self.guidance_interval
        return last - first

    @property
    def chosen(self) -> dict[str, Any]:
        """What differs from the default, as JSON has it: no key of a clip changes with what it does not use."""
        return self.model_dump(mode="json", exclude_defaults=True)


#: None of them.
EXACT = Approximations()
