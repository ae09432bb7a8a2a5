"""A manifest of a million rows and two million clips: what its plan, its first clip, its driver and its status cost.

    python benchmarks/scale.py make FOLDER [--rows 1000000]     # the manifest, and an output with half of its clips
    python benchmarks/scale.py plan FOLDER                      # `cosmos-ray plan`: validate, subtract the ledger
    python benchmarks/scale.py status FOLDER                    # `cosmos-ray status`
    python benchmarks/scale.py index FOLDER                     # index.parquet of the million clips
    python benchmarks/scale.py first-clip FOLDER                # `generate`, until its first clip is being made
    python benchmarks/scale.py driver FOLDER [--clips 100000]   # the driver's memory over so many clips
    python benchmarks/scale.py driver-on-ray FOLDER --clips 5000
    python benchmarks/scale.py compaction FOLDER --clips 700000 # the compactor alone

Each prints one line of JSON: seconds and the peak resident memory of the process, in MiB. `make` writes the ledger's
parts as the compactor does, a thousand records at a time and then merged; the other measures run the real commands in
processes of their own (cpu: seconds of its processors, which depend less on what else runs). `driver` is the real job,
pool, ledger and compactor in one process: only Ray is left out, and gangs commit a record without making a video, so
that a hundred thousand clips take minutes. `driver-on-ray` is the same with Ray, Ray Data's stream of clips, and an
actor a gang.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from reporting import machine, report
from scale_gangs import LightLeader, ThreadGang, local_stream

ROW_GROUP = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=list(MEASURES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, default=100_000)
    arguments = parser.parse_args()
    began = time.monotonic()
    figures = MEASURES[arguments.measure](arguments)
    report(
        measure=arguments.measure,
        seconds=round(time.monotonic() - began, 2),
        peak_rss_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **figures,
        **machine("pyarrow", "ray"),
    )


def manifest_of(folder: Path) -> str:
    return str(folder / "manifest.parquet")


def write_manifest(path: str, rows: int, samples: int) -> None:
    """Rows like real ones: a caption each, a video a camera, some settings."""
    from cosmos_ray.clip.request import VIEWS

    schema = pa.schema(
        [
            ("id", pa.string()),
            ("prompt", pa.string()),
            ("seed", pa.int64()),
            ("num_samples", pa.int64()),
            ("input_videos", pa.struct([(view, pa.string()) for view in VIEWS])),
            ("weather", pa.string()),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, ROW_GROUP):
            numbers = range(first, min(first + ROW_GROUP, rows))
            cameras = [pa.array([f"in/{n % 10}/{view}.mp4" for n in numbers]) for view in VIEWS]
            columns = {
                "id": pa.array([f"clip-{n:07d}" for n in numbers]),
                "prompt": pa.array([f"A street in town {n}, seen at noon in light rain; cars wait." for n in numbers]),
                "seed": pa.array([n % 1000 for n in numbers]),
                "num_samples": pa.array([samples] * len(numbers)),
                "input_videos": pa.StructArray.from_arrays(cameras, list(VIEWS)),
                "weather": pa.array(["rain"] * len(numbers)),
            }
            writer.write_table(pa.table(columns, schema=schema))


def make(arguments: argparse.Namespace) -> dict[str, Any]:
    """A manifest of `rows` rows of two samples, and an output that has a record of the first sample of each."""
    from cosmos_ray.clip.encode import encode_mp4
    from cosmos_ray.clip.request import VIEWS
    from cosmos_ray.clip.sampling import SamplingConfig
    from cosmos_ray.job.plan import row_defaults
    from cosmos_ray.ledger import compaction
    from cosmos_ray.ledger.parts import list_parts, write_part
    from cosmos_ray.manifest.files import open_manifest, row_group_batches
    from cosmos_ray.manifest.table import check_batch, fan_out
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.store.storage import Storage

    for clip in range(10):  # the rows share ten clips: what they cost is not measured here
        for view in VIEWS:
            path = arguments.folder / "in" / str(clip) / f"{view}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_mp4(np.full((2, 64, 112, 3), 20 * clip, np.uint8), 10))
    write_manifest(manifest_of(arguments.folder), arguments.rows, samples=2)
    storage = Storage(str(arguments.folder / "out"))
    manifest = open_manifest(manifest_of(arguments.folder))
    defaults = row_defaults(load_bundle("fake"), SamplingConfig())
    for number in range(len(manifest.files[0].rows)):
        for batch in row_group_batches(manifest.files[0], number, manifest.schema, 10 * compaction.BATCH):
            fan, checked = fan_out(batch), check_batch(batch, defaults, manifest.files[0].base)
            assert checked.right.all()
            first = np.flatnonzero(fan.samples == 0)
            hashes = checked.row_hashes(fan.rows[first], fan.samples[first])
            write_part(storage, 1, [records(fan.ids.take(pa.array(first)).to_pylist(), hashes)])
            # What is replaced goes at once: no reader is on its way.
            compaction.merge(storage, 1, now=time.time() + 2 * compaction.KEPT_S)
    parts = list_parts(storage)
    sizes = sum((arguments.folder / "out" / part.path).stat().st_size for part in parts)
    _open_run(arguments, storage)
    return {"records": sum(part.num_rows for part in parts), "parts": len(parts), "ledger_mib": round(sizes / 2**20)}


def records(ids: list[str], row_hashes: list[str]) -> pa.Table:
    """Rows of a ledger's part, as gangs of seven views leave them."""
    from cosmos_ray.clip.request import VIEWS
    from cosmos_ray.ledger.parts import PART_SCHEMA

    count = len(ids)

    def hashes(number: int) -> pa.Array:
        return pa.array([os.urandom(32).hex() for _ in range(number)])

    def files(views: tuple[str, ...], suffix: str) -> pa.StructArray:
        paths = pa.array([f"clips/{clip_id}/1/{view or 'clip'}.{suffix}" for clip_id in ids for view in views])
        sizes = pa.array([400_000] * len(paths))
        fields = [pa.array(list(views) * count), paths, sizes, hashes(len(paths))]
        return pa.StructArray.from_arrays(fields, ["view", "path", "size", "sha256"])

    times = pa.array([time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(1.7e9 + n)) for n in range(count)])
    constants = {"generation": 0, "status": "ok", "attempt": 1, "epoch": 1, "compacted_by": 1, "gang": "gang-0001"}
    columns: dict[str, pa.Array] = {name: pa.array([value] * count) for name, value in constants.items()}
    columns |= {name: pa.nulls(count, pa.string()) for name in ("class", "error")}
    columns |= {
        "id": pa.array(ids),
        "row_hash": pa.array(row_hashes),
        "request_hash": hashes(count),
        "node": pa.array(["n" * 56] * count),
        "started": times,
        "finished": times,
        "seconds": pa.array([[("denoise", 61.2), ("decode", 1.5)]] * count, PART_SCHEMA.field("seconds").type),
        "files": pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * len(VIEWS), pa.int32()), files(VIEWS, "mp4")),
        "sidecar": files(("",), "json"),
    }
    return pa.table([columns[name] for name in PART_SCHEMA.names], schema=PART_SCHEMA)


def _open_run(arguments: argparse.Namespace, storage: Any) -> None:
    """As a job that was cut off has left it."""
    from dataclasses import asdict

    from cosmos_ray.clip.sampling import SamplingConfig
    from cosmos_ray.job.plan import row_defaults
    from cosmos_ray.ledger.run import Run, open_run
    from cosmos_ray.manifest.files import open_manifest
    from cosmos_ray.models.bundle.bundle import load_bundle

    bundle = load_bundle("fake").with_numerics(None)
    manifest = open_manifest(manifest_of(arguments.folder))
    defaults = asdict(row_defaults(bundle, SamplingConfig()))
    run = Run(
        manifest.uri, manifest.sha256(), arguments.rows, 2 * arguments.rows, bundle.name, bundle.fingerprint,
        bundle.numerics, defaults,
    )  # fmt: skip
    open_run(storage, run)


def _command(*arguments: str) -> dict[str, Any]:
    """A command of `cosmos-ray` in a process of its own: seconds, peak memory, and the first of what it printed."""
    began = time.monotonic()
    command = [sys.executable, "-m", "cosmos_ray", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "command_s": round(time.monotonic() - began, 2),
        "command_cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "command_peak_rss_mib": round(used.ru_maxrss / 1024),
        "said": done.stdout.splitlines()[:2],
    }


def plan(arguments: argparse.Namespace) -> dict[str, Any]:
    folder = arguments.folder
    return _command("plan", "--manifest", manifest_of(folder), "--output", str(folder / "out"), "--model", "fake")


def status(arguments: argparse.Namespace) -> dict[str, Any]:
    return _command("status", str(arguments.folder / "out"))


def index(arguments: argparse.Namespace) -> dict[str, Any]:
    """The index of a million clips (without the report's contact sheets: there are no videos here)."""
    from cosmos_ray.ledger.ledger import Ledger
    from cosmos_ray.ledger.run import read_run, row_defaults_of
    from cosmos_ray.manifest.files import open_manifest
    from cosmos_ray.output.index import write_index
    from cosmos_ray.store.storage import Storage

    storage = Storage(str(arguments.folder / "out"))
    run = read_run(storage)
    assert run is not None
    manifest = open_manifest(manifest_of(arguments.folder))
    return {"index_rows": write_index(storage, manifest, row_defaults_of(run), Ledger(storage).state())}


def first_clip(arguments: argparse.Namespace) -> dict[str, Any]:
    """`generate` goes on with the million clips, with one real gang of the fake generator, until one is committed."""
    folder = arguments.folder
    command = [sys.executable, "-m", "cosmos_ray", "generate", "--manifest", manifest_of(folder), "--model", "fake"]
    command += ["--output", str(folder / "out"), "--gang-size", "1", "--set", "device=cpu"]
    marks = {"planned_s": r"clips?: \d+ done", "gang_is_up_s": "is up", "first_clip_done_s": r"\] clip-"}
    found: dict[str, Any] = {}
    began = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        for name, pattern in marks.items():
            if name not in found and re.search(pattern, line):
                found[name] = round(time.monotonic() - began, 1)
        if "first_clip_done_s" in found:
            break
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    process.terminate()
    process.stderr.read()
    process.wait()
    return {**found, "driver_peak_rss_mib": peak and round(int(peak[1]) / 1024)}


def driver_on_ray(arguments: argparse.Namespace) -> dict[str, Any]:
    """The driver's resident memory every tenth of so many clips, in a new output."""
    import ray

    import cosmos_ray.pool.placement

    cosmos_ray.pool.placement.leader_actor = ray.remote(max_restarts=0, max_concurrency=16)(LightLeader)
    return drive(arguments)


def driver(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same without Ray: gangs are threads, the stream of clips is read in this process."""
    import ray

    import cosmos_ray.job.pipeline
    import cosmos_ray.pool.cluster
    import cosmos_ray.pool.placement
    import cosmos_ray.pool.pool

    cosmos_ray.pool.cluster.connect = lambda *_: contextlib.nullcontext(("cpu", 1))
    cosmos_ray.pool.pool.draining_nodes = dict
    cosmos_ray.pool.placement.nodes_with = lambda *_: []
    cosmos_ray.pool.placement.leader_actor = ThreadGang
    cosmos_ray.job.pipeline.work_stream = local_stream
    ray.kill = lambda *_: None
    return drive(arguments)


def drive(arguments: argparse.Namespace) -> dict[str, Any]:
    from cosmos_ray import GenerateConfig, generate

    output = str(arguments.folder / f"driver-{os.getpid()}")
    settings = {"model": "fake", "device": "cpu", "gang_size": 1, "gangs": "2", "limit": arguments.clips}
    settings |= {"gang": {"clips_in_flight": 8}}  # the gangs must not be what is waited for
    sizes: list[tuple[int, int, float]] = []
    began = time.monotonic()

    def say(line: str) -> None:
        if progress := re.match(r"\[(\d+)/", line):
            if int(progress[1]) % (arguments.clips // 10) == 0:
                sizes.append((int(progress[1]), resident_mib(), round(time.monotonic() - began, 1)))
                print("clips, MiB, seconds:", *sizes[-1], file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    config = {"manifest": manifest_of(arguments.folder), "output": output, **settings}
    generate(GenerateConfig.model_validate(config), say)
    folder = Path(output) / "_cosmos_ray" / "ledger"
    left = {"parts": len(list(folder.glob("*.parquet"))), "objects": len(list(folder.glob("*/*.json")))}
    return {"clips_mib_seconds": sizes, **left}


def resident_mib() -> int:
    """Of this process, now."""
    return round(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)


def compaction(arguments: argparse.Namespace) -> dict[str, Any]:
    """The compactor alone: memory every tenth of so many records; what is replaced is removed at once."""
    import tempfile

    from cosmos_ray.ledger.compaction import BATCH, KEPT_S, merge
    from cosmos_ray.ledger.parts import list_parts, write_part
    from cosmos_ray.store.storage import Storage

    sizes: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        storage = Storage(folder)
        for first in range(0, arguments.clips, BATCH):
            ids = [f"clip-{number:07d}" for number in range(first, first + BATCH)]
            write_part(storage, 1, [records(ids, ["0" * 64] * BATCH)])
            merge(storage, 1, now=time.time() + 2 * KEPT_S)
            if (first + BATCH) % (arguments.clips // 10) == 0:
                sizes.append((first + BATCH, resident_mib()))
        return {"records_mib": sizes, "parts": len(list_parts(storage))}


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "make": make,
    "plan": plan,
    "status": status,
    "index": index,
    "first-clip": first_clip,
    "driver": driver,
    "compaction": compaction,
    "driver-on-ray": driver_on_ray,
}


if __name__ == "__main__":
    main()
