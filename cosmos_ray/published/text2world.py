"""One video of a caption alone with the flags of Cosmos-Predict2's `examples/text2world.py`: see `one_view`.

A picture is made of the caption, and the video goes on with it; both networks are resident in one gang. The picture
becomes a file beside the video. Names and defaults are the published ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cosmos_ray.clip.request import VIDEO
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.single import LATENT_FRAMES, VIDEO_SIZES, world_name
from cosmos_ray.published import one_view
from cosmos_ray.published.command import Say, parser_of, run
from cosmos_ray.published.one_view import Kind, check_distilled, named_model
from cosmos_ray.published.options import add_without_effect, between, check_natten, say_without_effect, text_encoder_of
from cosmos_ray.published.refining import add_endpoint, add_refiner, refiner_of

KIND = Kind(output="output_video", suffix=".mp4", takes_input=False, result=VIDEO)


def build_parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "text2world.py",
        "Make one video of a caption, or those of a JSON list, with the published flags.",
        '--prompt "Rain on a street." --save_path rain.mp4',
        "--batch_input_json items.json --num_gpus 4",
    )
    add = parser.add_argument
    add("--model_size", choices=["0.6B", "2B", "14B"], default="2B", help="0.6B is refused: it makes pictures only")
    add("--resolution", choices=sorted(VIDEO_SIZES), default="720", help="which published model, and its size")
    add("--fps", type=int, choices=sorted(LATENT_FRAMES), default=16, help="which published model: 93 or 61 frames")
    add("--natten", action="store_true", help="a network that attends to neighbourhoods: 720p, 16:9, extra natten")
    add("--aspect_ratio", choices=list(VIDEO_SIZES["720"]), default="16:9", help="of picture and video")
    add("--dit_path_text2image", default="", help="a checkpoint of your own of the network that makes the picture")
    add("--dit_path_video2world", default="", help="a checkpoint of your own of the network that makes the video")
    add("--load_ema", action="store_true", help="of these, the running average (net_ema.), not the weights (net.)")
    add("--prompt", default="", help="a caption")
    add("--negative_prompt", default=None, help='of picture and video; the model\'s own if not given; "" for none')
    add("--batch_input_json", default=None, help="a list of {prompt, output_video}, instead of the flags")
    add("--guidance", type=between(float, 0, 100), default=7.0, help="of the video; that of the picture is 4")
    add("--seed", type=between(int, 0, 2**32 - 1), default=0, help="of the noise of both, for every clip")
    add("--save_path", default="output/generated_video.mp4", help="the mp4; the picture is STEM.picture.png beside it")
    add("--num_gpus", type=between(int, 1, 64), default=1, help="GPUs that share a clip (no torchrun: Ray starts them)")
    add("--distill_steps", type=int, choices=range(5), default=0, help="a distilled model's picture, in so many steps")
    add("--offload_text_encoder", action="store_true", help="the text encoder is on the CPU, and stays there")
    add("--downcast_text_encoder", action="store_true", help="the text encoder is in bfloat16, as it is anyway")
    add("--benchmark", action="store_true", help="make the clip 4 times and time all but the first")
    add_refiner(parser)
    add_without_effect(parser, one_view.NO_EFFECT)
    ours = parser.add_argument_group("not in the guide")
    one_view.add_guardrails(parser, ours)
    ours.add_argument("--model", default=None, help="name of a model, or a bundle's folder, instead of the flags' one")
    ours.add_argument("--num_steps", type=between(int, 1, 1000), default=None, help="of the video; the model's own")
    add_endpoint(ours)
    ours.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto", help="what --num_gpus counts")
    return parser


def model_of(flags: argparse.Namespace) -> str:
    steps = f"-distilled{flags.distill_steps}" if flags.distill_steps else ""
    if named := named_model(flags, f"tiny-text2world{steps}"):
        return named
    if flags.model_size == "0.6B":
        raise UsageError("--model_size 0.6B: refused: no video model of that size was published; 2B and 14B were")
    check_natten(flags)
    return world_name(
        flags.model_size, flags.resolution, flags.fps, flags.distill_steps, flags.aspect_ratio, flags.natten
    )


def make(flags: argparse.Namespace, say: Say) -> int:
    say_without_effect(flags, one_view.NO_EFFECT, say)
    check_distilled(flags, load_bundle(model_of(flags)))
    config = {
        "dit": flags.dit_path_video2world or None,
        "picture_dit": flags.dit_path_text2image or None,
        "ema": flags.load_ema,
        "text_encoder": text_encoder_of(flags),
        "refiner": refiner_of(flags, flags.model is None),
    }
    return one_view.make(flags, KIND, model_of(flags), {"guidance": flags.guidance}, config, say)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(build_parser(), arguments, make)
