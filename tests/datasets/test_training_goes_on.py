"""A training of the tiny model that goes on: from all that its state holds, or from the small files it carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import train_tiny
from tiny_data import Clips
from train_tiny import Training, parse


class Seen:
    """A step of training that only numbers what it is given. averages: as they were when it began."""

    def __init__(self) -> None:
        self.averages: list[torch.Tensor] = []
        self.weights: list[torch.Tensor] = []
        self.steps = -1

    def train(self, *given: Any) -> int:
        average, save = given[3], given[8]
        self.steps = average.steps
        self.averages = [value.clone() for value in average.values]
        self.weights = [parameter.detach().clone() for parameter in average.parameters]
        with torch.no_grad():
            for number, (parameter, value) in enumerate(zip(average.parameters, average.values, strict=True)):
                parameter.fill_(number % 50)
                value.fill_(100 + number % 50)
        average.steps = 17
        save(3)
        return 3


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    monkeypatch.setattr(train_tiny, "train_dit", found.train)
    return found


def training(state: Path) -> Training:
    return Training(parse(["--state", str(state), "--smoke", "--device", "cpu", "--dit-seconds", "9"]))


def test_weights_averages_and_steps_go_on_as_they_were(tmp_path: Path, seen: Seen) -> None:
    training(tmp_path).train_dit(None)  # type: ignore[arg-type]
    for carried in (False, True):
        if carried:  # what is left on another machine
            (tmp_path / "dit.pt").unlink()
        training(tmp_path).train_dit(None)  # type: ignore[arg-type]
        assert seen.steps == (3 if carried else 17), "the average's own, where they are kept"
        assert [one.flatten()[0].item() for one in seen.weights] == [n % 50 for n in range(len(seen.weights))]
        assert [one.flatten()[0].item() for one in seen.averages] == [100 + n % 50 for n in range(len(seen.weights))]


def test_clips_are_made_again_for_another_autoencoder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Clips(torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1, dtype=torch.int16), torch.ones(2, 1))
    made: list[int] = []
    monkeypatch.setattr(train_tiny, "make_clips", lambda *given: made.append(given[3]) or clips)
    for weight in (1.0, 1.0, 2.0, 2.0):
        one = training(tmp_path)
        one.state.save_carry("vae", {"w": torch.tensor([weight])})
        assert torch.equal(one.clips().latents, clips.latents)
        one.state.save_progress()
    assert made == [0, 2], "and of scenes that were not used before"
