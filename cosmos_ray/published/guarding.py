"""The published flags of guardrails: on, unless one of them says otherwise or nobody has said where their files are."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import UsageError
from cosmos_ray.published.command import Say


@dataclass(frozen=True)
class GuardFlags:
    """How a command calls them. disable, offload: published; weights, llama_guard: ours, where the files are."""

    disable: str
    offload: str
    weights: str
    llama_guard: str

    def add_places(self, ours: Any) -> None:
        ours.add_argument(
            f"--{self.weights}", default=None, help="place of Cosmos-Guardrail1's files; the hub's if not given"
        )
        ours.add_argument(
            f"--{self.llama_guard}", default=None, help="place of Llama-Guard-3-8B's files; the hub's if not given"
        )

    def rules(self, flags: argparse.Namespace, is_published: bool, say: Say) -> GuardrailRules:
        """is_published: the model is one whose published command has guardrails; of another they are on where somebody
        says where their files are."""
        places = {"weights": _of(flags, self.weights), "llama_guard": _of(flags, self.llama_guard)}
        given = {name: place for name, place in places.items() if place is not None}
        if _of(flags, self.disable):
            return GuardrailRules()
        if not is_published and not given:
            say(f"guardrails are off: --{self.weights} and --{self.llama_guard} turn them on with --model")
            return GuardrailRules()
        return GuardrailRules(enabled=True, offload=_of(flags, self.offload), **given)

    @contextmanager
    def named(self) -> Iterator[None]:
        """A UsageError about guardrails says which flags are about them."""
        try:
            yield
        except UsageError as error:
            if not str(error).startswith("guardrails:"):
                raise
            raise UsageError(
                f"{error}. Here: --{self.weights} PLACE and --{self.llama_guard} PLACE, or --{self.disable}"
            ) from error


def _of(flags: argparse.Namespace, name: str) -> Any:
    return getattr(flags, name.replace("-", "_"))
