"""Ray Data's part: the stream of clips to make.

Blocks hold references only, never video bytes, so memory stays flat and a lost node costs nothing to redo. The tasks
are light and stay on the driver's node, asking for no CPU: they must neither wait for a node that gangs fill nor keep
one alive that gangs have left, as a task or a block in its memory does. (`ray.data.read_parquet` lists files in a task
of one CPU, whatever it is told; the row groups are therefore named here and read in a map.)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data

from cosmos_ray.ledger import LedgerState
from cosmos_ray.manifest import Clip, RowDefaults, clips_of_row, open_manifest, rows_of
from cosmos_ray.storage import filesystem_of, parent_uri

_ROWS_A_BATCH = 256
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


def _row_groups(manifest: str) -> list[dict[str, int]]:
    return [{"row_group": number} for number in range(open_manifest(manifest).metadata.num_row_groups)]


def _clips_to_make(
    groups: pa.Table, manifest: str, defaults: RowDefaults, done: list[ray.ObjectRef]
) -> Iterator[pa.Table]:
    fs, path = filesystem_of(manifest)
    settled: pa.Array = ray.get(done[0])
    base = parent_uri(manifest)
    with fs.open(path, "rb") as file:
        batches = pq.ParquetFile(file).iter_batches(_ROWS_A_BATCH, row_groups=groups["row_group"].to_pylist())
        for batch in batches:
            clips = [clip for row in rows_of(batch) for clip in clips_of_row(row, defaults, base)]
            ids = pa.array([clip.id for clip in clips], pa.string())
            table = pa.table({"clip": pa.array([clip.to_json() for clip in clips], pa.string())})
            yield table.filter(pc.invert(pc.is_in(ids, value_set=settled)))


def work_stream(manifest: str, defaults: RowDefaults, state: LedgerState) -> Iterator[Clip]:
    """Clips of the manifest that the ledger has not settled, in order, as fast as they are taken.

    The manifest has passed `plan.make_plan`: its columns and ids are right.
    """
    configure_ray_data()
    settled = pa.array([clip_id for clip_id, _ in state.settled()], pa.string())
    groups = _row_groups(manifest)
    clips = ray.data.from_items(groups, override_num_blocks=len(groups)).map_batches(
        _clips_to_make,
        batch_format="pyarrow",
        batch_size=None,
        num_cpus=0,
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        # In a list, so that tasks get the reference and read the ids in place from shared memory.
        fn_kwargs={"manifest": manifest, "defaults": defaults, "done": [ray.put(settled)]},
    )
    for row in clips.iter_rows():
        clip = Clip.from_json(row["clip"])
        yield replace(clip, generation=state.generation(clip.id))
