"""The last steps of a clip: verify its files, write the sidecar, commit the record. In that order."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

from cosmos_ray.clip.check_rules import Mark
from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.settings import Settings
from cosmos_ray.gang.prepare import Prepared
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.layout import CLIPS, SIDECAR
from cosmos_ray.ledger.lease import check_epoch
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record, Try, now
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store.storage import Storage
from cosmos_ray.version import VERSION

_PACKAGES = ("torch", "ray", "diffusers", "transformers", "numpy", "imageio-ffmpeg")


@dataclass(frozen=True)
class Made:
    """A clip that was made, and how. seconds: by phase; files: as the ranks made them, previews: small ones of them;
    first_step: 0, or the step that a stored state was gone on from. scores: by view; tries: as which it was made
    before. blurred: regions of a view that guardrails have made unrecognisable."""

    clip: Clip
    attempt: int
    prepared: Prepared
    gang: str
    node: str
    started: str
    peak_memory_bytes: int
    seconds: dict[str, float]
    files: tuple[FileEntry, ...] = field(default=())
    previews: tuple[FileEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    first_step: int = 0
    scores: dict[str, Scores] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    tries: tuple[Try, ...] = ()
    blurred: dict[str, int] = field(default_factory=dict)

    def as_try(self) -> Try:
        return Try(self.clip.seed, tuple(mark.in_words() for mark in self.marks), self.scores)


def clip_folder(clip: Clip, attempt: int) -> str:
    """Each attempt has a folder of its own, so no attempt ever rewrites what another has stored."""
    return attempt_folder(clip.id, attempt)


def attempt_folder(clip_id: str, attempt: int) -> str:
    return f"{CLIPS}/{clip_id}/{attempt}"


def commit_made(storage: Storage, record: Record, sidecar: dict[str, Any], is_marked_late: bool = False) -> Record:
    """The record of a clip whose files are stored: this one, or the one that was there already.

    record: as `record_of` makes it, of the lease whose epoch it has. sidecar: as `sidecar_of` does. is_marked_late: see
    `Ledger.commit`. Raises OSError if a file is not as it was stored, LeaseLost if another job has taken the output
    over.
    """
    _verify(storage, record)
    data = json.dumps(sidecar, indent=2, sort_keys=True).encode()
    path = f"{attempt_folder(record.id, record.attempt)}/{SIDECAR}"
    storage.write(path, data)
    check_epoch(storage, record.epoch)
    entry = FileEntry("", path, len(data), hashlib.sha256(data).hexdigest())
    return Ledger(storage).commit(replace(record, finished=now(), sidecar=entry), is_marked_late)


def record_of(spec: GangSpec, made: Made) -> Record:
    """Without what comes last: sidecar and end."""
    missing = sorted(set(made.clip.cameras) - {entry.view for entry in made.files})
    if missing:
        raise RuntimeError(f"no rank published {', '.join(missing)}")
    words = made.prepared.words
    return Record(
        id=made.clip.id,
        generation=made.clip.generation,
        status="ok",
        failure_class=None,
        attempt=made.attempt,
        error=None,
        row_hash=made.clip.row_hash,
        epoch=spec.epoch,
        request_hash=made.prepared.request_hash(made.clip, spec.fingerprint),
        gang=made.gang,
        node=made.node,
        started=made.started,
        seconds=_rounded(made.seconds),
        files=made.files,
        previews=made.previews,
        warnings=made.warnings,
        seed=made.clip.seed,
        scores=made.scores,
        marks=made.as_try().marks,
        tries=made.tries,
        settings=_settings(spec, made.clip),
        refined_prompts=words.refined if words else (),
        guardrails=tuple(f"{name} {version}" for name, version in spec.guardrails.versions.items()),
        blurred=made.blurred,
    )


def _settings(spec: GangSpec, clip: Clip) -> Settings:
    bundle = spec.bundle
    overlap = bundle.recipe.overlap(clip.num_conditional_frames, clip.chunk_overlap)
    frames, height, width, _ = bundle.shape_of(clip.cameras[0], clip.num_chunks, overlap)
    return Settings(
        bundle.name, clip.guidance, clip.num_steps, clip.cameras, clip.negative_prompt,
        spec.approximations.in_effect, f"{width}x{height}", frames, clip.fps, spec.preset, spec.numerics,
        bundle.sampling.camera_prefix, clip.num_conditional_frames,
    )  # fmt: skip


def _verify(storage: Storage, record: Record) -> None:
    for entry in record.files:
        found = storage.stat(entry.path)
        if found is None or found.size != entry.size:
            raise OSError(f"{entry.path}: stored {entry.size} bytes, found {found.size if found else 'nothing'}")


def sidecar_of(spec: GangSpec, made: Made) -> dict[str, Any]:
    """What becomes `clip.json`: all that `reproduce` needs, and that people want to know of the clip."""
    return {
        "clip": asdict(made.clip),
        "attempt": made.attempt,
        "first_step": made.first_step,
        "inputs": [asdict(file) for file in made.prepared.inputs],
        "input_rules": spec.inputs.rules.of(spec.bundle.recipe).chosen,
        "warnings": list(made.warnings),
        "scores": {view: of.as_dict() for view, of in made.scores.items()},
        "marks": list(made.as_try().marks),
        "guardrails": {**spec.guardrails.as_json(), "blurred": made.blurred},
        "tries": [asdict(one) for one in made.tries],
        "request_hash": made.prepared.request_hash(made.clip, spec.fingerprint),
        **_words(spec, made),
        "model": {"name": spec.bundle.name, "fingerprint": spec.bundle.fingerprint, "numerics": spec.numerics},
        "approximations": spec.approximations.chosen,
        "gang": {
            "name": made.gang,
            "size": spec.gang_size,
            "device": spec.device,
            "node": made.node,
            "peak_memory_bytes": made.peak_memory_bytes,
        },
        "network_calls_a_step": 2 if spec.bundle.recipe.is_guided(made.clip.negative_prompt) else 1,
        "versions": _versions(),
        "seconds": _rounded(made.seconds),
        "files": [asdict(entry) for entry in made.files],
    }


def _words(spec: GangSpec, made: Made) -> dict[str, Any]:
    """What the clip was made of beside its row: the refined prompts, and how they were come by; empty without."""
    words = made.prepared.words
    if words is None:
        return {"refined_prompts": [], "refiner": {}}
    how = {"how": words.how, "fault": words.fault}
    return {"refined_prompts": list(words.refined), "refiner": {**spec.refining.deciding, **how}}


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {phase: round(value, 6) for phase, value in seconds.items()}


def _versions() -> dict[str, str]:
    installed = {package: version(package) for package in _PACKAGES if importlib.util.find_spec(_module(package))}
    return {"python": platform.python_version(), "cosmos-ray": VERSION, **installed}


def _module(package: str) -> str:
    return package.replace("-", "_")
