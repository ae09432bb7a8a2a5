"""Time and memory of the local refiner of prompts, of Cosmos-Reason1-7B's shapes with random weights in bfloat16.

python benchmarks/refiner.py                     on a GPU: 20 GB; nothing is downloaded
python benchmarks/refiner.py --beside            and what it costs whoever computes on that GPU meanwhile
python benchmarks/refiner.py --tiny --device cpu whether the script works
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator

import numpy as np
import torch
from random_qwen_vl import PUBLISHED, TINY, byte_tokenizer, random_model
from reporting import machine, report

from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.models.text.qwen_vl import QwenVL
from cosmos_ray.refine.settings import instructions_of

PROMPT = "A van drives along a wet street at dusk, past parked cars and a man with an umbrella, and turns left."


class Beside:
    """Somebody else on the GPU: products of matrices, queued ahead, as denoising queues its steps."""

    def __init__(self, device: str, side: int) -> None:
        self._matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
        self.done = 0
        self._stop = threading.Event()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work)
        self._stop.clear()
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            for _ in range(20):
                self._matrix @ self._matrix
            if self._matrix.device.type == "cuda":
                torch.cuda.current_stream().synchronize()
            self.done += 20


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
    parser.add_argument("--beside", action="store_true", help="also beside somebody who multiplies matrices there")
    flags = parser.parse_args()
    on_gpu = flags.device.startswith("cuda")
    tokenizer = byte_tokenizer()
    began = time.perf_counter()
    model = random_model(TINY if flags.tiny else PUBLISHED, tokenizer, torch.bfloat16, flags.device)
    refiner = QwenVL(model, tokenizer, flags.device, flags.device)
    count = sum(weight.numel() for weight in model.parameters())
    made = {"parameters": count, "weights_gib": round(2 * count / 2**30, 2), "made_s": time.perf_counter() - began}
    report(measured="model", **machine("torch", "transformers"), threads=torch.get_num_threads(), **made)
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
    if flags.beside:
        beside(refiner, flags)


def beside(refiner: QwenVL, flags: argparse.Namespace) -> None:
    """What each does to the other."""
    alone_s = 5.0 if flags.device.startswith("cuda") else 0.2
    other = Beside(flags.device, 256 if flags.tiny else 8192)
    with other.working():
        time.sleep(alone_s)
    alone = other.done / alone_s
    other.done, began = 0, time.perf_counter()
    with other.working():
        seconds, _ = measure(refiner, 1, flags.tokens[0], (flags.height, flags.width), flags.runs)
    share = other.done / (time.perf_counter() - began) / alone
    report(measured="beside another", seconds=seconds, share_of_the_other=share)


if __name__ == "__main__":
    main()
