"""What the published examples' command lines have in common: numbers in bounds, lists of items, files beside results.

Legend: an item is one clip asked for; its paths start from the current folder.
"""

from __future__ import annotations

import argparse
import difflib
import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from cosmos_ray.config import TextEncoderConfig
from cosmos_ray.errors import ManifestError, UsageError
from cosmos_ray.foreign import shown, shown_uri
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.builders.sources import from_json
from cosmos_ray.manifest.names import near_column
from cosmos_ray.store.accounts import foreign_account
from cosmos_ray.store.places import place_of
from cosmos_ray.store.storage import Storage, read_bytes
from cosmos_ray.store.uris import normalise_uri, parent_uri
from cosmos_ray.words import counted

_MAX_LIST_BYTES = 2**26
#: From this likeness on, a key is taken for another one misspelt.
_NEAR = 0.85
#: Runs of `--benchmark`; the first warms up, the others are averaged.
BENCHMARK_RUNS = 4
#: Why flags of guardrails change nothing in commands that have none.
GUARDRAILS_OFF = "guardrails are off, `cosmos-ray generate --set guardrails.enabled=true` has them"


def between(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """A number of that kind from low to high, as argparse takes it."""

    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"found {text}, expected {low} to {high}")
        return value

    number.__name__ = kind.__name__  # argparse names it where the text is no number
    return number


class Unsaid(str):
    """The default of a flag, where it matters that nobody has given it: argparse hands defaults on as they are."""


def is_other(found: str, expected: str) -> bool:
    """Whether a flag was given, and says something else than what holds anyway."""
    return found != expected and not isinstance(found, Unsaid)


def refused(reason: str) -> Callable[[str], None]:
    """Any value of a flag that is known and not taken, as argparse refuses it."""

    def refuse(_: str) -> None:
        raise argparse.ArgumentTypeError(reason)

    return refuse


def add_without_effect(parser: argparse.ArgumentParser, reasons: Mapping[str, str]) -> None:
    """Flags that are accepted and change nothing, each with its reason."""
    for flag, reason in reasons.items():
        parser.add_argument(f"--{flag}", action="store_true", help=f"accepted, without effect: {reason}")


def say_without_effect(flags: argparse.Namespace, reasons: Mapping[str, str], say: Callable[[str], None]) -> None:
    given = [f"--{flag}: {reason}" for flag, reason in reasons.items() if getattr(flags, flag)]
    if given:
        say("flags without effect here: " + "; ".join(given))


def text_encoder_of(flags: argparse.Namespace) -> TextEncoderConfig:
    """--offload_text_encoder: on the CPU, where it stays; --downcast_text_encoder: in bfloat16."""
    return TextEncoderConfig(
        device="cpu" if flags.offload_text_encoder else None,
        dtype="bfloat16" if flags.downcast_text_encoder else None,
    )


def read_json_list(path: str) -> list[Any]:
    """What --batch_input_json names. Raises UsageError."""
    try:
        found = from_json(read_bytes(path, max_bytes=_MAX_LIST_BYTES).decode("utf-8-sig"))
    except ManifestError as error:
        raise UsageError(f"--batch_input_json: {path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--batch_input_json: {path}: {type(error).__name__}: {error}") from error
    if not isinstance(found, list):
        raise UsageError(f"--batch_input_json: {path}: found {type(found).__name__}, expected a list of objects")
    return found


def listed_items(
    path: str, needed: Sequence[str], output: str, say: Callable[[str], None]
) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Number, place and object of each item of --batch_input_json that lacks nothing `needed`; of the others it is said
    what they lack, as in the published scripts. output: key of an item's result."""
    for number, found in enumerate(read_json_list(path)):
        where = f"item {number} of {path}"
        if isinstance(found, dict):
            say_unused(found, (*needed, output), where, say)
        if (lacking := what_lacks(found, needed, where)) is None:
            yield number, where, found
        else:
            say(lacking)


def say_unused(item: Mapping[str, Any], known: Sequence[str], where: str, say: Callable[[str], None]) -> None:
    """Keys of an item that no published command knows: said, since they change nothing. UsageError for one that is
    nearly one of the known."""
    unused = [key for key in item if key not in known]
    for key in unused:
        if near := difflib.get_close_matches(key, known, 1, _NEAR):
            raise UsageError(shown(f"{where}: there is no key {key}; `{near[0]}` is near"))
    if unused:
        say(shown(f"{where}: keys without effect: {', '.join(unused)} (flags hold for all items)"))


def what_lacks(item: Any, needed: Sequence[str], where: str) -> str | None:
    """That an item is left out, and which of its keys other tools have for what it lacks; None if it lacks nothing."""
    if not isinstance(item, Mapping):
        return f"{where} is left out: found {type(item).__name__}, expected an object with {' and '.join(needed)}"
    lacks = [key for key in needed if not item.get(key)]
    if not lacks:
        return None
    found = {key: near_column(key, [name for name in item if item[name]]) for key in item}
    names = [f"`{key}` is called `{near}` here" for key, near in found.items() if near in lacks and item[key]]
    return shown(f"{where} is left out: it lacks {' and '.join(lacks)}{''.join(f'; {words}' for words in names)}")


def check_account(path: str, where: str, own: str) -> None:
    """Raises UsageError for a path of a list or a spec, which strangers may have written, that leads to an account of
    theirs: clients would send it the job's credentials, before a row is looked at. own: a URI that the user gave."""
    uri = normalise_uri(path)
    if (account := foreign_account(uri, [own])) is not None:
        raise UsageError(
            f"{where}: {shown_uri(uri)}: its account {account} is not the environment's (AZURE_STORAGE_ACCOUNT_NAME or "
            "AZURE_STORAGE_CONNECTION_STRING), and credentials are sent to no other"
        )


def version_of(path: str) -> list[Any] | None:
    """Size and version of a file; None if there is none."""
    uri = normalise_uri(path)
    found = Storage(parent_uri(uri)).stat(posixpath.basename(uri))
    return [found.size, found.version] if found else None


def text_path(save_path: str) -> str:
    """Of the prompts that are written beside a result."""
    return posixpath.splitext(save_path)[0] + ".txt"


def check_save_path(save_path: str) -> None:
    """UsageError for a result that its own prompts would be written over."""
    if place_of(save_path) == place_of(text_path(save_path)):
        raise UsageError(f"{save_path}: found a name that ends in .txt, expected another: prompts are written there")


def check_results(save_paths: Sequence[str], inputs: Collection[str], output: str) -> None:
    """UsageError where results, or the prompts beside them, would be written over each other or over an input.

    output: key of an item's result.
    """
    for path in save_paths:
        check_save_path(path)
    taken = [place_of(path) for save_path in save_paths for path in (save_path, text_path(save_path))]
    if len(set(taken)) < len(taken):
        raise UsageError(f"two clips would be written to the same file: give them different {output}")
    if clash := sorted({place_of(path) for path in inputs} & set(taken)):
        raise UsageError(f"{clash[0]} is an input, and would be written over")


def write_file(path: str, data: bytes) -> None:
    uri = normalise_uri(path)
    Storage(parent_uri(uri)).write(posixpath.basename(uri), data)


def prompts_text(prompt: str, negative: str, refined: Sequence[str] = ()) -> bytes:
    """What is written beside a result: the negative prompt, and the refined one, only where there is one."""
    parts = [("Prompt", prompt), ("Negative Prompt", negative), ("Refined Prompt", "\n".join(refined))]
    return "\n\n".join(f"[{name}]\n{text}" for name, text in parts if text).encode() + b"\n"


def say_times(records: Sequence[Record], say: Callable[[str], None]) -> None:
    """Mean seconds of the runs after the first, by phase. records: of those."""
    measured = [record for record in records if record.status == "ok"]
    if not measured:
        return
    phases = ("prepare", "denoise", "decode", "encode", "put")
    means = {phase: sum(one.seconds.get(phase, 0.0) for one in measured) / len(measured) for phase in phases}
    shown = ", ".join(f"{phase} {seconds:.3f} s" for phase, seconds in means.items())
    clips = counted(len(measured), "clip")
    say(f"benchmark, mean of {clips} after the first: {sum(means.values()):.3f} s a clip ({shown})")


def check_natten(flags: argparse.Namespace) -> None:
    """UsageError for sizes that no network which attends to neighbourhoods was published for."""
    if flags.natten and (flags.resolution, flags.aspect_ratio) != ("720", "16:9"):
        found = f"--resolution {flags.resolution} and --aspect_ratio {flags.aspect_ratio}"
        raise UsageError(f"--natten: found {found}, expected 720 and 16:9, for which that network was published")
