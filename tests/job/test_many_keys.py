"""100,000 objects below an output cost `generate`, `plan` and `status` nothing: none of them lists the clips."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import s3fs
from support.fault_proxy import fault_proxy
from support.job_runs import records, write_manifest
from support.waiting import PATIENCE_S

from cosmos_ray.store.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

KEYS = 100_000
_BATCH = 2_000


def test_an_output_of_100_000_keys_asks_for_as_much_as_an_empty_one(s3: str, tmp_path: Path) -> None:
    """The same commands send the same requests, before and after."""
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": f"r{n}", "prompt": "a road"} for n in range(3)])
    output = f"{s3}/out"
    commands = {
        "generate": ("generate", "--manifest", manifest, "--output", output, "--model", "fake", "--gang-size", "2",
                     "--set", "device=cpu"),
        "plan": ("plan", "--manifest", manifest, "--output", output, "--model", "fake"),
        "status": ("status", output),
    }  # fmt: skip
    seen: list[str] = []
    with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fault = lambda method, path: seen.append(f"{method} {path}")

        def run(name: str) -> Counter[str]:
            """What it asks the store for, by kind."""
            seen.clear()
            environment = {**os.environ, "AWS_ENDPOINT_URL": proxy.url}
            command = [sys.executable, "-m", "cosmos_ray", *commands[name]]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
            assert done.returncode == 0, done.stderr
            return Counter(map(_kind, seen))

        run("generate")
        assert len(records(output)) == 3
        before = {name: run(name) for name in commands}
        _add_keys(Storage(output))
        after = {name: run(name) for name in commands}
    for name in commands:
        assert after[name] == before[name], name


def _kind(request: str) -> str:
    """A listing by its prefix, anything else by its method alone (paths hold numbers of epochs and the like)."""
    method, _, path = request.partition(" ")
    query = parse_qs(urlsplit(path).query)
    return f"list {query['prefix'][0].partition('/out/')[2]}" if "list-type" in query else method


def _add_keys(output: Storage) -> None:
    client, root = s3fs.S3FileSystem(), output.uri.removeprefix("s3://")
    for start in range(0, KEYS, _BATCH):
        keys = [f"{root}/clips/c{n:06d}/1/rear.mp4" for n in range(start, start + _BATCH)]
        client.pipe(dict.fromkeys(keys, b"x"), batch_size=512)
