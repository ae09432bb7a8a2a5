"""How long does `plan --inputs` take for ten thousand inputs in an object store?

    eval "$(tests/tools/s3-server start DIR 9000 >/dev/null; tests/tools/s3-server env DIR)"
    python benchmarks/inputs_in_a_store.py --to s3://BUCKET/PREFIX [--inputs 10000] [--taken 100]

Makes the bucket if there is none, writes that many small videos, each with bytes of its own, and a manifest of them,
then runs `cosmos-ray plan --inputs TAKEN` in a process of its own: every input is asked for, TAKEN rows are taken as a
gang takes them. One line of JSON: seconds from the process's start to its end, CPU seconds of it and its ffmpegs, and
for comparison the store's own limit: the same number of bare HEAD requests, as many at a time, by its client alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))  # so that it also measures a checkout that is not installed
from reporting import machine, report

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.job.inputs import _AT_ONCE
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage, filesystem_of


def make(to: str, count: int, height: int, width: int) -> str:
    """URI of a manifest of `count` rows with an input each."""
    fs, path = filesystem_of(to)
    bucket = path.partition("/")[0]
    if not fs.exists(bucket):
        fs.mkdir(bucket)
    frames = np.random.default_rng(0).integers(0, 256, (8, height, width, 3), np.uint8)
    video = encode_mp4(frames, 10)
    store = Storage(to)

    def write(number: int) -> None:
        spare = number.to_bytes(8, "big")
        store.write(f"videos/{number:06}.mp4", video + (8 + len(spare)).to_bytes(4, "big") + b"free" + spare)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(write, range(count)))
    names = [f"videos/{number:06}.mp4" for number in range(count)]
    sink = pa.BufferOutputStream()
    rows = {"id": [f"r{number:06}" for number in range(count)], "prompt": ["a road"] * count, "n_views": [1] * count}
    pq.write_table(pa.table({**rows, "input_video": names}), sink)
    store.write("rows.parquet", sink.getvalue().to_pybytes())
    return store.uri_of("rows.parquet")


def bare_requests(to: str, count: int) -> float:
    """Seconds for HEAD requests of the store's client alone."""
    import asyncio

    fs, path = filesystem_of(to)
    bucket, _, prefix = path.partition("/")

    async def ask() -> None:
        client, free = await fs.set_session(), asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> None:
            async with free:
                await client.head_object(Bucket=bucket, Key=f"{prefix}/videos/{number:06}.mp4")

        await asyncio.gather(*map(one, range(count)))

    import fsspec.asyn

    began = time.perf_counter()
    fsspec.asyn.sync(fs.loop, ask)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds that `plan --inputs` takes for inputs in a store.")
    parser.add_argument("--to", required=True, help="URI of a folder on S3 that is written into")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--taken", type=int, default=100)
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.model)
    manifest = make(arguments.to, arguments.inputs, bundle.height, bundle.width)
    command = [sys.executable, "-m", "cosmos_ray", "plan", "--manifest", manifest, "--model", arguments.model]
    command += ["--inputs", str(arguments.taken), "--json"]
    before, began = os.times(), time.perf_counter()
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, after = time.perf_counter() - began, os.times()
    cpu = (after.children_user + after.children_system) - (before.children_user + before.children_system)
    look = json.loads(told)["inputs"]
    report(
        asked=look["asked"], taken=look["taken"], faults=len(look["faults"]), seconds=round(seconds, 1),
        cpu_seconds=round(cpu, 1), bare_head_seconds=round(bare_requests(arguments.to, arguments.inputs), 1),
        **machine("s3fs", "aiobotocore", "imageio-ffmpeg"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
