"""Does a GPU ever wait? A real job on a Ray of its own: what of a gang's time is spent on denoising, what on the rest.

    python benchmarks/pipeline.py                                     # no GPU: 12 clips of 5 s, 15 MB of video each
    python benchmarks/make_published.py /tmp/blocks-4 --size full --blocks 4
    python benchmarks/pipeline.py --model /tmp/blocks-4 --device cuda --steps 13 --clips 3 [--gang-size 2]

Without `--model` the fake generator sleeps for the denoising; everything round it is real: noise and conditioning
frames, frames as large as need be, x264, files, records, the driver and its pool. With a model, a clip is denoised by
it; random weights make noise, seven views of which take one process 20 s to encode, so give it steps that take longer.
Videos go to `--output` (default: a temporary folder). Prints one line of JSON, of what is committed if it is stopped:

    idle_ms            from the last kernel of one clip to the first of the next (on GPUs by CUDA events), median and
                       most; the first clip, before which nothing can be prepared, by itself
    busy_share         denoising's part of the time from the first clip's first kernel to the last one's last
    hidden_share       of preparing, and of publishing (decode, encode, put, commit): the part that lies within the
                       denoising of other clips. The first clips' preparing (those that a gang takes at once) and the
                       last one's publishing have none beside them, and are left out
    seconds            medians by phase; denoise: on GPUs with what decodes beside it
    gang_start_s       from GPUs to a loaded model, and its parts
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from reporting import machine, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray import GenerateConfig, generate
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import GangConfig
from cosmos_ray.errors import CosmosRayError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, BUNDLE_FILE
from cosmos_ray.store.storage import Storage

#: Frames of the fake's noise that make 15 MB a clip.
FAKE_HEIGHT, FAKE_WIDTH = 240, 432


@dataclass(frozen=True)
class Times:
    """When a clip was prepared, denoised and published, seconds since 1970, out of its record."""

    prepare: tuple[float, float]
    denoise: tuple[float, float]
    publish: tuple[float, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="name or folder of a bundle; default: the fake generator")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--gang-size", type=int, default=1)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=5.0, help="of the fake's denoising")
    parser.add_argument("--steps", type=int, default=9, help="of a real network's denoising")
    parser.add_argument("--conditional", type=int, default=1, help="frames that each clip begins from: 0, 1 or 5")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        output = arguments.output or Path(scratch) / "out"
        config = GenerateConfig(
            manifest=str(_manifest(Path(scratch), arguments)),
            output=str(output),
            model=arguments.model or str(_fake_bundle(Path(scratch) / "model")),
            device=arguments.device,
            gang_size=arguments.gang_size,
            sampling=SamplingConfig(num_steps=arguments.steps),
        )
        lines: list[str] = []
        began = time.monotonic()
        try:
            code = generate(config, lambda line: _say(lines, line)).exit_code
        except CosmosRayError as error:
            _say(lines, str(error))
            code = 1
        wall_s = time.monotonic() - began
        records = [record for record in Ledger(Storage(str(output))).records() if record.status == "ok"]
    if len(records) < 2:
        return code or 1
    figures = figures_of(records) | {
        "gang_start_s": next((line.partition("loaded in ")[2] for line in lines if " is up: " in line), ""),
        "wall_s": round(wall_s, 1),
        "arguments": {name: str(value) for name, value in vars(arguments).items() if value is not None},
    }
    report(**figures, **machine("ray"))
    return code


def figures_of(records: list[Record]) -> dict[str, Any]:
    """What the records of one gang's clips say about its time."""
    records = sorted(records, key=lambda record: times_of(record).denoise)
    times = [times_of(record) for record in records]
    idle_ms = [1000 * record.seconds["idle"] for record in records]
    denoising = [one.denoise for one in times]
    span_s = denoising[-1][1] - denoising[0][0]
    later = sorted(idle_ms[1:])
    return {
        "clips": len(records),
        "idle_ms": {"first": round(idle_ms[0], 1), "median": _median(later), "most": round(later[-1], 1)},
        # The host's denoising begins a call before the GPU's, and that wait is in `idle` already.
        "busy_share": round(1 - sum(later) / 1000 / span_s, 4),
        "hidden_share": {
            "prepare": _hidden([one.prepare for one in times[GangConfig().clips_in_flight :]], denoising),
            "publish": _hidden([one.publish for one in times[:-1]], denoising),
        },
        "seconds": {
            phase: round(statistics.median(record.seconds[phase] for record in records), 3)
            for phase in ("prepare", "wait", "denoise", "decode", "encode", "put")
        },
        "megabytes_a_clip": round(statistics.median(sum(f.size for f in record.files) for record in records) / 1e6, 1),
    }


def times_of(record: Record) -> Times:
    prepare = datetime.datetime.fromisoformat(record.started or "").timestamp()
    prepared = prepare + record.seconds["prepare"]
    denoise = prepared + record.seconds["wait"]
    denoised = denoise + record.seconds["denoise"]
    finished = datetime.datetime.fromisoformat(record.finished or "").timestamp()
    return Times((prepare, prepared), (denoise, denoised), (denoised, finished))


def _hidden(spans: list[tuple[float, float]], under: list[tuple[float, float]]) -> float | None:
    """Part of `spans` that lies within `under`, whose spans do not overlap; None without any."""
    if not spans:
        return None
    covered = sum(max(0.0, min(end, to) - max(begin, since)) for begin, end in spans for since, to in under)
    return round(covered / sum(end - begin for begin, end in spans), 4)


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 1)


def _manifest(folder: Path, arguments: argparse.Namespace) -> Path:
    prompt = "A clear day on a city street." if arguments.model else f"[seconds={arguments.seconds}] [grain]"
    row: dict[str, Any] = {"prompt": prompt, "num_conditional_frames": arguments.conditional}
    if arguments.conditional:
        frames_THWC = np.random.RandomState(0).randint(0, 256, (7 * 29, 64, 112, 3), np.uint8)
        (folder / "input.mp4").write_bytes(encode_mp4(frames_THWC, 10))
        row["input_video"] = "input.mp4"
    rows = [{"id": f"clip-{number:03d}", "seed": number} | row for number in range(arguments.clips)]
    path = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _fake_bundle(folder: Path) -> Path:
    """The built-in fake, with larger frames."""
    spec = json.loads((BUILT_IN_FOLDER / "fake" / BUNDLE_FILE).read_text())
    folder.mkdir()
    (folder / BUNDLE_FILE).write_text(json.dumps(spec | {"height": FAKE_HEIGHT, "width": FAKE_WIDTH}))
    return folder


def _say(lines: list[str], line: str) -> None:
    lines.append(line)
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
