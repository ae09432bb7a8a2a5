"""What a manifest plants in a job is found nowhere: no secret of a URI, nothing of a file, nothing that moves a cursor.

Each place of printing has its plain test (`tests/test_foreign.py`); this is a whole job.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from support.job_runs import SMALL, fake_config, records

from cosmos_ray.cli.main import app, run
from cosmos_ray.job.job import generate
from cosmos_ray.output.compare.build import write_comparison
from cosmos_ray.output.compare.gather import Compared
from cosmos_ray.output.results import results
from cosmos_ray.pool.metrics import JobMetrics
from cosmos_ray.store.storage import Storage

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


#: Columns that have references, and a row that has one there. Each makes a file's name of its suffix.
COLUMNS: dict[str, Callable[[str], dict[str, Any]]] = {
    "video": lambda uri: {"prompt": "a", "input_video": uri},
    "text": lambda uri: {"prompt_embedding": uri.replace(".mp4", ".pt")},
    "array": lambda uri: {"prompt_embedding": uri.replace(".mp4", ".npy")},
    "camera": lambda uri: {"prompt": "a", "n_views": 1, "input_videos": {"front_wide": uri}},
    "picture": lambda uri: {"prompt": "a", "n_views": 1, "input_frames": {"front_wide": [uri.replace(".mp4", ".png")]}},
    "control": lambda uri: {"prompt": "a", "n_views": 1, "control_videos": {"front_wide": uri}},
}
SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("prompt", pa.string()), ("n_views", pa.int64()), ("input_video", pa.string()),
        ("input_videos", pa.map_(pa.string(), pa.string())), ("prompt_embedding", pa.string()),
        ("input_frames", pa.map_(pa.string(), pa.list_(pa.string()))),
        ("control_videos", pa.map_(pa.string(), pa.string())),
    ]
)  # fmt: skip


def rows() -> list[dict[str, Any]]:
    found = [{"id": f"{name}-{n}", **row(uri)} for name, row in COLUMNS.items() for n, uri in enumerate(VIDEOS)]
    found.append({"id": "names", "prompt": "a", "input_videos": {f"front{EVIL}": VIDEOS[0], "rear": VIDEOS[2]}})
    return [{**SMALL, **row} for row in [*found, {"id": "good", "prompt": "a"}]]


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "away").mkdir()
    for place in (folder, tmp_path / "away"):
        for suffix in (".mp4", ".pt", ".npy", ".png"):
            (place / f"secret{suffix}").write_bytes(f"{SECRET}:19000:0:99999:7:::\n".encode() * 50)
    (folder / "link").symlink_to(tmp_path / "away")
    table = pa.Table.from_pylist([row | _as_maps(row) for row in rows()], schema=SCHEMA)
    table = table.append_column(f"carried{EVIL}", pa.array([f"x{EVIL}"] * len(table)))
    pq.write_table(table, folder / "m.parquet")
    return str(folder / "m.parquet")


def _as_maps(row: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value.items()) for name, value in row.items() if isinstance(value, dict)}


def everything(folder: Path) -> str:
    """All that lies below, tables as what they say."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            texts.append(repr(pq.read_table(path).to_pylist()))
        elif path.is_file():
            texts.append(path.read_bytes().decode(errors="replace"))
    return "\n".join(texts)


def at_the_doors(out: Path, manifest: str, told: Callable[..., str], tmp_path: Path) -> dict[str, str]:
    """What is printed, and written, by each command that reads the output or the manifest."""
    plan = ("plan", "--manifest", manifest, "--model", "fake")
    parts = tmp_path / "parts"
    for name in ("one", "two"):
        shutil.copytree(out, parts / name)
    done: list[str] = []
    settings = [Compared(name, str(parts / name), {"seed": 1}) for name in ("one", "two")]
    ids = [row["id"] for row in rows()]
    write_comparison(Storage(str(tmp_path / "compared")), settings, ids, done.append)
    exports = {f"export {kind}": tmp_path / "exports" / kind for kind in ("webdataset", "rds-hq", "lerobot")}
    inspected = [uri for uri in VIDEOS if not uri.startswith(("abfs", "gs", "simple", "sftp", "https"))]
    doors = {
        "plan": told(*plan),
        "plan of inputs": told(*plan, "--inputs", "all"),
        "plan as JSON": told(*plan, "--inputs", "all", "--json"),
        "list": told(*plan, "--list"),
        "status": told("status", str(out)),
        "status as JSON": told("status", str(out), "--json"),
        "failed": told("status", str(out), "--failed"),
        "failed as JSON": told("status", str(out), "--failed", "--json"),
        "records": told("status", str(out), "--records"),
        "report": told("report", str(out)),
        "report of a part": told("report", str(out), "--where", f"id = 'x{EVIL}'"),
        "report of two": told("report", str(parts / "one"), str(parts / "two")),
        "results": repr(results(str(out)).to_dict()),
        "inspect": "".join(told("inspect", "--model", "fake", uri) for uri in inspected),
        "inspect as JSON": "".join(told("inspect", "--model", "fake", "--json", uri) for uri in inspected),
        "reproduce": told("reproduce", str(out), "video-0"),
        "reproduce what is not there": told("reproduce", str(out), f"x{EVIL}"),
        "vary": told("manifest", "vary", "--in", manifest, "--out", str(tmp_path / "v.parquet"), "--seeds", "0:2"),
        "compare": "\n".join(done),
        **{door: told("export", str(out), "--format", to.name, "--to", str(to)) for door, to in exports.items()},
        "retry": told("retry", str(out), "--id", "video-0", "--id", "picture-3"),
        "retry what is not there": told("retry", str(out), "--id", f"x{EVIL}"),
        "retry all": told("retry", str(out)),
    }
    doors |= {f"files of {name}": everything(tmp_path / name) for name in ("parts", "compared", "exports")}
    return doors


class Ears:
    """Hears a job, and looks at what it shows of itself meanwhile: its lease's beat, its page, its metrics."""

    def __init__(self, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.seen: set[str] = set()
        self.labels: set[str] = set()
        self._output = output
        record = JobMetrics._record

        def recorded(metrics: JobMetrics, name: str, value: float, label: str = "") -> None:
            self.labels |= {name, label}
            record(metrics, name, value, label)

        monkeypatch.setattr(JobMetrics, "_record", recorded)

    def __call__(self, line: str) -> None:
        self.said.append(line)
        for path in [*self._output.glob("_cosmos_ray/lease/*"), *self._output.glob("report.html")]:
            with contextlib.suppress(OSError):  # it was replaced
                self.seen.add(path.read_text())


def test_what_a_manifest_plants_is_found_nowhere(
    manifest: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("ACCOUNT_NAME", "CONNECTION_STRING", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.chdir(Path(manifest).parent)
    output = tmp_path / "out"
    job = Ears(output, monkeypatch)
    summary = generate(fake_config(manifest, output, gang_size=1), job)
    found = records(output)
    assert (summary.ok, summary.failed) == (1, len(found) - 1)
    assert {one.failure_class for one in found.values() if one.status == "failed"} == {"input"}

    def told(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cosmos-ray", *arguments])
        capsys.readouterr()
        run(app)
        return "".join(capsys.readouterr())

    assert job.seen
    assert {"clips_failed_total", "input", "attempts_total"} <= job.labels
    terminal = {"job": "\n".join(job.said), "log": caplog.text, **at_the_doors(output, manifest, told, tmp_path)}
    files = {name: terminal.pop(name) for name in list(terminal) if name.startswith("files of ")}
    files |= {
        "output": everything(output),
        "beats and pages meanwhile": "\n".join(job.seen),
        "metrics": "\n".join(job.labels),
        "Ray's logs": everything(Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"),
    }
    assert [place for place, text in (terminal | files).items() if SECRET[:6] in text] == []
    assert [place for place in terminal if any(sign in terminal[place] for sign in ("\x1b", "\r", "\u202e"))] == []
    assert [place for place, text in terminal.items() if not text.strip() and place != "log"] == []
    assert "carried" in terminal["plan"]
    assert "missing.mp4?…" in terminal["failed"]
    assert r"missing.mp4?\u2026" in terminal["inspect as JSON"]
    assert "no such clip" in terminal["retry what is not there"]
