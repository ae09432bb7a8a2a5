"""A comparison whose manifest and outputs lie in a bucket, and what people ask of a setting's output there.

With `--limit`, so that each output knows of rows that nobody makes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from support.cluster import head_of_its_own
from support.command_line import Answer, assert_one_line
from support.job_runs import FAST, SMALL, check_files, records, write_manifest

from cosmos_ray.job.compare import compare
from cosmos_ray.job.compared import read_settings
from cosmos_ray.job.reproduce import reproduce
from cosmos_ray.ledger.layout import REPRODUCED
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.store.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.long]  # its siblings: test_compare.py, ../output/compare/test_in_a_bucket.py

ROWS = [
    {**SMALL, "id": "a", "prompt": "a road", "weather": "rain"},
    {**SMALL, "id": "b", "prompt": "[fail=model]", "weather": "fog"},
    {**SMALL, "id": "c", "prompt": "a bridge", "weather": "sun"},
    {**SMALL, "id": "beyond", "prompt": "a tunnel", "weather": "sun"},
]
SETTINGS = {"many": "sampling: {num_steps: 6}", "few": "sampling: {preset: fast}"}


def test_clips_of_a_setting_are_retried_reproduced_and_exported(
    s3: str, tmp_path: Path, cosmos_ray: Callable[..., Answer]
) -> None:
    bucket, home, few = Storage(s3), f"{s3}/judged", f"{s3}/judged/few"
    bucket.write("in/m.parquet", Path(write_manifest(tmp_path / "m.parquet", ROWS)).read_bytes())
    files = [tmp_path / f"{name}.yaml" for name in SETTINGS]
    for file, text in zip(files, SETTINGS.values(), strict=True):
        file.write_text(text)
    common = {
        "manifest": f"{s3}/in/m.parquet", "output": home, "model": "fake", "device": "cpu", "gang_size": 1, "limit": 3,
        "max_failed": "1.0", **FAST,
    }  # fmt: skip
    settings = read_settings(common, files)
    said: list[str] = []
    # Ray's workers take the bucket's address and keys from the environment that Ray is started in.
    with head_of_its_own(2, {}) as address:
        ray.init(address=address, log_to_driver=False)
        done = compare(settings, home, said.append)
        assert [(one.ok, one.failed) for one in done.summaries] == [(2, 1), (2, 1)], said
        before = records(few)
        assert cosmos_ray("retry", few).out == "1 clip will be made again\n  b\n"
        assert_one_line(cosmos_ray("retry", few, "--id", "beyond"), 2, "has no such clip that was made or failed")
        assert cosmos_ray("retry", few, "--id", "c").out == "1 clip will be made again\n  c\n"
        compare(settings, home, said.append)
        state = Ledger(Storage(few)).state()
        after = {one.id: one for one in RecordReader(Storage(few), state).newest(["a", "b", "c"])}
        assert {name: (one.generation, one.status) for name, one in after.items()} == {
            "a": (0, "ok"), "b": (1, "failed"), "c": (1, "ok"),
        }  # fmt: skip
        assert after["a"] == before["a"]
        views = reproduce(few, "c", said.append, assignments=["device=cpu"])
        assert [view.same_bytes for view in views] == [True, True]
        assert list(Storage(few).list(REPRODUCED)) == []
    check_files(f"{home}/many")
    rows = pq.read_table(pa.BufferReader(bucket.read("judged/compare.parquet"))).to_pylist()
    assert [(row["id"], row["setting"]) for row in rows] == [(id, name) for id in "abc" for name in SETTINGS]
    assert [row["psnr_db"] for row in rows if row["setting"] == "few"] == [100.0, None, 100.0]
    for layout in ("webdataset", "rds-hq", "lerobot"):
        command = ("export", few, "--format", layout, "--to", f"{s3}/{layout}", "--where", "weather <> 'snow'")
        assert cosmos_ray(*command).code == 0
        assert " 2 clips, " in cosmos_ray(*command, "--verify").out
    assert cosmos_ray("report", few, f"{home}/many").out == f"{home}/report.html\n"
    page = bucket.read("judged/report.html").decode()
    assert page.count(f"cosmos-ray retry {few} --class model") == 1
    assert bucket.exists("judged/compare.html")
