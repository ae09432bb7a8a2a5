"""A golden case, and one comparison with it.

A case is NAME.json (kind, dimensions, seeds) and NAME.safetensors (weights, inputs, expected results) made by the
reference code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

BFLOAT16_ULP = 2.0**-7  # of a number in [1, 2)


class Skip(Exception):
    """The case cannot be run this way; the message says why."""


@dataclass(frozen=True)
class Case:
    """One golden case: its JSON and its tensors. repeats_heads: where its heads do not divide over a gang's ranks, it
    is computed by a network that has them several times over (`parity_repeated`)."""

    name: str
    info: dict[str, Any]
    tensors: dict[str, Tensor]
    repeats_heads: bool = False

    @classmethod
    def read(cls, path: Path, repeats_heads: bool = False) -> Case:
        info, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
        return cls(path.stem, info, tensors, repeats_heads)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one prefix, without it."""
        return {name.removeprefix(prefix): x for name, x in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Check:
    """One comparison: what was compared, the error found, and the error allowed (0: exact)."""

    name: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # False for NaN


def largest(name: str, found: Tensor, expected: Tensor, tolerance: float) -> Check:
    """Check of the largest absolute difference."""
    if found.shape != expected.shape:
        raise ValueError(f"{name}: found shape {list(found.shape)}, expected {list(expected.shape)}")
    return Check(name, (found.double() - expected.double()).abs().max().item(), tolerance)


def in_ulps(name: str, found: Tensor, expected: Tensor) -> Check:
    """Largest difference in units of the last bfloat16 place of the expected number; one is allowed."""
    exponent = expected.abs().clamp(min=torch.finfo(torch.bfloat16).tiny).log2().floor()
    return Check(f"{name} in ulps", ((found - expected).abs() / (BFLOAT16_ULP * exponent.exp2())).max().item(), 1)
