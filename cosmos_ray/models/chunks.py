"""Longer videos, chunk by chunk: each begins with the last frames of the one before it, as they were decoded.

Legend: V views, l a rank's share of a view's tokens, P values a token.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cosmos_ray.models.sampler import SamplerState

#: Of a run's state: the chunks that are finished, side by side in the last axis.
DONE = "chunks"


class Chunks:
    """The run of a clip's chunks, one after the other, as one run: its steps are counted through, and its state holds
    the latents of chunks that are finished (this rank's share of each, `done_VlP`)."""

    def __init__(
        self,
        passes: int,
        num_chunks: int,
        on_step: Callable[[int, int], None] | None,
        on_state: Callable[[SamplerState], None] | None,
        resume: SamplerState | None,
    ) -> None:
        self._passes, self._total = passes, passes * num_chunks
        self._on_step, self._on_state = on_step, on_state
        self.done_VlP: list[Tensor] = []
        self._resume = None
        if resume is not None:
            tensors = dict(resume.tensors)
            if (done := tensors.pop(DONE, None)) is not None:
                self.done_VlP = list(done.chunk(resume.step // passes, dim=-1))
            self._resume = SamplerState(resume.step - self._before, tensors)

    @property
    def _before(self) -> int:
        return self._passes * len(self.done_VlP)

    def take_resume(self) -> SamplerState | None:
        """The state to go on from, within the chunk that is made now; none for those after it."""
        resume, self._resume = self._resume, None
        return resume

    def add(self, latents_VlP: Tensor) -> None:
        self.done_VlP.append(latents_VlP)

    def together(self) -> Tensor:
        return self.last(len(self.done_VlP))

    def last(self, count: int) -> Tensor:
        """The last chunks that are finished, as many of them as there are, side by side."""
        chosen = self.done_VlP[-count:]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=-1)

    def on_step(self, done: int, _: int) -> None:
        if self._on_step:
            self._on_step(self._before + done, self._total)

    def on_state(self, state: SamplerState) -> None:
        if self._on_state:
            done = {DONE: self.together()} if self.done_VlP else {}
            self._on_state(SamplerState(self._before + state.step, {**state.tensors, **done}))
