"""One picture with the flags of Cosmos-Predict2's `examples/text2image.py`: see `one_view`.

Names and defaults are the published ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cosmos_ray.clip.request import PICTURE
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.single import PICTURE_SIZES, picture_name
from cosmos_ray.published import one_view
from cosmos_ray.published.command import Say, parser_of, run
from cosmos_ray.published.one_view import Kind, check_distilled, named_model
from cosmos_ray.published.options import add_without_effect, between, say_without_effect

KIND = Kind(output="output_image", suffix=".jpg", takes_input=False, result=PICTURE)
#: What the published pipeline guides by, without a flag for it.
GUIDANCE = 4.0
_FAST_TOKENIZER = (
    "--use_fast_tokenizer: refused: that tokenizer's file holds programs (TorchScript), which would be run unseen; "
    "the usual tokenizer makes the picture"
)


def build_parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "text2image.py",
        "Make one picture, or those of a JSON list, with the published flags.",
        '--prompt "A red cup." --save_path cup.jpg',
        "--model_size 0.6B --batch_input_json items.json",
    )
    add = parser.add_argument
    add("--model_size", choices=["0.6B", "2B", "14B"], default="2B", help="size of the published model")
    add("--aspect_ratio", choices=list(PICTURE_SIZES), default="16:9", help="of the picture")
    add("--dit_path", default="", help="a checkpoint of your own (.pt, .safetensors; path or URI) of the model")
    add("--load_ema", action="store_true", help="of --dit_path, the running average (net_ema.), not the weights (net.)")
    add("--prompt", default="", help="a caption")
    add("--negative_prompt", default="", help='"" is weighed as no text at all')
    add("--batch_input_json", default=None, help="a list of {prompt, output_image}, instead of the flags")
    add("--seed", type=between(int, 0, 2**32 - 1), default=0, help="of the noise, for every picture")
    add("--save_path", default="output/generated_image.jpg", help="JPEG of quality 85, or a PNG by its suffix")
    add("--distill_steps", type=int, choices=range(5), default=0, help="the distilled model, in so many evaluations")
    add("--use_fast_tokenizer", action="store_true", help="refused: its file holds programs")
    add("--benchmark", action="store_true", help="make the picture 4 times and time all but the first")
    add_without_effect(parser, one_view.NO_EFFECT)
    ours = parser.add_argument_group("not in the guide")
    one_view.add_guardrails(parser, ours)
    ours.add_argument("--model", default=None, help="name of a model, or a bundle's folder, instead of the flags' one")
    ours.add_argument("--num_steps", type=between(int, 1, 1000), default=None, help="the model's own if not given")
    ours.add_argument("--num_gpus", type=between(int, 1, 64), default=1, help="GPUs that share a picture")
    ours.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto", help="what --num_gpus counts")
    return parser


def model_of(flags: argparse.Namespace) -> str:
    is_distilled = flags.distill_steps > 0
    named = named_model(flags, "tiny-text2image-distilled" if is_distilled else "tiny-text2image")
    return named or picture_name(flags.model_size, is_distilled, flags.aspect_ratio)


def make(flags: argparse.Namespace, say: Say) -> int:
    if flags.use_fast_tokenizer:
        raise UsageError(_FAST_TOKENIZER)
    if flags.distill_steps and flags.num_steps is not None:
        raise UsageError("found both --num_steps and --distill_steps, expected one: the latter is the steps, too")
    say_without_effect(flags, one_view.NO_EFFECT, say)
    check_distilled(flags, load_bundle(model_of(flags)))
    settings = {"guidance": GUIDANCE, **({"num_steps": flags.distill_steps} if flags.distill_steps else {})}
    config = {"dit": flags.dit_path or None, "ema": flags.load_ema}
    return one_view.make(flags, KIND, model_of(flags), settings, config, say)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(build_parser(), arguments, make)
