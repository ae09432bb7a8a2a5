"""What the tiny model is trained on: scenes of the sample drive as latents, where their cars are, and their captions.

Legend: N clips, V views, T frames, t latent frames, C latent channels, H/W height/width, h/w latent height and width,
M text tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sample_drive import CAMERAS, PALETTES, VIEWS, Scene, caption, scene_from_seed, view_captions
from sample_drive_world import CABIN_TOP, CAMERA_HEIGHT, CAR_COLOURS, CAR_LENGTH, CAR_WIDTH, HORIZON
from tiny_render import MAX_CARS, frame_times, render_batches
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.vae.pixels import signed_to_uint8
from cosmos_ray.models.vae.vae import WanVAE
from cosmos_ray.models.vae.vae_whole import decode_whole, encode_whole

#: Seeds of scenes that are trained on start here; those below are for the demo, tests and scores.
FIRST_TRAINING_SEED = 1_000_000
#: Longest caption in tokens, the end included (33 at present), and room to spare.
CAPTION_TOKENS = 48
_BATCH = 16  # clips rendered and encoded together


@dataclass(frozen=True)
class Clips:
    """latents: [N, V, C, t, h, w] bfloat16, normalised; cars: bool [N, V, t, h, w], cells with something of a car;
    tokens: int16 [N, 1 + V, M], the clip's caption and then each view's, 0 after their ends, on the CPU;
    labels: see `labels`."""

    latents: Tensor
    cars: Tensor
    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def state(self) -> dict[str, Tensor]:
        return {"latents": self.latents, "cars": self.cars, "tokens": self.tokens, "labels": self.labels}


def training_scenes(first: int, count: int) -> list[Scene]:
    return [scene_from_seed(FIRST_TRAINING_SEED + first + index) for index in range(count)]


def labels(scene: Scene) -> list[int]:
    """The palette's number, then for each colour whether a car has it."""
    colours = {car.colour for car in scene.cars}
    return [list(PALETTES).index(scene.palette), *(int(colour in colours) for colour in CAR_COLOURS)]


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """int16 [texts, M], 0 after each text's end. ValueError for a text that is too long."""
    ids = torch.zeros(len(texts), CAPTION_TOKENS, dtype=torch.int16)
    for row, found in zip(ids, tokenizer(list(texts)).input_ids, strict=True):
        if len(found) > CAPTION_TOKENS:
            raise ValueError(f"a caption of {len(found)} tokens: expected at most {CAPTION_TOKENS}")
        row[: len(found)] = torch.tensor(found, dtype=torch.int16)
    return ids


def car_cells(scenes: Sequence[Scene], num_frames: int, height: int, width: int, device: str) -> Tensor:
    """bool [N, V, T, H/8, W/8]: which cells of 8 x 8 pixels hold a point of a car (hidden ones too), by projecting
    points all over it."""
    times = frame_times(num_frames)
    places = torch.full((len(scenes), num_frames, MAX_CARS, 2), torch.nan)
    for index, scene in enumerate(scenes):
        for number, car in enumerate(scene.cars):
            places[index, :, number, 0] = torch.tensor([car.position(time) for time in times])
            places[index, :, number, 1] = car.y
    along, across, up = torch.meshgrid(
        torch.linspace(-0.5, 0.5, 13) * CAR_LENGTH,
        torch.linspace(-0.5, 0.5, 7) * CAR_WIDTH,
        torch.linspace(0.1, CABIN_TOP, 5),
        indexing="ij",
    )
    x_NTKP = (places[..., 0, None] + along.flatten()).to(device)
    y_NTKP = (places[..., 1, None] + across.flatten()).to(device)
    z_P = up.flatten().to(device)
    rows, columns = height // 8, width // 8
    cells = torch.zeros(len(scenes), len(VIEWS), num_frames, rows * columns, dtype=torch.bool, device=device)
    for index, view in enumerate(VIEWS):
        camera = CAMERAS[view]
        (forward_x, forward_y), (right_x, right_y) = camera.forward, camera.right
        depth_NTKP = x_NTKP * forward_x + y_NTKP * forward_y
        focal = 1 / (2 * math.tan(math.radians(camera.hfov) / 2))  # in widths
        u_NTKP = 0.5 + focal * (x_NTKP * right_x + y_NTKP * right_y) / depth_NTKP
        v_NTKP = HORIZON - focal * width / height * (z_P - CAMERA_HEIGHT) / depth_NTKP
        seen = (depth_NTKP > 0.3) & (u_NTKP >= 0) & (u_NTKP < 1) & (v_NTKP >= 0) & (v_NTKP < 1)
        cell = (v_NTKP * rows).floor() * columns + (u_NTKP * columns).floor()
        # Unseen points go to a cell of their own that is cut off again.
        cell = torch.where(seen, cell, rows * columns).long().flatten(2)
        hits = torch.zeros(*cell.shape[:2], rows * columns + 1, dtype=torch.bool, device=device)
        cells[:, index] = hits.scatter_(2, cell, True)[..., :-1]
    return cells.unflatten(3, (rows, columns))


def latent_cells(cells_NVThw: Tensor) -> Tensor:
    """[N, V, T, h, w] -> [N, V, t, h, w]: a latent frame holds one pixel frame at first and then four."""
    later = cells_NVThw[:, :, 1:].unflatten(2, (-1, 4)).any(dim=3)
    return torch.cat((cells_NVThw[:, :, :1], later), dim=2)


def signed(frames_u8: Tensor) -> Tensor:
    """Bytes to [-1, 1], float32."""
    return frames_u8.float() / 127.5 - 1.0


def encode_clips(vae: WanVAE, frames_NVTHWC: Tensor) -> Tensor:
    """Normalised latents [N, V, C, t, h, w] of uint8 clips, bfloat16 inside on a GPU."""
    video = signed(frames_NVTHWC).permute(0, 1, 5, 2, 3, 4).flatten(0, 1)
    with torch.no_grad(), torch.autocast(video.device.type, torch.bfloat16, enabled=video.is_cuda):
        latents = encode_whole(vae.model, video).float()
    return ((latents - vae.mean) * vae.inverse_std).unflatten(0, frames_NVTHWC.shape[:2])


def decode_clips(vae: WanVAE, latents_NVCTHW: Tensor) -> Tensor:
    """uint8 [N, V, T, H, W, 3] of normalised latents, bfloat16 inside on a GPU."""
    latents = latents_NVCTHW.flatten(0, 1).float() / vae.inverse_std + vae.mean
    with torch.no_grad(), torch.autocast(latents.device.type, torch.bfloat16, enabled=latents.is_cuda):
        video = decode_whole(vae.model, latents).float()
    return signed_to_uint8(video).permute(0, 2, 3, 4, 1).unflatten(0, latents_NVCTHW.shape[:2])


def make_clips(
    bundle: Bundle,
    vae: WanVAE,
    tokenizer: PreTrainedTokenizerBase,
    first: int,
    count: int,
    deadline: float,
    workers: int = 0,
) -> Clips:
    """Clips `first`, ... of the training set, at most `count` and as many as are done by `deadline` (time.monotonic),
    at least one batch."""
    scenes, device = training_scenes(first, count), str(vae.device)
    size = (bundle.num_frames, bundle.height, bundle.width)
    latents: list[Tensor] = []
    cars: list[Tensor] = []
    done = 0
    for frames in render_batches(scenes, bundle.height, bundle.width, bundle.num_frames, _BATCH, device, workers):
        latents.append(encode_clips(vae, frames).bfloat16())
        cars.append(latent_cells(car_cells(scenes[done : done + len(frames)], *size, device)))
        done += len(frames)
        if time.monotonic() > deadline:
            break
    scenes = scenes[:done]
    texts = [text for scene in scenes for text in (caption(scene), *view_captions(scene))]
    tokens = tokenise(tokenizer, texts).unflatten(0, (len(scenes), -1))
    return Clips(torch.cat(latents), torch.cat(cars), tokens, torch.tensor([labels(s) for s in scenes], device=device))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """dB, of bytes."""
    return float(10 * np.log10(255**2 / max(np.mean((first.astype(np.float64) - second) ** 2), 1e-3)))
