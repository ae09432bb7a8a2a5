"""Which services the rows of a manifest name something of: of a rare one, a missing bucket is the row's fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.job_runs import write_manifest

from cosmos_ray.job.plan import make_plan
from cosmos_ray.ledger.ledger import LedgerState
from cosmos_ray.manifest.rows import RowDefaults

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
LOCAL = "/data/a.mp4"


def rare(tmp_path: Path, *rows: dict[str, Any]) -> tuple[str, ...]:
    numbered = [{"id": f"r{number}", "prompt": "a street", **row} for number, row in enumerate(rows)]
    return make_plan(write_manifest(tmp_path / "m.parquet", numbered), DEFAULTS, LedgerState.empty()).rare_stores


@pytest.mark.parametrize("uri", ["s3://b/a.mp4", "s3a://b/a.mp4", "S3://b/a.mp4"])
def test_a_service_that_fewer_than_half_of_the_rows_name_is_rare(tmp_path: Path, uri: str) -> None:
    local, far = {"input_video": LOCAL}, {"input_video": uri}
    assert rare(tmp_path, local, far, local) == ("s3",)
    assert rare(tmp_path, local, far) == ()
    assert rare(tmp_path, far, far, far) == ()
    assert rare(tmp_path, local, local) == ()


def test_buckets_of_one_service_count_together_however_they_are_written(tmp_path: Path) -> None:
    """A service that is not the one meant has none of them."""
    local = {"input_video": LOCAL}
    far = [{"input_video": f"{scheme}://b{number}/a.mp4"} for number, scheme in enumerate(("s3", "s3a", "s3"))]
    assert rare(tmp_path, local, local, *far) == ()
    azure = [{"input_video": f"{scheme}://c/a.mp4"} for scheme in ("az", "abfs", "abfss")]
    assert rare(tmp_path, local, local, *azure) == ()
    assert rare(tmp_path, local, *far[:2], *azure[:2]) == ("az", "s3")


def test_every_column_counts_and_each_row_once(tmp_path: Path) -> None:
    local = {"input_video": LOCAL}
    videos = {"input_videos": [f"gs://b/{number}.mp4" for number in range(7)]}
    frames = {"input_frames": {"front_wide": ["gs://b/a.png"]}, "n_views": 1}
    embedding = {"prompt": None, "prompt_embedding": "gs://b/a.pt"}
    for one in (videos, frames, embedding):
        assert rare(tmp_path, local, local, one) == ("gs",), one
    assert rare(tmp_path, local, local, videos, frames, embedding) == ()
