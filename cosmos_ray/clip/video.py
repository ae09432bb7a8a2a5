"""Names as they were before this module became rooms. To be removed."""

from __future__ import annotations

from cosmos_ray.clip.encode import encode_jpeg, encode_mp4, encode_png, stack_views
from cosmos_ray.clip.frames import decode_mp4, inspect_video, read_frames, spill
from cosmos_ray.clip.resize import conditioning_frames, resize_crop

probe = inspect_video

__all__ = [
    "conditioning_frames", "decode_mp4", "encode_jpeg", "encode_mp4", "encode_png", "inspect_video", "read_frames",
    "resize_crop", "spill", "stack_views",
]  # fmt: skip
