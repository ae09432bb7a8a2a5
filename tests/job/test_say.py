"""Who hears what of a job: its lines go to whom it was told, those of clips through the display where there is one."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_ray.job import say as say_module
from cosmos_ray.job.say import Hearers, hearers_of


class Display:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, line: str) -> None:
        self.heard.append(line)


def speak(hearers: Hearers) -> None:
    hearers.of_job("job")
    hearers.of_clips("clips")


@pytest.mark.parametrize("shown", [False, True], ids=["no display", "a display"])
@pytest.mark.parametrize("about", ["nobody else", "the same", "another"])
def test_each_line_has_one_hearer(monkeypatch: pytest.MonkeyPatch, shown: bool, about: str) -> None:
    """A line beside a display would tear it: all but what is for another goes through it."""
    display, own, others = Display(), list[str](), list[str]()
    say = own.append
    monkeypatch.setattr(say_module, "display_for", lambda chosen: display if shown and chosen is say else None)
    given: Any = {"nobody else": None, "the same": say, "another": others.append}[about]
    found = hearers_of(say, given)
    speak(found)
    assert found.display is (display if shown else None)
    heard = ["clips"] if about == "another" else ["job", "clips"]
    assert (display.heard if shown else own) == heard
    assert (own if shown else display.heard) == []
    assert others == (["job"] if about == "another" else [])


def test_a_line_has_its_time_and_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say_module.say("a\x1b[2Jb")
    found = capsys.readouterr()
    assert found.out == ""
    clock, _, words = found.err.partition(" ")
    assert (len(clock), words) == (8, "a\\x1b[2Jb\n")
