"""What do checks on outputs cost at full size, and can agreement tell clips from views of several clips?

python benchmarks/output_checks.py                # the time, a few seconds
python benchmarks/output_checks.py --clips 20     # also makes clips of one caption with `tiny`: minutes on a CPU
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "datasets")]

from cosmos_ray.clip.agreement import with_agreement  # noqa: E402
from cosmos_ray.clip.check_rules import MEASURED_AGREEMENT, worst  # noqa: E402
from cosmos_ray.clip.checks import Looked, look_at  # noqa: E402
from cosmos_ray.clip.request import VIEWS  # noqa: E402

_SIZE = (29, 704, 1280, 3)
_REPEATS = 5


def seconds_at_full_size() -> list[float]:
    """Of a clip of seven views, five frames given: what all ranks and their leader do together."""
    frames = np.random.default_rng(0).integers(0, 256, _SIZE, np.uint8)
    found = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        with_agreement({view: look_at(frames, frames[:5]) for view in VIEWS})
        found.append(time.perf_counter() - began)
    return found


def agreement(looked: dict[str, Looked]) -> float:
    found = worst(with_agreement(looked))
    assert found is not None
    assert found.agreement is not None
    return found.agreement


def told_apart(count: int) -> tuple[list[float], list[float]]:
    """Agreement of clips of one caption, and of clips whose views come from different ones of them."""
    from sample_drive import caption, scene_from_seed

    from cosmos_ray import Generator

    generator = Generator.load("tiny")
    text = caption(scene_from_seed(5))
    clips = []
    for seed in range(count):
        made = generator.generate(prompt=text, seed=seed, num_conditional_frames=0, negative_prompt="")
        clips.append({view: look_at(made.frames[view]) for view in VIEWS})
    shuffled = [
        {view: clips[(number + shift * place) % count][view] for place, view in enumerate(VIEWS)}
        for shift in (1, 2, 3)
        for number in range(count)
    ]
    return [agreement(clip) for clip in clips], [agreement(clip) for clip in shuffled]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=0, help="clips of `tiny` to make, 8 or more")
    arguments = parser.parse_args()
    took = seconds_at_full_size()
    print(f"{len(VIEWS)} views of {'x'.join(map(str, _SIZE[:3]))}: {statistics.median(took):.2f} s of one process "
          f"({min(took):.2f} to {max(took):.2f})")  # fmt: skip
    if arguments.clips:
        whole, shuffled = told_apart(arguments.clips)
        limit = MEASURED_AGREEMENT["tiny"]
        right = sum(value >= limit for value in whole) / len(whole) + sum(v < limit for v in shuffled) / len(shuffled)
        print(f"agreement: clips {min(whole):.2f} to {max(whole):.2f}, shuffled {min(shuffled):.2f} to "
              f"{max(shuffled):.2f}; {right / 2:.0%} told apart at {limit}")  # fmt: skip


if __name__ == "__main__":
    main()
