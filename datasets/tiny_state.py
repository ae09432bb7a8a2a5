"""What is kept of a training between runs: everything in a state folder, and the weights alone in small files.

    STATE/progress.json           seconds and steps of each phase, which clips were used
    STATE/{vae,dit}.pt            weights, average and optimiser
    STATE/clips.pt                latents of the training clips, with the autoencoder they come from
    STATE/carry/*.safetensors     weights and averages in bfloat16, a few MB a file
    STATE/carry/progress.json

A state folder goes on as if it had never stopped. One that holds nothing but `carry/` goes on too: what is lost are
the optimisers' averages (a short warm-up replaces them) and the latents, which are made again from new scenes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass
class Progress:
    """seconds, steps: of each phase, over all runs; done: phases that are; clips: training scenes used so far."""

    seconds: dict[str, float] = field(default_factory=lambda: {"vae": 0.0, "dit": 0.0})
    steps: dict[str, int] = field(default_factory=lambda: {"vae": 0, "dit": 0})
    done: list[str] = field(default_factory=list)
    clips: int = 0
    scores: dict[str, Any] = field(default_factory=dict)


class State:
    """A state folder. Files are put in place whole: a run that is killed leaves the last ones."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.carry = folder, folder / "carry"
        self.carry.mkdir(parents=True, exist_ok=True)
        found = next((f for f in (folder, self.carry) if (f / "progress.json").exists()), None)
        self.progress = Progress(**json.loads((found / "progress.json").read_text())) if found else Progress()

    def save_progress(self) -> None:
        text = json.dumps(asdict(self.progress), indent=1) + "\n"
        for folder in (self.folder, self.carry):
            _put(folder / "progress.json", lambda path: path.write_text(text))

    def save(self, name: str, value: Any) -> None:
        _put(self.folder / f"{name}.pt", lambda path: torch.save(value, path))

    def load(self, name: str, device: str) -> Any | None:
        path = self.folder / f"{name}.pt"
        return torch.load(path, map_location=device, weights_only=True) if path.exists() else None

    def save_carry(self, name: str, tensors: dict[str, Tensor]) -> None:
        rounded = {key: value.detach().to("cpu", torch.bfloat16).contiguous() for key, value in tensors.items()}
        _put(self.carry / f"{name}.safetensors", lambda path: save_file(rounded, path))

    def load_carry(self, name: str) -> dict[str, Tensor] | None:
        path = self.carry / f"{name}.safetensors"
        return load_file(path) if path.exists() else None

    def take(self, carried: Path) -> None:
        """Start from the files of another state's `carry/`, unless this one has begun."""
        if not (self.folder / "progress.json").exists():
            for path in carried.iterdir():
                shutil.copyfile(path, self.carry / path.name)
            self.__init__(self.folder)  # type: ignore[misc]


def _put(path: Path, write: Any) -> None:
    scratch = path.with_suffix(".tmp")
    write(scratch)
    os.replace(scratch, path)
