"""From a job's settings to what its gangs are told: the instructions' text, and which model answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cosmos_ray.clip.refiner_rules import PUBLISHED, RefinerRules
from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import shown, shown_uri
from cosmos_ray.models.bundle.cache import content_sha256
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import NOTHING_REFINED, Refining
from cosmos_ray.refine.endpoint import Endpoint, ask_once
from cosmos_ray.store.regular import TooLargeError
from cosmos_ray.store.storage import read_bytes

_OWN = Path(__file__).parent / "instructions.txt"
#: Largest file of instructions.
_MOST_BYTES = 2**16


def refining_of(rules: RefinerRules) -> Refining:
    """What the settings mean. Raises UsageError for what they name and there is not."""
    if not rules.is_on:
        return NOTHING_REFINED
    return Refining(rules, model_of(rules), instructions_of(rules))


def instructions_of(rules: RefinerRules) -> str:
    """Raises UsageError."""
    if rules.instructions is None:
        return _OWN.read_text(encoding="utf-8")
    where = shown_uri(rules.instructions)
    try:
        text = read_bytes(rules.instructions, max_bytes=_MOST_BYTES).decode("utf-8")
    except TooLargeError as error:
        raise UsageError(
            f"refiner.instructions: {where}: found a file of {error.size} bytes, expected at most {error.most}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"refiner.instructions: {where} cannot be read: {shown(error)}") from None
    if not text.strip():
        raise UsageError(f"refiner.instructions: {where} is empty, expected what the model is told to do")
    return text.strip()


def model_of(rules: RefinerRules) -> str:
    """What fixes the answers: the server's name for its model, or where the files of the local one come from.

    Raises UsageError.
    """
    if rules.backend == "endpoint":
        return rules.model or _only_model(rules)
    model = rules.model or PUBLISHED
    if model.startswith("hf://"):
        return model
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"refiner.model: found {shown_uri(model)}, expected a folder with config.json and weights in Hugging Face "
            "layout, or hf://owner/repo@revision"
        )
    return f"{folder.name}@{content_sha256(folder)}"


def _only_model(rules: RefinerRules) -> str:
    try:
        found = ask_once(Refining(rules), Endpoint.models)
    except NoWordsError as error:
        raise UsageError(f"refiner.model: not given, and cannot be asked for: {error}") from None
    return the_one_of(found, rules)


def the_one_of(found: Sequence[str], rules: RefinerRules) -> str:
    """The model of an endpoint that has just one, where the settings name none. Raises UsageError for another number
    of them."""
    where = shown_uri(rules.url)
    if len(found) != 1:
        named = ", ".join(shown(name, 100) for name in found[:10]) or "none"
        raise UsageError(f"refiner.model: not given, and {where} has {len(found)} ({named}), expected one of them")
    return found[0]
