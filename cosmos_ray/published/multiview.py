"""One clip (or a JSON's clips) with the flags of Cosmos-Predict2's `examples/multiview.py`, on this project's gangs.

What the guide's script does in one process group is here a job of a few rows: a manifest is written into a work folder
beside --save_path, `generate` makes its clips, and the views of each are stacked from top to bottom into one mp4. The
work folder keeps an mp4 a view, the sidecar and the report; its name depends on everything that decides the clips, so
the same command goes on where it was stopped, and another one begins anew.

Names and defaults of the flags are the guide's. Without torch and, until clips are made, without Ray.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import posixpath
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosmos_ray.clip.encode import stack_views
from cosmos_ray.clip.request import ALL_VIEWS, LATENT_FRAMES, VIEWS
from cosmos_ray.config import GenerateConfig, InputsConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.job.model import bundle_of
from cosmos_ray.ledger.layout import CLIPS
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.writing import EMBEDDING_SUFFIXES
from cosmos_ray.manifest.cameras import check_views
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.bundle.single import LARGE_MULTIVIEW, VIDEO_SIZES
from cosmos_ray.published.adapters import add_lora, merged_dit
from cosmos_ray.published.command import parser_of, run
from cosmos_ray.published.options import (
    BENCHMARK_RUNS,
    GUARDRAILS_OFF,
    add_without_effect,
    between,
    check_account,
    check_results,
    listed_items,
    refused,
    say_times,
    say_without_effect,
    text_encoder_of,
    text_path,
    version_of,
    write_file,
)
from cosmos_ray.store.places import check_lasts
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri
from cosmos_ray.words import counted

#: Flags of the guide that change nothing here, and why.
NO_EFFECT = {
    "disable_guardrail": GUARDRAILS_OFF,
    "offload_guardrail": GUARDRAILS_OFF,
    "disable_prompt_refiner": "the multiview model has no prompt refiner",
    "offload_prompt_refiner": "the multiview model has no prompt refiner",
    "use_cuda_graphs": "the guide's script ignores it too",
    "natten": "the guide's script ignores it too",
}
#: Flags of text2world, which the guide says that this command takes too.
REFUSED = {
    "distill_steps": "no multiview network was distilled; --num_steps takes fewer steps",
    "dit_path_text2image": "no picture is made first; --dit_path is the one network's checkpoint",
    "dit_path_video2world": "there is one network, whose checkpoint --dit_path names",
}
FPS = 10


@dataclass(frozen=True)
class Item:
    """One clip asked for. prompt: text, a list of texts, or the path of a .txt or an embedding."""

    input_video: str
    prompt: str | list[str]
    save_path: str


def main(arguments: Sequence[str] | None = None) -> int:
    return run(build_parser(), arguments, make)


def build_parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "multiview.py",
        "Make one multi-camera clip, or those of a JSON list, with the flags of Cosmos-Predict2's guide.",
        "--n_views 7 --input_path in.mp4 --prompt a.txt",
        "--model tiny --n_views 7 --prompt Rain. --num_gpus 1",
    )
    add = parser.add_argument
    add("--model_size", choices=["2B", "14B"], default="2B", help="14B: with --dit_path, since none was published")
    add(
        "--resolution",
        type=size_of,
        default="720",
        metavar="480|720|WxH",
        help="720: the model's native size; no weights were published for others",
    )
    add("--fps", type=int, choices=[FPS], default=FPS, help="frame rate of the files; the model's own time scale stays")
    add(
        "--dit_path",
        default="",
        help="a checkpoint of your own (.pt, .safetensors; path or URI) of the model",
    )
    add("--load_ema", action="store_true", help="of --dit_path, the running average (net_ema.), not the weights (net.)")
    add(
        "--prompt",
        default="",
        help="a caption; or a .txt: one line captions view 0, as many lines as --n_views caption a view each (the "
        "guide's script wants that many and reads the first); or an embedding: .pt, .safetensors, .npy, .pkl",
    )
    add("--input_path", default="assets/multiview/input1.mp4", help="an mp4, the views one after the other in time")
    add("--negative_prompt", default=None, help='the model\'s own if not given; "" for none')
    add("--aspect_ratio", choices=list(VIDEO_SIZES["720"]), default="16:9", help="of each view; 16:9 was published")
    add(
        "--num_conditional_frames",
        type=int,
        choices=list(LATENT_FRAMES),
        default=1,
        help="frames taken from the end of each view of the input",
    )
    add(
        "--batch_input_json",
        default=None,
        help="a list of {input_video, prompt, output_video}, instead of --input_path, --prompt and --save_path; paths "
        "start from the current folder",
    )
    add("--guidance", type=between(float, 0, 100), default=7.0, help="the model follows the prompt 1 + guidance times")
    add("--seed", type=between(int, 0, 2**32 - 1), default=0, help="of the noise, for every clip")
    add("--save_path", default="output/generated_video.mp4", help="mp4 with the views stacked from top to bottom")
    add("--num_gpus", type=between(int, 1, 64), default=1, help="GPUs that share a clip (no torchrun: Ray starts them)")
    add("--n_views", type=between(int, 1, len(VIEWS)), default=1, help="views in the input and to generate; usually 7")
    add("--offload_text_encoder", action="store_true", help="the text encoder is on the CPU, and stays there")
    add("--downcast_text_encoder", action="store_true", help="the text encoder is in bfloat16, as it is anyway")
    for flag, reason in REFUSED.items():
        add(f"--{flag}", type=refused(reason), default=None, metavar="…", help=f"refused: {reason}")
    add_without_effect(parser, NO_EFFECT)
    add("--benchmark", action="store_true", help=f"make the clip {BENCHMARK_RUNS} times and time all but the first")
    ours = parser.add_argument_group("not in the guide")
    ours.add_argument("--model", default=None, help="name of a model, or a bundle's folder, instead of --model_size's")
    ours.add_argument("--views", default=None, help="NAME,...: which cameras, instead of the first --n_views")
    add_lora(ours)
    ours.add_argument("--num_steps", type=between(int, 1, 1000), default=None, help="the model's own if not given")
    ours.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto", help="what --num_gpus counts")
    return parser


def make(flags: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Make the clips that the flags ask for and write them where they belong; the exit code.

    Raises UsageError for what can be said before a GPU is taken, other CosmosRayErrors when the job cannot go on.
    """
    from cosmos_ray.job.job import generate

    _check_flags(flags, say)
    said = {
        "model": model_of(flags),
        "dit": merged_dit(flags, model_of(flags)),
        "ema": flags.load_ema and not flags.use_lora,
        "resolution": asked_size(flags, say),
        "text_encoder": text_encoder_of(flags),
        "gang_size": flags.num_gpus,
        "max_failed": "0",
        "device": flags.device,
        "inputs": InputsConfig(rate="as_is"),
    }
    bundle = bundle_of(GenerateConfig(manifest="none", output="none", **said))
    if flags.n_views > bundle.n_views:
        raise UsageError(f"--n_views: found {flags.n_views}, expected at most the {bundle.n_views} of {bundle.name}")
    items = read_items(flags, say)
    rows = rows_of(flags, items)
    work = work_folder(flags, rows, bundle)
    storage = Storage(work)
    check_lasts(storage.uri, "the output")
    storage.write("items.json", json.dumps(rows, indent=2).encode())
    manifest = storage.uri_of("manifest.parquet")
    rig = rig_of(views=flags.views) if flags.views else rig_of(n_views=flags.n_views)
    from_batch_json(storage.uri_of("items.json"), manifest, rig=rig, base=os.getcwd())
    code = generate(GenerateConfig(manifest=manifest, output=work, **said), say).exit_code
    records = {record.id: record for record in Ledger(storage).records()}
    for number, item in enumerate(items):
        record = records[_id(number)]
        if record.status == "ok":
            negative = bundle.sampling.negative_prompt if flags.negative_prompt is None else flags.negative_prompt
            _write_result(storage, record, item, negative, say)
        else:
            say(f"{item.save_path}: not made ({record.failure_class}): {record.error}")
    say(f"kept beside: {work} (an mp4 a view, sidecars, report): the same command goes on from it; it may be removed")
    if flags.benchmark:
        say_times([records[row["id"]] for row in rows[len(items) :]], say)
    return code


def size_of(text: str) -> str:
    """480 or 720, or WIDTHxHEIGHT in pixels, as argparse takes it."""
    if text not in VIDEO_SIZES and not re.fullmatch(r"\d+x\d+", text):
        raise argparse.ArgumentTypeError(f"found {text}, expected {', '.join(VIDEO_SIZES)} or WIDTHxHEIGHT")
    return text


def asked_size(flags: argparse.Namespace, say: Callable[[str], None]) -> str | None:
    """WIDTHxHEIGHT, where the flags ask for another size than the model's own."""
    if (flags.resolution, flags.aspect_ratio) == ("720", "16:9"):
        return None
    size = flags.resolution
    if size in VIDEO_SIZES:
        size = "x".join(map(str, VIDEO_SIZES[size][flags.aspect_ratio]))
    elif flags.aspect_ratio != "16:9":
        raise UsageError(
            f"--aspect_ratio {flags.aspect_ratio}: found beside --resolution {size}, which says it already"
        )
    say(f"each view is {size}: no weights were published for that size, those of 1280x704 make it")
    return str(size)


def model_of(flags: argparse.Namespace) -> str:
    if flags.model:
        return str(flags.model)
    if flags.model_size == "2B":
        return "cosmos-predict2-2b-multiview"
    if not flags.dit_path:
        raise UsageError("--model_size 14B: no multiview network of that size was published; --dit_path names yours")
    return LARGE_MULTIVIEW


def read_items(flags: argparse.Namespace, say: Callable[[str], None]) -> list[Item]:
    """The clips asked for: the one of the flags, or those of --batch_input_json (items without input or prompt are
    left out, as in the guide's script, and said so). Raises UsageError."""
    if flags.batch_input_json is None:
        items = [Item(flags.input_path, flags.prompt, flags.save_path)]
        if not flags.prompt.strip():
            raise UsageError("--prompt: found nothing, expected a caption, or a .txt or an embedding's path")
        if flags.num_conditional_frames and version_of(flags.input_path) is None:
            raise UsageError(f"--input_path: there is no file {flags.input_path}")
    else:
        items = _batch(flags.batch_input_json, say)
    inputs = [path for item in items for path in _paths(item.input_video, item.prompt)]
    check_results([item.save_path for item in items], inputs, "output_video")
    return items


def _batch(path: str, say: Callable[[str], None]) -> list[Item]:
    items = []
    for number, where, found in listed_items(path, ("input_video", "prompt"), "output_video", say):
        item = _item(found, number, where)
        for named in (*_paths(item.input_video, item.prompt), item.save_path):
            check_account(named, where, path)
        items.append(item)
    if not items:
        raise UsageError(f"--batch_input_json: {path} has no item with input_video and prompt")
    return items


def _item(found: Mapping[str, Any], number: int, where: str) -> Item:
    video, prompt = found["input_video"], found["prompt"]
    save_path = found.get("output_video") or f"output_{number}.mp4"
    texts = prompt if isinstance(prompt, list) else [prompt]
    if not all(isinstance(value, str) for value in (video, save_path, *texts)):
        raise UsageError(f"{where}: found {found!r}, expected strings (for the prompt also a list, one a view)")
    return Item(video, prompt, save_path)


def _check_flags(flags: argparse.Namespace, say: Callable[[str], None]) -> None:
    if flags.load_ema and not flags.dit_path:
        raise UsageError("--load_ema: found without --dit_path, expected the checkpoint that it is taken of")
    if flags.views and flags.n_views not in (1, len(check_views(flags.views, "--views"))):
        raise UsageError(f"--n_views {flags.n_views}: found beside --views {flags.views}, which says it already")
    say_without_effect(flags, NO_EFFECT, say)


def rows_of(flags: argparse.Namespace, items: list[Item]) -> list[dict[str, Any]]:
    """Items for `from_batch_json`, with everything the flags say."""
    settings: dict[str, Any] = {
        "num_conditional_frames": flags.num_conditional_frames,
        "guidance": flags.guidance,
        "seed": flags.seed,
        "fps": flags.fps,
    }
    if flags.views:
        settings["views"] = list(check_views(flags.views, "--views"))
    else:
        settings["n_views"] = flags.n_views
    if flags.negative_prompt is not None:
        settings["negative_prompt"] = flags.negative_prompt
    if flags.num_steps is not None:
        settings["num_steps"] = flags.num_steps
    runs = BENCHMARK_RUNS if flags.benchmark else 1
    return [
        {"id": _id(number, run), "input_video": item.input_video, "prompt": item.prompt, **settings}
        for run in range(runs)
        for number, item in enumerate(items)
    ]


def _id(number: int, run: int = 0) -> str:
    return f"clip-{number:05d}" + (f".run{run}" if run else "")


def work_folder(flags: argparse.Namespace, rows: list[dict[str, Any]], bundle: Bundle) -> str:
    """Beside the result; its name is the hash of all that decides the clips (and of the time, for a benchmark)."""
    versions = {path: version_of(path) for row in rows for path in _paths(row["input_video"], row["prompt"])}
    facts = [rows, bundle.fingerprint, os.getcwd(), versions, time.time() if flags.benchmark else None]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return f"{posixpath.splitext(normalise_uri(flags.save_path))[0]}.work/{key}"


def _paths(input_video: str, prompt: str | list[str]) -> list[str]:
    """The files that a clip is made from: its video, and its prompt unless that is the text itself."""
    is_file = isinstance(prompt, str) and prompt.endswith((".txt", *EMBEDDING_SUFFIXES))
    return [input_video, str(prompt)] if is_file else [input_video]


def _write_result(work: Storage, record: Record, item: Item, negative: str, say: Callable[[str], None]) -> None:
    """The stacked mp4 and the text beside it."""
    by_view = {entry.view: entry.path for entry in record.files}
    videos = [work.read(by_view[view]) for view in ALL_VIEWS if view in by_view]
    write_file(item.save_path, videos[0] if len(videos) == 1 else stack_views(videos, FPS))
    prompt = "\n".join(item.prompt) if isinstance(item.prompt, list) else item.prompt
    write_file(text_path(item.save_path), f"[Prompt]\n{prompt}\n\n[Negative Prompt]\n{negative}\n".encode())
    say(f"{item.save_path}: {counted(len(videos), 'view')}, {FPS} frames a second; a file a view: {work.uri_of(CLIPS)}")
