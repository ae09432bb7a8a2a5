"""Clips of spec files with the flags of Cosmos-Predict2.5's and -Transfer2.5's multiview examples, on our gangs.

`-i FILES -o DIR` as there: each spec's clip becomes DIR/NAME.mp4, and DIR/NAME.json says what it was made from. The
job's own output (an mp4 a view, sidecars, the report) is kept beside, in DIR/.work/; the same command goes on with it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.config import GenerateConfig, InputsConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import shown
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.manifest.builders.inference_specs import Found, PredictSpec, TransferSpec, read_specs, write_specs
from cosmos_ray.manifest.builders.writing import EMBEDDING_SUFFIXES, absolute
from cosmos_ray.models.bundle.names import built_in_name
from cosmos_ray.published.command import Say, parser_of
from cosmos_ray.published.guarding import GuardFlags
from cosmos_ray.published.layouts import names_of, write_views
from cosmos_ray.published.options import check_account, refused, version_of
from cosmos_ray.store.places import check_lasts, place_of
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri

OFF = GuardrailRules()
#: Flags of the published programs that change nothing here, and why.
NO_EFFECT = {
    "keep-going": "a clip that fails does not stop the others",
    "profile": "the sidecar has the seconds of each phase",
    "offload-diffusion-model": "the published program ignores it too",
    "offload-tokenizer": "the published program ignores it too",
    "offload-text-encoder": "`--set text_encoder.device=cpu` of `cosmos-ray generate` does that",
}
#: Flags of the published programs that say what a configuration of theirs would, which nothing here reads.
REFUSED = ("experiment", "config-file", "use-config-dataloader")
GUARDED = GuardFlags("disable-guardrails", "offload-guardrail-models", "guardrail-weights", "llama-guard")
#: What the command line may say instead of a spec: key and type.
COMMON: Mapping[str, type] = {
    "prompt": str, "prompt_path": str, "seed": int, "guidance": int, "num_steps": int, "fps": int,
    "control_weight": float,
    "enable_autoregressive": bool, "num_chunks": int, "chunk_overlap": int,
}  # fmt: skip


def build_parser(
    prog: str, model: str, published: str, overrides: Mapping[str, type], *examples: str
) -> argparse.ArgumentParser:
    """published: the example's own name of the model. examples: of this command, for its help."""
    parser = parser_of(prog, __doc__.splitlines()[0], *examples)
    add = parser.add_argument
    add("-i", "--input-files", nargs="+", required=True, metavar="FILE", help="spec files")
    add("-o", "--output-dir", required=True, metavar="DIR", help="where NAME.mp4 and NAME.json of each spec go")
    add("--model", default=model, help=f"name of a model, or a bundle's folder; `{published}` is {model}")
    add("--checkpoint-path", default="", help="a checkpoint of your own (.pt, .safetensors; path or URI) of the model")
    add("--context-parallel-size", type=int, default=None, help="GPUs that share a clip (no torchrun: Ray starts them)")
    add("--device", choices=["auto", "cuda", "cpu"], default="auto", help="ours: what --context-parallel-size counts")
    for key, kind in overrides.items():
        how: dict[str, Any] = {"type": kind, "metavar": key.upper()}
        if kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        add(f"--{key.replace('_', '-')}", dest=f"said_{key}", default=None, help="instead of each spec's own", **how)
    both = argparse.BooleanOptionalAction
    add(f"--{GUARDED.disable}", action=both, default=False, help="prompts and videos are not checked")
    add(f"--{GUARDED.offload}", action=both, default=True, help="their networks are on a GPU only while needed")
    GUARDED.add_places(parser.add_argument_group("not in the published command"))
    for flag, reason in NO_EFFECT.items():
        add(f"--{flag}", action=both, default=None, help=f"accepted, without effect: {reason}")
    why = "no training configuration is read here: --model and --checkpoint-path say which network it is"
    for flag in REFUSED:
        add(f"--{flag}", nargs="?", const="", type=refused(why), help=f"refused: {why}")
    parser.set_defaults(aliases={published: model})
    return parser


def make(kind: type[PredictSpec] | type[TransferSpec], flags: argparse.Namespace, say: Say) -> int:
    """Make the clips of the specs and write them where they belong; the exit code."""
    from cosmos_ray.job.job import generate

    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise UsageError("start this with python, not torchrun: --context-parallel-size is the size of the gang")
    given = [flag for flag in NO_EFFECT if getattr(flags, flag.replace("-", "_")) is not None]
    if ignored := [f"--{flag}: {NO_EFFECT[flag]}" for flag in given]:
        say("flags without effect here: " + "; ".join(ignored))
    found = read_specs(flags.input_files, kind, overrides_of(flags))
    check_results(flags, found)
    guardrails = GUARDED.rules(flags, is_published(flags), say)
    work = work_folder(flags, found, guardrails)
    storage = Storage(work)
    check_lasts(storage.uri, "the output")
    manifest = storage.uri_of("manifest.parquet")
    write_specs(found, manifest)
    config = GenerateConfig(
        manifest=manifest,
        output=work,
        model=flags.aliases.get(flags.model, flags.model),
        dit=flags.checkpoint_path or None,
        gang_size=flags.context_parallel_size,
        max_failed="0",
        device=flags.device,
        inputs=InputsConfig(rate="as_is"),
        guardrails=guardrails,
    )
    with GUARDED.named():
        code = generate(config, say).exit_code
    records = {record.id: record for record in Ledger(storage).records()}
    for one in found:
        record = records.get(one.spec.name)
        if record is None or record.status != "ok":
            why = "not made" if record is None else f"not made ({record.failure_class}): {record.error}"
            say(shown(f"{one.spec.name}: {why}"))
            continue
        paths = {entry.view: entry.path for entry in record.files}
        videos = {view: storage.read(paths[view]) for view in VIEWS if view in paths}
        files = write_views(one.spec, videos)
        files[f"{one.spec.name}.json"] = json.dumps(one.spec.model_dump(mode="json"), indent=2).encode()
        for name, data in files.items():
            Storage(normalise_uri(flags.output_dir)).write(name, data)
        say(shown(f"{one.spec.name}: {', '.join(files)}"))
    return code


def overrides_of(flags: argparse.Namespace) -> dict[str, Any]:
    """What the command line says instead of the specs."""
    said = {name.removeprefix("said_"): value for name, value in vars(flags).items() if name.startswith("said_")}
    if said.get("prompt_path") is not None:
        said["prompt_path"] = normalise_uri(said["prompt_path"])  # of a command line, from where it is given
    return {name: value for name, value in said.items() if value is not None}


def is_published(flags: argparse.Namespace) -> bool:
    """Whether --model names one of NVIDIA's."""
    return (built_in_name(flags.aliases.get(flags.model, flags.model)) or "").startswith("cosmos-")


def check_results(flags: argparse.Namespace, found: Sequence[Found]) -> None:
    """Raises UsageError for two results in one file, and for one that is written over what it is made from."""
    folder = normalise_uri(flags.output_dir)
    written = [f"{folder}/{name}" for one in found for name in (*names_of(one.spec), f"{one.spec.name}.json")]
    taken = [place_of(uri) for uri in written]
    if len(set(taken)) < len(taken):
        twice = next(uri for number, uri in enumerate(written) if taken[number] in taken[:number])
        raise UsageError(f"two results would be written to {twice}: give their specs other names")
    read = {place_of(path) for path in flags.input_files}
    for one in found:
        row = one.spec.row()
        paths = [path for column in ("input_videos", "control_videos") for path in row.get(column, {}).values()]
        paths += _prompt_files(one.spec)
        uris = [absolute(path, one.folder, one.where) for path in paths]
        for uri in uris:
            check_account(uri, one.where, one.folder)
        read |= {place_of(uri) for uri in uris}
    if clash := sorted(read & set(taken)):
        raise UsageError(f"{clash[0]} is an input, and would be written over: give another --output-dir")


def work_folder(flags: argparse.Namespace, found: Sequence[Found], guardrails: GuardrailRules = OFF) -> str:
    """Its name is the hash of the specs, of the files that they and the flags name, and of what checks them."""
    facts: list[Any] = [flags.model, flags.checkpoint_path, os.getcwd()]
    if flags.checkpoint_path:
        facts.append(version_of(flags.checkpoint_path))
    for one in found:
        row = one.spec.row()
        paths = [path for column in ("input_videos", "control_videos") for path in row.get(column, {}).values()]
        paths += _prompt_files(one.spec)
        versions = [version_of(absolute(path, one.folder, one.where)) for path in paths]
        facts.append([one.folder, one.spec.model_dump(mode="json"), versions])
    if guardrails.enabled:
        facts.append(guardrails.model_dump())
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return f"{normalise_uri(flags.output_dir)}/.work/{key}"


def _prompt_files(spec: PredictSpec | TransferSpec) -> list[str]:
    """Where its prompt is read from, if that is no text itself."""
    named = spec.prompt_path or spec.prompt or ""
    return [named] if spec.prompt_path or named.endswith((".txt", *EMBEDDING_SUFFIXES)) else []
