"""The Markdown tables of `eight_gpus.sh`, for a file in `benchmarks/results/`, from its results.jsonl.

    python benchmarks/eight_gpus_table.py results.jsonl > table.md

What a section did not get to is missing from its table; the last table says which sections were cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: Solver steps of a clip as published; one more evaluation makes it clean.
WHOLE_STEPS = 35

Line = dict[str, Any]


def tables(lines: list[Line]) -> Iterator[str]:
    yield from machine(lines)
    yield from gangs(lines)
    yield from jobs(lines)
    yield from clips(lines)
    yield from sections(lines)


def machine(lines: list[Line]) -> Iterator[str]:
    first = next((line for line in lines if "gpus" in line), None)
    if first is None:
        return
    job = next((line["versions"] for line in lines if line.get("versions")), {})
    versions = {name: first[name] for name in ("python", "torch")} | job
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"{first['gpus'] or 'CPUs only'}, {first['cpus']} cores; {named}"


def gangs(lines: list[Line]) -> Iterator[str]:
    """One clip on several gangs."""
    found = [line for line in lines if line["section"] == "gangs"]
    errors = {line["gang_size"]: line for line in found if "error" in line}
    rows = []
    for line in found:
        if "efficiency" in line:
            error = errors.get(line["gang_size"], {})
            speed = [line[name] for name in ("gang_size", "kernel", "step_s", "efficiency", "tflops_a_gpu")]
            rows.append([*speed, short(error.get("error")), short(error.get("allowed")), error.get("psnr_db")])
    columns = ["gang", "attention", "s a step", "efficiency", "TFLOP/s a GPU", "latents' error", "allowed", "PSNR, dB"]
    yield from table("One clip on gangs of several sizes", columns, rows)
    for line in lines:
        if "mode" in line:
            yield (
                f"A step on a gang of {line['gang_size']} ({line['mode']}): {line['step_s']} s "
                f"({line['least_s']} to {line['most_s']}, {line['steps']} steps); kernels, s: {line['kernels_s']}"
            )
        if "all_to_all_mb" in line:
            yield (
                f"Exchange of {line['all_to_all_mb']:.0f} MB a rank between {line['gang_size']}: {line['ms']} ms "
                f"({line['least_ms']} to {line['most_ms']}), {line['gb_s_sent']} GB/s sent a rank"
            )


def jobs(lines: list[Line]) -> Iterator[str]:
    found = [line for line in lines if "load_s" in line]
    rows = []
    for line in found:
        made = [clip for clip in lines if clip["section"] == line["section"] and "clip" in clip]
        seconds, how = whole_clip(line, made)
        an_hour = 3600 / (seconds * line["gang_size"]) if seconds else None
        who = [line["section"], f"{line['gangs']} of {line['gang_size']}", line["made"], spoken(line["load_s"])]
        rows.append([*who, short(seconds), how, short(an_hour), line["idle_s"], line["wall_s"]])
    columns = ["job", "gangs", "clips", "load, s", "s a clip of 35 steps", "", "clips a GPU-hour"]
    yield from table("Jobs", [*columns, "longest idle between clips, s", "wall, s"], rows)
    if any("reckoned" in row for row in rows):
        yield (
            "Reckoned: 36 evaluations like those of the clips made, and the idle time. A gang's decoding and encoding "
            "go on beside its next clip."
        )
    for line in found:
        if line["recovery"]:
            yield (
                f"A rank killed in mid-clip (job `{line['section']}`): the clip was denoised again after "
                f"{line['recovery']['to_denoising_s']} s, and had its next step after "
                f"{line['recovery']['to_next_step_s']} s."
            )


def whole_clip(job: Line, made: list[Line]) -> tuple[float | None, str]:
    """Seconds of a gang that a clip of 35 steps takes; its decoding and encoding go on beside the next one."""
    measured = [clip["denoise_s"] for clip in made if clip["steps"] == WHOLE_STEPS]
    if measured:
        return min(measured) + (job["idle_s"] or 0), "measured"
    if job["step_s"] is None:
        return None, ""
    return job["step_s"] * (WHOLE_STEPS + 1) + (job["idle_s"] or 0), "reckoned"


def clips(lines: list[Line]) -> Iterator[str]:
    phases = ("denoise", "decode", "encode", "put", "idle")
    names = ["section", "gang_size", "clip", "attempt", "steps", "step_s", *(f"{phase}_s" for phase in phases)]
    rows = [[line[name] for name in (*names, "peak_memory_gib")] for line in lines if "clip" in line]
    columns = ["job", "gang", "clip", "attempt", "steps", "s a step", *phases, "peak memory of a rank, GiB"]
    yield from table("Clips of the jobs: seconds of each phase, idle before it", columns, rows)


def sections(lines: list[Line]) -> Iterator[str]:
    rows = [
        [line["section"], line["began_s"], line["took_s"], line["limit_s"], ended(line["exit_code"])]
        for line in lines
        if "took_s" in line
    ]
    yield from table("Sections", ["section", "began, s", "took, s", "limit, s", "ended"], rows)


def ended(exit_code: int) -> str:
    return {0: "well", 124: "cut", 137: "cut, and did not stop by itself"}.get(exit_code, f"with exit code {exit_code}")


def table(title: str, columns: list[str], rows: list[list[Any]]) -> Iterator[str]:
    if not rows:
        return
    yield f"## {title}"
    yield "\n".join(cells(row) for row in (columns, ["---"] * len(columns), *rows))


def cells(row: Iterable[Any]) -> str:
    return "| " + " | ".join("" if value is None else str(value) for value in row) + " |"


def short(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def spoken(values: list[float]) -> str:
    return ", ".join(str(value) for value in values)


def main() -> None:
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines() if line.startswith("{")]
    print("\n\n".join(tables(lines)))


if __name__ == "__main__":
    main()
