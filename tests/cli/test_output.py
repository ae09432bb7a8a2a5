"""`status`, `retry` and `report`: what they say of an output, and of one that is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from support.command_line import assert_one_line

from cosmos_ray.cli import output as cli_output
from cosmos_ray.errors import FAILURE_CLASSES
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.lease import Owner
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.output import export
from cosmos_ray.output.status import Status
from cosmos_ray.store.storage import Storage


def test_status_for_people(cosmos_ray: Any, output: Path) -> None:
    answer = cosmos_ray("status", output)
    assert answer.code == 0
    assert "1 ok, 1 failed (1 input), 2 left" in answer.out


@pytest.mark.parametrize("flags", [[], ["--failed"]])
def test_status_says_how_what_failed_is_made_again(cosmos_ray: Any, output: Path, flags: list[str]) -> None:
    answer = cosmos_ray("status", output, *flags)
    assert f"`cosmos-ray retry {output}` has them made again by the next `generate`" in answer.out + answer.err
    assert ("retry" in answer.out) == (not flags), "lines of failures alone are for other programs, too"
    cosmos_ray("retry", output)
    assert "cosmos-ray retry" not in cosmos_ray("status", output, *flags).out


def test_status_as_json(cosmos_ray: Any, output: Path) -> None:
    found = json.loads(cosmos_ray("status", output, "--json").out)
    assert {"ok": 1, "failed": 1, "left": 2, "clips": 4, "failed_by_class": {"input": 1}}.items() <= found.items()


def test_status_of_each_record(cosmos_ray: Any, output: Path) -> None:
    answer = cosmos_ray("status", output, "--records")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert sorted((line["id"], line["status"], line["class"]) for line in lines) == [
        ("a", "ok", None),
        ("b", "failed", "input"),
    ]
    assert all(list(line) == ["id", "generation", "status", "class", "attempt", "error"] for line in lines)


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["status", "--records"], ["retry"], ["report"]])
def test_there_is_nothing_to_say_of_an_output_that_is_not_there(
    cosmos_ray: Any, tmp_path: Path, command: list[str]
) -> None:
    assert_one_line(cosmos_ray(*command, tmp_path / "none"), 2, f"there is no run at {tmp_path}/none")
    assert not (tmp_path / "none").exists()


def test_retry_says_what_will_be_made_again(cosmos_ray: Any, output: Path) -> None:
    assert cosmos_ray("retry", output, "--class", "oom").out == "0 clips will be made again\n"
    answer = cosmos_ray("retry", output, "--class", "oom", "--class", "input")
    assert (answer.code, answer.out) == (0, "1 clip will be made again\n  b\n")
    waits = "0 clips will be made again\nwaiting for the next `cosmos-ray generate` already: 1 clip\n"
    assert cosmos_ray("retry", output).out == waits, "asked for twice, it is not forgotten"
    assert json.loads(cosmos_ray("status", output, "--json").out)["left"] == 3


def test_a_store_that_refuses_a_delete_keeps_no_lease(cosmos_ray: Any, output: Path, monkeypatch: Any) -> None:
    """On another machine the next job would wait out its lifetime."""
    left = output / "clips" / "a" / "9" / "rear.mp4"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"nothing refers to it")

    def refuses(*_: object) -> None:
        raise PermissionError("AccessDenied")

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "delete", refuses)
        assert_one_line(cosmos_ray("status", output, "--clean"), 1, "AccessDenied")
    beats = [json.loads(path.read_text()) for path in (output / LEASE).glob("*.beat")]
    assert beats
    assert all(beat["released"] for beat in beats)


def test_retry_of_what_guardrails_have_blocked(cosmos_ray: Any, output: Path) -> None:
    blocked = Record("c.s000", 0, "failed", "guardrail", 1, "blocked by the check `blocklist`: word list", "row", 1)
    Ledger(Storage(str(output))).commit(blocked)
    assert json.loads(cosmos_ray("status", output, "--json").out)["failed_by_class"] == {"input": 1, "guardrail": 1}
    answer = cosmos_ray("retry", output, "--class", "guardrail")
    assert (answer.code, answer.out) == (0, "1 clip will be made again\n  c.s000\n")
    state = Ledger(Storage(str(output))).state()
    assert (state.is_settled("b"), state.is_settled("c.s000")) == (True, False)


def test_retry_by_id_takes_clips_that_failed_or_were_made(cosmos_ray: Any, output: Path) -> None:
    ids = {record.status: record.id for record in Ledger(Storage(str(output))).records()}
    answer = cosmos_ray("retry", output, "--id", ids["ok"], "--id", ids["failed"])
    assert answer.out.splitlines()[0] == "2 clips will be made again"
    state = Ledger(Storage(str(output))).state()
    assert not any(state.is_settled(clip_id) for clip_id in ids.values())
    again = cosmos_ray("retry", output, "--id", ids["ok"], "--id", ids["failed"])
    assert (again.code, again.out) == (answer.code, answer.out), "as after a kill: nothing is left to do"
    assert Ledger(Storage(str(output))).state().reopened == state.reopened
    assert_one_line(cosmos_ray("retry", output, "--id", "nobody"), 2, "has no such clip")
    assert_one_line(cosmos_ray("retry", output, "--id", ids["ok"], "--id", "nobody"), 2, "--id nobody: ")
    assert_one_line(cosmos_ray("retry", output, "--id", "a", "--damaged"), 2, "expected one of them")


def test_retry_names_the_first_twenty(cosmos_ray: Any, output: Path) -> None:
    for number in range(30):
        Ledger(Storage(str(output))).commit(Record(f"d{number:02d}", 0, "failed", "oom", 1, "why", "row", 1))
    said = cosmos_ray("retry", output, "--class", "oom").out.splitlines()
    assert said == ["30 clips will be made again", *(f"  d{number:02d}" for number in range(20))]


def test_retry_of_an_unknown_class(cosmos_ray: Any, output: Path) -> None:
    assert_one_line(cosmos_ray("retry", output, "--class", "bogus"), 2, "--class bogus: expected one of input, model")


def test_help_of_retry_names_the_classes(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    text = cosmos_ray("retry", "--help").out
    assert all(name in text for name in FAILURE_CLASSES)


@pytest.mark.parametrize(
    "flags", [("--watch", "--json"), ("--failed", "--watch"), ("--records", "--failed"), ("--clean", "--records")]
)
def test_flags_of_status_that_say_two_things_are_refused(cosmos_ray: Any, output: Path, flags: tuple[str, ...]) -> None:
    assert_one_line(cosmos_ray("status", output, *flags), 2, *flags, "found")


def test_report_of_a_part_and_as_a_grid(cosmos_ray: Any, output: Path) -> None:
    """`status` finds nothing stale in it, and the next report is of everything."""
    answer = cosmos_ray("report", output, "--where", "seed = 0", "--grid", "guidance", "seed")
    assert (answer.code, answer.out.splitlines()[0]) == (0, f"{output}/report.html")
    page = (output / "report.html").read_text()
    assert "only clips for which seed = 0" in page
    assert '"grid":["guidance","seed"]' in page
    assert json.loads(cosmos_ray("status", output, "--json").out)["stale"] == []
    cosmos_ray("status", output)
    assert (output / "report.html").read_text() == page
    cosmos_ray("report", output)
    assert "only clips" not in (output / "report.html").read_text()
    assert_one_line(cosmos_ray("report", output, "--where", "nowhere = 1"), 2, "where 'nowhere = 1': ")
    assert_one_line(cosmos_ray("report", output, "--grid", "nowhere", "seed"), 2, "--grid nowhere: no clip has such a")


def test_report_of_several_outputs(cosmos_ray: Any, output: Path) -> None:
    other = output.parent / "other"
    shutil.copytree(output, other)
    answer = cosmos_ray("report", output, other, "--grid", "guidance", "output")
    assert (answer.code, answer.out) == (0, f"{output.parent}/report.html\n")
    page = (output.parent / "report.html").read_text()
    assert all(f'<a href="./{one.name}/report.html">' in page for one in (output, other))
    assert all((one / "report.html").exists() for one in (output, other)), "each has its own"
    assert_one_line(cosmos_ray("report", output, other, "--manifest", "m.parquet"), 2, "--manifest is of one output")


def test_export_offers_every_layout_that_there_is() -> None:
    assert {layout.value for layout in cli_output.Layout} == set(get_args(export.Layout))


def test_status_shows_the_first_failures_with_their_words(cosmos_ray: Any, output: Path, monkeypatch: Any) -> None:
    """Some, and how to see all; none of them where none is to be shown."""
    shown = cosmos_ray("status", output).out.splitlines()
    (line,) = [line for line in shown if "failed (input) b: column `prompt`: found None" in line]
    assert line.startswith("  ")
    for first in (1, 5):
        monkeypatch.setattr(cli_output, "_FIRST", first)
        assert " more: " not in cosmos_ray("status", output).out
    monkeypatch.setattr(cli_output, "_FIRST", 0)
    assert f"  and 1 more: `cosmos-ray status {output} --failed`" in cosmos_ray("status", output).out


def test_status_of_all_that_failed(cosmos_ray: Any, output: Path) -> None:
    answer = cosmos_ray("status", output, "--failed")
    assert answer.code == 0
    assert answer.out.startswith("failed (input) b: column `prompt`: found None, expected")
    assert answer.out.count("\n") == 1
    line = json.loads(cosmos_ray("status", output, "--failed", "--json").out)
    assert {"id": "b", "class": "input", "attempt": 1}.items() <= line.items()
    assert line["error"].startswith("column `prompt`")


@pytest.mark.parametrize(
    ("left", "is_at_work", "line"),
    [
        (3, True, "120.0 clips an hour, 1m30s to go"),
        (
            3,
            False,
            "no job is at it: the same `cosmos-ray generate` goes on (1m30s more, at 120.0 clips an hour as before)",
        ),
        (0, True, None),
        (0, False, None),
    ],
)
def test_what_is_to_come_is_told_while_something_is(left: int, is_at_work: bool, line: str | None) -> None:
    owner = Owner("me", 1, False, 1.0, {}) if is_at_work else None
    found = Status("out", "tiny", 5, 5 - left, 0, {}, left, 120.0, 90.0, owner=owner)
    told = [words for words in cli_output._status_lines(found) if "hour" in words or "to go" in words]
    assert told == ([] if line is None else [line])


def test_watching_ends_when_no_job_is_at_it(cosmos_ray: Any, output: Path, monkeypatch: Any) -> None:
    """Each look while a job beats is another; what has not changed is not said again."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 5, "nobody is at it"

    # Its alone: threads that other tests have left sleep as they did.
    monkeypatch.setattr("cosmos_ray.cli.watch.time", SimpleNamespace(sleep=pause))
    assert cosmos_ray("status", output, "--watch").out == cosmos_ray("status", output).out
    assert pauses == []
    looks = iter([*[(["1 ok"], True)] * 3, (["2 ok"], True), (["3 ok"], False)])
    monkeypatch.setattr(cli_output, "_look", lambda output: next(looks))
    assert cosmos_ray("status", output, "--watch").out == "1 ok\n2 ok\n3 ok\n"
    assert pauses == [5.0] * 4


@pytest.mark.parametrize(("age_s", "goes_on"), [(3.0, True), (61.0, False)])
def test_a_job_that_is_silent_is_not_watched_for_ever(
    output: Path, monkeypatch: Any, age_s: float, goes_on: bool
) -> None:
    owner = Owner("me", 1, False, age_s, {})
    monkeypatch.setattr("cosmos_ray.output.status.read_owner", lambda storage: owner)
    assert cli_output._look(str(output))[1] is goes_on
