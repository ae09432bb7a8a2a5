"""The manifest: its columns, what is wrong with them, and the clips that its rows ask for.

Two kinds of fault are told apart here. Columns of a wrong type and ids that are missing, illegal, repeated or colliding
make the manifest unusable (`ManifestError`). Everything else is a fault of its row: `clips_of_row` then returns clips
that carry the error, which end as `failed` records.
"""

from __future__ import annotations

import collections
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from cosmos_ray.clip.request import LATENT_FRAMES, VIEWS
from cosmos_ray.errors import ManifestError, RowError, column_error
from cosmos_ray.store.storage import explain, resolve_reference

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_SAMPLES = 1000
MAX_STEPS = 1000
MAX_SEED = 2**32 - 1  # numpy's legacy generator, which fixes the noise, takes 32 bits
MAX_PROMPT_CHARS = 20_000
#: What stands in `prompt` where somebody took it for a reference.
_FILE_NAME = re.compile(r"\S+\.(txt|pt|pkl|npy|safetensors)", re.IGNORECASE)


@dataclass(frozen=True)
class RowDefaults:
    """What a row may leave out: the bundle's own settings."""

    n_views: int
    num_steps: int
    guidance: float
    negative_prompt: str
    seed: int = 0
    fps: int = 10


@dataclass(frozen=True)
class Clip:
    """One clip to make: references and parameters, never video bytes.

    prompts: one caption (view 0), or one a view. inputs: no URI, one (views one after the other in time) or one a view.
    row_hash: of everything that decides the video. error: why it cannot be made.
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

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Clip:
        fields = json.loads(text)
        return Clip(**{**fields, "prompts": tuple(fields["prompts"]), "inputs": tuple(fields["inputs"])})


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def _is_text_list(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)) and _is_text(
        kind.value_type
    )


def _is_text_or_list(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_text_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)


def _is_cameras(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return all(_is_text(kind.field(i).type) for i in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _is_text(kind.key_type) and _is_text(kind.item_type)
    return _is_text_list(kind) or pa.types.is_null(kind)


# Numbers may be stored as floats: that is what pandas makes of an integer column with gaps.
_COLUMNS = {
    "id": (_is_text, "string"),
    "prompt": (_is_text_or_list, "string or list<string>"),
    "prompt_embedding": (_is_text, "string (a URI)"),
    "input_video": (_is_text, "string (a URI)"),
    "input_videos": (_is_cameras, "struct or map camera -> URI, or list<string>"),
    "num_conditional_frames": (_is_number, "an integer"),
    "negative_prompt": (_is_text, "string"),
    "guidance": (_is_number, "a number"),
    "seed": (_is_number, "an integer"),
    "num_steps": (_is_number, "an integer"),
    "n_views": (_is_number, "an integer"),
    "fps": (_is_number, "an integer"),
    "num_samples": (_is_number, "an integer"),
}


def check_schema(schema: pa.Schema) -> None:
    """Raises ManifestError, naming every missing or mistyped column at once."""
    problems = [
        f"column `{name}`: found {count} of this name, expected one"
        for name, count in collections.Counter(schema.names).items()
        if count > 1
    ]
    if "id" not in schema.names:
        problems.append("column `id` is missing: expected string")
    if not {"prompt", "prompt_embedding"} & set(schema.names):
        problems.append("there is neither a column `prompt` nor a column `prompt_embedding`")
    for name, (is_right, expected) in _COLUMNS.items():
        if schema.names.count(name) == 1 and not is_right(kind := schema.field(name).type):
            problems.append(f"column `{name}`: found type {kind}, expected {expected}")
    if problems:
        raise ManifestError("the manifest cannot be used: " + "; ".join(problems))


def unreadable(uri: str, error: Exception) -> ManifestError:
    """What is said of a manifest, or a file of it, that is damaged or something else."""
    return ManifestError(f"the manifest {uri} cannot be read as Parquet: {explain(error)}")


def rows_of(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Plain dicts; maps become dicts too."""
    rows: list[dict[str, Any]] = batch.to_pylist()
    for row in rows:
        cameras = row.get("input_videos")
        if isinstance(cameras, list) and cameras and isinstance(cameras[0], tuple):
            row["input_videos"] = dict(cameras)
    return rows


def check_id(found: object) -> str:
    """Raises ManifestError for an id that cannot name a folder and an object."""
    if not isinstance(found, str) or not ID_PATTERN.fullmatch(found):
        raise ManifestError(f"column `id`: found {found!r}, expected {ID_PATTERN.pattern}")
    return found


def sample_id(row_id: str, sample: int) -> str:
    return f"{row_id}.s{sample:03d}"


def sample_seed(seed: int, sample: int) -> int:
    """Sample 0 keeps the row's seed, so that a row with one sample and a row with many agree on their first."""
    if sample == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}:{sample}".encode()).digest()[:4], "big")


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
    n_views = _integer(row, "n_views", defaults.n_views, 1, min(defaults.n_views, len(VIEWS)))
    inputs = _inputs(row, n_views, base)
    embedding = row.get("prompt_embedding")
    return _hashed(
        Clip(
            id=row_id,
            row_id=row_id,
            prompts=_prompts(row, n_views),
            prompt_embedding=_reference("prompt_embedding", embedding, base) if embedding is not None else None,
            inputs=inputs,
            num_conditional_frames=_conditional_frames(row, bool(inputs)),
            negative_prompt=_text(row, "negative_prompt", defaults.negative_prompt),
            guidance=_number(row, "guidance", defaults.guidance, 0.0, 100.0),
            seed=_integer(row, "seed", defaults.seed, 0, MAX_SEED),
            num_steps=_integer(row, "num_steps", defaults.num_steps, 1, MAX_STEPS),
            n_views=n_views,
            fps=_integer(row, "fps", defaults.fps, 1, 120),
        )
    )


def _hashed(clip: Clip) -> Clip:
    if clip.error is not None:
        return clip
    fields = asdict(clip)
    for not_deciding in ("row_hash", "generation", "error", "id", "row_id"):
        del fields[not_deciding]
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
    if len(found) > MAX_PROMPT_CHARS:
        raise column_error(column, found, f"at most {MAX_PROMPT_CHARS} characters")
    return str(found)


def _prompts(row: Mapping[str, Any], n_views: int) -> tuple[str, ...]:
    found = row.get("prompt")
    if row.get("prompt_embedding") is not None:
        if found:
            raise column_error("prompt", found, "null, because the row has a `prompt_embedding`")
        return ()
    prompts = (found,) if isinstance(found, str) else tuple(found or ())
    if len(prompts) not in (1, n_views) or not all(isinstance(text, str) for text in prompts):
        raise column_error("prompt", found, f"one caption or {n_views}, one a view")
    if not any(text.strip() for text in prompts):
        raise column_error("prompt", found, "a caption that is not empty")
    if any(_FILE_NAME.fullmatch(text.strip()) for text in prompts):
        raise column_error(
            "prompt", found, "a caption: `cosmos-ray manifest` reads .txt files, `prompt_embedding` takes embeddings"
        )
    if any(len(text) > MAX_PROMPT_CHARS for text in prompts):
        raise column_error("prompt", found, f"at most {MAX_PROMPT_CHARS} characters a caption")
    return prompts


def _reference(column: str, found: Any, base: str) -> str:
    try:
        return resolve_reference(found, base)
    except ValueError as error:
        # The reason says what is wrong; the reference itself is what was found.
        raise column_error(column, found, f"a URI that may be read, not {error}") from None


def _inputs(row: Mapping[str, Any], n_views: int, base: str) -> tuple[str, ...]:
    one, many = row.get("input_video"), row.get("input_videos")
    if isinstance(many, Mapping) and all(uri is None for uri in many.values()):
        many = None  # a struct column gives rows without cameras a struct of nulls
    if one is not None and many is not None:
        raise column_error("input_videos", many, "null, because the row has an `input_video`")
    if one is not None:
        return (_reference("input_video", one, base),)
    if many is None:
        return ()
    return tuple(_reference("input_videos", uri, base) for uri in _in_view_order(many, n_views))


def _in_view_order(found: Mapping[str, Any] | list[Any], n_views: int) -> list[Any]:
    if isinstance(found, Mapping):
        named = {name: uri for name, uri in found.items() if uri is not None}
        unknown, missing = sorted(set(named) - set(VIEWS)), [view for view in VIEWS[:n_views] if view not in named]
        if unknown or missing:
            raise column_error("input_videos", sorted(named), f"the cameras {', '.join(VIEWS[:n_views])}")
        return [named[view] for view in VIEWS[:n_views]]
    if len(found) != n_views or not all(isinstance(uri, str) for uri in found):
        raise column_error("input_videos", found, f"{n_views} URIs, one a view")
    return found


def _conditional_frames(row: Mapping[str, Any], has_input: bool) -> int:
    frames = _integer(row, "num_conditional_frames", 1 if has_input else 0, 0, max(LATENT_FRAMES))
    if frames not in LATENT_FRAMES:
        raise column_error("num_conditional_frames", frames, "0 (Text2World), 1 (Image2World) or 5 (Video2World)")
    if frames and not has_input:
        raise column_error("num_conditional_frames", frames, "0, because the row has no input video")
    return frames
