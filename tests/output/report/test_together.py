"""The page of several outputs: all their rows, found from where the page lies, and how far each output is."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import pytest
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, clips, run_of, settle

from cosmos_ray.errors import FailureClass, UsageError
from cosmos_ray.ledger.history import JobTook, write_job
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry
from cosmos_ray.ledger.run import open_run
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.index import write_index
from cosmos_ray.output.report import together
from cosmos_ray.output.report.part import WHOLE, Part
from cosmos_ray.output.report.together import write_together
from cosmos_ray.store.storage import Storage


def part_of(folder: Path, name: str, column: str, failure: FailureClass = "oom") -> str:
    """An output with a clip that is ok and one that failed."""
    manifest = write_manifest(
        folder / f"{name}.parquet", [{"id": f"{name[0]}{n}", "prompt": "p", column: n} for n in (1, 2)]
    )
    output = Storage(str(folder / "parts" / name))
    made, failed = clips(manifest).values()
    settle(output, made, previews=(FileEntry("preview", f"previews/{made.id}/1.mp4", 1, "s"),))
    settle(output, failed, failure)
    open_run(output, run_of(manifest, rows=2, clips=3))
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    return output.uri


def rows_in(folder: Path) -> dict[str, list[dict]]:
    head = json.loads(re.search(r'id="head">(.*?)</script>', (folder / "report.html").read_text())[1])  # type: ignore[index]
    found: dict[str, list[dict]] = {}
    for listed in head["lists"]:
        names = [name for name, _ in listed["columns"]]
        said = [(folder / "report" / file).read_text() for file in listed["files"]]
        rows = [row for one in said for row in json.loads(one[one.index(", ") + 2 :].removesuffix(");\n"))]
        found[listed["name"]] = [dict(zip(names, row, strict=True)) for row in rows]
    return found


def test_rows_of_all_are_found_from_where_the_page_lies(tmp_path: Path) -> None:
    outputs = [part_of(tmp_path, "x", "weather"), part_of(tmp_path, "y", "place")]
    assert write_together(outputs, WHOLE) == f"{tmp_path}/parts/report.html"
    rows = rows_in(tmp_path / "parts")
    assert [(one["output"], one["id"], one[".folder"], one[".preview"]) for one in rows["clips"]] == [
        ("x", "x1", "x/clips/x1/1", "x/previews/x1/1"),
        ("y", "y1", "y/clips/y1/1", "y/previews/y1/1"),
    ]
    assert [(one["weather"], one["place"]) for one in rows["clips"]] == [(1, None), (None, 1)]
    assert [(one["id"], one[".retry"]) for one in rows["failures"]] == [
        (f"{name}2", f"cosmos-ray retry {output}") for name, output in zip("xy", outputs, strict=True)
    ]
    page = (tmp_path / "parts" / "report.html").read_text()
    assert '<a href="./x/report.html">x</a></th><td>3</td><td>1 (33.3%)</td><td>1</td><td>1</td>' in page
    assert f"cosmos-ray report {outputs[0]} {outputs[1]}" not in page
    write_together(outputs, Part("id = 'y1'"))
    assert [one["id"] for one in rows_in(tmp_path / "parts")["clips"]] == ["y1"]
    assert f"cosmos-ray report {outputs[0]} {outputs[1]}" in (tmp_path / "parts" / "report.html").read_text()


def test_a_column_of_strangers_that_is_named_output_stays_beside_ours(tmp_path: Path) -> None:
    outputs = [part_of(tmp_path, "x", "output"), part_of(tmp_path, "y", "weather")]
    write_together(outputs, WHOLE)
    for name, number in (("clips", 1), ("failures", 2)):
        found = rows_in(tmp_path / "parts")[name]
        assert [(one["output"], one["manifest_output"], one["weather"]) for one in found] == [
            ("x", number, None),
            ("y", None, number),
        ]


def test_commands_to_retry_name_the_output_that_has_such_failures(tmp_path: Path) -> None:
    outputs = [
        part_of(tmp_path, "x", "weather"),
        part_of(tmp_path, "y", "weather"),
        part_of(tmp_path, "z z", "a", "input"),
    ]
    write_together(outputs, WHOLE)
    page = html.unescape((tmp_path / "parts" / "report.html").read_text())
    assert re.findall("<code>(cosmos-ray retry .*?)</code>", page) == [
        f"cosmos-ray retry {outputs[0]} --class oom",
        f"cosmos-ray retry {outputs[1]} --class oom",
        f"cosmos-ray retry '{outputs[2]}' --class input",
    ]
    assert "retry OUTPUT" not in page


def test_a_condition_on_columns_that_some_outputs_have_is_of_those(tmp_path: Path) -> None:
    outputs = [part_of(tmp_path, "x", "weather"), part_of(tmp_path, "y", "place")]
    write_together(outputs, Part("weather >= 1"))
    rows = rows_in(tmp_path / "parts")
    assert [one["id"] for one in rows["clips"]] == ["x1"]
    assert [one["id"] for one in rows["failures"]] == ["x2"]
    with pytest.raises(UsageError, match="where 'wether = 1': "):
        write_together(outputs, Part("wether = 1"))


def test_what_each_output_took_and_cost_is_told(tmp_path: Path) -> None:
    outputs = [part_of(tmp_path, name, "weather") for name in "wxyz"]
    for output, device, seconds in zip(outputs, ("cuda", "cpu", "cuda"), (7200.0, 7200.0, 0.0), strict=False):
        write_job(Storage(output), JobTook(1, "2030", "2030", 8, 1, device, seconds, None))
    write_together(outputs, Part(price=2.5))
    page = (tmp_path / "parts" / "report.html").read_text()
    cells = re.findall(r"<td>([^<]*)</td><td>([^<]*)</td></tr>", page)
    assert cells == [("2.00", "5.00"), ("2.00 of ranks", "5.00"), ("0.00", "0.00"), ("–", "–")]
    write_together(outputs, Part(price=0.0))
    assert "<td>2.00</td><td>0.00</td>" in (tmp_path / "parts" / "report.html").read_text()
    write_together(outputs, WHOLE)
    assert "USD" not in (tmp_path / "parts" / "report.html").read_text()


def test_the_page_says_how_many_there_are_beyond_those_that_it_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "MOST", 1)
    write_together([part_of(tmp_path, "x", "weather"), part_of(tmp_path, "y", "place")], WHOLE)
    page = (tmp_path / "parts" / "report.html").read_text()
    lists = json.loads(re.search(r'id="head">(.*?)</script>', page)[1])["lists"]  # type: ignore[index]
    assert [(one["name"], one["count"], one["total"]) for one in lists] == [("clips", 1, 2), ("failures", 1, 2)]


def test_an_output_in_another_has_the_page_above_both(tmp_path: Path) -> None:
    inner = part_of(tmp_path, "x", "weather")
    outer = tmp_path / "outer"
    shutil.move(part_of(tmp_path, "y", "place"), outer)
    shutil.move(inner, outer / "x")
    assert write_together([str(outer), str(outer / "x")], WHOLE) == f"{tmp_path}/report.html"
    assert [one[".folder"] for one in rows_in(tmp_path)["clips"]] == ["outer/clips/y1/1", "outer/x/clips/x1/1"]


def test_what_cannot_be_told_together_is_refused(tmp_path: Path) -> None:
    outputs = [part_of(tmp_path, "x", "weather"), part_of(tmp_path, "y", "place")]
    with pytest.raises(UsageError, match="an output twice"):
        write_together([outputs[0], outputs[0]], WHOLE)
    (tmp_path / "link").symlink_to(outputs[0])
    with pytest.raises(UsageError, match="an output twice"):
        write_together([outputs[0], str(tmp_path / "link")], WHOLE)
    (tmp_path / "parts" / "report.html").write_text("<p>mine</p>")
    with pytest.raises(UsageError, match="no page of ours"):
        write_together(outputs, WHOLE)
    assert (tmp_path / "parts" / "report.html").read_text() == "<p>mine</p>"
