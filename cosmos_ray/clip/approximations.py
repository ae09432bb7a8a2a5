"""What makes a job's clips cheaper and changes them. The default is none: the published computation.

All are decided before a clip begins, from nothing but the step and the block: every rank decides alike. A place in the
schedule is between 0, its noisy begin, and 1, its clean end: of N network evaluations (the steps and the clean pass)
number i lies at (i + 1/2) / N.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cosmos_ray.errors import UsageError

Place = Annotated[float, Field(ge=0, le=1)]
Interval = tuple[Place, Place]


class Approximations(BaseModel):
    """Another solver and schedule, guidance on a part of the schedule, self-attention in 8 bits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    solver: Literal["published", "unipc"] = "published"
    """`unipc`: UniPC of order 2 in place of second-order Adams-Bashforth, without the last evaluation at the lowest
    noise level. It comes as near to the converged clip with 21 steps as the published solver with 35."""
    schedule: Literal["published", "karras9", "karras12"] = "published"
    """Which noise levels the steps lie at: Karras' formula with the exponent 7, as published, or another."""
    guidance_interval: Interval = (0.0, 1.0)
    """Where in the schedule guidance acts, [first, last] (arXiv 2404.07724, there as noise levels). An evaluation
    outside is made for the caption alone, at half the cost."""
    attention: Literal["exact", "fp8"] = "exact"
    """`fp8` computes self-attention in 8 bits, on Hopper."""
    fp8_interval: Interval = (0.1, 0.95)
    """Where in the schedule attention is in 8 bits: the first steps decide what a video shows, and the last ones are
    written into it without anything to smooth them out."""
    fp8_exact_blocks: tuple[int, ...] = (0, -1)
    """Blocks that stay exact, from 0; negative ones from the end."""

    @model_validator(mode="after")
    def _check(self) -> Approximations:
        for name in ("guidance_interval", "fp8_interval"):
            first, last = getattr(self, name)
            if first > last:
                raise ValueError(f"{name}: expected [first, last] with first <= last, found {[first, last]}")
        fields = type(self).model_fields
        for name in ("fp8_interval", "fp8_exact_blocks"):
            if self.attention == "exact" and getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} is of no use without attention: fp8")
        return self

    @property
    def chosen(self) -> dict[str, Any]:
        """All that decides a clip, as JSON has it: no key of a clip changes with what it does not use."""
        fields = type(self).model_fields
        plain = ("solver", "schedule", "guidance_interval")
        names = [name for name in plain if getattr(self, name) != fields[name].default]
        if self.attention == "fp8":
            names += ["attention", "fp8_interval", "fp8_exact_blocks"]
        return self.model_dump(mode="json", include=set(names))

    @property
    def in_effect(self) -> dict[str, Any]:
        """All of them, as JSON has it; null for those of 8-bit attention where there is none."""
        facts = self.model_dump(mode="json", include=set(Approximations.model_fields))
        if self.attention == "exact":
            facts |= {"fp8_interval": None, "fp8_exact_blocks": None}
        return facts

    @property
    def guided_share(self) -> float:
        """Of the schedule, to within a step."""
        first, last = self.guidance_interval
        return last - first

    def check_blocks(self, num_blocks: int) -> None:
        """UsageError for blocks that a network of `num_blocks` does not have."""
        for block in self.fp8_exact_blocks:
            if self.attention == "fp8" and not -num_blocks <= block < num_blocks:
                raise UsageError(f"sampling.fp8_exact_blocks: found {block}, the network has {num_blocks} blocks")

    def is_guided(self, number: int, passes: int) -> bool:
        """Whether guidance acts on evaluation `number`, from 0, of `passes`."""
        return _lies_in(self.guidance_interval, number, passes)

    def fp8_blocks(self, number: int, passes: int, num_blocks: int) -> frozenset[int]:
        """The blocks whose self-attention is in 8 bits in evaluation `number`, from 0, of `passes`."""
        if self.attention == "exact" or not _lies_in(self.fp8_interval, number, passes):
            return frozenset()
        return frozenset(range(num_blocks)) - {block % num_blocks for block in self.fp8_exact_blocks}


def _lies_in(interval: Interval, number: int, passes: int) -> bool:
    return interval[0] <= (number + 0.5) / passes <= interval[1]


#: None of them.
EXACT = Approximations()
