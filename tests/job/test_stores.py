"""Which services the rows of a manifest name something of: of a rare one, a missing bucket is the row's fault. Whether
they read the manifest's own folder, which every node then has to have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.job_runs import write_manifest

from cosmos_ray.job.plan import make_plan, manifest_clips, survey
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.store.storage import Storage

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


def reads_home(tmp_path: Path, *rows: dict[str, Any], state: LedgerState | None = None) -> bool:
    numbered = [{"id": f"r{number}", "prompt": "a street", **row} for number, row in enumerate(rows)]
    manifest = open_manifest(write_manifest(tmp_path / "m.parquet", numbered))
    return survey(manifest, DEFAULTS, LedgerState.empty() if state is None else state).reads_home


@pytest.mark.parametrize(
    "row",
    [
        {"input_video": "a.mp4"},
        {"input_videos": [f"clips/{number}.mp4" for number in range(7)]},
        {"input_frames": {"front_wide": ["a.png"]}, "n_views": 1},
        {"prompt": None, "prompt_embedding": "a.pt"},
        {"input_video": "file://HERE/a.mp4"},
        {"input_video": "HERE/below/a.mp4"},
    ],
    ids=["video", "videos", "frames", "embedding", "uri", "absolute"],
)
def test_a_row_that_names_a_file_below_the_manifests_folder_reads_it(tmp_path: Path, row: dict[str, Any]) -> None:
    here = {name: one.replace("HERE", str(tmp_path)) if isinstance(one, str) else one for name, one in row.items()}
    assert reads_home(tmp_path, {}, here)


def test_one_file_of_rows_that_read_it_is_enough(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for name, uri in (("a", "s3://b/a.mp4"), ("b", "b.mp4"), ("c", "s3://b/c.mp4")):
        write_manifest(tmp_path / "m" / f"{name}.parquet", [{"id": name, "prompt": "p", "input_video": uri}])
    assert survey(open_manifest(str(tmp_path / "m")), DEFAULTS, LedgerState.empty()).reads_home


def test_rows_of_texts_of_stores_of_other_folders_and_with_faults_do_not(tmp_path: Path) -> None:
    """A manifest that only the driver can see is enough for these."""
    beside = f"{tmp_path}beside/a.mp4"
    wrong = {"input_video": "a.mp4", "seed": -1}
    assert not reads_home(tmp_path, {}, {"input_video": "s3://b/a.mp4"}, {"input_video": LOCAL}, wrong)
    assert not reads_home(tmp_path, {"input_video": beside}, {"input_frames": {"front_wide": [LOCAL]}, "n_views": 1})


def test_nor_do_rows_of_which_nothing_is_left(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "out"))
    row = {"input_video": "a.mp4"}
    reads_home(tmp_path, row)  # which writes the manifest
    (clip,) = manifest_clips(str(tmp_path / "m.parquet"), DEFAULTS)
    Ledger(storage).commit(Record(clip.id, 0, "ok", None, 1, None, clip.row_hash, 1))
    assert not reads_home(tmp_path, row, state=Ledger(storage).state())
