"""What `plan` says of a job that nobody has started: rows, inputs, what is left to write and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cosmos_ray.config import GenerateConfig
from cosmos_ray.job.cost import Estimate, estimates, lines, neighbours_line, sampling_line, spares_line
from cosmos_ray.job.inputs import InputsLook
from cosmos_ray.job.plan import Plan, carried_line, unguided_line, unread_line
from cosmos_ray.job.refiner_cost import RefinerCost, outrun_line, refiner_cost
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.bundle.memory import guardrail_bytes
from cosmos_ray.output.status import removed_line
from cosmos_ray.words import byte_size, counted


@dataclass(frozen=True)
class Outlook:
    """gpu: which one costs are reckoned for. look: what inputs were found to be, None if nobody looked. clip_bytes: of
    a clip's files, by those that were made; None if none was. costs: of each size of gang that fits, [] where nothing
    alike was measured. refiner: None where prompts are taken as they are.
    """

    settings: GenerateConfig
    bundle: Bundle
    gpu: str
    plan: Plan
    look: InputsLook | None
    clip_bytes: int | None
    costs: list[Estimate]
    refiner: RefinerCost | None

    @property
    def bytes_left(self) -> int | None:
        """Of the clips that are to be made."""
        return None if self.clip_bytes is None else self.clip_bytes * self._clips

    @property
    def bytes_waiting(self) -> int | None:
        """Of clips that a gang keeps on its node's disk while the store is out, at most."""
        return None if self.clip_bytes is None else self.clip_bytes * self.settings.gang.clips_waiting

    @property
    def _clips(self) -> int:
        return sum(group.clips for group in self.plan.work)

    def to_json(self) -> dict[str, Any]:
        return asdict(self.plan) | {
            "gpu": self.gpu,
            "estimates": [asdict(cost) for cost in self.costs],
            "bytes_left": self.bytes_left,
            "bytes_waiting": self.bytes_waiting,
            "refiner": None if self.refiner is None else asdict(self.refiner),
            "inputs": None if self.look is None else asdict(self.look),
        }

    def lines(self, price: float | None) -> Iterator[str]:
        """For people. price: of a GPU for an hour, in USD."""
        yield from self._lines_of_rows()
        yield from self.look.lines() if self.look else ["inputs were not looked at: --inputs does that"]
        yield from self._lines_of_bytes()
        yield from self._lines_of_time(price)

    def _lines_of_rows(self) -> Iterator[str]:
        found = self.plan
        yield f"{counted(found.rows, 'row')}, {found.in_words()}"
        end = ":" if found.invalid_examples else ""
        rows = "its row says" if found.invalid == 1 else "their rows say"
        yield f"{counted(found.invalid, 'clip')} will fail for what {rows}{end}"
        for clip_id, error in found.invalid_examples:
            yield f"  {clip_id}: {error}"
        if found.unguided:
            yield unguided_line(found.unguided)
        for warning in () if self.look else found.warnings:  # else they are told with the inputs
            yield warning.in_words()
        if found.carried:
            yield carried_line(found.carried)
        if found.unread:
            yield unread_line(found.unread)
        if found.removed:
            yield removed_line(sum(found.removed.values()))
        if found.changed:
            edited = counted(len(found.changed), "clip")
            yield f"edited after they were made: {edited} ({', '.join(found.changed[:20])})"

    def _lines_of_bytes(self) -> Iterator[str]:
        if not (self.clip_bytes and self.bytes_left):
            return
        yield f"about {byte_size(self.bytes_left)} are left to write, {byte_size(self.clip_bytes)} a clip as so far"
        waiting, room = counted(self.settings.gang.clips_waiting, "clip"), byte_size(self.bytes_waiting or 0)
        yield f"while the store is out, up to {waiting} a gang wait on its node's disk ({room})"

    def _lines_of_time(self, price: float | None) -> Iterator[str]:
        settings, work, costs = self.settings, self.plan.work, self.costs
        if chosen := sampling_line(work, self.bundle, settings.sampling):
            yield chosen
        if self.refiner is not None:
            yield self.refiner.line()
        if outrun := outrun_line(work, settings.refiner, costs):
            yield outrun
        if costs and (neighbours := neighbours_line(self.bundle)):
            yield neighbours
        yield from lines(costs, self.gpu, settings.max_gangs, price)
        if costs and (spares := spares_line(settings.gang.spare_ranks)):
            yield spares
        if self._clips and not costs:
            yield f"GPU time: nothing like the network of {self.bundle.name} was measured"


def outlook_of(
    settings: GenerateConfig,
    bundle: Bundle,
    gpu: str,
    plan: Plan,
    look: InputsLook | None,
    clip_bytes: int | None,
) -> Outlook:
    """A plan and what was found beside it, with what the clips that are left will cost."""
    costs = estimates(
        plan.work,
        bundle,
        gpu,
        settings.sampling.approximations,
        gang_size=settings.gang_size,
        guardrails=guardrail_bytes(settings.guardrails, bundle, plan.longest),
    )
    return Outlook(settings, bundle, gpu, plan, look, clip_bytes, costs, refiner_cost(plan.work, settings.refiner))
