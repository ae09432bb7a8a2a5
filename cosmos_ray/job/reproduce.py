"""A committed clip made once more, from its sidecar alone, and how close the two are.

It is a job of one row, like the one that made the clip: on a gang as large, with the same model, numerics and
approximations, so on the same hardware the files should be the same bytes. Another gang size, kernel or version of a
library rounds differently; the frames tell how much, though not below what encoding itself loses, about 40 dB. Nothing
of the output is changed: the work goes into a folder of its own, which is removed, or where it is told to.
"""

from __future__ import annotations

import io
import json
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.pictures import PNG, read_picture
from cosmos_ray.config import GenerateConfig, build_config
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.job.model import bundle_of
from cosmos_ray.ledger.layout import REPRODUCED
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.ledger.rows import read_committed
from cosmos_ray.ledger.run import read_run
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import comes_with_us
from cosmos_ray.output.status import run_of
from cosmos_ray.store.storage import Storage


@dataclass(frozen=True)
class Difference:
    """Of a view's two videos. psnr_db: of the frames, 8 bits a colour; None if they are equal. max_levels: the largest
    difference of a colour, of 255."""

    view: str
    same_bytes: bool
    psnr_db: float | None
    max_levels: int

    def in_words(self) -> str:
        if self.psnr_db is None:
            return "the same bytes" if self.same_bytes else "the same frames in other bytes"
        return f"{self.psnr_db:.1f} dB, colours at most {self.max_levels} of 255 levels apart"


def reproduce(
    output: str,
    clip_id: str,
    say: Callable[[str], None],
    *,
    model: str | None = None,
    gang_size: int | None = None,
    to: str | None = None,
    assignments: Sequence[str] = (),
) -> list[Difference]:
    """Make the clip again and compare it view by view.

    model: where its bundle is, if the name of it is not enough. gang_size: None for that of the gang that made it.
    to: URI of a folder in which the new clip stays. assignments: settings of the job, as `--set` takes them.

    say: hears of the gang and the clip on their way, and what is not as it was.

    Raises UsageError if there is no such clip, its sidecar is not what was committed, or the model is another one;
    CosmosRayError if the clip cannot be made again. What else is not as it was (inputs, versions, gang) is said.
    """
    from cosmos_ray.job.job import work_through

    storage = Storage(output)
    read_run(storage)  # which refuses one of a newer release
    record = _record(storage, clip_id)
    sidecar = _sidecar(storage, record)
    clip = Clip.from_json(json.dumps(sidecar["clip"]))
    folder = f"{REPRODUCED}/{clip_id}.{secrets.token_hex(4)}"
    work = Storage(to or storage.uri_of(folder))
    flags = {
        "manifest": work.uri_of("manifest.parquet"),
        "output": work.uri_of("output"),
        "model": model or _model_of(sidecar),
        "gang_size": gang_size or sidecar["gang"]["size"],
        "sampling": {"numerics": sidecar["model"]["numerics"], **sidecar["approximations"]},
        "inputs": sidecar.get("input_rules", {"rate": "as_is"}),  # 0.1.0 knew no other
        "guardrails": sidecar.get("guardrails", {}).get("settings", {}),
    }
    config = build_config(flags, None, assignments)
    _check_model(config, sidecar)
    try:
        work.write("manifest.parquet", _manifest_of(clip))
        refined = tuple(sidecar.get("refined_prompts", ()))  # nobody is asked again: a clip's words are the clip's
        words = {clip_id: refined} if refined else {}
        work_through(config, say, lambda _: None, words)  # its output is not kept, and of no interest
        made = Storage(config.output)
        again = Ledger(made).find(clip_id, 0)
        if again is None or again.status != "ok":
            raise CosmosRayError(f"clip `{clip_id}` cannot be made again: {again.error if again else 'it is left'}")
        for line in _other_circumstances(sidecar, _sidecar(made, again)):
            say(line)
        others = [entry.view for entry in record.files if entry.view not in clip.cameras]
        return [_compare(view, storage, record, made, again) for view in (*clip.cameras, *others)]
    finally:
        if to is None:
            storage.delete_folder(folder)


def _record(storage: Storage, clip_id: str) -> Record:
    settled = Ledger(storage).state().records.get(clip_id)
    record = Ledger(storage).find(clip_id, settled.generation) if settled else None
    if record is None:
        run_of(storage)  # a folder that is no output at all is said to be none
        raise UsageError(f"{storage.uri} has no clip `{clip_id}`")
    if record.status != "ok":
        raise UsageError(f"clip `{clip_id}` of {storage.uri} was not made ({record.failure_class}): {record.error}")
    return record


def _sidecar(storage: Storage, record: Record) -> dict[str, Any]:
    assert record.sidecar is not None, "a clip that is ok has one"
    try:
        found: dict[str, Any] = json.loads(read_committed(storage, record.sidecar))
    except ValueError as error:
        raise UsageError(f"{storage.uri}: {error}") from error
    return found


def _model_of(sidecar: dict[str, Any]) -> str:
    """A name that comes with this package: a sidecar knows no folders, and would not be believed."""
    name: str = sidecar["model"]["name"]
    if not comes_with_us(name):
        raise UsageError(
            f"the clip was made by a bundle named `{name}`: --model must say in which folder it is (or which model it "
            "is but for the checkpoint that `--set model.dit=FILE` names)"
        )
    return name


def _check_model(config: GenerateConfig, sidecar: dict[str, Any]) -> None:
    bundle = bundle_of(config)
    if bundle.fingerprint != sidecar["model"]["fingerprint"]:
        raise UsageError(
            f"model {config.model} is not the one that made the clip: found fingerprint {bundle.fingerprint}, expected "
            f"{sidecar['model']['fingerprint']} of `{sidecar['model']['name']}` (--model takes the URI of a bundle's "
            "folder; `resolution` and settings of the text encoder count too)"
        )


def _manifest_of(clip: Clip) -> bytes:
    """A manifest whose only row asks for exactly this clip."""
    column = clip.input_column
    row = {
        "id": clip.id,
        "prompt": clip.prompts[0] if len(clip.prompts) == 1 else list(clip.prompts) or None,
        "prompt_embedding": clip.prompt_embedding,
        "input_video": clip.inputs[0] if column == "input_video" else None,
        "input_videos": list(clip.inputs) if clip.inputs and column == "input_videos" else None,
        "input_frames": dict(zip(clip.cameras, map(list, clip.frames), strict=True)) if clip.frames else None,
        "control_videos": list(clip.controls) or None,
        "control_weight": clip.control_weight if clip.controls else None,
        "num_chunks": clip.num_chunks if clip.num_chunks > 1 else None,
        "chunk_overlap": clip.chunk_overlap,
        "views": list(clip.views) or None,
        **{
            name: getattr(clip, name)
            for name in ("num_conditional_frames", "negative_prompt", "guidance", "seed", "num_steps", "n_views", "fps")
        },
    }
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row]), buffer)
    return buffer.getvalue()


def _other_circumstances(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """A line for people for each thing that is not as it was."""
    for old, found in zip(before["inputs"], now["inputs"], strict=True):
        new = {name: found.get(name) for name in old}  # an earlier release told less
        if old != new:
            yield f"input {new['uri']} is not as it was: {_changes(old, new)}"
    if before["versions"] != now["versions"]:
        yield f"versions: {_changes(before['versions'], now['versions'])}"
    gangs = [{name: sidecar["gang"][name] for name in ("size", "device")} for sidecar in (before, now)]
    if gangs[0] != gangs[1]:
        yield f"gang: {_changes(*gangs)}"


def _changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(f"{name} was {old.get(name)}, is {new.get(name)}" for name in names)


def _frames(data: bytes) -> np.ndarray:
    """uint8 [T, H, W, 3] of a view's file, which may be a picture."""
    return read_picture(data)[None] if data.startswith(PNG) else decode_mp4(data)


def _compare(view: str, storage: Storage, record: Record, made: Storage, again: Record) -> Difference:
    old, new = (next(entry for entry in one.files if entry.view == view) for one in (record, again))
    videos = [storage.read(old.path), made.read(new.path)]
    same_bytes = videos[0] == videos[1]
    frames = [_frames(video).astype(np.int16) for video in videos]
    if frames[0].shape != frames[1].shape:
        raise CosmosRayError(f"{old.path} has frames of {frames[0].shape}, made again {frames[1].shape}")
    difference = frames[0] - frames[1]
    mean_square = float(np.square(difference, dtype=np.float64).mean())
    psnr_db = 10 * math.log10(255**2 / mean_square) if mean_square else None
    return Difference(view, same_bytes, psnr_db, int(np.abs(difference).max()))
