"""What kinds of models there are: one recipe each, of all that differs between them. Plain data, no torch.

Nothing else in the house asks which model it has before it: it asks the recipe of the bundle's family. What a family's
clips cost, how far they are, and after which steps they can be gone on with, follows from `passes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import LATENT_FRAMES, PICTURE, VIDEO, VIEWS
from cosmos_ray.errors import UsageError

#: How two answers become one, w being the row's guidance. `beyond_caption`: caption + w (caption - other).
#: `from_other`: other + w (caption - other), so that 0 is the negative prompt alone and 1 is no guidance.
GuidanceForm = Literal["beyond_caption", "from_other"]


@dataclass(frozen=True)
class Family:
    """One recipe.

    views: the cameras that its networks know, by their number; has_cameras: their embeddings are part of a token, else
    there is one view, which is nobody's in particular. latent_frames: pixel frames a clip may start from, and the
    latent frames that they fill.
    text_encoder: what makes embeddings of captions. empty_text: what is encoded for a view without a caption; None:
    nothing, such a view has no text, and its window is zeros. negative_everywhere: with a caption a view, the negative
    prompt is every view's; else it is the captioned one's. no_negative: what is weighed against is raw text of zeros,
    always; zeros_without_negative: no text at all, where there is no negative prompt (else nothing is weighed then).
    solver: `ab2`, second-order Adams-Bashforth from the first of noise_levels to the second, and one evaluation more
    for the clean clip; `unipc`, UniPC of a rectified flow, from noise as it is drawn; `unipc-noise`, UniPC on the noise
    levels of `ab2`; or `distilled`, at most four evaluations under the caption alone, with new noise after each.
    exponent: of these levels: the larger, the more of them are low.
    guidance: how the evaluations under the caption and under the negative prompt are weighed.
    state: names of the tensors that a run between two steps consists of, beside its step.
    makes_picture: a clip begins with a picture that another network makes of its caption.
    takes: which frames of an input a clip starts from, at the row's rate. as_is: of these as they were published,
    whatever the rate, the number of the first and how many are from one to the next; None: from the first, at the row's
    rate. fit: what is done to pictures of another shape, where a job does not say. fps: of the files written, where a
    row does not say. truncates: bytes of pixels are rounded down, else to the nearest.
    network: what the recipe fixes of the network. has_control: each camera has a second video, which steers it.
    chunk_seed: whether longer videos are made, chunk by chunk, and of which noise: the `same` for each chunk, as
    published, or that of the seed + the chunk's number (`next`). overlaps: with how many frames of the one before each
    later chunk begins: with `one`, with as many as the first is conditioned on (`given`), or with as many as the row
    says (`asked`), one if it does not.
    """

    name: str
    views: tuple[str, ...] = VIEWS
    has_cameras: bool = True
    latent_frames: Mapping[int, int] = field(default_factory=lambda: dict(LATENT_FRAMES))
    text_encoder: Literal["t5", "reason1"] = "t5"
    empty_text: str | None = None
    negative_everywhere: bool = False
    no_negative: bool = False
    zeros_without_negative: bool = False
    solver: Literal["ab2", "unipc", "unipc-noise", "distilled"] = "ab2"
    noise_levels: tuple[float, float] = (200.0, 0.01)
    exponent: float = 7.0
    guidance: GuidanceForm = "beyond_caption"
    state: tuple[str, ...] = ("sample", "previous_x0")
    takes: Literal["last", "first"] = "last"
    as_is: tuple[int, int] | None = None
    fit: Literal["crop", "stretch"] = "crop"
    fps: int = 10
    truncates: bool = False
    network: Mapping[str, bool] = field(default_factory=dict)
    has_control: bool = False
    chunk_seed: Literal["same", "next"] | None = None
    overlaps: Literal["one", "given", "asked"] = "one"
    makes_picture: bool = False

    @property
    def has_condition_mask(self) -> bool:
        """Whether a clip starts from frames, of an input or of a picture that is made first."""
        return any(self.latent_frames) or self.makes_picture

    @property
    def files(self) -> tuple[str, ...]:
        """What files a clip may have, by view."""
        return (*self.views, *((PICTURE,) if self.makes_picture else ()))

    @property
    def max_steps(self) -> int | None:
        """Most steps that it knows; None: as many as one likes."""
        return 4 if self.solver == "distilled" else None

    def passes(self, num_steps: int) -> int:
        """How often a clip of so many steps is looked at by the network, once under each text."""
        return num_steps + 1 if self.solver == "ab2" else num_steps

    def solved_by(self, approximations: Approximations) -> Family:
        """With the solver and the schedule that a job has chosen. UsageError where there is nothing to choose."""
        if approximations.solver == approximations.schedule == "published":
            return self
        if self.solver != "ab2":
            name = "solver" if approximations.solver != "published" else "schedule"
            raise UsageError(
                f"sampling.{name}: found `{getattr(approximations, name)}`; models of the family {self.name} have one "
                "solver and one schedule, expected `published`"
            )
        exponent = EXPONENTS[approximations.schedule]
        if approximations.solver == "published":
            return replace(self, exponent=exponent)
        return replace(self, exponent=exponent, solver="unipc-noise", state=UNIPC_STATE)

    def overlap(self, num_conditional_frames: int, chunk_overlap: int | None = None) -> int:
        """How many frames each later chunk has in common with the one before. chunk_overlap: the row's (`check_chunks`
        says whether it may have it)."""
        if chunk_overlap is not None:
            return chunk_overlap
        return num_conditional_frames if self.overlaps == "given" and num_conditional_frames else 1

    def frames(self, chunk_frames: int, num_chunks: int, overlap: int = 1) -> int:
        """Of a view of so many chunks."""
        return num_chunks * (chunk_frames - overlap) + overlap

    def is_guided(self, negative_prompt: str) -> bool:
        """Whether there is a second text for guidance to weigh against."""
        if self.solver == "distilled":
            return False
        return self.no_negative or self.zeros_without_negative or bool(negative_prompt)


#: What UniPC goes on from.
UNIPC_STATE = ("sample", "corrected", "previous_x0", "earlier_x0")
#: Of noise levels, by a schedule's name.
EXPONENTS = {"published": 7.0, "karras9": 9.0, "karras12": 12.0}

PREDICT2 = Family("predict2-multiview")

VIDEO2WORLD = Family(
    "predict2-video2world",
    views=(VIDEO,),
    has_cameras=False,
    latent_frames={1: 1, 5: 2},
    noise_levels=(80.0, 0.002),
    fps=16,
    chunk_seed="next",
    overlaps="given",
    network={"rope_enable_fps_modulation": False},
)
TEXT2IMAGE = replace(
    VIDEO2WORLD,
    name="predict2-text2image",
    views=(PICTURE,),
    latent_frames={0: 0},
    zeros_without_negative=True,
    chunk_seed=None,
)
TEXT2IMAGE_DISTILLED = replace(TEXT2IMAGE, name="predict2-text2image-distilled", solver="distilled", state=("sample",))

TEXT2WORLD = replace(VIDEO2WORLD, name="predict2-text2world", latent_frames={0: 0}, makes_picture=True)

PREDICT25 = Family(
    "predict2.5-multiview",
    text_encoder="reason1",
    empty_text=" ",
    negative_everywhere=True,
    solver="unipc",
    guidance="from_other",
    state=UNIPC_STATE,
    takes="first",
    fit="stretch",
    fps=30,
    truncates=True,
    chunk_seed="same",
    network={"rope_enable_fps_modulation": False, "use_wan_fp32_strategy": True},
)
#: As its code and its checkpoint were in October 2025.
PREDICT25_2025_10 = replace(
    PREDICT25,
    name="predict2.5-multiview-2025-10",
    guidance="beyond_caption",
    no_negative=True,
    as_is=(3, 3),
)
TRANSFER25 = replace(
    PREDICT25,
    name="transfer2.5-multiview",
    guidance="beyond_caption",
    fps=10,
    has_control=True,
    chunk_seed="next",
    overlaps="asked",
)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        PREDICT2,
        VIDEO2WORLD,
        TEXT2IMAGE,
        TEXT2IMAGE_DISTILLED,
        TEXT2WORLD,
        PREDICT25,
        PREDICT25_2025_10,
        TRANSFER25,
    )
}
