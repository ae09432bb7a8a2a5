"""From a clip's references to a request that a generator can take: fetch, decode, resize, read embeddings, draw noise.

Runs in the gang's leader while the clip before is being denoised. Only the conditioning frames are decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.clip.video import probe, read_conditioning
from cosmos_ray.errors import RowError, column_error
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.noise import clip_noise
from cosmos_ray.store.storage import Stat, fetch_to_file, read_bytes
from cosmos_ray.words import counted


@dataclass(frozen=True)
class InputFile:
    """One input as it was read: `version` is the store's ETag or the file's mtime; video facts where it is a video."""

    uri: str
    size: int
    version: str
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None


@dataclass(frozen=True)
class Prepared:
    request: ClipRequest
    inputs: tuple[InputFile, ...]

    def request_hash(self, clip: Clip, model_fingerprint: str) -> str:
        """Of all that decides the video: the row, the versions of its inputs, the model and its numerics."""
        facts = [clip.row_hash, model_fingerprint, *(asdict(file) for file in self.inputs)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def prepare(clip: Clip, bundle: Bundle, attempt: int) -> Prepared:
    """Raises RowError for what the row is to blame for, OSError for a store that does not answer."""
    frames, videos = _conditioning(clip, bundle)
    text, embedding = _embedding(clip, bundle)
    request = ClipRequest(
        id=clip.id,
        prompts=clip.prompts,
        negative_prompt=clip.negative_prompt,
        n_views=clip.n_views,
        num_conditional_frames=clip.num_conditional_frames,
        seed=clip.seed,
        guidance=clip.guidance,
        num_steps=clip.num_steps,
        frames=frames,
        text=text,
        noise=clip_noise(clip.seed, bundle, clip.n_views),  # here it costs no GPU time
        attempt=attempt,
    )
    return Prepared(request, videos + embedding)


def _conditioning(clip: Clip, bundle: Bundle) -> tuple[np.ndarray | None, tuple[InputFile, ...]]:
    if clip.num_conditional_frames == 0:
        return None, ()
    column = "input_video" if len(clip.inputs) == 1 and clip.n_views != 1 else "input_videos"
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        paths, files = [], []
        for number, uri in enumerate(clip.inputs):
            path = Path(folder) / f"{number}.mp4"
            stat = _fetch(uri, path, column)
            try:
                info = probe(path)
            except RowError as error:
                raise RowError(f"column `{column}`: {uri}: {error}", error.failure_class) from error
            files.append(InputFile(uri, stat.size, stat.version, info.frames, info.height, info.width, info.fps))
            paths.append(path)
        source = paths[0] if len(paths) == 1 else paths
        size = (bundle.height, bundle.width)
        try:
            frames = read_conditioning(source, clip.n_views, clip.num_conditional_frames, size)
        except RowError as error:
            shown = clip.inputs[0] if len(clip.inputs) == 1 else counted(len(clip.inputs), "video")
            raise RowError(f"column `{column}`: {shown}: {error}", error.failure_class) from error
    return frames, tuple(files)


def _fetch(uri: str, path: Path, column: str) -> Stat:
    try:
        return fetch_to_file(uri, path)
    except FileNotFoundError:
        raise column_error(column, uri, "a file that exists") from None
    except IsADirectoryError:
        raise column_error(column, uri, "a file, not a folder") from None


def _embedding(clip: Clip, bundle: Bundle) -> tuple[ClipText | None, tuple[InputFile, ...]]:
    uri = clip.prompt_embedding
    if uri is None:
        return None, ()
    from cosmos_ray.models.text.embedding import load_embedding  # imports torch, which most clips' leaders never need

    try:
        data = read_bytes(uri)
    except FileNotFoundError:
        raise column_error("prompt_embedding", uri, "a file that exists") from None
    positive = load_embedding(data, os.path.splitext(uri)[1], clip.n_views, bundle.text_width)
    # The negative prompt is text even then; whoever has the text encoder fills it in.
    version = hashlib.sha256(data).hexdigest()
    return ClipText(positive=positive, negative=None), (InputFile(uri, len(data), version),)
