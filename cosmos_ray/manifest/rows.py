"""The manifest's rows: what is wrong with one, and the clips that it asks for.

Two kinds of fault are told apart. Columns that are misspelt or of a wrong type (`columns`), and ids that are missing,
illegal, repeated or colliding make the manifest unusable (`ManifestError`). Everything else is a fault of its row:
`clips_of_row` then returns clips that carry the error, which end as `failed` records.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from cosmos_ray.clip.family import FAMILIES, PREDICT2, Family
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError, RowError, column_error
from cosmos_ray.manifest.captions import MAX_PROMPT_CHARS, prompts_of, says_nothing
from cosmos_ray.manifest.inputs import controls_of, frames_of, inputs_of, is_picture, reference, views_of
from cosmos_ray.manifest.names import BY_CAMERA
from cosmos_ray.manifest.python_values import rows_in

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_SAMPLES = 1000
MAX_STEPS = 1000
MAX_CHUNKS = 100
MAX_OVERLAP = 1000  # of any model; `clip.chunks` knows how many frames its chunks have
MAX_SEED = 2**32 - 1  # numpy's legacy generator, which fixes the noise, takes 32 bits
#: What clips of so many conditioning frames are called.
_FRAMES = {0: "Text2World", 1: "Image2World", 5: "Video2World"}
#: A warning: what the row gives and nothing takes.
UNUSED_INPUT = "the input is not used: num_conditional_frames is 0"
UNUSED_OVERLAP = "the chunk_overlap is not used: num_chunks is 1"


@dataclass(frozen=True)
class RowDefaults:
    """What a row may leave out: the bundle's own settings. family: the bundle's, which says what a row may ask for."""

    n_views: int
    num_steps: int
    guidance: float
    negative_prompt: str
    seed: int = 0
    fps: int = 10
    family: str = PREDICT2.name

    @property
    def recipe(self) -> Family:
        return FAMILIES[self.family]

    def to_json(self) -> dict[str, Any]:
        """As a run's file has it; what earlier releases did not know is left out where it says what they did."""
        facts = asdict(self)
        if self.family == PREDICT2.name:
            del facts["family"]
        return facts


@dataclass(frozen=True)
class Clip:
    """One clip to make: references and parameters, never video bytes.

    prompts: one caption (view 0), or one a view. inputs: no URI, one (views one after the other in time) or one a view.
    views: what the row names, in the order of everything else here; empty where that is the first n_views.
    frames: instead of inputs, URIs of pictures in order of time, a tuple a view.
    row_hash: of everything that decides the video. error: why it cannot be made.
    controls: URIs of control videos, one a view. num_chunks: how often the clip is gone on with.
    chunk_overlap: frames that its chunks have in common, where that is not what they have anyway.
    warnings: what is doubtful in the row, and decides nothing. is_stacked: the input is one video of all views.
    redone: how often it was made before, with the seeds before this one, and checks did not want it.
    """

    id: str
    row_id: str
    prompts: tuple[str, ...] = ()
    prompt_embedding: str | None = None
    inputs: tuple[str, ...] = ()
    num_conditional_frames: int = 0
    negative_prompt: str = ""
    guidance: float = 0.0
    seed: int = 0
    num_steps: int = 0
    n_views: int = 0
    fps: int = 10
    row_hash: str = ""
    generation: int = 0
    error: str | None = None
    views: tuple[str, ...] = ()
    frames: tuple[tuple[str, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    is_stacked: bool = False
    controls: tuple[str, ...] = ()
    control_weight: float = 1.0
    num_chunks: int = 1
    redone: int = 0
    chunk_overlap: int | None = None

    @property
    def input_column(self) -> str:
        """Where the row names its inputs."""
        if self.frames:
            return "input_frames"
        # Clips of 0.1.0 do not say which; theirs is the one that fits.
        return "input_video" if self.is_stacked or len(self.inputs) == 1 < self.n_views else "input_videos"

    @property
    def references(self) -> Iterator[tuple[str, str]]:
        """(column, URI) of everything that the row names, also of what is not read."""
        pictures = (uri for uris in self.frames for uri in uris)
        yield from ((self.input_column, uri) for uri in (*self.inputs, *pictures))
        yield from (("control_videos", uri) for uri in self.controls)
        if self.prompt_embedding is not None:
            yield "prompt_embedding", self.prompt_embedding

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that are made, in order."""
        return self.views or VIEWS[: self.n_views]

    def with_next_seed(self) -> Clip:
        """Drawn from this seed and the number of the try: the one that follows may be another row's."""
        redone = self.redone + 1
        return replace(self, seed=_drawn(f"{self.seed}:again:{redone}"), redone=redone)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Clip:
        fields = json.loads(text)
        for name in ("prompts", "inputs", "views", "frames", "warnings", "controls"):
            fields[name] = tuple(fields.get(name, ()))  # clips of 0.1.0 have fewer
        return Clip(**{**fields, "frames": tuple(map(tuple, fields["frames"]))})


def rows_of(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Plain dicts; maps of cameras become dicts too, unless they name one twice."""
    rows = rows_in(batch)
    for column in BY_CAMERA:
        if column not in batch.schema.names or not pa.types.is_map(batch.schema.field(column).type):
            continue
        for row in rows:
            pairs = row[column]
            if pairs is not None and len(named := dict(pairs)) == len(pairs):
                row[column] = named
    return rows


def check_id(found: object) -> str:
    """Raises ManifestError for an id that cannot name a folder and an object."""
    if not isinstance(found, str) or not ID_PATTERN.fullmatch(found):
        raise ManifestError(f"column `id`: found {found!r}, expected {ID_PATTERN.pattern}{_such_as(found)}")
    return found


def _such_as(found: object) -> str:
    near = re.sub(r"[^A-Za-z0-9._-]+", "_", found[:128]).lstrip("._-") if isinstance(found, str) else ""
    return f", such as {near!r}" if near else ""


def sample_id(row_id: str, sample: int) -> str:
    """Of a row with several samples."""
    return f"{row_id}.s{sample:03d}"


def sample_seed(seed: int, sample: int) -> int:
    """Sample 0 keeps the row's seed, so that a row with one sample and a row with many agree on their first."""
    if sample == 0:
        return seed
    return _drawn(f"{seed}:{sample}")


def _drawn(words: str) -> int:
    """A seed that no other words have, but by a chance of one in four thousand million."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")


def clips_of_row(row: Mapping[str, Any], defaults: RowDefaults, base: str) -> list[Clip]:
    """The clips that a row asks for (several with `num_samples`); clips that carry `error` if the row is at fault.

    base: URI of the manifest's folder, which relative references are resolved against.
    """
    row_id = check_id(row["id"])
    samples = 1
    try:
        samples = _integer(row, "num_samples", 1, 1, MAX_SAMPLES)
        template = _clip(row, row_id, defaults, base)
    except RowError as error:
        template = Clip(id=row_id, row_id=row_id, error=str(error), row_hash=_hash(dict(row)))
    if samples == 1:
        return [template]
    return [
        _hashed(replace(template, id=sample_id(row_id, sample), seed=sample_seed(template.seed, sample)))
        for sample in range(samples)
    ]


def _clip(row: Mapping[str, Any], row_id: str, defaults: RowDefaults, base: str) -> Clip:
    family = defaults.recipe
    most = min(defaults.n_views, len(family.views))
    views = views_of(row, most, family.views)
    n_views = _integer(row, "n_views", len(views) or defaults.n_views, 1, most)
    if views and n_views != len(views):
        raise column_error("n_views", n_views, f"{len(views)}, as many as `views` names")
    cameras = views or family.views[:n_views]
    inputs, frames = inputs_of(row, cameras, base), frames_of(row, cameras, base)
    if not family.has_cameras and is_picture(inputs):
        inputs, frames = (), (inputs,)
    conditional_frames = _conditional_frames(row, inputs, dict(zip(cameras, frames, strict=False)), family)
    num_chunks = _integer(row, "num_chunks", 1, 1, MAX_CHUNKS)
    usual = family.overlap(conditional_frames)
    overlap = _integer(row, "chunk_overlap", usual, 1, MAX_OVERLAP)
    warnings: tuple[str, ...] = (UNUSED_INPUT,) if (inputs or frames) and not conditional_frames else ()
    if num_chunks == 1 and overlap != usual:
        warnings += (UNUSED_OVERLAP,)
    embedding = row.get("prompt_embedding")
    return _hashed(
        Clip(
            id=row_id,
            row_id=row_id,
            prompts=prompts_of(row, n_views),
            prompt_embedding=reference("prompt_embedding", embedding, base) if embedding is not None else None,
            inputs=inputs,
            num_conditional_frames=conditional_frames,
            negative_prompt=_text(row, "negative_prompt", defaults.negative_prompt),
            guidance=_number(row, "guidance", defaults.guidance, 0.0, 100.0),
            seed=_integer(row, "seed", defaults.seed, 0, MAX_SEED),
            num_steps=_integer(row, "num_steps", defaults.num_steps, 1, family.max_steps or MAX_STEPS),
            n_views=n_views,
            fps=_integer(row, "fps", defaults.fps, 1, 120),
            views=() if cameras == VIEWS[:n_views] else cameras,
            frames=frames,
            is_stacked=row.get("input_video") is not None,
            controls=controls_of(row, cameras, base),
            control_weight=_number(row, "control_weight", 1.0, 0.0, 1.0),
            num_chunks=num_chunks,
            chunk_overlap=overlap if num_chunks > 1 and overlap != usual else None,
            warnings=warnings,
        )
    )


def _hashed(clip: Clip) -> Clip:
    if clip.error is not None:
        return clip
    fields = asdict(clip)
    for not_deciding in ("row_hash", "generation", "error", "id", "row_id", "warnings", "is_stacked", "redone"):
        del fields[not_deciding]
    for newer in ("views", "frames"):  # rows that do not use them keep the hash that they had before
        if not fields[newer]:
            del fields[newer]
    for newer, usual in (("controls", ()), ("control_weight", 1.0), ("num_chunks", 1), ("chunk_overlap", None)):
        if fields[newer] == usual:
            del fields[newer]
    return replace(clip, row_hash=_hash(fields))


def _hash(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()


def _is_nan(found: Any) -> bool:
    return isinstance(found, float) and math.isnan(found)  # a gap, as pandas writes it


def _number(row: Mapping[str, Any], column: str, default: float, low: float, high: float) -> float:
    found = row.get(column)
    if found is None or _is_nan(found):
        return default
    if isinstance(found, bool) or not math.isfinite(found) or not low <= found <= high:
        raise column_error(column, found, f"a number from {low:g} to {high:g}")
    return float(found)


def _integer(row: Mapping[str, Any], column: str, default: int, low: int, high: int) -> int:
    found = row.get(column)
    if found is None or _is_nan(found):
        return default
    if isinstance(found, bool) or found != found // 1 or not low <= found <= high:
        raise column_error(column, found, f"an integer from {low} to {high}")
    return int(found)


def _text(row: Mapping[str, Any], column: str, default: str) -> str:
    found = row.get(column)
    if found is None:
        return default
    if says_nothing(found):
        raise column_error(column, found, "null for the model's own, or an empty text for none")
    if len(found) > MAX_PROMPT_CHARS:
        raise column_error(column, found, f"at most {MAX_PROMPT_CHARS} characters")
    return str(found)


def _conditional_frames(
    row: Mapping[str, Any], inputs: tuple[str, ...], pictures: Mapping[str, Sequence[str]], family: Family
) -> int:
    """pictures: of each camera, if there are any."""
    has_input = bool(inputs or pictures)
    known = family.latent_frames
    frames = _integer(row, "num_conditional_frames", 1 if has_input else 0, 0, max(max(known), 1))
    if frames not in known:
        *others, last = (f"{count} ({_FRAMES[count]})" for count in known)
        expected = f"{', '.join(others)} or {last}" if others else "0: the model takes no input"
        if not has_input and 0 not in known:
            expected = f"an input (`input_video` or `input_frames`), and {expected}"
        raise column_error("num_conditional_frames", frames, expected)
    if frames and not has_input:
        raise column_error("num_conditional_frames", frames, "0, because the row has no input video")
    for camera, uris in pictures.items():
        if len(uris) < frames:
            raise column_error(
                "input_frames", {camera: list(uris)}, f"at least {frames} pictures, as `num_conditional_frames` says"
            )
    return frames
