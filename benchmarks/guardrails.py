"""What guardrails cost a clip and a rank, with random weights of the published shapes.

    python benchmarks/guardrails.py [--tiny] [--views 7] [--frames 29] [--height 704] [--width 1280] [--gang 4]
                                    [--clip-seconds S] [--without-llama-guard]

Times the content filter (SigLIP so400m, 384 pixels) and the face blur (RetinaFace, ResNet-50) on one view, as ranks run
them, and Llama-Guard-3-8B on a prompt; says what the rank with most views spends on a clip, beside 2 % of a clip's
seconds on a gang, and the GiB that each takes. --clip-seconds: of a clip on that gang (default: the 2B model's 36 steps
of 26.2 s on one GPU, shared by the gang). --tiny: small networks and frames, for a machine without a GPU.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

from cosmos_ray.models.guardrails.content_filter import Classifier, seen
from cosmos_ray.models.guardrails.face_blur import blurred
from cosmos_ray.models.guardrails.retinaface import RetinaFace

#: One guided step of the 2B multiview model on one H100, and how many a clip has.
_STEP_S, _STEPS = 26.2, 36
_BOUND = 0.02
_TINY_SIGLIP = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
_SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
_TINY_LLAMA = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
_LLAMA = {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}


def measured(work: Callable[[], Any], device: str, runs: int = 3) -> tuple[float, float]:
    """Median seconds after a first run, and the most GiB that were held meanwhile (0 on a CPU)."""
    on_gpu = device == "cuda"
    times = []
    for number in range(runs + 1):
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        began = time.monotonic()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        if number:
            times.append(time.monotonic() - began)
    return median(times), torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0


def video_checks(tiny: bool, device: str) -> dict[str, Callable[[np.ndarray], Any]]:
    """Nothing is found, so that all is looked at: of random weights, thousands of anchors would be faces."""
    sizes = _TINY_SIGLIP if tiny else _SIGLIP
    siglip = SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=28 if tiny else 384, patch_size=14))
    siglip = siglip.eval().requires_grad_(False).to(device)
    head = Classifier((sizes["hidden_size"], 512, 256)).eval().requires_grad_(False).to(device)
    head.layers[-1].bias[0] = 1e6  # every frame is safe: all are looked at
    net = (RetinaFace(4, 16) if tiny else RetinaFace()).eval().requires_grad_(False).to(device)
    for answer in net.ClassHead:
        answer.conv1x1.bias[0::2] = 1e6  # type: ignore[union-attr, operator, index]
    return {
        "content_filter": lambda frames: seen(frames, siglip, head, device),
        "face_blur": lambda frames: blurred(frames, net, device),
    }


def llama_guard(tiny: bool, device: str) -> Callable[[], Any]:
    """A prompt of 600 tokens with its categories, and an answer of ten."""
    sizes = _TINY_LLAMA if tiny else _LLAMA
    heads = (
        {"num_attention_heads": 2, "num_key_value_heads": 1}
        if tiny
        else {"num_attention_heads": 32, "num_key_value_heads": 8}
    )
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval().requires_grad_(False)
        torch.set_default_dtype(torch.float32)
        ids = torch.randint(5, sizes["vocab_size"], (1, 600))
    how = {"max_new_tokens": 10, "min_new_tokens": 10, "do_sample": False, "pad_token_id": 0}
    return lambda: model.generate(ids, attention_mask=torch.ones_like(ids), **how)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("views", 7), ("frames", 29), ("height", 704), ("width", 1280), ("gang", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clip-seconds", type=float, default=None)
    parser.add_argument("--without-llama-guard", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    height, width, frames = (64, 96, 3) if options.tiny else (options.height, options.width, options.frames)
    view = np.random.RandomState(0).randint(0, 256, (frames, height, width, 3)).astype(np.uint8)
    views_a_rank = math.ceil(options.views / options.gang)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    shape = f"{options.views} views of {frames} x {height}x{width}, gang of {options.gang}"
    print(f"{name}, torch {torch.__version__}: {shape}")
    total = 0.0
    found = {}
    for check, look in video_checks(options.tiny, device).items():
        seconds, gib = measured(lambda look=look: look(view), device)  # type: ignore[misc]
        total += seconds * views_a_rank
        found[check] = seconds
        spent = f"{seconds:.3f} s a view, {seconds * views_a_rank:.2f} s a clip on the busiest rank"
        print(f"{check}: {spent}, {gib:.2f} GiB held at most")
    if not options.without_llama_guard:
        seconds, gib = measured(llama_guard(options.tiny, device), device)
        found["llama_guard"] = seconds
        print(f"llama_guard: {seconds:.3f} s a prompt on the first rank, {gib:.2f} GiB held at most, with the others")
        total += seconds
    clip = options.clip_seconds or _STEP_S * _STEPS / options.gang
    print(f"all: {total:.2f} s a clip on the busiest rank; 2 % of a clip of {clip:.0f} s are {_BOUND * clip:.2f} s")
    return {**found, "total": total}


if __name__ == "__main__":
    main()
