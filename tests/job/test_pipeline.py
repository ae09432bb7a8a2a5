"""Which rows of a row group are read: those in which something is left. Ray is imported and not started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.exceptions import RayTaskError
from support.outcomes import DEFAULTS

from cosmos_ray.errors import ManifestError
from cosmos_ray.job import pipeline
from cosmos_ray.job.pipeline import _in_our_words
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip


def test_of_each_row_group_the_rows_that_are_left_become_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches that are smaller than it, and of the file that is meant."""
    monkeypatch.setattr(pipeline, "_ROWS_A_BATCH", 2)
    for part in range(2):
        ids = [f"{part}{row}" for row in range(9)]
        pq.write_table(pa.table({"id": ids, "prompt": ids}), tmp_path / f"{part}.parquet", row_group_size=7)
    left = np.packbits([0, 0, 1, 0, 0, 1, 1]).tobytes(), np.packbits([0, 1]).tobytes()
    groups = pa.Table.from_pylist(
        [{"file": 1, "number": 0, "left": left[0]}, {"file": 0, "number": 1, "left": left[1]}]
    )
    tables = pipeline._clips_to_make(groups, open_manifest(str(tmp_path)), DEFAULTS)
    found = [Clip.from_json(text).id for table in tables for text in table["clip"].to_pylist()]
    assert found == ["12", "15", "16", "08"]


def test_no_clip_is_made_of_a_manifest_that_was_written_since_it_was_planned(tmp_path: Path) -> None:
    path, left = tmp_path / "m.parquet", np.packbits([1, 1]).tobytes()
    pq.write_table(pa.table({"id": ["a", "b"], "prompt": ["old", "old"]}), path)
    manifest = open_manifest(str(path))
    pq.write_table(pa.table({"id": ["a", "b"], "prompt": ["new", "new"]}), path)
    groups = pa.Table.from_pylist([{"file": 0, "number": 0, "left": left}])
    with pytest.raises(ManifestError, match="written while it was read"):
        next(pipeline._clips_to_make(groups, manifest, DEFAULTS))


@pytest.mark.parametrize(
    "raised", [ManifestError("there is no manifest at /m.parquet"), ValueError("a fault")], ids=["ours", "another"]
)
def test_what_a_task_raises_of_ours_is_raised_without_rays_page(raised: Exception) -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise RayTaskError("read", "a page of frames", raised).as_instanceof_cause()

    found = _in_our_words(rows())
    assert next(found) == 1
    with pytest.raises(type(raised)) as told:
        next(found)
    assert (told.value is raised) == isinstance(raised, ManifestError)
