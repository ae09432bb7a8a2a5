"""What kinds of models there are: one recipe each, of all that differs between them. Plain data, no torch.

Nothing else in the house asks which model it has before it: it asks the recipe of the bundle's family. What a family's
clips cost, how far they are, and after which steps they can be gone on with, follows from `passes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cosmos_ray.clip.request import LATENT_FRAMES, VIEWS

#: How two answers become one, w being the row's guidance. `beyond_caption`: caption + w (caption - other).
GuidanceForm = Literal["beyond_caption"]


@dataclass(frozen=True)
class Family:
    """One recipe.

    views: the cameras that its networks know, by their number. latent_frames: pixel frames a clip may start from, and
    the latent frames that they fill.
    text_encoder: what makes embeddings of captions. empty_text: what is encoded for a view without a caption; None:
    nothing, such a view has no text, and its window is zeros.
    solver: `ab2`, second-order Adams-Bashforth from noise of 200, and one evaluation more for the clean clip.
    guidance: how the evaluations under the caption and under the negative prompt are weighed.
    state: names of the tensors that a run between two steps consists of, beside its step.
    takes: which frames of an input a clip starts from, at the row's rate. fit: what is done to pictures of another
    shape, where a job does not say. fps: of the files written, where a row does not say.
    rope_uses_fps: time positions are stretched by the model's frame rate.
    """

    name: str
    views: tuple[str, ...] = VIEWS
    latent_frames: Mapping[int, int] = field(default_factory=lambda: dict(LATENT_FRAMES))
    text_encoder: Literal["t5"] = "t5"
    empty_text: str | None = None
    solver: Literal["ab2"] = "ab2"
    guidance: GuidanceForm = "beyond_caption"
    state: tuple[str, ...] = ("sample", "previous_x0")
    takes: Literal["last"] = "last"
    fit: Literal["crop", "stretch"] = "crop"
    fps: int = 10
    rope_uses_fps: bool = True

    def passes(self, num_steps: int) -> int:
        """How often a clip of so many steps is looked at by the network, once under each text."""
        return num_steps + 1 if self.solver == "ab2" else num_steps

    def is_guided(self, negative_prompt: str) -> bool:
        """Whether there is a second text for guidance to weigh against."""
        return bool(negative_prompt)


PREDICT2 = Family("predict2-multiview")

FAMILIES: dict[str, Family] = {family.name: family for family in (PREDICT2,)}
