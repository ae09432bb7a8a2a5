"""The published flags of the refiner of prompts: on, unless a flag or a model that never had one says otherwise."""

from __future__ import annotations

import argparse
from typing import Any

from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.errors import UsageError
from cosmos_ray.schema_words import value_fault


def add_refiner(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--disable_prompt_refiner", action="store_true", help="prompts are taken as they are")
    add("--offload_prompt_refiner", action="store_true", help="the refiner is on the GPU only while it writes")


def add_endpoint(ours: argparse._ArgumentGroup) -> None:
    """What the published commands do not have."""
    add = ours.add_argument
    add("--refiner_endpoint", default=None, metavar="URL", help="a server that refines prompts, instead of this gang")
    add("--refiner_model", default=None, help="what that server calls its model, or a folder of a model of your own")


def refiner_of(flags: argparse.Namespace, is_published: bool) -> RefinerRules:
    """is_published: the model is one whose published command refines prompts; others are refined if somebody is named
    who does it. Raises UsageError."""
    if flags.disable_prompt_refiner:
        if flags.refiner_endpoint or flags.refiner_model:
            raise UsageError(
                "--disable_prompt_refiner: found beside --refiner_endpoint or --refiner_model, leave one out"
            )
        return NOT_REFINED
    if not (is_published or flags.refiner_endpoint or flags.refiner_model):
        return NOT_REFINED
    device = "between" if flags.offload_prompt_refiner else None
    try:
        if flags.refiner_endpoint:
            return RefinerRules(backend="endpoint", url=flags.refiner_endpoint, model=flags.refiner_model)
        return RefinerRules(backend="local", model=flags.refiner_model, device=device)
    except ValueError as error:
        # Without what was found there, but as our own rules show it.
        faults: list[Any] = getattr(error, "errors", list)()
        said = "; ".join(value_fault(one) if one["type"] == "value_error" else one["msg"] for one in faults)
        raise UsageError(f"--refiner_endpoint: {said}") from None
