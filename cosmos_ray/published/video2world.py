"""One video with the flags of Cosmos-Predict2's `examples/video2world.py`: see `one_view`.

Also those of `video2world_gr00t.py` (--gr00t_variant, --prompt_prefix), of `video2world_lora.py` (--use_lora) and, for
longer videos, of `video2world_lvg.py` (--num_chunks). Names and defaults are the published ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cosmos_ray.clip.request import VIDEO
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.single import LATENT_FRAMES, VIDEO_SIZES, gr00t_name, video_name
from cosmos_ray.published import one_view
from cosmos_ray.published.adapters import add_lora, merged_dit
from cosmos_ray.published.command import Say, parser_of, run
from cosmos_ray.published.one_view import Kind, named_model
from cosmos_ray.published.options import (
    Unsaid,
    add_without_effect,
    between,
    check_natten,
    is_other,
    refused,
    say_without_effect,
    text_encoder_of,
)
from cosmos_ray.published.refining import add_endpoint, add_refiner, refiner_of

KIND = Kind(output="output_video", suffix=".mp4", takes_input=True, result=VIDEO)
_BEST = "best of several is left out; num_samples of a manifest makes several, with scores to choose by"
_EDIT = "editing a video (SDEdit) is left out"
_ACTION = "the action-conditioned sample is left out"
#: Flags of other published examples of this model, which are left out: `video2world_bestofn`, `video2video_sdedit` and
#: `video2world_action`.
REFUSED = {
    **dict.fromkeys(("num_generations", "num_critic_trials", "skip_generation", "checkpoint_dir"), _BEST),
    **dict.fromkeys(("text2image_edit_strength", "video2world_edit_strength"), _EDIT),
    **dict.fromkeys(("input_annotation", "chunk_size", "autoregressive"), _ACTION),
}
#: Flags of `video2world_lora` that change nothing here, and why; and those of all commands.
NO_EFFECT = {
    **one_view.NO_EFFECT,
    "lora_target_modules": "the file says which layers have adapters",
    "init_lora_weights": "the file has the weights already",
}
_PREFIX = "The robot arm is performing a task. "
_GR00T_FPS = 16


def build_parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "video2world.py",
        "Make one video from a picture or a video, or those of a JSON list, with the published flags.",
        '--input_path arm.jpg --prompt "Pick it up."',
        "--batch_input_json items.json --model_size 14B",
    )
    add = parser.add_argument
    add("--model_size", choices=["2B", "14B"], default=Unsaid("2B"), help="size of the published model")
    add("--resolution", choices=sorted(VIDEO_SIZES), default=Unsaid("720"), help="which published model, and its size")
    add("--fps", type=int, choices=sorted(LATENT_FRAMES), default=16, help="which published model: 93 or 61 frames")
    add("--natten", action="store_true", help="the network that attends to neighbourhoods: 720p, 16:9, extra natten")
    add("--aspect_ratio", choices=list(VIDEO_SIZES["720"]), default="16:9", help="of the video")
    add("--dit_path", default="", help="a checkpoint of your own (.pt, .safetensors; path or URI) of the model")
    add("--load_ema", action="store_true", help="of --dit_path, the running average (net_ema.), not the weights (net.)")
    add("--prompt", default="", help="a caption")
    add("--input_path", default="assets/video2world/input0.jpg", help="an mp4, or for one frame a JPEG or PNG")
    add("--negative_prompt", default=None, help='the model\'s own if not given; "" for none')
    add(
        "--num_conditional_frames",
        type=int,
        choices=[1, 5],
        default=1,
        help="frames taken from the end of the input; a picture is one",
    )
    add("--batch_input_json", default=None, help="a list of {input_video, prompt, output_video}, instead of the flags")
    add("--guidance", type=between(float, 0, 100), default=7.0, help="the model follows the prompt 1 + guidance times")
    add("--seed", type=between(int, 0, 2**32 - 1), default=0, help="of the noise, for every clip")
    add("--save_path", default="output/generated_video.mp4", help="the mp4")
    add("--num_gpus", type=between(int, 1, 64), default=1, help="GPUs that share a clip (no torchrun: Ray starts them)")
    add("--offload_text_encoder", action="store_true", help="the text encoder is on the CPU, and stays there")
    add("--downcast_text_encoder", action="store_true", help="the text encoder is in bfloat16, as it is anyway")
    add("--benchmark", action="store_true", help="make the clip 4 times and time all but the first")
    add("--num_chunks", type=between(int, 1, 100), default=1, help="go on with the video so many times, less one")
    add(
        "--gr00t_variant",
        choices=["gr1", "droid"],
        default=None,
        help="the GR00T sample of this name: 14B at 480p, whatever is the default above",
    )
    add("--prompt_prefix", default=None, help=f"before every prompt; {_PREFIX!r} with --gr00t_variant")
    add_lora(parser)
    without = {flag: f"accepted, without effect: {reason}" for flag, reason in NO_EFFECT.items()}
    add("--lora_target_modules", default="", help=without["lora_target_modules"])
    add("--init_lora_weights", action="store_true", help=without["init_lora_weights"])
    add_refiner(parser)
    for flag, reason in REFUSED.items():
        add(f"--{flag}", nargs="?", const="", type=refused(reason), default=None, help=f"refused: {reason}")
    add_without_effect(parser, one_view.NO_EFFECT)
    ours = parser.add_argument_group("not in the guide")
    one_view.add_guardrails(parser, ours)
    ours.add_argument("--model", default=None, help="name of a model, or a bundle's folder, instead of the flags' one")
    ours.add_argument("--num_steps", type=between(int, 1, 1000), default=None, help="the model's own if not given")
    add_endpoint(ours)
    ours.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto", help="what --num_gpus counts")
    return parser


def model_of(flags: argparse.Namespace) -> str:
    if named := named_model(flags, "tiny-video2world"):
        return named
    if flags.gr00t_variant:
        _check_gr00t(flags)
        return gr00t_name(flags.gr00t_variant, flags.aspect_ratio)
    check_natten(flags)
    return video_name(flags.model_size, flags.resolution, flags.fps, flags.aspect_ratio, flags.natten)


def _check_gr00t(flags: argparse.Namespace) -> None:
    """Raises UsageError for flags that ask for another model than the samples. Theirs has no --resolution and no --fps,
    and of --model_size 14B alone."""
    others = {
        "--natten": flags.natten,
        f"--model_size {flags.model_size}": is_other(flags.model_size, "14B"),
        f"--resolution {flags.resolution}": is_other(flags.resolution, "480"),
        f"--fps {flags.fps}": flags.fps != _GR00T_FPS,
    }
    if found := [flag for flag, is_given in others.items() if is_given]:
        raise UsageError(
            f"--gr00t_variant: found beside {' and '.join(found)}, expected to be without: the samples are 14B at 480p "
            f"and {_GR00T_FPS} frames a second, and attend to everything"
        )


def make(flags: argparse.Namespace, say: Say) -> int:
    say_without_effect(flags, NO_EFFECT, say)
    prefix = flags.prompt_prefix if flags.prompt_prefix is not None else _PREFIX if flags.gr00t_variant else ""
    settings = {"num_conditional_frames": flags.num_conditional_frames, "guidance": flags.guidance}
    if flags.num_chunks > 1:
        settings["num_chunks"] = flags.num_chunks
    config = {
        "dit": merged_dit(flags, model_of(flags)),
        "ema": flags.load_ema and not flags.use_lora,
        "text_encoder": text_encoder_of(flags),
        "refiner": refiner_of(flags, flags.model is None and flags.gr00t_variant is None),
    }
    return one_view.make(flags, KIND, model_of(flags), settings, config, say, prefix)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(build_parser(), arguments, make)
