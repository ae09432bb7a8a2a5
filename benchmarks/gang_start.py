"""How long until a gang denoises: a fresh one from its processes' start, and another after one of its ranks was killed.

    python benchmarks/make_published.py /tmp/published-2b --size full --t5 11b
    python benchmarks/gang_start.py --model /tmp/published-2b --device cuda [--gang-size 4] [--runs 3]
    python benchmarks/gang_start.py --model tiny --device cpu --gang-size 2 --steps 2 100     # in miniature

Each run is a job of two clips on a Ray of its own: a gang makes the first one; `--after` seconds into the second one a
rank is killed (SIGKILL), and the clip is made again. Clips have `--views` views, so that a step is short; no part of
loading depends on that. The run before all others fills the machine's caches and is told by itself.

A line of JSON a run, then a table of medians (least to most). Seconds, of a fresh gang from the start of its leader's
process, of a rebuilt one from the kill:

    noticed           the driver has said that the gang broke
    ranks             the ranks' processes are there: of a fresh gang the last one's start
    up                loaded, and the driver has said so
    denoising         the clip's denoising begins
    first step        one step later

and of each loading its own parts (those of the text encoder and the autoencoder lie beside the others).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from reporting import machine, report

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from support.job_runs import actor_pids  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray import GenerateConfig, generate  # noqa: E402
from cosmos_ray.ledger.ledger import Ledger  # noqa: E402
from cosmos_ray.ledger.record import Record  # noqa: E402
from cosmos_ray.models.bundle.bundle import load_bundle  # noqa: E402
from cosmos_ray.store.storage import Storage  # noqa: E402

_POLL_S = 0.05
_LIMIT_S = 900.0


class Watched:
    """A job in a thread, what it said and when, and when its first gang's processes began."""

    def __init__(self, config: GenerateConfig) -> None:
        self.said: list[tuple[float, str]] = []
        self.began: dict[str, float] = {}  # of the leader's process, and of the last rank's
        self.ranks: list[int] = []
        self._output = str(config.output)
        self._thread = threading.Thread(target=generate, args=(config, self._say), daemon=True)
        self._thread.start()

    def _say(self, line: str) -> None:
        self.said.append((time.time(), line))
        print(line, file=sys.stderr, flush=True)
        if " is up" in line and not self.ranks:
            self.ranks = actor_pids("Rank", f"{line.split()[0]}-rank")
            for name, pids in {"leader": actor_pids("GangLeader"), "ranks": self.ranks}.items():
                self.began[name] = max(psutil.Process(pid).create_time() for pid in pids)

    def records(self) -> dict[str, Record]:
        return {record.id: record for record in Ledger(Storage(self._output)).records()}

    def await_record(self, clip: str) -> None:
        deadline = time.monotonic() + _LIMIT_S
        while clip not in self.records():
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise SystemExit(f"the job ended, or took too long, without {clip}")
            time.sleep(_POLL_S)

    def join(self) -> None:
        self._thread.join(_LIMIT_S)

    def when(self, words: str, after: float = 0.0) -> tuple[float, str]:
        """The first line with these words that was said after that time."""
        return next((at, line) for at, line in self.said if words in line and at > after)


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Figures of one fresh gang and of the one after a kill."""
    config = GenerateConfig(
        manifest=str(_manifest(folder, arguments)),
        output=str(folder / "out"),
        model=arguments.model,
        device=arguments.device,
        gang_size=arguments.gang_size,
        gang={"spare_ranks": arguments.spares, "clips_in_flight": 1},  # of several, any may be the first
    )
    job = Watched(config)
    job.await_record("clip-0")
    time.sleep(arguments.after)
    os.kill(job.ranks[-1], signal.SIGKILL)
    killed = time.time()
    job.await_record("clip-1")
    job.join()
    made = job.records()
    if made["clip-1"].attempt != 2:
        raise SystemExit("the clip was made before the rank was killed: give the second one more --steps")
    passes = load_bundle(arguments.model).recipe.passes

    def figures(clip: str, steps: int, since: float, up: tuple[float, str]) -> dict[str, float]:
        begins = denoising_begins(made[clip])
        step_s = made[clip].seconds["denoise"] / passes(steps)
        seen = {"up": up[0], "denoising": begins, "first step": begins + step_s}
        return {name: round(at - since, 2) for name, at in seen.items()} | parts_of(up[1])

    first, second = arguments.steps
    fresh = {"ranks": round(job.began["ranks"] - job.began["leader"], 2)}
    fresh |= figures("clip-0", first, job.began["leader"], job.when(" is up"))
    rebuilt = {"noticed": round(job.when(" broke: ", killed)[0] - killed, 2)}
    rebuilt |= figures("clip-1", second, killed, job.when(" is up", killed))
    return {"fresh": fresh, "rebuilt": rebuilt}


def denoising_begins(record: Record) -> float:
    """Seconds since 1970."""
    began = datetime.fromisoformat(record.started or "").timestamp()
    return began + record.seconds["prepare"] + record.seconds["wait"]


def parts_of(line: str) -> dict[str, float]:
    """Of a gang's line: {"loading": 21.4, "loading: imports": 6.0, ...}."""
    loaded = re.search(r"loaded in ([\d.]+) s \((.*)\)", line)
    if loaded is None:
        raise ValueError(f"no times of loading in: {line}")
    parts = re.findall(r"([^,]+?) ([\d.]+) s(?:, |$)", loaded[2])
    return {"loading": float(loaded[1]), **{f"loading: {part.strip()}": float(spent) for part, spent in parts}}


def table(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Of Markdown: a row a figure."""
    names = dict.fromkeys(name for one in runs for kind in one.values() for name in kind)
    lines = ["| s | fresh | rebuilt |", "|---|---|---|"]
    for name in names:
        cells = [_spread([one[kind][name] for one in runs if name in one[kind]]) for kind in ("fresh", "rebuilt")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _manifest(folder: Path, arguments: argparse.Namespace) -> Path:
    rows = [
        {
            "id": f"clip-{number}",
            "prompt": "A clear day on a city street.",
            "n_views": arguments.views,
            "num_conditional_frames": 0,
            "num_steps": steps,
            "seed": number,
        }
        for number, steps in enumerate(arguments.steps)
    ]
    path = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--gang-size", type=int, default=1)
    parser.add_argument("--runs", type=int, default=2, help="beside the one that fills the caches")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs=2, default=[3, 20], help="of the first clip, and of the second")
    parser.add_argument("--after", type=float, default=10.0, help="seconds into the second clip of the kill")
    parser.add_argument("--spares", choices=("auto", "always", "never"), default="auto")
    arguments = parser.parse_args()
    report(**machine("torch", "transformers", "diffusers", "ray"), arguments=vars(arguments))
    found = []
    for number in range(1 + arguments.runs):
        # A Ray for each: else the leader may be a process that has been there since the run before, idle.
        ray.init(address="local", include_dashboard=False, log_to_driver=False)
        with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
            found.append(run(arguments, Path(folder)))
        ray.shutdown()
        report(run="fills the caches" if number == 0 else number, **found[-1])
    if found[1:]:
        print(table(found[1:]))


if __name__ == "__main__":
    main()
