"""Time and memory of the local refiner of prompts, of Cosmos-Reason1-7B's shapes with random weights in bfloat16.

python benchmarks/refiner.py                          on a GPU: 20 GB; nothing is downloaded
python benchmarks/refiner.py --beside                 instead, what it costs a 2B clip that is denoised on that GPU
python benchmarks/refiner.py --beside cosmos-transfer2.5-2b-multiview --passes 1       the same of another model
python benchmarks/refiner.py --tiny --device cpu --beside tiny                         whether the script works

`--beside` prints the seconds of a clip's passes (a step: one evaluation under both texts), first alone, then while one
prompt after the other is refined in another thread, as a gang's first rank does it; how long a prompt takes in both
cases; and what one prompt costs the clip: what its passes took longer, over the prompts that were written meanwhile.
Weights of both are drawn. Three to four minutes, on an H100 of 80 GB too.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import threading
import time

import numpy as np
import torch
from drawn import drawn_generator, drawn_request, with_drawn_text
from random_qwen_vl import PUBLISHED, TINY, byte_tokenizer, random_model
from reporting import machine, report

from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.text.qwen_vl import QwenVL
from cosmos_ray.refine.settings import instructions_of

MULTIVIEW = "cosmos-predict2-2b-multiview"
PROMPT = "A van drives along a wet street at dusk, past parked cars and a man with an umbrella, and turns left."


def measure(refiner: QwenVL, pictures: int, tokens: int, size_hw: tuple[int, int], runs: int) -> tuple[float, float]:
    """(seconds a prompt, the mean of all runs but the first; tokens that were written)."""
    frames = np.random.RandomState(0).randint(0, 256, (pictures, *size_hw, 3), np.uint8)
    refiner.model.generation_config.min_new_tokens = tokens  # random weights end where they like
    instructions, seconds, written = instructions_of(RefinerRules()), [], 0
    for _ in range(runs):
        began = time.perf_counter()
        written = refiner.answer(instructions, PROMPT, frames if pictures else None, tokens).tokens
        seconds.append(time.perf_counter() - began)
    return float(np.mean(seconds[1:] or seconds)), written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small model, to see whether this runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pictures", type=int, nargs="+", default=[0, 1, 5])
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[150, 512], help="a caption of 100 words has about 150"
    )
    parser.add_argument("--height", type=int, default=704)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--beside", nargs="*", metavar="MODEL", help=f"what it costs a clip of these; of {MULTIVIEW} if none is named"
    )
    parser.add_argument("--passes", type=int, default=2, help="of that clip, alone and again beside the refiner")
    flags = parser.parse_args()
    on_gpu = flags.device.startswith("cuda")
    tokenizer = byte_tokenizer()
    began = time.perf_counter()
    model = random_model(TINY if flags.tiny else PUBLISHED, tokenizer, torch.bfloat16, flags.device)
    refiner = QwenVL(model, tokenizer, flags.device, flags.device)
    count = sum(weight.numel() for weight in model.parameters())
    made = {"parameters": count, "weights_gib": round(2 * count / 2**30, 2), "made_s": time.perf_counter() - began}
    report(measured="model", **machine("torch", "transformers"), threads=torch.get_num_threads(), **made)
    if flags.beside is not None:
        for name in flags.beside or [MULTIVIEW]:
            beside(refiner, name, flags)
        return
    for pictures in flags.pictures:
        for tokens in flags.tokens:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            seconds, written = measure(refiner, pictures, tokens, (flags.height, flags.width), flags.runs)
            peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
            report(
                measured="prompt", pictures=pictures, size=f"{flags.width}x{flags.height}", tokens=written,
                seconds=seconds, tokens_a_second=written / seconds, peak_gib=peak,
            )  # fmt: skip


class Prompts:
    """One after the other, in a thread of its own, from `start` on until they are stopped."""

    def __init__(self, refiner: QwenVL, tokens: int, size_hw: tuple[int, int]) -> None:
        self._ask = (refiner, 1, tokens, size_hw, 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.spans: list[tuple[float, float]] = []  # of each prompt that was finished

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Once the last one is finished."""
        self._stop.set()
        self._thread.join()

    def written(self, began: float, ended: float) -> float:
        """How many prompts between these two times; of one that reaches beyond them, its part."""
        return sum(max(0.0, min(end, ended) - max(start, began)) / (end - start) for start, end in self.spans)

    def _write(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            measure(*self._ask)
            self.spans.append((began, time.perf_counter()))


def beside(refiner: QwenVL, name: str, flags: argparse.Namespace) -> None:
    """What each does to the other: a clip's first pass warms up, then come those that are alone, then those that are
    not."""
    on_gpu = flags.device.startswith("cuda")
    bundle = load_bundle(name)
    generator = drawn_generator(bundle, flags.device)
    asked = with_drawn_text(drawn_request(bundle, 1 + 2 * flags.passes), bundle)
    tokens, size_hw = flags.tokens[0], (flags.height, flags.width)
    alone_s, _ = measure(refiner, 1, tokens, size_hw, flags.runs)
    prompts = Prompts(refiner, tokens, size_hw)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    ends: list[float] = []

    def note(done: int, _: int) -> None:
        if on_gpu:
            torch.cuda.current_stream().synchronize()  # of this thread alone
        ends.append(time.perf_counter())
        if done == 1 + flags.passes:
            prompts.start()

    generator.denoise(asked, on_step=note)
    prompts.stop()
    passes = [end - start for start, end in itertools.pairwise(ends)]
    alone, together = passes[: flags.passes], passes[flags.passes :]
    longer_s = sum(together) - len(together) * statistics.median(alone)
    written = prompts.written(ends[flags.passes], ends[-1])
    report(
        measured="beside a clip", model=name, tokens=tokens,
        pass_alone_s=[round(took, 4) for took in alone], pass_beside_s=[round(took, 4) for took in together],
        prompt_alone_s=alone_s, prompt_beside_s=statistics.mean(end - start for start, end in prompts.spans),
        prompts=round(written, 2), a_prompt_costs_s=longer_s / written,
        peak_gib=torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
