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
    check_results,
    listed_items,
    prompts_text,
    say_times,
    text_path,
    version_of,
    write_file,
)
from cosmos_ray.store.places import check_lasts
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
    if flags.batch_input_json is None:
        if not flags.prompt.strip():
            raise UsageError("--prompt: found nothing, expected a caption")
        items = [Item(flags.input_path if kind.takes_input else "", flags.prompt, flags.save_path)]
        if kind.takes_input and version_of(flags.input_path) is None:
            raise UsageError(f"--input_path: there is no file {flags.input_path}")
    else:
        items = _batch(flags.batch_input_json, kind, say)
    inputs = [item.input_path for item in items if item.input_path]
    check_results([item.save_path for item in items], inputs, kind.output)
    return items


def _batch(path: str, kind: Kind, say: Say) -> list[Item]:
    needed = ("input_video", "prompt") if kind.takes_input else ("prompt",)
    items = []
    for number, where, found in listed_items(path, needed, kind.output, say):
        save_path = found.get(kind.output) or f"output_{number}{kind.suffix}"
        values = (found["input_video"] if kind.takes_input else "", found["prompt"], save_path)
        if not all(isinstance(value, str) for value in values):
            raise UsageError(f"{where}: found {found!r}, expected strings")
        item = Item(*values)
        for named in filter(None, (item.input_path, item.save_path)):
            check_account(named, where, path)
        items.append(item)
    if not items:
        raise UsageError(f"--batch_input_json: {path} has no item with {' and '.join(needed)}")
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
    rows = _rows(items, flags, settings, prefix)
    said = {
        "model": model,
        "gang_size": flags.num_gpus,
        "max_failed": "0",
        "device": flags.device,
        "inputs": InputsConfig(rate="as_is"),
        "guardrails": guardrails_of(flags, say),
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
    for item, row in zip(items, rows, strict=False):  # those of a benchmark's further runs are nobody's results
        record = records.get(row["id"])
        if record is None or record.status != "ok":
            why = "not made" if record is None else f"not made ({record.failure_class}): {record.error}"
            say(shown(f"{item.save_path}: {why}"))
        else:
            _write_result(storage, record, item, kind, str(row.get("negative_prompt", _negative(bundle))), say)
    if flags.benchmark:
        say_times([records[row["id"]] for row in rows[len(items) :] if row["id"] in records], say)
    return code


def _rows(
    items: Sequence[Item], flags: argparse.Namespace, settings: Mapping[str, Any], prefix: str
) -> list[dict[str, Any]]:
    """One an item, in their order; for a benchmark, further runs of all of them after that."""
    return [
        {"id": _id(number, run), **_row(item, flags, prefix), **settings}
        for run in range(BENCHMARK_RUNS if flags.benchmark else 1)
        for number, item in enumerate(items)
    ]


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
