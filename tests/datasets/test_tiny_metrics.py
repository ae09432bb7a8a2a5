"""The tiny model's scores: near perfect on rendered clips, bad on clips whose views were shuffled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_metrics as metrics
from sample_drive import PALETTES, scene_from_seed
from support.tiny_spec import random_tiny
from tiny_look import request
from tiny_render import render_numpy
from tiny_scores import Setting, sample

from cosmos_ray import Generator
from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.models.bundle.dims import NetworkDims, T5Dims, VaeDims


@pytest.fixture(scope="module")
def passing() -> list[tuple[str, np.ndarray]]:
    scenes = [metrics.passing_scene(seed) for seed in range(6)]
    return [(scene.cars[0].colour, render_numpy(scene, 64, 112, 12)) for scene in scenes]


def test_seams_of_rendered_clips_are_told_from_shuffled_ones(passing):
    """All by day, so it is houses, road and cars that must not fit, not the light."""
    videos = [video for _, video in passing]
    real, mixed = ([metrics.seam_error(video) for video in clips] for clips in (videos, metrics.shuffled(videos)))
    for part in ("road", "sky", "all"):
        assert max(row[part] for row in real) < 0.6 * min(row[part] for row in mixed)


def test_a_car_is_handed_from_camera_to_camera_and_not_in_shuffled_clips(passing):
    videos = [video for _, video in passing]
    real = [metrics.handover(video, colour) for colour, video in passing]
    mixed = [
        metrics.handover(video, colour) for (colour, _), video in zip(passing, metrics.shuffled(videos), strict=True)
    ]
    assert min(real) > 0.85
    assert np.nanmean(mixed) < 0.5
    assert min(metrics.track_order(video, colour) for colour, video in passing) > 0.95


def test_a_clip_without_the_car_has_no_handover():
    empty = render_numpy(replace(metrics.passing_scene(0), cars=()), 64, 112, 5)
    assert np.isnan(metrics.handover(empty, "red"))
    assert np.isnan(metrics.track_order(empty, "blue"))


def test_a_world_that_drifts_apart_has_worse_seams(passing):
    """One camera a frame late is enough to be seen; a blurred clip is not mistaken for a torn one."""
    video = passing[0][1]
    late = video.copy()
    late[1:6] = np.roll(video[1:6], 4, axis=1)
    assert metrics.seam_error(late)["all"] > 1.3 * metrics.seam_error(video)["all"]


def test_palettes_of_rendered_clips_are_recognised():
    for seed in range(40, 58):
        scene = replace(scene_from_seed(seed), palette=list(PALETTES)[seed % 3])
        assert metrics.palette_of(render_numpy(scene, 16, 28, 2)) == scene.palette


def test_likeness_of_a_video_to_itself_and_to_another(passing):
    one, other = passing[0][1], passing[1][1]
    assert metrics.ssim(one, one) == pytest.approx(1.0)
    assert metrics.psnr(one, one) > 70
    noisy = np.clip(one.astype(int) + np.random.default_rng(0).integers(-20, 21, one.shape), 0, 255).astype(np.uint8)
    assert metrics.ssim(one, other) < metrics.ssim(one, noisy) < 0.9
    assert metrics.psnr(one, other) < metrics.psnr(one, noisy)


# --- sampling settings ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> Generator:
    small = random_tiny().model_copy(
        update={
            "height": 32,
            "width": 48,
            "state_t": 2,
            "network": NetworkDims(
                model_channels=24, num_blocks=1, num_heads=2, adaln_lora_dim=4, crossattn_emb_channels=16
            ),
            "vae": VaeDims(dim=4, num_res_blocks=1),
            "text_encoder": T5Dims(vocab_size=198, d_kv=8, d_ff=16, num_layers=1, num_heads=2),
        }
    )
    return Generator.load(small)


def test_guidance_on_a_part_of_the_schedule_lies_between_all_and_none(generator):
    asked = request(generator, scene_from_seed(1), None, 0)

    def made(guided: tuple[float, float], guidance: float = 5.0) -> np.ndarray:
        setting = Setting(4, guidance, seed=3, approximations=Approximations(guidance_interval=guided))
        return sample(generator, setting.of(asked), setting)

    whole = Setting(4, 5.0, seed=3).of(asked)
    video = generator.generate(whole)
    np.testing.assert_array_equal(made((0.0, 1.0)), np.stack(list(video.values())))
    none = generator.generate(replace(whole, negative_prompt=""))
    np.testing.assert_array_equal(made((0.0, 0.0)), np.stack(list(none.values())))
    part = made((0.2, 0.6))
    assert (part != made((0.0, 1.0))).any()
    assert (part != made((0.0, 0.0))).any()
    np.testing.assert_array_equal(made((0.2, 0.6), guidance=0.0), made((0.0, 0.0)))
