"""Clips that begin with a picture of their caption: the model of the picture, then that of the video, in one gang.

The picture is made before the video's first pass, and its latents travel with the run's state: whoever goes on with a
video has the picture that it began with.

Legend: V views (one), l a rank's share of a picture's or a video's tokens, P = 64 values a token, H/W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from cosmos_ray.clip.request import PICTURE, ClipRequest, ClipText
from cosmos_ray.clip.resize import resize_crop
from cosmos_ray.models.bundle.bundle import Bundle, fitting_world_sizes
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import SamplerState

#: Of a run's state: the latents of the picture.
STATE = "picture"


@dataclass(frozen=True)
class WithPicture:
    """Latents of a clip, of this rank, and of the picture that it began with."""

    picture_VlP: Tensor
    video_VlP: Tensor


def parallel_for(bundle: Bundle, parallel: ContextParallel) -> ContextParallel:
    """How a gang makes the picture: together where its tokens divide, else every rank the whole of it."""
    fitting = fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view, parallel.world_size)
    return parallel if parallel.world_size in fitting else ContextParallel()


def picture_request(request: ClipRequest, bundle: Bundle) -> ClipRequest:
    """What the model of the picture is asked for. bundle: of the picture."""
    text = request.picture_text or request.text
    assert text is not None
    negative = None
    if bundle.recipe.is_guided(request.negative_prompt):
        negative = text.negative or (np.zeros((0, bundle.text_width), np.float32),)
    return replace(
        request,
        chosen_views=(PICTURE,),
        num_steps=bundle.sampling.num_steps,
        guidance=bundle.sampling.guidance,
        text=ClipText(text.positive, negative),
        noise=None,
        num_chunks=1,
    )


def video_request(request: ClipRequest, picture_HWC: np.ndarray | None, size_hw: tuple[int, int]) -> ClipRequest:
    """The video that goes on with the picture, its centre being cut to the video's shape. None: another rank has it,
    and encodes it."""
    frames_11HWC = np.zeros((1, 1, *size_hw, 3), np.uint8)
    if picture_HWC is not None:
        frames_11HWC[0] = resize_crop(picture_HWC[None], size_hw)
    return replace(request, frames=frames_11HWC, num_conditional_frames=1)


def split_state(resume: SamplerState | None) -> tuple[SamplerState | None, Tensor | None]:
    """(the video's state, the picture's latents) of a run to go on with."""
    if resume is None:
        return None, None
    tensors = dict(resume.tensors)
    picture_VlP = tensors.pop(STATE)
    return SamplerState(resume.step, tensors), picture_VlP


def with_picture(
    on_state: Callable[[SamplerState], None] | None, picture_VlP: Tensor
) -> Callable[[SamplerState], None] | None:
    """States with the picture's latents in them."""
    if on_state is None:
        return None

    def add(state: SamplerState) -> None:
        on_state(SamplerState(state.step, {**state.tensors, STATE: picture_VlP}))

    return add
