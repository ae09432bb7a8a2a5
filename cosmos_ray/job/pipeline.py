"""Ray Data's part: the stream of clips to make.

Blocks hold references only, never video bytes, so memory stays flat and a lost node costs nothing to redo. The tasks
are light and stay on the driver's node, asking for no CPU: they must neither wait for a node that gangs fill nor keep
one alive that gangs have left, as a task or a block in its memory does. (`ray.data.read_parquet` lists files in a task
of one CPU, whatever it is told; the row groups are therefore named here and read in a map.)
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayTaskError

from cosmos_ray.errors import CosmosRayError
from cosmos_ray.job.plan import RowGroup
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import Manifest, row_group_batches
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row, rows_of

T = TypeVar("T")

_ROWS_A_BATCH = 256
#: Tasks that ask for no CPU would all start at once, a process each.
_READERS = 2
#: Small blocks leave a task as soon as they are full: the first clip need not wait for a whole row group.
_BLOCK_BYTES = 256 * 1024


def configure_ray_data() -> None:
    """Before the first dataset is made: a dataset keeps a copy of these settings."""
    context = ray.data.DataContext.get_current()
    context.execution_no_progress_timeout_s = -1  # gangs may work for hours before they ask for the next block
    context.target_max_block_size = _BLOCK_BYTES
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\.data\.")  # advice on tuning, in the middle of a job's log


def _clips_to_make(groups: pa.Table, manifest: Manifest, defaults: RowDefaults) -> Iterator[pa.Table]:
    for group in groups.to_pylist():
        file = manifest.files[group["file"]]
        left = np.unpackbits(np.frombuffer(group["left"], np.uint8), count=file.rows[group["number"]]).astype(bool)
        first = 0
        for batch in row_group_batches(file, group["number"], manifest.schema, _ROWS_A_BATCH):
            rows = rows_of(batch.filter(pa.array(left[first : first + batch.num_rows])))
            first += batch.num_rows
            if rows:
                clips = [clip.to_json() for row in rows for clip in clips_of_row(row, defaults, file.base)]
                yield pa.table({"clip": pa.array(clips, pa.string())})


def _in_our_words(rows: Iterable[T]) -> Iterator[T]:
    """A task's own error (the manifest is gone meanwhile, or damaged), and not Ray's page about where it was raised."""
    try:
        yield from rows
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, CosmosRayError) else error) from None


def work_stream(
    manifest: Manifest, work: Sequence[RowGroup], defaults: RowDefaults, state: LedgerState
) -> Generator[Clip, None, None]:
    """Clips of the manifest that the ledger has not settled, as fast as they are taken.

    work: from `plan.survey`, so its columns and ids are right; state: as new as that, or newer.
    Close it before Ray is shut down.
    """
    configure_ray_data()
    if not work:
        return
    numbers = {file: number for number, file in enumerate(manifest.files)}
    groups = [{"file": numbers[one.file], "number": one.number, "left": one.left} for one in work]
    clips = ray.data.from_items(groups, override_num_blocks=len(groups)).map_batches(
        _clips_to_make,
        batch_format="pyarrow",
        batch_size=None,
        num_cpus=0,
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        compute=ray.data.TaskPoolStrategy(size=_READERS),
        fn_kwargs={"manifest": manifest, "defaults": defaults},
    )
    for row in _in_our_words(clips.iter_rows()):
        clip = Clip.from_json(row["clip"])
        if not state.is_settled(clip.id):  # another sample of its row was left
            yield replace(clip, generation=state.generation(clip.id))
