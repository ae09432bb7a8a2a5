"""What each job of an output took: `_cosmos_ray/jobs/<epoch>.json`, written now and then while it runs, and at its end.

Nothing decides by it; it is what a report can tell of time and GPUs. Outputs of 0.1.0 have none.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass

from cosmos_ray.ledger.layout import JOBS
from cosmos_ray.store.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobTook:
    """One job. began, seen: ISO 8601, UTC; seen: when this was written last. gangs: how many at most.

    gpu_seconds: that its gangs held, from their placement to their release; on CPUs a rank counts as a GPU.
    planned_gpu_seconds: of the clips that it was to make; None where times of the model are not known.
    """

    epoch: int
    began: str
    seen: str
    gang_size: int
    gangs: int
    device: str
    gpu_seconds: float
    planned_gpu_seconds: float | None


def write_job(storage: Storage, job: JobTook) -> None:
    """In place of what was written of this job before."""
    storage.write(f"{JOBS}/{job.epoch:08d}.json", json.dumps(asdict(job), sort_keys=True).encode())


def read_jobs(storage: Storage) -> list[JobTook]:
    """In their order; what cannot be read is left out."""
    found = []
    for path in sorted(storage.list(JOBS)):
        try:
            found.append(JobTook(**json.loads(storage.read(path))))
        except (OSError, TypeError, ValueError) as error:
            log.warning("%s: %s", path, error)
    return found
