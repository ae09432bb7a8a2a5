"""What would be taken from a video, without a job: `cosmos-ray inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_ray.clip.encode import encode_png
from cosmos_ray.config import InputsConfig
from cosmos_ray.errors import RowError
from cosmos_ray.foreign import shown_uri
from cosmos_ray.gang.inputs import Source
from cosmos_ray.gang.prepare import InputFile, refuse_doubtful, take_inputs
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.store.faults import explain
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import counted

#: In which a row would have the video.
_COLUMN = "input_video"
#: What a line says of a file that is taken; null where it is refused.
_FACTS = (
    "container", "codec", "frames", "fps", "is_variable", "width", "height", "pixel_aspect", "field_order",
    "transfer", "matrix", "range", "assumed", "track", "taken", "conversions", "warnings", "written",
)  # fmt: skip


def inspect_video(
    uri: str,
    bundle: Bundle,
    config: InputsConfig,
    n_views: int = 1,
    num_conditional_frames: int = 1,
    fps: int = 10,
    to: Path | None = None,
) -> dict[str, Any]:
    """What a row with this `input_video` gives the model, found by the code that a gang runs. One JSON object.

    taken: numbers of the conditioning frames in the file, from 0. assumed: facts of colour that the file does not say.
    to: folder that the conditioning frames are written into as the model sees them, `STEM.VIEW.NUMBER.png`, the oldest
    first; `written` has their paths. What is wrong with the file is in `error`, in the words of a failed row, or of
    the store.
    """
    clip = Clip(
        id="inspected",
        row_id="inspected",
        inputs=(uri,),
        num_conditional_frames=num_conditional_frames,
        n_views=n_views,
        fps=fps,
        is_stacked=True,
        views=() if bundle.recipe.has_cameras else bundle.recipe.views,
    )
    nothing = dict.fromkeys(_FACTS)
    try:
        (file,), found = take_inputs(
            clip, (bundle.height, bundle.width), config.of(bundle.recipe), Source(reach=config.reach(""))
        )
        assert found is not None
        refuse_doubtful(found.warnings, config.strict)
    except RowError as error:
        return {"file": uri, "ok": False, "error": str(error), **nothing}
    except OSError as error:
        return {"file": uri, "ok": False, "error": f"{shown_uri(uri)} cannot be read: {explain(error)}", **nothing}
    facts = {**_facts(file), "warnings": list(found.warnings)}
    if to is not None:
        facts["written"] = list(_write_frames(to, Path(uri).stem, clip.cameras, found.frames))
    return {"file": uri, "ok": True, "error": None, **nothing, **facts}


def _write_frames(to: Path, stem: str, views: Sequence[str], frames_VTHWC: np.ndarray) -> Iterator[str]:
    """Paths of the pictures that are written."""
    folder = Storage(str(to))
    for view, frames in zip(views, frames_VTHWC, strict=True):
        for number, frame in enumerate(frames):
            name = f"{stem}.{view}.{number}.png"
            folder.write(name, encode_png(frame))
            yield str(to / name)


def _facts(file: InputFile) -> dict[str, Any]:
    info = file.facts
    assert info is not None
    colour = {"transfer": info.transfer, "matrix": info.matrix, "range": info.range}
    plain = (
        "container", "codec", "frames", "fps", "is_variable", "width", "height", "pixel_aspect", "field_order", "track",
    )  # fmt: skip
    return {
        **{name: getattr(info, name) for name in plain},
        **{name: tag.value for name, tag in colour.items()},
        "assumed": [name for name, tag in colour.items() if not tag.is_tagged],
        "taken": list(file.taken),
        "conversions": list(info.conversions),
    }


def _written(paths: list[str]) -> Iterator[str]:
    if paths:
        first, *more = (shown_uri(Path(path).name) for path in paths)
        to = f" to {more[-1]}" if more else ""
        yield f"  written: {counted(len(paths), 'picture')} in {shown_uri(str(Path(paths[0]).parent))}, {first}{to}"


def in_words(line: dict[str, Any]) -> str:
    """One file for people."""
    name = shown_uri(line["file"])
    if not line["ok"]:
        # In a record a fault has its column; who looks at a file has no manifest, and has read its name already.
        error = line["error"].removeprefix(f"column `{_COLUMN}`: ").removeprefix(f"{name}: ").removeprefix(f"{name} ")
        return f"{name}: refused: {error}"
    assumed = set(line["assumed"])
    colour = ", ".join(
        f"{name} {line[name]}{' (assumed)' if name in assumed else ''}" for name in ("matrix", "range", "transfer")
    )
    rate = f"{'about ' if line['is_variable'] else ''}{line['fps']:.4g} a second"
    lines = [
        f"{name}: {line['codec']} in {line['container']}, track {line['track']}",
        f"  {counted(line['frames'], 'frame')}, {rate}{', varying' if line['is_variable'] else ''}; "
        f"{line['width']}x{line['height']}, pixels {line['pixel_aspect']}, {line['field_order']}",
        f"  {colour}",
        f"  taken: {', '.join(map(str, line['taken']))}",
        *(f"  converted: {text}" for text in line["conversions"]),
        *(f"  warning: {text}" for text in line["warnings"]),
        *_written(line["written"] or []),
    ]
    return "\n".join(lines)
