"""A comparison in a bucket: its tables and its page, and what is asked of each setting's output there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command_line import Answer, assert_one_line
from support.compared import FAILED, SETTINGS, write_outputs

from cosmos_ray.output.compare.build import write_comparison
from cosmos_ray.store.storage import Storage

pytestmark = pytest.mark.slow


def test_a_comparison_in_a_bucket_and_the_outputs_in_it(
    s3: str, tmp_path: Path, cosmos_ray: Callable[..., Answer]
) -> None:
    judged = Storage(f"{s3}/judged")
    settings, ids = write_outputs(tmp_path, rows=4, judged=judged.uri)
    assert write_comparison(judged, settings, ids, lambda _: None).page == f"{judged.uri}/compare.html"
    rows = pq.read_table(pa.BufferReader(judged.read("compare.parquet"))).to_pylist()
    measured = [row["setting"] for row in rows if row["psnr_db"] is not None]
    first, near, far = SETTINGS
    assert (measured.count(first), measured.count(near), measured.count(far)) == (0, 4, 3)
    page = judged.read("compare.html").decode()
    (name,) = (path.rpartition("/")[2] for path in judged.list("compare"))
    assert name in page

    output = f"{judged.uri}/s2"
    assert json.loads(cosmos_ray("status", output, "--json").out)["failed"] == 1
    assert cosmos_ray("report", output).code == 0
    assert cosmos_ray("report", f"{judged.uri}/s0", f"{judged.uri}/s1").out == f"{judged.uri}/report.html\n"
    assert judged.exists("compare.html"), "the page of several outputs is another one"
    assert cosmos_ray("retry", output).out == f"1 clip will be made again\n  {FAILED}\n"

    folder = f"{judged.uri} is the folder of a comparison, expected the output of one of its settings: {judged.uri}/"
    export = ("--format", "webdataset", "--to", tmp_path / "to")
    for command in (["status"], ["report"], ["retry"], ["export", *export], ["reproduce", "drive-0"]):
        answer = cosmos_ray(command[0], judged.uri, *command[1:])
        assert_one_line(answer, 2, folder)
