"""Another value for every field of a clip than `Clip("a", "a", ("p",))` has, for tests of what decides its keys."""

from __future__ import annotations

from typing import Any

OTHER_CLIP: dict[str, Any] = {
    "id": "b", "row_id": "b", "prompts": ("q",), "prompt_embedding": "e.npy", "inputs": ("a.mp4",),
    "num_conditional_frames": 1, "negative_prompt": "n", "guidance": 1.5, "seed": 4, "num_steps": 9, "n_views": 2,
    "fps": 30, "row_hash": "0", "generation": 3, "error": "wrong", "views": ("rear",), "frames": (("a.png",),),
    "warnings": ("w",), "is_stacked": True, "controls": ("c.mp4",), "control_weight": 0.5, "num_chunks": 2, "redone": 1,
    "chunk_overlap": 5,
}  # fmt: skip
