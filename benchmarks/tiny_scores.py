"""The scores of `tiny_quality.py`: what each is, over scenes and seeds that nothing was trained on.

Legend: V views, T frames, H/W height/width.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "datasets"), str(ROOT / "tests")]

from sample_drive import view_captions  # noqa: E402
from support.ranks import run_ranks  # noqa: E402
from tiny_data import encode_clips, labels  # noqa: E402
from tiny_judge import Judge, scores, verdicts  # noqa: E402
from tiny_look import held_out, reconstruct, request, truth  # noqa: E402
from tiny_metrics import (  # noqa: E402
    handover,
    palette_of,
    passing_scene,
    psnr,
    seam_error,
    shuffled,
    ssim,
    track_order,
)

from cosmos_ray import Generator  # noqa: E402
from cosmos_ray.clip.approximations import EXACT, Approximations  # noqa: E402
from cosmos_ray.clip.request import VIEWS, ClipRequest  # noqa: E402
from cosmos_ray.models.bundle.bundle import fitting_world_sizes, load_bundle  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402

Rows = list[dict[str, float]]


@dataclass(frozen=True)
class Setting:
    """How to sample."""

    steps: int
    guidance: float
    seed: int
    approximations: Approximations = EXACT

    def of(self, asked: ClipRequest, index: int = 0) -> ClipRequest:
        return replace(asked, num_steps=self.steps, guidance=self.guidance, seed=self.seed + index)


def sample(generator: Generator, asked: ClipRequest, setting: Setting) -> np.ndarray:
    """uint8 [V, T, H, W, 3]."""
    sampled = generator.sampled_by(generator.bundle.solved_by(setting.approximations), setting.approximations)
    made = sampled.generate(asked)
    return np.stack([made[view] for view in VIEWS])


def mean_of(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean of each column; NaN (nothing to measure in that clip) is left out."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).extend([] if math.isnan(value) else [value])
    return {name: round(float(np.mean(values)), 4) if values else math.nan for name, values in columns.items()}


# --- each of these is a part of the table ---


def likeness(generator: Generator, setting: Setting, reference: Setting, clips: int) -> dict[str, float]:
    """Against the videos of the same seeds at the reference setting; modes in turn."""
    rows = []
    for index, scene in enumerate(held_out(clips)):
        given = (0, 1, 5)[index % 3]
        asked = request(generator, scene, truth(generator, scene), given)
        one, other = (sample(generator, s.of(asked, index), s) for s in (setting, reference))
        rows.append({"psnr_db": psnr(one, other), "ssim": ssim(one, other)})
    return mean_of(rows)


def image2world(generator: Generator, setting: Setting, clips: int) -> dict[str, float]:
    """The first frame is the one that was given, as well as the autoencoder can say it."""
    rows = []
    for index, scene in enumerate(held_out(clips)):
        real = truth(generator, scene)
        made = sample(generator, setting.of(request(generator, scene, real, 1), index), setting)
        again = reconstruct(generator, real[:, :1])
        rows.append({"frame0_db": psnr(made[:, 0], real[:, 0]), "autoencoder_frame0_db": psnr(again[:, 0], real[:, 0])})
    return mean_of(rows)


def video2world(generator: Generator, setting: Setting, clips: int) -> dict[str, float]:
    """Against the drive as it went on, beside a video that stands still. Goal: 4 dB more for frames 5 to 12."""
    rows = []
    for index, scene in enumerate(held_out(clips)):
        real = truth(generator, scene)
        made = sample(generator, setting.of(request(generator, scene, real, 5), index), setting)
        still = np.broadcast_to(real[:, 4:5], real.shape)
        row = {}
        for name, frames in (("5_12", slice(5, 13)), ("13_28", slice(13, 29))):
            if real[:, frames].shape[1]:
                row[f"frames_{name}_db"] = psnr(made[:, frames], real[:, frames])
                row[f"still_{name}_db"] = psnr(still[:, frames], real[:, frames])
        row["gain_5_12_db"] = row["frames_5_12_db"] - row["still_5_12_db"]
        rows.append(row)
    return mean_of(rows)


def captions(generator: Generator, setting: Setting, judge: Judge | None, clips: int) -> dict[str, float]:
    """Text alone: palette by mean colour, cars by the judge; one caption for even clips, one a view for odd ones."""
    rows = []
    for index, scene in enumerate(held_out(clips)):
        asked = setting.of(request(generator, scene, None, 0), index)
        kind = "one" if index % 2 == 0 else "list"
        if kind == "list":
            asked = replace(asked, prompts=tuple(view_captions(scene)))
        video = sample(generator, asked, setting)
        row = {"palette": float(palette_of(video) == scene.palette)}
        if judge is not None:
            row |= judged(generator, judge, video, labels(scene))
        rows.append(row | {f"{name}_{kind}": value for name, value in row.items()})
    return mean_of(rows)


def judged(generator: Generator, judge: Judge, video: np.ndarray, truth_labels: list[int]) -> dict[str, float]:
    found = verdicts(_logits(generator, judge, video)).cpu()
    by_judge = scores(found, torch.tensor([truth_labels]))
    by_judge["palette_by_judge"] = by_judge.pop("palette")
    return by_judge


def _logits(generator: Generator, judge: Judge, video: np.ndarray) -> Tensor:
    latents = encode_clips(generator.vae, torch.from_numpy(video)[None].to(generator.vae.device))
    return judge.to(latents.device)(latents)


def views(generator: Generator, setting: Setting, clips: int) -> dict[str, float]:
    """Do the cameras show one world? Seams and a passing car, beside the same videos with their views shuffled."""
    made, real, colours = [], [], []
    for index in range(clips):
        scene = passing_scene(900 + index)
        colours.append(scene.cars[0].colour)
        real.append(truth(generator, scene))
        made.append(sample(generator, setting.of(request(generator, scene, real[-1], 5), index), setting))
    rows: Rows = []
    mixed_up = shuffled(made) if clips > 1 else made
    for video, other, rendered, colour in zip(made, mixed_up, real, colours, strict=True):
        seam, seam_shuffled = seam_error(video)["all"], seam_error(other)["all"]
        rows.append(
            {
                "seam_levels": seam,
                "seam_levels_shuffled": seam_shuffled,
                "seam_levels_rendered": seam_error(rendered)["all"],
                "seam_told_from_shuffled": float(seam < seam_shuffled),
                "handover": handover(video, colour),
                "handover_shuffled": handover(other, colour),
                "handover_rendered": handover(rendered, colour),
                "track_order": track_order(video, colour),
                "track_order_rendered": track_order(rendered, colour),
            }
        )
    return mean_of(rows)


def guidance(generator: Generator, setting: Setting, judge: Judge | None, clips: int) -> dict[str, float]:
    """Guidance 7 against none: further from the negative prompt's video, and (the judge says) nearer the caption."""
    rows = []
    for index, scene in enumerate(held_out(clips)):
        asked = request(generator, scene, None, 0)
        negative = replace(asked, prompts=(asked.negative_prompt,), negative_prompt="")
        away = sample(generator, setting.of(negative, index), setting)
        row = {}
        for strength in (0.0, 7.0):
            strong = replace(setting, guidance=strength)
            video = sample(generator, strong.of(asked, index), strong)
            row[f"from_negative_{strength:.0f}_levels"] = float(np.abs(video.astype(float) - away).mean())
            if judge is not None:
                row[f"log_likelihood_{strength:.0f}"] = _log_likelihood(generator, judge, video, labels(scene))
        rows.append(row)
    return mean_of(rows)


def _log_likelihood(generator: Generator, judge: Judge, video: np.ndarray, truth_labels: list[int]) -> float:
    """What the judge gives the caption's palette and colours."""
    logits, wanted = _logits(generator, judge, video)[0].cpu(), torch.tensor(truth_labels)
    palettes = len(logits) - len(wanted) + 1
    sign = 2 * wanted[1:] - 1
    palette = logits[:palettes].log_softmax(0)[wanted[0]]
    return float(palette + torch.nn.functional.logsigmoid(sign * logits[palettes:]).sum())


def ranks(generator: Generator, model: str, setting: Setting) -> dict[str, float]:
    """One seed on gangs of up to eight CPU processes: the largest difference in levels to one process."""
    bundle = generator.bundle
    sizes = [n for n in fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view) if n in (1, 2, 4, 8)]
    scene = held_out(1)[0]
    asked = generator.embed(setting.of(request(generator, scene, truth(generator, scene), 1)))
    videos = {size: _in_a_gang(model, asked, setting, size) for size in sizes}
    alone = videos[sizes[0]].astype(int)
    return {f"ranks_{size}_levels": float(np.abs(video - alone).max()) for size, video in videos.items()}


def _in_a_gang(model: str, asked: ClipRequest, setting: Setting, size: int) -> np.ndarray:
    parts: dict[str, np.ndarray] = {}
    for owned in run_ranks(size, _rank, model, asked, setting.approximations):
        parts |= owned
    return np.stack([parts[view] for view in VIEWS])


def _rank(
    parallel: ContextParallel, model: str, asked: ClipRequest, approximations: Approximations
) -> dict[str, np.ndarray]:
    return Generator.load(load_bundle(model), "cpu", parallel, approximations=approximations).generate(asked)


def rendered(generator: Generator, judge: Judge | None, clips: int) -> dict[str, float]:
    """The same metrics on the renderer's truth, and the judge's on reconstructions: what is the best one can score."""
    rows = []
    for scene in held_out(clips):
        real = truth(generator, scene)
        again = reconstruct(generator, real)
        row = {"palette": float(palette_of(real) == scene.palette), "autoencoder_db": psnr(again, real)}
        row["autoencoder_last_frame_db"] = psnr(again[:, -1], real[:, -1])
        if judge is not None:
            row |= judged(generator, judge, again, labels(scene))
        rows.append(row)
    return mean_of(rows)


def load_judge(path: Path, channels: int) -> Judge | None:
    if not path.exists():
        return None
    judge = Judge(channels)
    judge.load_state_dict(load_file(path))
    return judge.eval().requires_grad_(False)


def parts(
    generator: Generator, model: str, setting: Setting, reference: Setting, judge: Judge | None, clips: int
) -> dict[str, Callable[[], dict[str, Any]]]:
    """The table's parts by name, each to be called for its scores."""
    return {
        "rendered": lambda: rendered(generator, judge, clips),
        "likeness": lambda: likeness(generator, setting, reference, clips),
        "image2world": lambda: image2world(generator, setting, clips),
        "video2world": lambda: video2world(generator, setting, clips),
        "captions": lambda: captions(generator, setting, judge, clips),
        "views": lambda: views(generator, setting, clips),
        "guidance": lambda: guidance(generator, setting, judge, clips),
        "ranks": lambda: ranks(generator, model, setting),
    }
