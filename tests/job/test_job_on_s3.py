"""A whole job whose manifest, inputs and output lie in a bucket: nothing of it is on a local disk."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import s3fs
from support import s3 as s3_server
from support.cluster import head_of_its_own
from support.fault_proxy import fault_proxy
from support.job_runs import SMALL, check_files, fake_config, records, write_manifest
from support.paths import ROOT

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.job.job import generate
from cosmos_ray.job.report import report
from cosmos_ray.job.reproduce import reproduce
from cosmos_ray.ledger.layout import REPRODUCED
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.output.export import export
from cosmos_ray.output.status import read_status
from cosmos_ray.store.storage import Storage, read_bytes

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_job_from_bucket_to_bucket_and_again(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no more rights than the page says; and no process of it lists the clips, however many there are."""
    with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        requests: list[str] = []
        proxy.fault = lambda method, path: requests.append(f"{method} {path}")
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()
        _from_bucket_to_bucket(f"{s3_server.server().make_bucket()}/job", tmp_path)
    s3fs.S3FileSystem.clear_instance_cache()
    listings = [unquote(request) for request in requests if "list-type=2" in request and "max-keys=1&" not in request]
    assert [one for one in listings if "/out/_cosmos_ray/ledger" in one]
    assert not [one for one in listings if "/out/clips" in one or "/out/&" in one]


def _from_bucket_to_bucket(s3: str, tmp_path: Path) -> None:
    bucket = Storage(s3)
    bucket.write("in/clip.mp4", encode_mp4(np.full((2, 64, 112, 3), 90, np.uint8), 10))
    rows = [
        {**SMALL, "id": "image", "prompt": "a road", "input_video": "clip.mp4"},
        {**SMALL, "id": "two", "prompt": "a road", "num_samples": 2},
        {**SMALL, "id": "missing", "prompt": "a road", "input_video": f"{s3}/in/nowhere.mp4"},
        {**SMALL, "id": "local", "prompt": "a road", "input_video": "/etc/hostname"},
    ]
    bucket.write("in/m.parquet", Path(write_manifest(tmp_path / "m.parquet", rows)).read_bytes())
    page = (ROOT / "docs" / "jobs.md").read_text()
    (policy,) = re.findall(r"```json\n(\{\"Version\".*?)```", page, re.DOTALL)
    s3_server.allow_only(s3, policy, "job/in")
    # Ray's workers take the bucket's address and keys from the environment that Ray is started in.
    with head_of_its_own(2, {}) as address:
        ray.init(address=address, log_to_driver=False)
        said: list[str] = []
        summary = generate(fake_config(f"{s3}/in/m.parquet", f"{s3}/out", gang_size=1), said.append)
        assert (summary.ok, summary.failed, summary.left) == (3, 2, 0), said
        again = generate(fake_config(f"{s3}/in/m.parquet", f"{s3}/out", gang_size=1), said.append)
        views = reproduce(f"{s3}/out", "image", said.append, assignments=["device=cpu"])
    assert (again.ok, again.failed) == (3, 2)
    assert said.count("5 clips: 3 done, 2 failed, 0 left: nothing to do") == 1
    assert len(views) == 2
    assert all(view.same_bytes for view in views)
    assert list(Storage(f"{s3}/out").list(REPRODUCED)) == []
    found = records(f"{s3}/out")
    assert "expected a file that exists" in (found["missing"].error or "")
    assert "a local path in a manifest that is not on a local disk" in (found["local"].error or "")
    check_files(f"{s3}/out")
    index = pq.read_table(pa.BufferReader(read_bytes(f"{s3}/out/index.parquet")))
    assert index["id"].to_pylist() == ["image", "two.s000", "two.s001"]
    assert index["video_cross_right"][0].as_py() == "clips/image/1/cross_right.mp4"
    assert read_status(f"{s3}/out")[0].left == 0
    assert report(f"{s3}/out", said.append) == 3
    assert export(f"{s3}/out", "webdataset", f"{s3}/shards", said.append).clips == 3
    assert len(Ledger(Storage(f"{s3}/out")).retry(["input"])) == 2
