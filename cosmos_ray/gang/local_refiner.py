"""The local model of a gang's first rank, where its job refines prompts with one. Imports torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from cosmos_ray.clip.refiner_rules import PUBLISHED
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.memory import guardrail_bytes, memory_plan, stays_beside
from cosmos_ray.models.text.qwen_vl import QwenVL
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.check import hub_file

log = logging.getLogger(__name__)


def load_refiner(spec: GangSpec) -> Callable[[Ask], str]:
    """Fetched first, if need be, and put where there is room. Raises UsageError."""
    device = spec.refining.rules.device or "cpu"
    if spec.device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        checks = guardrail_bytes(spec.guardrails.rules, spec.bundle)
        plan = replace(memory_plan(spec.bundle, spec.gang_size), guardrails=checks)
        device = spec.refining.rules.device or ("gang" if stays_beside(plan, total) else "cpu")
    gpu = spec.device if spec.device == "cpu" else "cuda"
    return answers_of(spec.refining, {"gang": (gpu, gpu), "between": ("cpu", gpu), "cpu": ("cpu", "cpu")}[device])


def answers_alone(refining: Refining) -> Callable[[Ask], str]:
    """Without a gang: on this machine's GPU, if it has one and nothing else is said. Raises UsageError."""
    gpu = "cuda" if torch.cuda.is_available() and refining.rules.device != "cpu" else "cpu"
    return answers_of(refining, ("cpu" if refining.rules.device == "between" else gpu, gpu))


def answers_of(refining: Refining, place: tuple[str, str]) -> Callable[[Ask], str]:
    """place: where the model stays, and where it writes. What it gives back raises NoWordsError, whatever goes wrong:
    a prompt that cannot be refined is no fault of the gang."""
    rules = refining.rules
    folder = folder_of(rules.model or PUBLISHED)
    model = QwenVL.load(folder, *place)
    log.info("prompts are refined by %s, which stays on %s and writes on %s", refining.model, *place)

    def answer(ask: Ask) -> str:
        try:
            found = model.answer(
                refining.instructions, ask.words, ask.frames, rules.max_tokens, rules.temperature, rules.answer_s
            )
        except Exception as error:
            log.exception("a prompt could not be refined")
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
            raise NoWordsError(f"the local model failed: {type(error).__name__}: {error}") from None
        return found.text

    return answer


def folder_of(model: str) -> Path:
    """On this machine. Raises UsageError."""
    reference = hub_file(model)
    return Path(model) if reference is None else hub.fetch(reference, "text_encoder")
