"""Videos and pictures of Predict2's models of one view, with the flags of their published examples, on our gangs.

Each command's clips are a job of a few rows. Its output (the files, sidecars, the report) is kept in a work folder
beside --save_path, whose name depends on everything that decides the clips, so that the same command goes on where it
was stopped; results are copied from there to where the flags say.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import posixpath
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.clip.encode import encode_jpeg
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.clip.pictures import PNG, read_picture
from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.clip.request import PICTURE
from cosmos_ray.config import GenerateConfig, InputsConfig, TextEncoderConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import shown
from cosmos_ray.job.model import bundle_of, check_steps
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.published.command import Say
from cosmos_ray.published.guarding import GuardFlags
from cosmos_ray.published.options import (
    BENCHMARK_RUNS,
    check_account,
    check_save_path,
    prompts_text,
    read_json_list,
    say_times,
    say_unused,
    text_path,
    version_of,
    what_lacks,
    write_file,
)
from cosmos_ray.store.places import check_lasts, place_of
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri

#: Flags that change nothing in any of the commands, and why.
NO_EFFECT = {
    "use_cuda_graphs": "it never changed a clip, and steps are launched ahead here",
}
GUARDED = GuardFlags("disable_guardrail", "offload_guardrail", "guardrail_weights", "llama_guard")
#: As the published pipeline writes its pictures, whatever the file is called.
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Kind:
    """What a command makes. output: key of a batch file's items; suffix: of results that nobody has named; takes_input:
    each item needs an `input_video`; result: the view that becomes --save_path."""

    output: str
    suffix: str
    takes_input: bool
    result: str


@dataclass(frozen=True)
class Item:
    """One clip asked for. input_path: "" for a kind without input."""

    input_path: str
    prompt: str
    save_path: str


def named_model(flags: argparse.Namespace, tiny: str) -> str | None:
    """--model, if it is given; `tiny` stands for the tiny one of this kind."""
    return tiny if flags.model == "tiny" else flags.model


def check_ema(flags: argparse.Namespace) -> None:
    """UsageError where --load_ema is given without a checkpoint that it could be of."""
    paths = [name for name in ("dit_path", "dit_path_text2image", "dit_path_video2world") if hasattr(flags, name)]
    if flags.load_ema and not any(getattr(flags, name) for name in paths):
        said = " or ".join(f"--{name}" for name in paths)
        raise UsageError(f"--load_ema: found without {said}, expected the checkpoint that it is taken of")


def check_distilled(flags: argparse.Namespace, bundle: Bundle) -> None:
    """UsageError where --distill_steps is given with a model that has no distilled network for pictures."""
    of_picture = bundle.picture_bundle() if bundle.picture else bundle
    if flags.distill_steps and of_picture.recipe.max_steps is None:
        raise UsageError(f"--distill_steps: found {flags.distill_steps}, but model `{bundle.name}` is not distilled")


def read_items(flags: argparse.Namespace, kind: Kind, say: Say) -> list[Item]:
    """The clips asked for: the one of the flags, or those of --batch_input_json (items that lack something are left
    out, as in the published script, and said so). Raises UsageError."""
    needed = ["input_video", "prompt"] if kind.takes_input else ["prompt"]
    if flags.batch_input_json is None:
        if not flags.prompt.strip():
            raise UsageError("--prompt: found nothing, expected a caption")
        items = [Item(flags.input_path if kind.takes_input else "", flags.prompt, flags.save_path)]
    else:
        items = []
        for number, found in enumerate(read_json_list(flags.batch_input_json)):
            where = f"item {number} of {flags.batch_input_json}"
            if isinstance(found, dict):
                say_unused(found, (*needed, kind.output), where, say)
            if (lacking := what_lacks(found, needed, where)) is not None:
                say(lacking)
                continue
            values = [found["input_video"] if kind.takes_input else "", found["prompt"], found.get(kind.output)]
            values[2] = values[2] or f"output_{number}{kind.suffix}"
            if not all(isinstance(value, str) for value in values):
                raise UsageError(f"{where}: found {found!r}, expected strings")
            for path in (values[0], values[2]) if values[0] else values[2:]:
                check_account(path, where, flags.batch_input_json)
            items.append(Item(*values))
        if not items:
            raise UsageError(f"--batch_input_json: {flags.batch_input_json} has no item with {' and '.join(needed)}")
    for item in items:
        if kind.takes_input and version_of(item.input_path) is None and flags.batch_input_json is None:
            raise UsageError(f"--input_path: there is no file {item.input_path}")
    for item in items:
        check_save_path(item.save_path)
    taken = [place_of(path) for item in items for path in (item.save_path, text_path(item.save_path))]
    if len(set(taken)) < len(taken):
        raise UsageError(f"two clips would be written to the same file: give them different {kind.output}")
    if clash := sorted({place_of(item.input_path) for item in items if item.input_path} & set(taken)):
        raise UsageError(f"{clash[0]} is an input, and would be written over")
    return items


def add_guardrails(parser: argparse.ArgumentParser, ours: Any) -> None:
    """As published, and in the group `ours` where their files are."""
    parser.add_argument("--disable_guardrail", action="store_true", help="prompts and videos are not checked")
    parser.add_argument("--offload_guardrail", action="store_true", help="its networks are on a GPU only while needed")
    GUARDED.add_places(ours)


def guardrails_of(flags: argparse.Namespace, say: Say) -> GuardrailRules:
    """On, as published; off with --disable_guardrail, and for a --model of ours or one's own, for which nobody has said
    where their files are."""
    return GUARDED.rules(flags, flags.model is None, say)


def make(
    flags: argparse.Namespace,
    kind: Kind,
    model: str,
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    say: Say,
    prefix: str = "",
) -> int:
    """Make the clips and write them where they belong; the exit code.

    settings: columns that all rows have. config: of the job, beside what every command says. prefix: before every
    prompt. Raises UsageError for what can be said before a GPU is taken, other CosmosRayErrors when the job cannot go
    on.
    """
    from cosmos_ray.job.job import generate

    check_ema(flags)
    items = read_items(flags, kind, say)
    runs = BENCHMARK_RUNS if flags.benchmark else 1
    rows = [
        {"id": _id(number, run), **_row(item, flags, prefix), **settings}
        for run in range(runs)
        for number, item in enumerate(items)
    ]
    guardrails = guardrails_of(flags, say)
    said = {
        "model": model,
        "gang_size": flags.num_gpus,
        "max_failed": "0",
        "device": flags.device,
        "inputs": InputsConfig(rate="as_is"),
        "guardrails": guardrails,
        **config,
    }
    bundle = bundle_of(GenerateConfig(manifest="none", output="none", **said))
    check_steps(bundle, flags.num_steps, "--num_steps")
    work = _work_folder(flags, rows, bundle, said)
    storage = Storage(work)
    check_lasts(storage.uri, "the output")
    manifest = storage.uri_of("manifest.parquet")
    storage.write("manifest.parquet", _as_parquet(rows))
    with GUARDED.named():
        code = generate(GenerateConfig(manifest=manifest, output=work, **said), say).exit_code
    records = {record.id: record for record in Ledger(storage).records()}
    for number, item in enumerate(items):
        record = records.get(_id(number))
        if record is None or record.status != "ok":
            why = "not made" if record is None else f"not made ({record.failure_class}): {record.error}"
            say(shown(f"{item.save_path}: {why}"))
            continue
        _write_result(storage, record, item, kind, str(rows[number].get("negative_prompt", _negative(bundle))), say)
    if flags.benchmark:
        say_times([records[row["id"]] for row in rows[len(items) :] if row["id"] in records], say)
    return code


def _negative(bundle: Bundle) -> str:
    return bundle.sampling.negative_prompt


def _row(item: Item, flags: argparse.Namespace, prefix: str) -> dict[str, Any]:
    row: dict[str, Any] = {"prompt": prefix + item.prompt, "seed": flags.seed}
    if item.input_path:
        row["input_video"] = normalise_uri(item.input_path)
    if flags.negative_prompt is not None:
        row["negative_prompt"] = flags.negative_prompt
    if flags.num_steps is not None:
        row["num_steps"] = flags.num_steps
    return row


def _as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def _id(number: int, run: int = 0) -> str:
    return f"clip-{number:05d}" + (f".run{run}" if run else "")


def _work_folder(flags: argparse.Namespace, rows: list[dict[str, Any]], bundle: Bundle, said: Mapping[str, Any]) -> str:
    """Beside the result; its name is the hash of all that decides the clips (and of the time, for a benchmark)."""
    versions = {row["input_video"]: version_of(row["input_video"]) for row in rows if "input_video" in row}
    encoder = said.get("text_encoder", TextEncoderConfig()).model_dump()
    facts = [rows, bundle.fingerprint, encoder, os.getcwd(), versions, time.time() if flags.benchmark else None]
    if said["guardrails"].enabled:
        facts.append(said["guardrails"].model_dump())
    refiner: RefinerRules = said.get("refiner", NOT_REFINED)
    if refiner.is_on:
        facts.append([refiner.deciding, refiner.backend, refiner.model])
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return f"{posixpath.splitext(normalise_uri(flags.save_path))[0]}.work/{key}"


def _picture_path(save_path: str) -> str:
    """Of the picture that a video begins with."""
    return posixpath.splitext(save_path)[0] + ".picture.png"


def _write_result(work: Storage, record: Record, item: Item, kind: Kind, negative: str, say: Say) -> None:
    """The video or picture, and the text beside it."""
    paths = {entry.view: entry.path for entry in record.files}
    data = work.read(paths[kind.result])
    if data.startswith(PNG) and not item.save_path.lower().endswith(".png"):
        data = encode_jpeg(read_picture(data), _JPEG_QUALITY)
    write_file(item.save_path, data)
    if PICTURE in paths and kind.result != PICTURE:
        write_file(_picture_path(item.save_path), work.read(paths[PICTURE]))
    write_file(text_path(item.save_path), prompts_text(item.prompt, negative, record.refined_prompts))
    say(shown(f"{item.save_path}: {', '.join(work.uri_of(path) for path in paths.values())}"))
