"""What a job would do: the whole manifest checked, and the ledger subtracted, without a GPU and without Ray."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from cosmos_ray.config import GenerateConfig, SamplingConfig
from cosmos_ray.errors import ManifestError
from cosmos_ray.ledger import LedgerState
from cosmos_ray.manifest import Clip, RowDefaults, clips_of_row, read_rows
from cosmos_ray.models.bundle import Bundle
from cosmos_ray.storage import filesystem_of, parent_uri

_EXAMPLES = 20
_CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """rows: of the manifest. clips: what they ask for. invalid: clips that will fail for what their row says.
    done, failed: settled by the ledger. left: what a job would do. changed: settled clips whose row was edited since.
    unguided: clips without a negative prompt: one network call a step, and nothing for guidance to act on.
    """

    rows: int
    clips: int
    invalid: int
    done: int
    failed: int
    left: int
    changed: tuple[str, ...]
    invalid_examples: tuple[tuple[str, str], ...]
    unguided: int = 0


def row_defaults(bundle: Bundle, sampling: SamplingConfig) -> RowDefaults:
    """What rows may leave out: the job's settings, else the bundle's."""

    def first(set_by_job: float | str | None, of_bundle: float | str) -> float | str:
        return of_bundle if set_by_job is None else set_by_job

    return RowDefaults(
        n_views=bundle.n_views,
        num_steps=int(first(sampling.num_steps, bundle.sampling.num_steps)),
        guidance=float(first(sampling.guidance, bundle.sampling.guidance)),
        negative_prompt=str(first(sampling.negative_prompt, bundle.sampling.negative_prompt)),
    )


def manifest_clips(manifest: str, defaults: RowDefaults) -> Iterator[Clip]:
    """Every clip of the manifest. Raises ManifestError for ids that are illegal, repeated or collide after fan-out."""
    base = parent_uri(manifest)
    seen: dict[str, int] = {}
    for number, row in enumerate(read_rows(manifest)):
        try:
            clips = clips_of_row(row, defaults, base)
        except ManifestError as error:
            raise ManifestError(f"row {number}: {error}") from None
        for clip in clips:
            if clip.id in seen:
                raise ManifestError(
                    f"row {number}: column `id`: found {row['id']!r}, whose clip {clip.id!r} is also asked for by row "
                    f"{seen[clip.id]}; expected ids that differ"
                )
            seen[clip.id] = number
            yield clip


def make_plan(manifest: str, defaults: RowDefaults, state: LedgerState) -> Plan:
    """Read and check the whole manifest. Raises ManifestError for what makes it unusable."""
    rows: set[str] = set()
    clips = invalid = done = failed = unguided = 0
    changed: list[str] = []
    examples: list[tuple[str, str]] = []
    for clip in manifest_clips(manifest, defaults):
        rows.add(clip.row_id)
        clips += 1
        unguided += clip.error is None and not clip.negative_prompt
        if clip.error is not None:
            invalid += 1
            if len(examples) < _EXAMPLES:
                examples.append((clip.id, clip.error))
        if not state.is_settled(clip.id):
            continue
        record = state.records[clip.id]
        done += record.ok
        failed += not record.ok
        if record.row_hash != clip.row_hash:
            changed.append(clip.id)
    left = clips - done - failed
    return Plan(len(rows), clips, invalid, done, failed, left, tuple(changed), tuple(examples), unguided)


def plan_for(config: GenerateConfig, bundle: Bundle, state: LedgerState) -> Plan:
    """`make_plan` with a job's settings."""
    return make_plan(config.manifest, row_defaults(bundle, config.sampling), state)


def manifest_sha256(manifest: str) -> str:
    """Of the file's bytes."""
    fs, path = filesystem_of(manifest)
    digest = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
