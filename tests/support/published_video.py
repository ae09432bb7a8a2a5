"""The published pipelines' own way with a clip's video, to compare with: bytes of its pixels, and its chunks.

Legend: V views, F frames of a chunk, o of them shared with the chunk before, H/W height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cosmos_ray.models.vae.pixels import signed_to_uint8

#: Bytes [V, F, H, W, 3] that a chunk begins with, and of which the first so many latent frames are given -> its video,
#: [V, 3, F, H, W] in [0, 1].
MakeChunk = Callable[[int, Tensor, int], Tensor]


def to_uint8(video: Tensor) -> Tensor:
    """The reference's rule for a whole clip: below -0.5 anywhere, it is taken for [-1, 1], else for [0, 1].

    `signed_to_uint8` is the same for every clip with a dark pixel, and right for those without one.
    """
    return signed_to_uint8(video) if video.min() < -0.5 else (video.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


def chunk_inputs(first_VFHWC: Tensor, given: int, chunks: int, overlap: int, make: MakeChunk) -> Iterator[Tensor]:
    """The videos of all chunks, [V, 3, F, H, W] in [0, 1]. first: bytes that the first chunk begins with, `given`
    latent frames of them. Later chunks are black but for the last frames of the chunk before, and have `overlap`
    latent frames given: as published, so that only an overlap of 1 means what it says."""
    frames_VFHWC = first_VFHWC
    for number in range(chunks):
        video_V3FHW = make(number, frames_VFHWC, given)
        yield video_V3FHW
        last_V3oHW = video_V3FHW[:, :, video_V3FHW.shape[2] - overlap :]
        frames_VFHWC = torch.zeros_like(first_VFHWC)
        frames_VFHWC[:, :overlap] = (last_V3oHW.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 4, 1)
        given = overlap


def joined(videos: list[Tensor], overlap: int) -> Tensor:
    """One video [V, 3, all frames, H, W]: each later chunk without the frames that it began with."""
    return torch.cat([video if not number else video[:, :, overlap:] for number, video in enumerate(videos)], dim=2)
