"""From a clip's references to a request that a generator can take: fetch, decode, resize, read embeddings, draw noise.

Runs in the gang's leader while the clip before is being denoised. Only the conditioning frames are decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_ray.clip.conditioning import Conditioning, read_conditioning
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import DEFAULT_RULES, InputRules
from cosmos_ray.clip.pictures import MAX_BYTES, read_pictures
from cosmos_ray.clip.request import TEXT_TOKENS, ClipRequest, ClipText
from cosmos_ray.errors import RowError
from cosmos_ray.gang.fits import check_fits
from cosmos_ray.gang.inputs import NO_SOURCE, Source, check_size, check_unchanged, fetch_inputs, fetch_videos
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.noise import clip_noise
from cosmos_ray.refine.refiner import Words
from cosmos_ray.scratch import scratch
from cosmos_ray.store.regular import read_regular
from cosmos_ray.store.storage import Stat
from cosmos_ray.words import counted

#: An embedding's file may hold its numbers twice as wide as they are needed, and a header.
_ROOM = 2**20


@dataclass(frozen=True)
class InputFile:
    """One input as it was read: `version` is the store's ETag or the file's mtime; video facts where it is a video.

    taken: numbers of the frames that were taken of it, from 0. facts: all that is known of it, with what was done to
    its frames.
    """

    uri: str
    size: int
    version: str
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    taken: tuple[int, ...] = ()
    facts: VideoInfo | None = None

    @property
    def deciding(self) -> dict[str, Any]:
        """What the video depends on. Of an input that an earlier release took in the same way: just what it counted."""
        names = ("uri", "size", "version", "frames", "height", "width", "fps")
        facts = {name: getattr(self, name) for name in names}
        if self.facts is not None and self.facts.conversions:
            facts |= {"taken": self.taken, "conversions": self.facts.conversions}
        return facts


@dataclass(frozen=True)
class Prepared:
    """warnings: what was doubtful in the row and its inputs, and what was converted. rules: how inputs were taken.
    words: what the clip is made of instead of the row's prompts, where they are refined; decided by the request."""

    request: ClipRequest
    inputs: tuple[InputFile, ...]
    warnings: tuple[str, ...] = ()
    rules: InputRules = DEFAULT_RULES
    words: Words | None = None

    def request_hash(self, clip: Clip, model_fingerprint: str) -> str:
        """Of all that decides the video: the row, the versions of its inputs, the model and its numerics."""
        facts: list[Any] = [clip.row_hash, model_fingerprint, *(file.deciding for file in self.inputs)]
        if self.inputs and self.rules.chosen:
            facts.append(self.rules.chosen)
        if clip.redone:
            facts.append(["redone", clip.seed])
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def prepare(
    clip: Clip, bundle: Bundle, attempt: int, rules: InputRules = DEFAULT_RULES, source: Source = NO_SOURCE
) -> Prepared:
    """rules: how inputs are taken. source: what tells a row's fault from its store's, and where inputs may lie.

    Raises RowError for what the row is to blame for, OSError for a store that does not answer.
    """
    check_fits(clip, bundle)
    rules = rules.of(bundle.recipe)
    controls, steering = take_controls(clip, bundle, rules, source)
    files, found = take_inputs(clip, (bundle.height, bundle.width), rules, source)
    text, embedding = _embedding(clip, bundle, source)
    request = ClipRequest(
        id=clip.id,
        prompts=clip.prompts,
        negative_prompt=clip.negative_prompt,
        n_views=clip.n_views,
        num_conditional_frames=clip.num_conditional_frames,
        seed=clip.seed,
        guidance=clip.guidance,
        num_steps=clip.num_steps,
        frames=None if found is None else found.frames,
        text=text,
        noise=clip_noise(clip.seed, bundle, clip.n_views),  # here it costs no GPU time
        chosen_views=clip.views,
        controls=None if steering is None else steering.frames,
        control_weight=clip.control_weight,
        num_chunks=clip.num_chunks,
        chunk_overlap=clip.chunk_overlap,
        attempt=attempt,
    )
    warnings = clip.warnings + tuple(text for one in (found, steering) if one for text in one.warnings)
    return Prepared(request, files + controls + embedding, warnings, rules)


def refuse_doubtful(warnings: tuple[str, ...], is_strict: bool) -> None:
    """`inputs.strict`: whatever is worth a warning is a fault of the row."""
    if warnings and is_strict:
        raise RowError(f"doubtful, and inputs.strict is set: {'; '.join(warnings)}")


def take_controls(
    clip: Clip, bundle: Bundle, rules: InputRules, source: Source = NO_SOURCE
) -> tuple[tuple[InputFile, ...], Conditioning | None]:
    """The clip's control videos, and the frames of all its chunks in them; none for a family without. Raises like
    `prepare`."""
    if not bundle.recipe.has_control:
        return (), None
    overlap = bundle.recipe.overlap(clip.num_conditional_frames, clip.chunk_overlap)
    count = bundle.recipe.frames(bundle.num_frames, clip.num_chunks, overlap)
    with scratch() as folder:
        return _one_a_view(
            "control_videos", clip.controls, clip, count, (bundle.height, bundle.width), rules, source, folder
        )


def take_inputs(
    clip: Clip, size: tuple[int, int], rules: InputRules = DEFAULT_RULES, source: Source = NO_SOURCE
) -> tuple[tuple[InputFile, ...], Conditioning | None]:
    """The clip's videos or pictures, and the conditioning frames in them; none for a clip from text alone.

    size: (height, width) of the model. Raises like `prepare`.
    """
    if clip.num_conditional_frames == 0:
        return (), None
    with scratch() as folder:
        if clip.frames:
            return _from_pictures(clip, size, rules, source, folder)
        return _from_videos(clip, size, rules, source, folder)


def _from_videos(
    clip: Clip, size: tuple[int, int], rules: InputRules, source: Source, folder: Path
) -> tuple[tuple[InputFile, ...], Conditioning]:
    count = clip.num_conditional_frames
    return _one_a_view(clip.input_column, clip.inputs, clip, count, size, rules, source, folder)


def _one_a_view(
    column: str,
    uris: Sequence[str],
    clip: Clip,
    count: int,
    size: tuple[int, int],
    rules: InputRules,
    source: Source,
    folder: Path,
) -> tuple[tuple[InputFile, ...], Conditioning]:
    """The videos of a column, one a view (or, in `input_video`, one of all), and `count` frames of each view."""
    fetched = fetch_videos(column, uris, folder, source)
    paths = [path for path, _ in fetched]
    videos = paths[0] if column == "input_video" else paths
    named = {f"view {view}: ": uri for view, uri in zip(clip.cameras, uris, strict=False)}
    try:
        found = read_conditioning(videos, clip.cameras, count, size, clip.fps, rules)
    except RowError as error:
        shown = uris[0] if len(paths) == 1 else _named(error, named) or counted(len(paths), "video")
        raise RowError(f"column `{column}`: {shown}: {error}", error.failure_class) from error
    check_unchanged(uris, fetched)
    taken = [tuple(sorted(sum(found.taken, ())))] if len(paths) == 1 else found.taken
    files = [
        _video_file(uri, stat, of, info)
        for uri, (_, stat), of, info in zip(uris, fetched, taken, found.infos, strict=True)
    ]
    return tuple(files), found


def _from_pictures(
    clip: Clip, size: tuple[int, int], rules: InputRules, source: Source, folder: Path
) -> tuple[tuple[InputFile, ...], Conditioning]:
    """The last pictures of each camera, or the first, as the family takes them; they are at the row's rate."""
    column, count = "input_frames", clip.num_conditional_frames
    for view, given in zip(clip.cameras, clip.frames, strict=True):
        if len(given) < count:
            raise RowError(
                f"column `{column}`: view {view}: found {counted(len(given), 'picture')}, expected at least {count}"
            )
    uris = [uri for given in clip.frames for uri in (given[:count] if rules.takes_first else given[-count:])]
    fetched = fetch_inputs(column, uris, folder, source, MAX_BYTES)
    paths = [path for path, _ in fetched]
    try:
        found = read_pictures(
            [paths[first : first + count] for first in range(0, len(paths), count)], clip.cameras, size, rules
        )
    except RowError as error:
        places = [f"view {view}: picture {number + 1} of {count}" for view in clip.cameras for number in range(count)]
        shown = _named(error, dict(zip(places, uris, strict=True))) or counted(len(uris), "picture")
        raise RowError(f"column `{column}`: {shown}: {error}", error.failure_class) from error
    files = [
        InputFile(uri, stat.size, stat.version, height=info.height, width=info.width, facts=info)
        for uri, (_, stat), info in zip(uris, fetched, found.infos, strict=True)
    ]
    return tuple(files), found


def _video_file(uri: str, stat: Stat, taken: tuple[int, ...], info: VideoInfo) -> InputFile:
    return InputFile(uri, stat.size, stat.version, info.frames, info.height, info.width, info.fps, taken, info)


def _named(error: RowError, uris: dict[str, str]) -> str | None:
    """The URI of the file that a fault is about, by how its words begin."""
    return next((uri for beginning, uri in uris.items() if str(error).startswith(beginning)), None)


def _embedding(clip: Clip, bundle: Bundle, source: Source) -> tuple[ClipText | None, tuple[InputFile, ...]]:
    uri = clip.prompt_embedding
    if uri is None:
        return None, ()
    # Imports torch, which most clips' leaders never need.
    from cosmos_ray.models.text.embedding import check_suffix, load_embedding, raw_text_words

    suffix = os.path.splitext(uri)[1]
    check_suffix(suffix, uri)
    most = 8 * clip.n_views * TEXT_TOKENS * bundle.text_width + _ROOM
    raw_width = bundle.network.crossattn_proj_in_channels
    perhaps = raw_text_words(raw_width, bundle.text_width) if raw_width else ""
    check_size("prompt_embedding", uri, most, source, perhaps)
    with scratch() as folder:
        ((path, _),) = fetch_inputs("prompt_embedding", [uri], folder, source, most)
        data = read_regular(path, most)
    positive = load_embedding(data, suffix, clip.n_views, bundle.text_width, raw_width)
    # The negative prompt is text even then; whoever has the text encoder fills it in.
    version = hashlib.sha256(data).hexdigest()
    return ClipText(positive=positive, negative=None), (InputFile(uri, len(data), version),)
