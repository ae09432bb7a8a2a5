"""`cosmos-ray compare` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.job_runs import write_manifest
from support.pages import commands_of, shown_to

from cosmos_ray.job.compare import Comparison
from cosmos_ray.job.job import Summary


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command asks for, instead of having it made."""
    monkeypatch.chdir(tmp_path)
    found: list[Any] = []

    def make(settings: Any, folder: str, say: Any, price: float | None) -> Comparison:
        found.append((settings, folder, price))
        return Comparison(
            tuple(Summary(one.config.output, 3, 2, 1, 0, 0) for one in settings),
            f"{folder}/compare.html",
            ("setting  saved", "a        0 %"),
        )

    monkeypatch.setattr("cosmos_ray.job.compare.compare", make)
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p"}])
    return found


def test_all_files_up_to_the_next_option_are_settings(cosmos_ray: Any, asked: list[Any], tmp_path: Path) -> None:
    """Whatever they are called."""
    for name in ("a.yaml", "b", "c.yml"):
        (tmp_path / name).write_text(f"sampling: {{num_steps: {ord(name[0])}}}")
    words = "compare --settings a.yaml b c.yml --manifest m.parquet --output o --model tiny --limit 2 --price 3"
    answer = cosmos_ray(*words.split(), "--set", "gang.max_attempts=1")
    assert answer.code == 3  # more failed than allowed
    [(settings, folder, price)] = asked
    assert [one.name for one in settings] == ["a", "b", "c"]
    assert {(one.config.limit, one.config.model, one.config.gang.max_attempts) for one in settings} == {(2, "tiny", 1)}
    assert (folder, price) == ("o", 3.0)
    assert answer.out.splitlines() == [
        *(f"{name}: 2 clips, 1 failed, o/{name}" for name in "abc"),
        "setting  saved",
        "a        0 %",
        "o/compare.html",
    ]


def test_the_flag_may_be_repeated_and_the_rest_come_from_a_file(
    cosmos_ray: Any, asked: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.yaml").write_text("model: fake")
    (tmp_path / "job.yaml").write_text("manifest: m.parquet\noutput: o\nmodel: tiny\nlimit: 5\n")
    cosmos_ray("compare", "--settings", "a.yaml", "--config", "job.yaml", "--settings=b.yaml")
    [(settings, _, _)] = asked
    assert [(one.config.model, one.config.limit) for one in settings] == [("tiny", 5), ("fake", 5)]


def test_what_is_missing_is_said(cosmos_ray: Any, asked: list[Any]) -> None:
    answer = cosmos_ray("compare", "--manifest", "m.parquet", "--output", "o")
    assert (answer.code, asked) == (2, [])
    assert "found 0 files, expected two or more" in answer.err
    answer = cosmos_ray("compare", "--settings", "a.yaml", "b.yaml", "--output", "o")
    assert answer.code == 2
    assert "manifest: not given" in answer.err


def test_settings_are_compared_as_shown(cosmos_ray: Any, asked: list[Any], tmp_path: Path) -> None:
    for code in shown_to(__file__, "test_settings_are_compared_as_shown"):
        for program, *words in commands_of(code):
            if program == "echo":
                text, _, name = words
                (tmp_path / name).write_text(text)
            else:
                assert program == "cosmos-ray"
                cosmos_ray(*words)
    [(settings, folder, _)] = asked
    assert [one.name for one in settings] == ["exact", "balanced", "fast"]
    assert [one.config.sampling.preset for one in settings] == ["exact", "balanced", "fast"]
    assert {one.config.limit for one in settings} == {20}
    assert folder == "judged"
