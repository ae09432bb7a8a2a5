"""What a folder has of one clip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cosmos_ray.manifest.builders.caption_files import by_view
from cosmos_ray.manifest.builders.sources import read_captions


class ClipFiles:
    """video: URI of one with all views. videos: URIs by view; pictures: by view, names with their folder.

    caption_file: URI of the clip's own; captions_by_view: URIs of its cameras' own.
    """

    def __init__(self, clip_id: str, where: str) -> None:
        self.id, self.where = clip_id, where
        self.video: str | None = None
        self.videos: dict[str, str] = {}
        self.pictures: dict[str, tuple[str, list[str]]] = {}
        self.caption_file: str | None = None
        self.captions_by_view: dict[str, str] = {}
        self.parameters: dict[str, Any] = {}

    @property
    def found(self) -> Iterable[str]:
        """Views that there are inputs of, each by itself."""
        return () if self.video else (self.videos or self.pictures)

    @property
    def has_input(self) -> bool:
        return bool(self.video or self.videos or self.pictures)

    @property
    def says_something(self) -> bool:
        return self.has_input or bool(self.caption_file or self.parameters)

    @property
    def has_caption(self) -> bool:
        return bool(self.caption_file or self.captions_by_view)

    def captions(self, views: tuple[str, ...]) -> str | list[str] | None:
        """Its own, in the form that a row takes; None if it has none. Raises ManifestError."""
        if self.caption_file is not None:
            return read_captions(self.caption_file, len(views))
        told = {view: self.captions_by_view[view] for view in views if view in self.captions_by_view}
        return by_view({view: str(read_captions(uri, 1)) for view, uri in told.items()}, views) if told else None
