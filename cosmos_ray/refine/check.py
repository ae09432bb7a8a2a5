"""Could prompts be refined here? What `doctor`, `model check` and a job say before anything is asked.

No torch, but for a local model whose folder is here: its chat template is tried, by the library that will use it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from cosmos_ray.clip.refiner_rules import PUBLISHED, RefinerRules
from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import shown, shown_uri
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.check import Finding
from cosmos_ray.models.bundle.hub import weight_files
from cosmos_ray.models.bundle.references import FileRef, HubFile
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Refining
from cosmos_ray.refine.endpoint import Endpoint, ask_once
from cosmos_ray.refine.settings import instructions_of, the_one_of
from cosmos_ray.store.regular import check_folder, read_object

#: What a local model needs, by the names that are imported.
_PACKAGES = {"torch": "torch", "transformers": "transformers", "PIL": "pillow"}
_KIND = "qwen2_5_vl"
#: Answers of a server that has no list of its models, which nothing here needs.
_NO_LIST = frozenset({400, 404, 405, 406, 410, 422, 501})


def findings_of(rules: RefinerRules) -> Iterator[Finding]:
    """In the order in which a job would meet them; nothing where nothing is refined. Asks the endpoint, or the hub."""
    if not rules.is_on:
        return
    try:
        instructions_of(rules)
    except UsageError as error:
        yield Finding("problem", "refiner", str(error))
    yield from _endpoint(rules) if rules.backend == "endpoint" else _local(rules)


def check_refiner(refining: Refining, say: Callable[[str], None]) -> None:
    """Before a job takes a GPU. Raises UsageError for what only a person can mend. An endpoint that does not answer now
    may later: that is said."""
    rules = refining.rules
    then = "are taken as they are" if rules.on_failure == "keep" else "fail their clips"
    for found in findings_of(rules):
        if found.level == "unavailable" and rules.backend == "endpoint":
            say(f"{found.subject}: {found.message}; prompts that cannot be refined {then}")
        elif found.level != "ok":
            raise UsageError(f"{found.subject}: {found.message}")


def hub_file(model: str) -> HubFile | None:
    """None for a folder. Raises UsageError for what begins like the hub's and is not."""
    if not model.startswith("hf://"):
        return None
    try:
        found = FileRef(uri=model).hub()
    except ValueError as error:
        raise UsageError(f"refiner.model: {shown(error)}") from None
    if found is None or found.path is not None:
        raise UsageError(
            f"refiner.model: found {shown_uri(model)}, expected a whole repository, hf://owner/repo@revision"
        )
    return found


def _endpoint(rules: RefinerRules) -> Iterator[Finding]:
    where = shown_uri(rules.url)
    try:
        models = ask_once(Refining(rules), Endpoint.models)
    except NoWordsError as error:
        if error.status in _NO_LIST and rules.model is None:
            yield Finding("problem", "refiner", f"refiner.model: not given, and cannot be asked for: {error}")
        elif error.status in _NO_LIST:
            yield Finding("ok", "refiner", f"{where} answers, and does not say which models it has")
        else:
            yield Finding("unavailable" if error.passes else "problem", "refiner", str(error))
        return
    if rules.model is not None and models and rules.model not in models:
        named = ", ".join(shown(name, 100) for name in models[:10])
        yield Finding("unavailable", "refiner", f"{where} has no model `{shown(rules.model, 100)}`: it has {named}")
        return
    try:
        model = rules.model or the_one_of(models, rules)
    except UsageError as error:
        yield Finding("problem", "refiner", str(error))
        return
    yield Finding("ok", "refiner", f"{where} answers, with model {shown(model, 200)}")


def _local(rules: RefinerRules) -> Iterator[Finding]:
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        yield Finding(
            "problem", "refiner", f"the local refiner needs {', '.join(missing)}: pip install {' '.join(missing)}"
        )
    model = rules.model or PUBLISHED
    try:
        reference = hub_file(model)
    except UsageError as error:
        yield Finding("problem", "refiner", str(error))
        return
    if reference is None:
        yield _folder(Path(model), can_be_tried=not missing)
    elif (where := hub.cached(reference, "text_encoder")) is not None:
        yield _folder(where, can_be_tried=not missing)
    else:
        answer = hub.ask(reference, "text_encoder")
        yield Finding(answer.level, "refiner", answer.message)


def _folder(folder: Path, can_be_tried: bool) -> Finding:
    """can_be_tried: all packages for that are here."""
    try:
        check_folder(folder)
        kind = read_object(folder / "config.json")["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return Finding(
            "problem", "refiner", f"{shown_uri(folder)}: found no readable config.json, expected a Qwen2.5-VL's"
        )
    if kind != _KIND:
        return Finding("problem", "refiner", f"{shown_uri(folder)}: found a model of type {kind!r}, expected {_KIND}")
    if not weight_files(folder):
        return Finding(
            "problem", "refiner", f"{shown_uri(folder)}: found no weights (or not all shards), expected them there"
        )
    if can_be_tried and (fault := _fault_of_words(folder)):
        return Finding("problem", "refiner", fault)
    return Finding("ok", "refiner", f"present: {shown_uri(folder)}")


def _fault_of_words(folder: Path) -> str:
    """What is wrong with its tokenizer or its chat template; "" if nothing is."""
    from cosmos_ray.models.text.conversation import Conversation, tokenizer_of

    try:
        Conversation.of(folder, tokenizer_of(folder))
    except UsageError as error:
        return str(error).removeprefix("refiner ")
    return ""
