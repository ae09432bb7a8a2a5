"""A first look at a trained tiny model: a few scores in seconds, and sheets of pictures beside the truth.

`benchmarks/tiny_quality.py` is the thorough one. Legend: V views, T frames, H/W height/width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sample_drive import VIEWS, Scene, caption, scene_from_seed
from tiny_data import encode_clips, psnr
from tiny_render import render_batches

from cosmos_ray import Generator
from cosmos_ray.clip.encode import encode_png
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.models.vae.pixels import signed_to_uint8

#: Seeds of scenes that nothing is trained on start here.
FIRST_HELD_OUT_SEED = 500_000
_GAP = 2  # pixels


def held_out(count: int) -> list[Scene]:
    return [scene_from_seed(FIRST_HELD_OUT_SEED + index) for index in range(count)]


def truth(generator: Generator, scene: Scene) -> np.ndarray:
    """uint8 [V, T, H, W, 3] as rendered."""
    bundle, device = generator.bundle, str(generator.vae.device)
    (batch,) = render_batches([scene], bundle.height, bundle.width, bundle.num_frames, 1, device, workers=1)
    return batch[0].cpu().numpy()


def reconstruct(generator: Generator, frames_VTHWC: np.ndarray) -> np.ndarray:
    """The frames through the autoencoder and back."""
    frames = torch.from_numpy(frames_VTHWC)[None].to(generator.vae.device)
    return decode(generator, encode_clips(generator.vae, frames)[0])


def decode(generator: Generator, latents_VCTHW: torch.Tensor) -> np.ndarray:
    """uint8 [V, T, H, W, 3]."""
    video = torch.cat([generator.vae.decode(view) for view in latents_VCTHW.float().split(1)])
    return signed_to_uint8(video).permute(0, 2, 3, 4, 1).cpu().numpy()


def request(
    generator: Generator, scene: Scene, frames_VTHWC: np.ndarray | None, given: int, seed: int = 0
) -> ClipRequest:
    """The scene's caption and, if frames are given, the first `given` of them, at the bundle's own settings."""
    sampling = generator.bundle.sampling
    return ClipRequest(
        id=f"clip{seed}",
        prompts=(caption(scene),),
        negative_prompt=sampling.negative_prompt,
        n_views=len(VIEWS),
        num_conditional_frames=given,
        seed=seed,
        guidance=sampling.guidance,
        num_steps=sampling.num_steps,
        frames=None if frames_VTHWC is None or not given else frames_VTHWC[:, :given],
    )


def generate(generator: Generator, asked: ClipRequest) -> np.ndarray:
    """uint8 [V, T, H, W, 3]."""
    made = generator.generate(asked)
    return np.stack([made[view] for view in VIEWS])


def sheet(videos_VTHWC: list[np.ndarray]) -> np.ndarray:
    """One picture: a column a view, for each video a row for the first, a middle and the last frame."""
    bands = []
    for video in videos_VTHWC:
        for moment in (0, 3 * video.shape[1] // 7, video.shape[1] - 1):
            row = np.pad(video[:, moment], ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=128)
            bands.append(np.concatenate(list(row), axis=1))
    return np.concatenate(bands)


def quick_look(generator: Generator, folder: Path, count: int) -> dict[str, float]:
    """Scores over `count` held-out clips; sheets (real, reconstructed, from five frames, from the caption alone) of the
    first three into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    for index, scene in enumerate(held_out(count)):
        real = truth(generator, scene)
        again = reconstruct(generator, real)
        made = generate(generator, request(generator, scene, real, 5, seed=index))
        window = slice(5, min(13, real.shape[1]))
        rows.append(
            {
                "autoencoder_db": psnr(again, real),
                "autoencoder_last_frame_db": psnr(again[:, -1], real[:, -1]),
                "video2world_db": psnr(made[:, window], real[:, window]),
                "repeated_frame_db": psnr(np.broadcast_to(real[:, 4:5], real[:, window].shape), real[:, window]),
            }
        )
        if index < 3:
            dreamt = generate(generator, request(generator, scene, None, 0, seed=index))
            picture = sheet([real, again, made, dreamt])
            (folder / f"sheet{index}.png").write_bytes(encode_png(picture))
    return {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
