"""Checks that users have written: whatever they do, a job begins or says why not, and its frames are what it made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import own_checks as packages

from cosmos_ray.clip.family import PREDICT2
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models.guardrails.check import facts_of
from cosmos_ray.models.guardrails.checks import guardrails_of, look
from cosmos_ray.models.guardrails.guard import Guard
from cosmos_ray.models.guardrails.own import own_checks


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(packages.install(tmp_path))


def test_a_check_that_cannot_be_made_in_time_ends_the_job_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosmos_ray.models.guardrails.own._PATIENCE_S", 0.1)
    words = r"guardrails\.own: `stands` cannot be made: TimeoutError: not done within 0\.1 s; .* into load\(device\)"
    with pytest.raises(UsageError, match=words):
        guardrails_of(GuardrailRules(enabled=True, provider="none", own=("stands",)), PREDICT2)


def test_nor_does_one_that_never_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = own_checks(["stands-late"])  # with all the time that it needs
    monkeypatch.setattr("cosmos_ray.models.guardrails.own._PATIENCE_S", 0.1)
    monkeypatch.setattr("cosmos_ray.models.guardrails.checks.own_checks", lambda _: made)
    (found,) = look(GuardrailRules(enabled=True, provider="none", own=("stands-late",)))
    assert (found.level, found.subject) == ("problem", "guardrail stands-late")
    assert "it cannot be asked what it lacks: TimeoutError: not done within 0.1 s" in found.message


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raises", "cannot be made: RuntimeError: ask me not"),
        ("long", r"has the version 1{99}…, expected at most 200 characters of one line: every record has it"),
        ("lines", r"has the version 1\\n2, expected at most 200 characters"),
    ],
)
def test_one_that_cannot_say_what_records_need_is_refused(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=rf"^guardrails\.own: `{name}` {why}"):
        own_checks([name])


@pytest.mark.parametrize(
    "points", [b"\xff\xfe", b"[cosmos_ray.guardrails]\nno-red\n= x\n"], ids=["no text", "no table"]
)
def test_a_damaged_package_of_strangers_takes_no_check_with_it(
    points: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "first" / "aaa-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(points)
    monkeypatch.syspath_prepend(info.parent)
    assert [check.name for check in own_checks(["no-red"])] == ["no-red"]
    with pytest.raises(UsageError, match="; what 1 installed package may declare cannot be read"):
        own_checks(["no-green"])


def test_what_one_prints_is_not_the_commands_output(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = look(GuardrailRules(enabled=True, provider="none", own=("prints",)))
    assert found.message == "one line"
    assert capsys.readouterr() == ("", "made\nasked\n")


def test_of_problems_without_end_some_are_said() -> None:
    found = list(look(GuardrailRules(enabled=True, provider="none", own=("endless",))))
    assert {(one.level, one.message) for one in found} == {("problem", "more")}
    assert len(found) == 100


def test_a_check_that_is_asked_for_again_says_the_same_of_itself() -> None:
    found = [facts_of(check) for check in own_checks(["no-red", "no-dragons", "corner"])]
    assert [(one.name, one.version, one.texts, one.videos, one.changes_pixels) for one in found] == [
        ("no-red", "1", False, True, False),
        ("no-dragons", "2", True, False, False),
        ("corner", "3", False, True, True),
    ]


def test_frames_that_a_check_has_written_to_are_published_as_they_were() -> None:
    """A frame that is mostly red is seen by the check that comes after it, too."""
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[..., 0] = 250
    before = frames.copy()
    found, regions = Guard((), own_checks(["scribbles"])).check_view(frames)
    assert (np.array_equal(found, before), regions) == (True, 0)
    with pytest.raises(RowError, match="blocked by the check `no-red`: too red"):
        Guard((), own_checks(["scribbles", "no-red"])).check_view(frames)
    assert np.array_equal(frames, before)
