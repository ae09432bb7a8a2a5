"""Many clips of the sample drive at once: by `tiny_render.cu` on a GPU, or by the numpy renderer in many processes.

Legend: N clips, V views, T frames, H/W height/width.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sample_drive import CAMERAS, PALETTES, VIEWS, Scene, render, scene_from_seed
from sample_drive_world import CAR_RGB
from torch import Tensor

SOURCE = Path(__file__).with_suffix(".cu")
MAX_CARS = 3
_BLOCK = 256  # threads
_BATCHES_AHEAD = 3  # batches that the pool works on while one is used

logger = logging.getLogger(__name__)


def frame_times(num_frames: int, fps: float = 10) -> list[float]:
    """Seconds, rounded as `render` rounds them."""
    return [round(index / fps, 6) for index in range(num_frames)]


def pack(scenes: Sequence[Scene], num_frames: int) -> list[np.ndarray]:
    """The kernel's tables, all float64: scenes, cars, places, looks, cameras, times. ValueError for what it lacks."""
    if any(len(scene.cars) > MAX_CARS or scene.streaks for scene in scenes):
        raise ValueError(f"scenes of at most {MAX_CARS} cars without rain streaks are rendered in bulk")
    times, palettes = frame_times(num_frames), list(PALETTES)
    cars = np.zeros((len(scenes), MAX_CARS, 5))
    places = np.zeros((len(scenes), num_frames, MAX_CARS))
    for index, scene in enumerate(scenes):
        for number, car in enumerate(scene.cars):
            cars[index, number] = (car.y, car.heading, *CAR_RGB[car.colour])
            places[index, :, number] = [car.position(time) for time in times]
    rows = [(palettes.index(s.palette), len(s.cars), s.buildings & 0xFFFFFFFF, s.ego_speed) for s in scenes]
    looks = []
    for palette in PALETTES.values():
        sun = np.asarray(palette.sun) / np.linalg.norm(palette.sun)
        parts = (palette.horizon, palette.zenith, palette.light, (palette.haze,), sun, palette.sun_colour)
        more = (palette.glow, palette.road, palette.grass, palette.skyline, palette.glass, (palette.wet, palette.lit))
        looks.append(np.concatenate([np.asarray(part, float) for part in (*parts, *more)]))
    cameras = [(*CAMERAS[v].forward, *CAMERAS[v].right, math.tan(math.radians(CAMERAS[v].hfov) / 2)) for v in VIEWS]
    return [np.array(rows, float), cars, places, np.array(looks), np.array(cameras), np.array(times)]


@cache
def cuda_kernel() -> Any | None:
    """The compiled kernel, or None (and a warning that says why) where CuPy or a GPU is missing."""
    if not torch.cuda.is_available():
        return None
    try:
        import cupy

        module = cupy.RawModule(code=SOURCE.read_text(), options=("--fmad=false",), backend="nvrtc")
        kernel = module.get_function("render")
        # A model would learn a wrong picture as well as a right one, so look at one first.
        scene = scene_from_seed(5)
        found = render_cuda(kernel, [scene], 32, 56, 2)[0].cpu().numpy().astype(int)
        wrong = float((np.abs(found - render_numpy(scene, 32, 56, 2)) > 2).mean())
        if wrong > 0.005:
            raise RuntimeError(f"{wrong:.1%} of the kernel's values are not the numpy renderer's")
        return kernel
    except Exception as error:  # noqa: BLE001 - whatever CuPy lacks, the pool of processes can do without it
        logger.warning("no rendering on the GPU, but by numpy, which takes a hundred times as long: %r", error)
        return None


def render_cuda(kernel: Any, scenes: Sequence[Scene], height: int, width: int, num_frames: int) -> Tensor:
    """uint8 [N, V, T, H, W, 3] on the GPU."""
    import cupy

    shape = (len(scenes), len(VIEWS), num_frames, height, width, 3)
    pixels = math.prod(shape[:-1])
    out = cupy.empty(shape, cupy.uint8)
    tables = [cupy.asarray(table) for table in pack(scenes, num_frames)]
    sizes = (np.int64(pixels), *(np.int32(size) for size in shape[1:5]))
    kernel((-(-pixels // _BLOCK),), (_BLOCK,), (*sizes, *tables, out))
    # CuPy's stream and torch's need not be the same one.
    cupy.cuda.get_current_stream().synchronize()
    return torch.from_dlpack(out)


def render_numpy(scene: Scene, height: int, width: int, num_frames: int) -> np.ndarray:
    """uint8 [V, T, H, W, 3]."""
    video = render(scene, height, width, num_frames)
    return np.stack([video[view] for view in VIEWS])


def render_batches(
    scenes: Sequence[Scene], height: int, width: int, num_frames: int, batch: int, device: str, workers: int = 0
) -> Iterator[Tensor]:
    """uint8 [<= batch, V, T, H, W, 3] on `device`, scene after scene.

    workers: processes, where there is no GPU to do it; 0 takes one a core, 1 is this process itself.
    """
    kernel = cuda_kernel() if device.startswith("cuda") else None
    if kernel is not None:
        for start in range(0, len(scenes), batch):
            yield render_cuda(kernel, scenes[start : start + batch], height, width, num_frames)
        return
    one = partial(render_numpy, height=height, width=width, num_frames=num_frames)
    if workers == 1:
        for start in range(0, len(scenes), batch):
            yield torch.from_numpy(np.stack([one(scene) for scene in scenes[start : start + batch]])).to(device)
        return
    # Forked processes would inherit threads and a GPU context that do not survive it.
    with ProcessPoolExecutor(workers or os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        batches = [scenes[start : start + batch] for start in range(0, len(scenes), batch)]
        ahead = [[pool.submit(one, scene) for scene in scenes] for scenes in batches[:_BATCHES_AHEAD]]
        for index in range(len(batches)):
            clips = np.stack([future.result() for future in ahead.pop(0)])
            if index + _BATCHES_AHEAD < len(batches):
                ahead.append([pool.submit(one, scene) for scene in batches[index + _BATCHES_AHEAD]])
            yield torch.from_numpy(clips).to(device)
