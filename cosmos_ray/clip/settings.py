"""What one clip was made with, as its record keeps it and the index tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """approximations: `Approximations.in_effect`. size: WIDTHxHEIGHT of its videos, in pixels; frames: of each video,
    fps of them a second. preset: its name; what it sets is in the others. What follows fps is None in records of
    releases that did not keep it."""

    model: str
    guidance: float
    num_steps: int
    views: tuple[str, ...]
    negative_prompt: str
    approximations: dict[str, Any]
    size: str
    frames: int
    fps: int
    preset: str | None = None
    numerics: str | None = None
    camera_prefix: bool | None = None
    num_conditional_frames: int | None = None

    @staticmethod
    def from_json(facts: dict[str, Any] | None) -> Settings | None:
        return None if facts is None else Settings(**{**facts, "views": tuple(facts["views"])})
