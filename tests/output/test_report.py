"""What the page of an output is made of: told from the output alone, and the same for the same run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.job_runs import write_manifest
from support.outcomes import ROWS, clips, run_of, settle

from cosmos_ray.ledger.ledger import FileEntry, Ledger
from cosmos_ray.ledger.run import Run
from cosmos_ray.output.failures import failures, in_words
from cosmos_ray.output.report import build
from cosmos_ray.output.report.page import Failure, ReportPage
from cosmos_ray.store.storage import Storage


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    return write_manifest(tmp_path / "m.parquet", ROWS)


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def page_of(output: Storage, run: Run, patch: pytest.MonkeyPatch) -> ReportPage:
    """What is shown; a contact sheet is the names of its views and their bytes."""
    pages: list[ReportPage] = []
    with patch.context() as inner:
        inner.setattr(build, "render", lambda page: pages.append(page) or "the page")  # type: ignore[func-returns-value]
        inner.setattr(build, "contact_sheet", lambda videos: json.dumps({k: v.decode() for k, v in videos.items()}))
        build.write_report(output, run, Ledger(output).state())
    assert output.read("report.html") == b"the page"
    return pages[0]


def make(output: Storage, known: dict, clip_id: str, **said: object) -> None:
    for view in ("rear", "front_wide"):
        output.write(f"clips/{clip_id}/1/{view}.mp4", f"{clip_id} {view}".encode())
    output.write(f"clips/{clip_id}/1/clip.json", json.dumps({"clip": said}).encode())
    settle(output, known[clip_id], seconds={"denoise": 90.25, "decode": 3.0})


def test_the_page_is_gathered_from_the_output_alone(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = clips(manifest)
    run = run_of(manifest, approximations={"attention": "fp8"})
    make(output, known, "e", prompts=["snow", "ice"], seed=5, num_steps=9, guidance=2.5, fps=10)
    make(output, known, "b.s001", prompts=[], seed=1)
    make(output, known, "a", prompts=["a street"])
    settle(output, known["c"], "input", error="no prompt")
    settle(output, known["d.s000"], "oom", error="too large", attempt=3)
    Ledger(output).redo(["a"])  # it is to be made again: neither made nor failed
    page = page_of(output, run, monkeypatch)
    assert (page.title, page.output, page.model) == ("cosmos_ray: out", output.uri, "fake")
    assert page.totals == {"rows": 5, "clips": 8, "ok": 2, "failed": 2, "left": 4}
    assert page.failure_counts == {"input": 1, "oom": 1}
    assert page.failures == [Failure("c", 0, "input", 1, "no prompt"), Failure("d.s000", 0, "oom", 3, "too large")]
    assert page.settings["numerics"] == "reference"
    assert page.settings["num_steps"] == "35"
    assert page.settings["attention"] == "fp8"
    assert page.settings["manifest"] == manifest
    first, second = page.sheets
    assert (first.id, first.prompt, first.details) == (
        "b.s001", "(prompt embedding)", {"seed": "1", "denoised in": "90.2 s"},
    )  # fmt: skip
    assert (second.id, second.prompt) == ("e", "snow · ice")
    assert second.details == {"seed": "5", "num_steps": "9", "guidance": "2.5", "denoised in": "90.2 s"}
    assert second.videos == {view: f"clips/e/1/{view}.mp4" for view in ("rear", "front_wide")}
    assert json.loads(second.jpeg) == {"rear": "e rear", "front_wide": "e front_wide"}
    assert page.sheets_left_out == 0


def test_a_page_of_many_shows_the_first_by_name(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order they were made in; all of them are counted."""
    monkeypatch.setattr(build, "_SHEETS", 2)
    monkeypatch.setattr(build, "_FAILURES", 1)
    known = clips(manifest)
    for clip_id in ("e", "b.s002", "a", "b.s000"):
        make(output, known, clip_id, prompts=["p"])
    for clip_id in ("d.s001", "d.s000", "c"):
        settle(output, known[clip_id], "input")
    page = page_of(output, run_of(manifest), monkeypatch)
    assert [sheet.id for sheet in page.sheets] == ["a", "b.s000"]
    assert page.sheets_left_out == 2
    assert [failure.id for failure in page.failures] == ["c"]
    assert page.failure_counts == {"input": 3}


def test_failures_come_by_name_all_or_the_first(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are read at once; none is told twice or left out."""
    monkeypatch.setattr("cosmos_ray.output.failures._AT_ONCE", 2)
    known = clips(manifest)
    for clip_id in ("e", "b.s002", "c", "b.s000", "d.s000"):
        settle(output, known[clip_id], "gang", error=f"why {clip_id}")
    settle(output, known["a"], files=(FileEntry("rear", "x", 1, "s"),))
    state = Ledger(output).state()
    assert [one.id for one in failures(output, state)] == ["b.s000", "b.s002", "c", "d.s000", "e"]
    assert [one.id for one in failures(output, state, 3)] == ["b.s000", "b.s002", "c"]
    assert in_words(next(failures(output, state))) == "failed (gang) b.s000: why b.s000"
