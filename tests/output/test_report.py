"""What the page of an output is made of: told from the output alone, all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, ROWS, clips, run_of, settle

from cosmos_ray.clip.checks import Scores
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry
from cosmos_ray.ledger.run import Run
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.failures import failures, in_words
from cosmos_ray.output.index import write_index
from cosmos_ray.output.report import build, listing
from cosmos_ray.output.report.page import ReportPage, render
from cosmos_ray.output.report.part import WHOLE, Part
from cosmos_ray.store.storage import Storage


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    return write_manifest(tmp_path / "m.parquet", [{**row, "place": f"at {row['id']}"} for row in ROWS])


def page_of(output: Storage, run: Run, patch: pytest.MonkeyPatch, index: bool = True, part: Part = WHOLE) -> ReportPage:
    pages: list[ReportPage] = []
    state = Ledger(output).state()
    if index:
        write_index(output, open_manifest(run.manifest), DEFAULTS, state)
    with patch.context() as inner:
        inner.setattr(build, "render", lambda page: pages.append(page) or render(page))  # type: ignore[func-returns-value]
        build.write_report(output, run, state, part=part)
    return pages[0]


def rows_of(output: Storage, page: ReportPage, name: str) -> list[dict[str, Any]]:
    """As the page's scripts find them."""
    (rows,) = (one for one in page.lists if one.name == name)
    found = []
    for file in rows.files:
        said = re.fullmatch(r'rowsOf\("(.*?)", (.*)\);\n', output.read(page.folder + file).decode())
        assert said is not None
        found += [dict(zip([name for name, _ in rows.columns], row, strict=True)) for row in json.loads(said[2])]
    assert len(found) == rows.count
    return found


def test_the_page_is_gathered_from_the_output_alone(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = clips(manifest)
    run = run_of(manifest, approximations={"attention": "fp8"})
    scores = {"rear": Scores(0.0, 0.25, 0.0, 1.5, 9.0), "front_wide": Scores(0.5, 0.0, 0.0, 0.5, 7.0, agreement=0.75)}
    looks = {"scores": scores, "marks": ("front_wide: black",)}
    settle(output, known["e"], warnings=("dark", "blurred"), **looks, seconds={"denoise": 90.25}, gang="gang-0001")
    settle(output, known["b.s001"])
    settle(output, known["a"])
    settle(output, known["c"], "input", error="no prompt")
    settle(output, known["d.s000"], "oom", error="too large", attempt=3)
    Ledger(output).redo(["a"])  # it is to be made again: neither made nor failed
    page = page_of(output, run, monkeypatch)
    assert (page.title, page.output, page.model) == ("cosmos_ray: out", output.uri, "fake")
    assert page.totals == {"rows": 5, "clips": 8, "ok": 2, "failed": 2, "left": 4}
    assert page.failure_counts == {"input": 1, "oom": 1}
    assert page.retry == f"cosmos-ray retry {output.uri}"
    assert page.settings["numerics"] == "reference"
    assert page.settings["attention"] == "fp8"
    assert page.settings["manifest"] == manifest
    first, second = rows_of(output, page, "clips")
    assert (first["id"], first["caption"], first["row_id"], first["place"]) == ("b.s001", "a bridge", "b", "at b")
    assert second == {
        ".folder": "clips/e/1", ".views": "front_wide rear", "id": "e", "caption": "snow", "mode": "Text2World",
        "seed": 5, "guidance": 7.0, "steps": 35, "row_id": "e", "num_samples": None, "place": "at e", "fps": 10,
        "denoise_s": 90.2, "attempts": 1, "gang": "gang-0001", "warnings": "dark\nblurred",
        "marks": "front_wide: black",
        "score black": 0.5, "score frozen": 0.25, "score saturated": 0.0, "score flicker": 1.5, "score sharpness": 7.0,
        "score agreement": 0.75, "negative_prompt": "blurry",
    }  # fmt: skip
    failed = rows_of(output, page, "failures")
    assert [(one["id"], one["class"], one["error"], one["attempts"], one["place"]) for one in failed] == [
        ("c", "input", "no prompt", 1, "at c"),
        ("d.s000", "oom", "too large", 3, "at d"),
    ]
    assert [one["caption"] for one in failed] == [None, "rain"]
    assert [one["seed"] for one in failed] == [None, -1], "as its row says it, under its own name"


def test_a_page_has_as_many_clips_as_a_browser_holds_and_says_how_many_there_are(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST", 2)
    known = clips(manifest)
    for clip_id in ("e", "b.s002", "a", "b.s000"):
        settle(output, known[clip_id])
    for clip_id in ("d.s001", "d.s000", "c"):
        settle(output, known[clip_id], "input")
    page = page_of(output, run_of(manifest), monkeypatch)
    assert [one["id"] for one in rows_of(output, page, "clips")] == ["a", "b.s000"]
    assert [one["id"] for one in rows_of(output, page, "failures")] == ["c", "d.s000"]
    assert [(one.count, one.total) for one in page.lists] == [(2, 4), (2, 3)]


def test_how_a_clip_begins_is_told_from_its_row(
    tmp_path: Path, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = {"input_video": "v.mp4", "prompt": "p"}
    manifest = write_manifest(
        tmp_path / "modes.parquet",
        [
            {"id": "a", "prompt": "p"},
            {"id": "b", **video},
            {"id": "c", **video, "num_conditional_frames": 5},
            {"id": "d", **video, "num_conditional_frames": 0},
            {"id": "e", "prompt_embedding": "e.pt"},
        ],
    )
    for clip in clips(manifest).values():
        settle(output, clip)
    page = page_of(output, run_of(manifest), monkeypatch)
    found = rows_of(output, page, "clips")
    assert [one["mode"] for one in found] == [
        *("Text2World", "Image2World", "Video2World", "Text2World", "Text2World"),
    ]
    assert [one["caption"] for one in found] == ["p", "p", "p", "p", None]


def test_columns_of_strangers_take_no_place_of_the_pages_own(
    tmp_path: Path, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": "a", "prompt": "p", ".folder": "http://x", "caption": "mine", "mode": "mine", "finished": "mine"}
    row |= {"town": "one", ".town": "another", "..town": "a third"}
    manifest = write_manifest(tmp_path / "own.parquet", [row])
    settle(output, clips(manifest)["a"], finished="2030-01-01")
    (found,) = rows_of(output, page_of(output, run_of(manifest), monkeypatch), "clips")
    assert (found[".folder"], found["folder"], found["caption"]) == ("clips/a/1", "http://x", "p")
    assert (found["manifest_caption"], found["manifest_mode"], found["manifest_finished"]) == ("mine", "mine", "mine")
    assert found["finished"] != "mine"
    assert (found["town"], found["manifest_town"], found["manifest_manifest_town"]) == ("one", "another", "a third")


def test_a_page_of_a_part_has_what_a_condition_holds_for(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the failures too, where it asks for what they have."""
    known = clips(manifest)
    for clip_id in ("a", "b.s000", "b.s001", "e"):
        settle(output, known[clip_id])
    for clip_id in ("c", "d.s000"):
        settle(output, known[clip_id], "input")

    def ids(where: str) -> list[list[str]]:
        page = page_of(output, run_of(manifest), monkeypatch, part=Part(where))
        assert page.part == f"only clips for which {where}"
        assert page.totals["ok"] == 4
        return [[one["id"] for one in rows_of(output, page, name)] for name in ("clips", "failures")]

    assert ids("row_id = 'b' or place = 'at d'") == [["b.s000", "b.s001"], ["d.s000"]]
    assert ids("seed = 5") == [["e"], []]
    assert ids("seconds > 0 and place <> 'at a'") == [["b.s000", "b.s001", "e"], []]
    with pytest.raises(UsageError, match="nowhere"):
        ids("nowhere = 1")


def test_a_grid_is_of_columns_that_clips_have(manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(output, clips(manifest)["a"])
    page = page_of(output, run_of(manifest), monkeypatch, part=Part(grid=("guidance", "place")))
    assert (page.grid, page.part) == (("guidance", "place"), "")
    page = page_of(output, run_of(manifest), monkeypatch, part=Part(grid=("num_steps", "seconds")))
    assert page.grid == ("steps", "denoise_s"), "by its names in the index"
    with pytest.raises(UsageError, match=r"--grid gidance: no clip has such a column, expected one of .*guidance"):
        page_of(output, run_of(manifest), monkeypatch, part=Part(grid=("gidance", "place")))


def test_failures_of_an_older_release_have_no_columns_of_the_manifest(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clip_id in ("d.s000", "c"):
        settle(output, clips(manifest)[clip_id], "oom", error=f"why {clip_id}", attempt=2)
    page = page_of(output, run_of(manifest), monkeypatch, index=False)
    assert rows_of(output, page, "failures") == [
        {"id": name, "class": "oom", "error": f"why {name}", "attempts": 2} for name in ("c", "d.s000")
    ]


def test_without_an_index_there_are_still_the_clips(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(output, clips(manifest)["a"])
    (found,) = rows_of(output, page_of(output, run_of(manifest), monkeypatch, index=False), "clips")
    assert (found["id"], found[".views"]) == ("a", "front_wide rear")


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


def test_a_failure_without_a_class_is_one_of_our_own() -> None:
    """Of a record that an old release has written; the page chooses by classes."""
    table = pa.table({"id": ["a", "b"], "class": [None, "oom"], "error": ["x", "y"], "attempts": [1, 2]})
    found = listing.failures_of(table)
    of_class = [name for name, _ in found.columns].index("class")
    assert [row[of_class] for row in found.rows] == ["internal", "oom"]
