"""What a manifest plants in a job is found nowhere: no secret of a URI, nothing of a file, nothing that moves a cursor.

Each place of printing has its plain test (`tests/test_foreign.py`); this is a whole job.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from support.job_runs import SMALL, fake_config, records

from cosmos_ray.cli.main import app, run
from cosmos_ray.job.job import generate

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("one_node")]

SECRET = "PLANTED"
EVIL = "\x1b[2J\r\n\u202e"
VIDEOS = [
    f"s3://key:{SECRET}@bucket/a.mp4",
    f"s3://key:a/{SECRET}@bucket/a.mp4",
    f"https://bucket.s3.amazonaws.com/a.mp4?X-Amz-Signature={SECRET}",
    f"abfs://c@other.blob.core.windows.net/a.mp4?sig={SECRET}",
    f"sftp://user:{SECRET}@host/a.mp4",
    f"gs://bucket/a.mp4?token={SECRET}&x=1",
    f"simplecache::https://user:{SECRET}@host/a.mp4",
    f"missing.mp4?sig={SECRET}",
    f"a{EVIL}b.mp4",
    "secret.mp4",
    "/dev/zero",
    "/proc/self/environ",
    "link/secret.mp4",
]


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [{"id": f"video-{n}", "prompt": "a", "input_video": uri} for n, uri in enumerate(VIDEOS)]
    found += [{"id": f"text-{n}", "prompt_embedding": uri.replace(".mp4", ".pt")} for n, uri in enumerate(VIDEOS)]
    found += [{"id": "cameras", "prompt": "a", "input_videos": [VIDEOS[0], VIDEOS[2]]}]
    return [{**SMALL, **row} for row in [*found, {"id": "good", "prompt": "a"}]]


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "away").mkdir()
    for place in (folder, tmp_path / "away"):
        (place / "secret.mp4").write_bytes(f"root:{SECRET}:19000:0:99999:7:::\n".encode() * 50)
    (folder / "link").symlink_to(tmp_path / "away")
    table = pa.Table.from_pylist(rows(folder), schema=pa.schema([
        ("id", pa.string()), ("prompt", pa.string()), ("n_views", pa.int64()), ("input_video", pa.string()),
        ("input_videos", pa.list_(pa.string())), ("prompt_embedding", pa.string()),
    ]))  # fmt: skip
    table = table.append_column(f"carried{EVIL}", pa.array([f"x{EVIL}"] * len(table)))
    pq.write_table(table, folder / "m.parquet")
    return str(folder / "m.parquet")


def everything(folder: Path) -> str:
    """All that lies below, tables as what they say."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            texts.append(repr(pq.read_table(path).to_pylist()))
        elif path.is_file():
            texts.append(path.read_bytes().decode(errors="replace"))
    return "\n".join(texts)


def test_what_a_manifest_plants_is_found_nowhere(
    manifest: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("ACCOUNT_NAME", "CONNECTION_STRING", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    output, said = tmp_path / "out", list[str]()
    summary = generate(fake_config(manifest, output, gang_size=1), said.append)
    found = records(output)
    assert (summary.ok, summary.failed) == (1, len(found) - 1)
    assert {one.failure_class for one in found.values() if one.status == "failed"} == {"input"}

    def told(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cosmos-ray", *arguments])
        capsys.readouterr()
        run(app)
        return "".join(capsys.readouterr())

    plan = ("plan", "--manifest", manifest, "--model", "fake")
    out = str(output)
    printed = {
        "job": "\n".join(said),
        "log": caplog.text,
        "plan": told(*plan),
        "plan of inputs": told(*plan, "--inputs", "all"),
        "list": told(*plan, "--list"),
        "status": told("status", out),
        "failed": told("status", out, "--failed"),
        "records": told("status", out, "--records"),
        "report": told("report", out),
        "output": everything(output),
        "Ray's logs": everything(Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"),
    }
    assert [place for place, text in printed.items() if SECRET in text] == []
    terminal = [place for place in printed if place not in ("output", "Ray's logs")]
    assert [place for place in terminal if any(sign in printed[place] for sign in ("\x1b", "\r", "\u202e"))] == []
    assert "carried" in printed["plan"]
    assert "missing.mp4?…" in printed["failed"]
