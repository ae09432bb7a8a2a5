"""`status`, `retry` and `report`: what they say of an output, and of one that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from support.command_line import assert_one_line

from cosmos_ray.cli import output as cli_output
from cosmos_ray.output import export


def test_status_for_people(cosmos_ray: Any, output: Path) -> None:
    answer = cosmos_ray("status", output)
    assert answer.code == 0
    assert "1 ok, 1 failed (1 input), 2 left" in answer.out


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
    assert "0 clips will be made again" in cosmos_ray("retry", output, "--class", "oom").out
    answer = cosmos_ray("retry", output, "--class", "oom", "--class", "input")
    assert (answer.code, answer.out) == (0, "1 clip will be made again\n  b\n")
    assert json.loads(cosmos_ray("status", output, "--json").out)["left"] == 3


def test_retry_of_an_unknown_class(cosmos_ray: Any, output: Path) -> None:
    assert_one_line(cosmos_ray("retry", output, "--class", "bogus"), 2, "--class bogus: expected one of input, model")


def test_export_offers_every_layout_that_there_is() -> None:
    assert {layout.value for layout in cli_output.Layout} == set(get_args(export.Layout))
