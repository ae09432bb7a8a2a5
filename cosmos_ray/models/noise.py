"""The noise that a clip begins with: the same numbers for a seed on every machine, in gangs of any size. No torch."""

from __future__ import annotations

import numpy as np

from cosmos_ray.models.bundle.bundle import Bundle


def draw_noise(seed: int, shape: tuple[int, ...], number: int = 0) -> np.ndarray:
    """Unit normal, float32, drawn in the order of the single-GPU layout. number: how many such arrays come before it,
    for solvers that draw more than once."""
    random = np.random.RandomState(seed)
    for _ in range(number):
        random.standard_normal(shape)
    return random.standard_normal(shape).astype(np.float32)


def clip_noise(seed: int, bundle: Bundle, n_views: int) -> np.ndarray:
    """Of a whole clip: [channels, V, T, H/8, W/8]. For the 2B model 50 MB, in half a second of one core."""
    return draw_noise(seed, (bundle.vae.z_dim, n_views, bundle.state_t, bundle.height // 8, bundle.width // 8))
