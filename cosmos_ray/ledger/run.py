"""`_cosmos_ray/run.json`: what this output is made from. Another job may go on with it only with the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import shown
from cosmos_ray.ledger.layout import RUN, TABLE
from cosmos_ray.ledger.newer import told
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.store.places import place_of
from cosmos_ray.store.storage import Storage


@dataclass(frozen=True)
class Run:
    """rows, clips: of the manifest as it was last read. sampling: what rows without settings of their own get.

    removed: settled clips whose rows that manifest did not have (any more), by outcome: `ok` or a failure class.
    approximations: those that were chosen. inputs: how inputs are taken, where it is not the default way.
    refiner: what refined words depend on, beside rows and pictures; {} where nothing is refined.
    guardrails: those that change videos, with their versions; others may come and go.
    manifest_version: what changes when a file of the manifest is written, without reading it (`version_of`).
    """

    manifest: str
    manifest_sha256: str
    rows: int
    clips: int
    model: str
    model_fingerprint: str
    numerics: str
    sampling: dict[str, Any]
    removed: dict[str, int] = field(default_factory=dict)
    approximations: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    manifest_version: str = ""
    refiner: dict[str, Any] = field(default_factory=dict)
    guardrails: dict[str, str] = field(default_factory=dict)


_RUN = TypeAdapter(Run)


def read_run(storage: Storage) -> Run | None:
    """None if no job has begun here. Raises UsageError for a file that is not ours.

    A manifest that is kept in the output itself is where the output is now.
    """
    try:
        facts = json.loads(storage.read(RUN))
        if isinstance(facts, dict) and (strange := sorted(facts.keys() - {one.name for one in fields(Run)})):
            raise ValueError(told(strange))
        Run(**facts)  # which knows its keys; of what type their values are, it does not look at
        run = _RUN.validate_python(facts)
        return replace(run, manifest=storage.uri_of(TABLE)) if run.manifest.endswith(f"/{TABLE}") else run
    except FileNotFoundError:
        return None
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise UsageError(f"{storage.uri_of(RUN)} is not a run of this version: {shown(keys, 200)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{storage.uri_of(RUN)} is not a run of this version: {error}") from error


def open_run(storage: Storage, run: Run) -> None:
    """Begin or go on with an output. Raises UsageError naming every setting that is not as it was.

    A manifest may have grown or been edited under its URI (rows are compared one by one), or moved unchanged.
    """
    known = read_run(storage)
    if known is not None:
        check_same(storage, known, run)
    if known != run:
        storage.write(RUN, json.dumps(asdict(run), indent=2, sort_keys=True).encode())


def check_same(storage: Storage, known: Run, run: Run) -> None:
    """Raises UsageError for a run that may not go on with what `known` has begun, with each difference."""
    fixed = ["model", "model_fingerprint", "numerics", "sampling", "approximations", "inputs", "refiner", "guardrails"]
    if known.manifest_sha256 != run.manifest_sha256 and place_of(known.manifest) != place_of(run.manifest):
        fixed.append("manifest")
    differences = [
        f"{name}: it has {getattr(known, name)!r}, this job {getattr(run, name)!r}"
        for name in fixed
        if getattr(known, name) != getattr(run, name)
    ]
    if differences:
        raise UsageError(f"{storage.uri} was made with other settings; use another output. " + "; ".join(differences))


def row_defaults_of(run: Run) -> RowDefaults:
    """What rows of this run could leave out."""
    return RowDefaults(**run.sampling)
