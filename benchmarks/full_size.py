"""A submitted job at full size: 2B multiview network, Wan 2.1 VAE, T5, 7 views of 720p, few steps, real mp4s.

    python benchmarks/full_size.py --gang-size 1 [--bundle FOLDER] [--steps 1] [--clips 3] [--work FOLDER]

Builds files like the published ones if `--bundle` has none (see make_published.py), starts a Ray head on loopback,
submits `jobs/generate.py` with `ray job submit` and prints one line of JSON: seconds to load, a step, decode, encode,
GPU idle time between clips, peak memory. Weights are random, so the videos are noise; nothing else is different.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cosmos_ray.ledger import Ledger, Record  # noqa: E402
from cosmos_ray.storage import Storage  # noqa: E402
from cosmos_ray.video import probe  # noqa: E402

PORT, DASHBOARD_PORT = 26379, 28265


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gang-size", type=int, default=1)
    parser.add_argument("--bundle", type=Path, default=Path("/tmp/published-2b"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/full-size"))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="2b", help="of the files to build: 2b or small")
    arguments = parser.parse_args()
    if not (arguments.bundle / "bundle.json").exists():
        make = [sys.executable, ROOT / "benchmarks" / "make_published.py", arguments.bundle, "--size", arguments.size]
        subprocess.run(make, check=True)
    manifest = _inputs(arguments.work / "sample", arguments.clips)
    output = arguments.work / f"out-{secrets.token_hex(4)}"
    began = time.monotonic()
    code, log = _submit(manifest, output, arguments)
    records = sorted(Ledger(Storage(str(output))).records(), key=lambda record: record.finished or "")
    print(json.dumps(_figures(records, output, arguments, code, time.monotonic() - began, log)))
    return code


def _inputs(folder: Path, clips: int) -> Path:
    """The sample drive, drawn small (the job resizes it), and a manifest that goes round the three modes."""
    draw = [sys.executable, ROOT / "datasets" / "make_sample.py", "--out", folder, "--height", "128", "--width", "224"]
    subprocess.run(draw, check=True, env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"})
    video = str(folder / "clips" / "day" / "video.mp4")
    rows = [
        {
            "id": f"clip-{number}",
            "prompt": "A clear day on a city street, blue sky.",
            "input_video": video if number % 3 else None,
            "num_conditional_frames": (0, 1, 5)[number % 3],
            "seed": number,
        }
        for number in range(clips)
    ]
    path = folder / "full-size.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _submit(manifest: Path, output: Path, arguments: argparse.Namespace) -> tuple[int, str]:
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment.pop("RAY_ADDRESS", None)
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    ports = ["--port", str(PORT), "--dashboard-host", "127.0.0.1", "--dashboard-port", str(DASHBOARD_PORT)]
    start = [*ray, "start", "--head", "--block", "--node-ip-address", "127.0.0.1", *ports]
    head = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{DASHBOARD_PORT}"
        _until_answers(ray, address, environment)
        flags = ["--manifest", manifest, "--output", output, "--model", arguments.bundle]
        flags += ["--gang-size", arguments.gang_size, "--set", f"sampling.num_steps={arguments.steps}"]
        flags += ["--set", f"device={arguments.device}"]
        submit = [*ray, "job", "submit", "--address", address, "--working-dir", ROOT]
        command = [str(part) for part in [*submit, "--", sys.executable, "jobs/generate.py", *flags]]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as job:
            assert job.stdout is not None
            lines = [_show(line) for line in job.stdout]
        return job.returncode, "".join(lines)
    finally:
        os.killpg(head.pid, signal.SIGKILL)  # the job is over; an orderly end takes half a minute


def _show(line: str) -> str:
    print(line, end="", file=sys.stderr, flush=True)
    return line


def _until_answers(ray: list[str], address: str, environment: dict[str, str]) -> None:
    for _ in range(40):
        listing = [*ray, "job", "list", "--address", address]
        if subprocess.run(listing, env=environment, capture_output=True).returncode == 0:
            return
        time.sleep(1)
    raise RuntimeError(f"no Ray dashboard at {address}")


def _figures(
    records: list[Record], output: Path, arguments: argparse.Namespace, code: int, wall_s: float, log: str
) -> dict[str, Any]:
    made = [record for record in records if record.status == "ok"]
    sidecars = [json.loads((output / record.sidecar.path).read_text()) for record in made if record.sidecar]
    infos = [probe(output / entry.path) for record in made for entry in record.files]
    later = made[1:] or made  # the first clip warms the kernels up and has nothing before it

    def seconds(phase: str) -> float | None:
        return round(statistics.median(record.seconds[phase] for record in later), 3) if later else None

    evaluations = arguments.steps + 1
    return {
        "exit_code": code,
        "clips": len(made),
        "failed": [record.error for record in records if record.status != "ok"],
        "videos": sorted({(info.frames, info.height, info.width, info.fps) for info in infos}),
        "load_line": next((line for line in log.splitlines() if " is up: " in line), ""),
        "step_s": round((seconds("denoise") or 0) / evaluations, 3),
        "decode_s": seconds("decode"),
        "encode_s": seconds("encode"),
        "idle_s": [round(record.seconds["idle"], 3) for record in made],
        "peak_memory_gib": [round(sidecar["gang"]["peak_memory_bytes"] / 2**30, 1) for sidecar in sidecars],
        "wall_s": round(wall_s, 1),
        "gang_size": arguments.gang_size,
        "versions": sidecars[0]["versions"] if sidecars else {},
    }


if __name__ == "__main__":
    sys.exit(main())
