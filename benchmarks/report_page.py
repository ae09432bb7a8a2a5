"""What a page of ten thousand clips takes: to write, to open, to scroll through, to search and to sort.

    python benchmarks/report_page.py FOLDER [--clips 10000]

The output in FOLDER is made of records alone, as a job leaves them; every clip has a preview (one file under many
names), none has its full videos. Writing is index, failures and page together: what is left to a job after its last
clip. The page is opened from the disk in a headless Chromium (`apt-get install chromium`), without network.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from reporting import machine, report  # noqa: E402
from support.browser import Page, browser, installed  # noqa: E402
from support.job_runs import write_manifest  # noqa: E402
from support.outcomes import DEFAULTS, run_of  # noqa: E402

from cosmos_ray.clip.preview import encode_preview  # noqa: E402
from cosmos_ray.clip.request import VIEWS  # noqa: E402
from cosmos_ray.job.plan import manifest_clips  # noqa: E402
from cosmos_ray.ledger.ledger import Ledger  # noqa: E402
from cosmos_ray.ledger.parts import PART_SCHEMA, write_part  # noqa: E402
from cosmos_ray.ledger.record import (  # noqa: E402
    FileEntry,
    Record,
    table_of,
)
from cosmos_ray.manifest.files import open_manifest  # noqa: E402
from cosmos_ray.output.index import write_index  # noqa: E402
from cosmos_ray.output.report.build import write_report  # noqa: E402
from cosmos_ray.store.storage import Storage  # noqa: E402

_WORDS = "A street in a city at dusk, wet after the rain, with parked cars, a cyclist and a bus that turns left."
#: Scrolls to the end of what is there, a frame at a time, until all cards are.
_TO_THE_END = """(async () => {
  while (found.shown < COUNT) {
    scrollTo(0, document.body.scrollHeight);
    await new Promise(requestAnimationFrame);
  }
})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new one")
    parser.add_argument("--clips", type=int, default=10_000)
    arguments = parser.parse_args()
    report(measure="machine", **machine("pyarrow", "numpy"))
    output = _written(arguments.folder, arguments.clips)
    program = installed()
    if program is None:
        report(measure="browser", missing="chromium")
        return
    with browser() as found:
        page = found.page()
        page.size(1440, 900)
        _look(page, (output / "report.html").as_uri(), arguments.clips)


def _written(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {
            "id": f"drive-{n:06d}",
            "prompt": f"{_WORDS} Take {n}.",
            "seed": n,
            "weather": ("rain", "fog")[n % 2],
            "km": n / 7,
        }
        for n in range(count)
    ]
    manifest = write_manifest(folder / "m.parquet", rows)
    output = Storage(str(folder / "out"))
    small = encode_preview([np.full((29, 88, 160, 3), 30 * view, np.uint8) for view in range(7)], 10)
    for suffix, data in zip((".mp4", ".jpg"), small, strict=True):
        (folder / f"preview{suffix}").write_bytes(data)
    records = [
        _record(folder, output, clip.id, clip.row_hash, n) for n, clip in enumerate(manifest_clips(manifest, DEFAULTS))
    ]
    compacted = table_of(records).append_column("compacted_by", pa.array([1] * count, pa.int64()))
    write_part(output, 1, [compacted.select(PART_SCHEMA.names)])
    state, run, opened = Ledger(output).state(), run_of(manifest, rows=count, clips=count), open_manifest(manifest)

    def write() -> None:
        write_index(output, opened, DEFAULTS, state)
        write_report(output, run, state)

    _timed("write", write)
    _timed("write again, nothing changed", write)
    sizes = [path.stat().st_size for path in Path(output.uri, "report").iterdir()]
    report(
        measure="size",
        page_bytes=Path(output.uri, "report.html").stat().st_size,
        rows_bytes=sum(sizes),
        files=len(sizes),
        largest_bytes=max(sizes),
    )
    return Path(output.uri)


def _record(folder: Path, output: Storage, clip_id: str, row_hash: str, number: int) -> Record:
    place = Path(output.uri, "previews", clip_id)
    place.mkdir(parents=True)
    previews = []
    for suffix in (".mp4", ".jpg"):
        os.link(folder / f"preview{suffix}", place / f"1{suffix}")
        previews.append(FileEntry("preview", f"previews/{clip_id}/1{suffix}", 1, "0" * 64))
    files = tuple(FileEntry(view, f"clips/{clip_id}/1/{view}.mp4", 1, "0" * 64) for view in VIEWS)
    finished = f"2030-01-{1 + number // 3600 % 28:02d}T{number // 150 % 24:02d}:{number % 60:02d}:00.000+00:00"
    sidecar = FileEntry("", f"clips/{clip_id}/1/clip.json", 1, "0" * 64)
    return Record(
        clip_id, 0, "ok", None, 1, None, row_hash, 1, gang="gang-0001", finished=finished, seconds={"denoise": 900.0},
        files=files, sidecar=sidecar, previews=tuple(previews),
    )  # fmt: skip


def _timed(what: str, work: Callable[[], Any]) -> None:
    began, spent = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    now = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    report(measure=what, seconds=round(time.monotonic() - began, 3), cpu_seconds=round(cpu_s, 3))


def _look(page: Page, url: str, count: int) -> None:
    def ready() -> None:
        page.open(url)
        page.until("document.querySelector('.card img')?.naturalWidth > 0")

    def asked(change: str, done: str) -> Callable[[], Any]:
        return lambda: (page.ask(change), page.until(done))

    _timed("open until pictures are seen", ready)
    page.ask("search()")  # whatever begins only now
    last = f"drive-{count - 1:06d}"
    search = "ui.search.value = 'WORDS', ui.search.dispatchEvent(new Event('input'))"
    first = "document.querySelector('.card')?.getAttribute('aria-label')"
    _timed(
        "first search: reads all rows", asked(search.replace("WORDS", f"take {count - 1}."), f"{first} === '{last}'")
    )
    _timed("search", asked(search.replace("WORDS", "take 77."), f"{first} === 'drive-000077'"))
    page.ask(search.replace("WORDS", ""))
    page.until(f"{first} === 'drive-000000'")
    sort = "ui.sort.value = 'km', ui.descending.click()"
    _timed("sort by a number, last first", asked(sort, f"{first} === '{last}'"))
    page.ask("ui.sort.value = '', wanted.sort = '', ui.descending.click()")
    page.until(f"{first} === 'drive-000000'")
    _timed("scroll through all", lambda: page.ask(_TO_THE_END.replace("COUNT", str(count))))
    report(
        measure="after scrolling through all",
        shown=page.ask("found.shown"),
        cards=page.ask("document.querySelectorAll('.card').length"),
        elements=page.ask("document.querySelectorAll('*').length"),
        pictures=page.ask("document.querySelectorAll('img').length"),
        heap_mb=page.ask("Math.round(performance.memory.usedJSHeapSize / 1e6)"),
        frame_ms=page.ask(_FRAME_MS),
    )
    report(measure="errors", said=page.errors)
    page.open("about:blank")
    _timed("open at the last clip", lambda: (page.open(f"{url}#{last}"), page.until("detail.open")))


#: The longest of fifty frames while the page is scrolled upwards.
_FRAME_MS = """(async () => {
  let longest = 0, before = performance.now();
  for (let frame = 0; frame < 50; frame += 1) {
    scrollBy(0, -700);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    longest = Math.max(longest, now - before);
    before = now;
  }
  return Math.round(longest);
})()"""

if __name__ == "__main__":
    main()
