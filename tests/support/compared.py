"""Outputs of the same rows under several settings, with real videos, made without a model."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.preview import encode_preview
from cosmos_ray.ledger.history import JobTook, write_job
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.compare.gather import Compared
from cosmos_ray.output.index import write_index
from cosmos_ray.store.storage import Storage
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, begin, clips, settle

HOSTILE = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">' \" </script>"
VIEWS = ("front_wide", "cross_right")
#: Settings: noise of their clips in levels of 255, and seconds of each clip; the first one takes twice as long.
SETTINGS = {"exact": (0, 10.0), "near": (3, 5.0), "far & <b>": (40, 2.5)}
#: Clips that have failed, and one that is left, under the last setting.
FAILED, LEFT = "drive-3", "drive-4"


@functools.cache
def pictures(view: int, noise: int, frames: int = 12) -> np.ndarray:
    t, y, x, c = np.meshgrid(np.arange(frames), np.arange(54), np.arange(96), np.arange(3), indexing="ij")
    smooth = 128 + 80 * np.sin(x / 11 + t / 2 + view) * np.cos(y / 9 + c)
    rough = np.random.default_rng(view).integers(-noise, noise + 1, smooth.shape) if noise else 0
    return np.clip(smooth + rough, 0, 255).astype(np.uint8)


@functools.cache
def videos(noise: int) -> tuple[list[bytes], tuple[bytes, bytes]]:
    """A clip's views, and its preview; clips of a setting look alike."""
    views = [pictures(view, noise) for view in range(len(VIEWS))]
    return [encode_mp4(frames, 10) for frames in views], encode_preview(views, 10)


def write_outputs(folder: Path, rows: int = 5, judged: str | None = None) -> tuple[list[Compared], list[str]]:
    """The outputs below the URI `judged`, if not said otherwise of a folder in `folder`, and the ids of the clips that
    they should have."""
    judged = judged or str(folder / "judged")
    asked: list[dict[str, Any]] = [
        {"id": f"drive-{i}", "prompt": HOSTILE if i == 1 else f"street {i}", "seed": i, "n_views": 2}
        for i in range(rows)
    ]
    manifest = write_manifest(folder / "m.parquet", asked)
    known = clips(manifest)
    settings = []
    for place, (name, (noise, seconds)) in enumerate(SETTINGS.items()):
        output = Storage(f"{judged}/s{place}")
        begin(output, manifest)
        for number, clip in enumerate(known.values()):
            if name.startswith("far") and clip.id == LEFT:
                continue
            if name.startswith("far") and clip.id == FAILED:
                settle(output, clip, "model", error=f"{HOSTILE} is not finite")
                continue
            views, preview = videos(noise)
            files = []
            for view, data in zip(VIEWS, views, strict=True):
                path = f"clips/{clip.id}/1/{view}.mp4"
                output.write(path, data)
                files.append(FileEntry(view, path, len(data), f"{name} {clip.id} {view}"))
            previews = []
            for suffix, data in zip((".mp4", ".jpg"), preview, strict=True):
                output.write(f"previews/{clip.id}/1{suffix}", data)
                previews.append(FileEntry("preview", f"previews/{clip.id}/1{suffix}", len(data), "s"))
            agreement = 0.5 - noise / 100
            settle(
                output, clip, files=tuple(files), previews=tuple(previews), seed=clip.seed, gang="gang-0001",
                finished=f"2026-01-01T00:00:{number:02d}.000+00:00",
                seconds={"denoise": seconds * (2 if number == 0 else 1)},
                scores={view: Scores(0, 0, 0, 1, 9, None, agreement) for view in VIEWS},
            )  # fmt: skip
        write_job(output, JobTook(1, "2026-01-01T00:00:00", "2026-01-01T00:01:00", 2, 1, "cuda", 100.0, None))
        write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
        settings.append(Compared(name, output.uri, {"sampling": {"num_steps": 20 - 5 * place}}))
    return settings, list(known)
