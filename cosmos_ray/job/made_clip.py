"""A clip in memory, as Python gets it from `Generator.generate`: its frames, files of them, and a look at them.

Legend: T frames, H/W height/width in pixels.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cosmos_ray.clip.encode import encode_jpeg, encode_mp4, encode_png, encode_view
from cosmos_ray.clip.request import ALL_VIEWS, PICTURE, ClipRequest, file_of
from cosmos_ray.errors import UsageError, argument_error
from cosmos_ray.store.faults import explain_store
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri, parent_uri, path_text
from cosmos_ray.words import counted

Layout = Literal["grid", "stack", "views"]
#: As the cameras look: to the front above, to the back below, the tele camera last.
_GRID = (("cross_left", "front_wide", "cross_right"), ("rear_left", "rear", "rear_right"), ("front_tele",))


#: What files of a clip may end with: of videos, and of a picture alone.
_VIDEO, _PICTURES = (".mp4",), (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, repr=False)
class MadeClip:
    """frames: uint8 [T, H, W, 3] by view, in the rig's order. fps: of files. warnings: what was doubtful in inputs."""

    request: ClipRequest
    frames: Mapping[str, np.ndarray]
    fps: int
    warnings: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str], layout: Layout = "grid") -> str:
        """Write an mp4: the views as they look (`grid`), or from top to bottom as published (`stack`); or, into the
        folder `path`, an mp4 a view (`views`). Of a picture alone, a JPEG or PNG, by the suffix. A path or a URI; the
        place that was written.

        Raises UsageError for another suffix, another layout, and a place that cannot be written.
        """
        uri = normalise_uri(path_text("path", path))
        _check_layout(layout)
        self._check_suffix(uri, layout)
        try:
            if layout == "views":
                folder = Storage(uri)
                for view, video in self.frames.items():
                    folder.write(file_of(view), encode_view(view, video, self.fps))
            else:
                Storage(parent_uri(uri)).write(posixpath.basename(uri), self._file(uri, layout))
        except OSError as error:
            raise UsageError(f"path: {uri} cannot be written: {explain_store(error)}") from error
        return uri

    def _check_suffix(self, uri: str, layout: Layout) -> None:
        suffix = posixpath.splitext(uri)[1]
        if layout == "views":
            if suffix.lower() in (*_VIDEO, *_PICTURES):
                raise UsageError(f"path: found suffix `{suffix}`, expected a folder: layout `views` is a file a view")
        elif list(self.frames) == [PICTURE]:
            if suffix.lower() not in _PICTURES:
                raise UsageError(f"path: found suffix `{suffix}`, expected {', '.join(_PICTURES)}: it is a picture")
        elif suffix.lower() not in _VIDEO:
            raise UsageError(
                f"path: found suffix `{suffix}`, expected .mp4; or a folder, with layout='views', for an mp4 a view"
            )

    def __repr__(self) -> str:
        frames, height, width = next(iter(self.frames.values())).shape[:3] if self.frames else (0, 0, 0)
        size = f"{counted(frames, 'frame')}, {width}x{height}, {self.fps} fps"
        doubts = f", {counted(len(self.warnings), 'warning')}" if self.warnings else ""
        return f"<MadeClip {self.request.id}: {', '.join(self.frames) or 'no views'}; {size}{doubts}>"

    def _file(self, uri: str, layout: Layout) -> bytes:
        if list(self.frames) != [PICTURE]:
            return encode_mp4(self.together(layout), self.fps)
        picture_HWC = self.frames[PICTURE][0]
        return encode_jpeg(picture_HWC) if uri.lower().endswith((".jpg", ".jpeg")) else encode_png(picture_HWC)

    def together(self, layout: Layout = "grid") -> np.ndarray:
        """All views in one picture, uint8 [T, H, W, 3]; cells of the grid without a view are black. Of a video and the
        picture that it began with, the video."""
        shown = {view: video for view, video in self.frames.items() if view != PICTURE} or self.frames
        _check_layout(layout)
        if layout == "stack":
            return np.concatenate(list(shown.values()), axis=1)
        if layout != "grid":
            raise argument_error("layout", layout, "grid or stack: all views in one picture")
        if len(shown) == 1:
            return next(iter(shown.values()))
        rows = [row for row in _GRID if set(row) & set(self.frames)]
        used = [column for column in range(3) if any(column < len(row) and row[column] in self.frames for row in rows)]
        black = np.zeros_like(next(iter(self.frames.values())))
        cells = [[row[column] if column < len(row) else "" for column in used] for row in rows]
        pictures = [np.concatenate([self.frames.get(view, black) for view in row], axis=2) for row in cells]
        return np.concatenate(pictures, axis=1)

    def show(self, layout: Layout = "grid") -> None:
        """Play it in the notebook that this is called in."""
        try:
            from IPython.display import Video, display
        except ImportError as error:
            raise UsageError("clip.show() needs a notebook (IPython); clip.save(PATH) writes a file") from error
        data = encode_mp4(self.together(layout), self.fps)
        display(Video(data=data, embed=True, mimetype="video/mp4", html_attributes="controls loop autoplay muted"))


def _check_layout(layout: object) -> None:
    if not isinstance(layout, str) or layout not in get_args(Layout):
        raise argument_error("layout", layout, f"one of {', '.join(get_args(Layout))}")


def in_order(frames: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {view: frames[view] for view in ALL_VIEWS if view in frames}
