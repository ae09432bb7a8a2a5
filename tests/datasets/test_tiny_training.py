"""The tiny model's training: its renderer, its data, that it learns what the sampler asks for, and every phase once."""

from __future__ import annotations

import copy
import ctypes
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_dit
import torch
from safetensors.torch import load_file
from sample_drive import caption, scene_from_seed, view_captions
from support.networks import caption as random_text
from support.networks import small_network
from support.paths import DATASETS
from tiny_data import car_cells, encode_clips, labels, latent_cells, tokenise
from tiny_export import export
from tiny_look import request, truth
from tiny_optim import Optimiser, orthogonalise
from tiny_render import SOURCE, pack, render_numpy
from tiny_vae import normalise, round_weights

from cosmos_ray import Generator
from cosmos_ray.models import sampler
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.dims import T5Dims, VaeDims
from cosmos_ray.models.bundle.files import local_path
from cosmos_ray.models.network.dit import Grid, MultiviewDiT, patchify
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.text.t5 import build_encoder
from cosmos_ray.models.text.text import TextEncoder
from cosmos_ray.models.text.tokenizer import load_tokenizer
from cosmos_ray.models.vae.vae import WanVAE
from cosmos_ray.models.vae.vae_whole import decode_whole


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(local_path(load_bundle("tiny"), "tokenizer"))


# --- scenes -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_kernel_draws_what_the_numpy_renderer_draws(tmp_path):
    """Compiled as C: every palette, cars in every place, all views; no byte differs by more than one level."""
    library = tmp_path / "render.so"
    flags = ["-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror"]
    subprocess.run(["cc", *flags, "-x", "c", str(SOURCE), "-o", str(library), "-lm"], check=True)
    scenes, (height, width, frames) = [scene_from_seed(seed) for seed in (1, 5, 6, 11, 40, 41)], (48, 84, 4)
    assert {scene.palette for scene in scenes} == {"day", "dusk", "rain"}
    assert {car.slot for scene in scenes for car in scene.cars} == {"ahead", "behind", "left", "right", "oncoming"}
    found = np.zeros((len(scenes), 7, frames, height, width, 3), np.uint8)
    kept = pack(scenes, frames)
    assert all(table.dtype == np.float64 and table.flags.c_contiguous for table in kept)
    tables = [ctypes.c_void_p(table.ctypes.data) for table in kept]
    sizes = (ctypes.c_longlong(found.size // 3), 7, frames, height, width)
    ctypes.CDLL(str(library)).render(*sizes, *tables, ctypes.c_void_p(found.ctypes.data))
    expected = np.stack([render_numpy(scene, height, width, frames) for scene in scenes])
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_what_the_kernel_cannot_draw_is_refused():
    with pytest.raises(ValueError, match="streaks"):
        pack([replace(scene_from_seed(1), streaks=3)], 2)


def test_cells_with_cars_are_where_pixels_of_cars_are():
    scene = next(s for s in map(scene_from_seed, range(99)) if len(s.cars) == 3)
    with_cars, without = render_numpy(scene, 64, 112, 5), render_numpy(replace(scene, cars=()), 64, 112, 5)
    differs = np.abs(with_cars.astype(int) - without).max(axis=-1) > 60
    share = differs.reshape(7, 5, 8, 8, 14, 8).mean(axis=(3, 5))
    cells = car_cells([scene], 5, 64, 112, "cpu")[0].numpy()
    assert cells[share > 0.4].mean() > 0.98
    assert share[~cells].mean() < 0.02
    assert cells.mean() < 0.3
    latent = latent_cells(torch.from_numpy(cells)[None])[0]
    assert torch.equal(latent[:, 0], torch.from_numpy(cells[:, 0]))
    assert torch.equal(latent[:, 1], torch.from_numpy(cells[:, 1:].any(axis=1)))


def test_every_word_of_every_caption_is_in_the_vocabulary(tokenizer):
    scenes = [scene_from_seed(seed) for seed in range(100)]
    texts = [text for scene in scenes for text in (caption(scene), *view_captions(scene))]
    ids = tokenise(tokenizer, [*texts, load_bundle("tiny").sampling.negative_prompt])
    assert not ids.eq(tokenizer.unk_token_id).any()
    assert ids.eq(tokenizer.eos_token_id).sum(dim=1).eq(1).all()
    with pytest.raises(ValueError, match="tokens"):
        tokenise(tokenizer, ["red " * 60])


# --- the autoencoder --------------------------------------------------------------------------------------------------


def test_normalising_changes_the_latents_alone():
    vae = WanVAE.random(VaeDims(dim=4, num_res_blocks=1), seed=1)
    frames = torch.from_numpy(render_numpy(scene_from_seed(3), 32, 48, 9))[None]
    video = frames[0].permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(video))
        normalise(vae.model, video)
        latents = encode_clips(vae, frames)[0]
        assert latents.mean(dim=(0, 2, 3, 4)).abs().max() < 1e-3
        assert (latents.std(dim=(0, 2, 3, 4)) - 1).abs().max() < 1e-3
        assert (vae.decode(latents) - before).abs().max() < 1e-3
        round_weights(vae.model)
        assert all(torch.equal(p, p.bfloat16().float()) for p in vae.model.parameters())
        decode_whole(vae.model, latents)


def test_muon_gives_every_direction_the_same_weight():
    for shape in ((2, 12, 40), (2, 40, 12)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
        assert 0.6 < values.min() < values.max() < 1.3


def test_an_optimiser_restored_goes_on_bit_for_bit():
    torch.manual_seed(0)
    inputs = torch.randn(4, 6)

    def made() -> tuple[torch.nn.Module, Optimiser]:
        layer = torch.nn.Linear(6, 5)
        return layer, Optimiser(list(layer.named_parameters()), 0.01)

    def steps(layer: torch.nn.Module, optimiser: Optimiser, count: int) -> None:
        for _ in range(count):
            layer(inputs).square().sum().backward()
            optimiser.step(0.5)

    (layer, optimiser), (other, again) = made(), made()
    optimiser.steps = 100
    steps(layer, optimiser, 2)
    other.load_state_dict(layer.state_dict())
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    steps(layer, optimiser, 2)
    steps(other, again, 2)
    assert torch.equal(layer.weight, other.weight)


# --- the flow ---------------------------------------------------------------------------------------------------------


def batch(given: int, sigma: float, views: int = 2, frames: int = 3) -> tiny_dit.Batch:
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(1, views, 16, frames, 4, 4, generator=generator) for _ in range(2))
    tokens = torch.zeros(1, 48, dtype=torch.long)
    tokens[0, :3] = torch.tensor([5, 6, 1])
    owner = torch.zeros(1, dtype=torch.long)
    cars = torch.zeros(1, views, frames, 4, 4, dtype=torch.bool)
    return tiny_dit.Batch(x0, noise, torch.tensor([sigma]), torch.tensor([given]), cars, tokens, owner, owner)


@pytest.mark.parametrize("given", [0, 1, 2])
def test_the_network_is_trained_on_what_the_sampler_shows_it(given, monkeypatch):
    """Same input, mask and timesteps for the same noise; and the answer that has no loss is the one that leads the
    sampler from noise to the clip."""
    network, grid = small_network(), Grid(2, 3, 2, 2)
    encoder = build_encoder(T5Dims(vocab_size=198, d_kv=4, d_ff=8, num_layers=1, num_heads=2), 10)
    noise_VLP = patchify(sampler.initial_noise(4, (16, 2, 3, 4, 4)).transpose(0, 1))
    shown: list[tuple[torch.Tensor, ...]] = []
    example = batch(given, sigma=200.0)
    example = replace(example, noise=sampler.initial_noise(4, (16, 2, 3, 4, 4)).transpose(0, 1)[None])
    x0_BVLP = patchify(example.x0)

    def perfect(self, x_BVlP, mask_BVlm, timesteps_BVT, context_BVMC, share, view_indices_BVT=None, fp8_blocks=()):
        shown.append((x_BVlP, mask_BVlm, timesteps_BVT))
        t = timesteps_BVT.repeat_interleave(4, dim=2)[..., None]
        return (x_BVlP - x0_BVLP) / t

    monkeypatch.setattr(MultiviewDiT, "forward_tokens", perfect)
    loss = tiny_dit.flow_loss(network, encoder, example, network.share(grid, 30.0, ContextParallel()))
    assert loss < 1e-8
    made_VLP = sampler.denoise(
        network,
        grid=grid,
        condition_VlP=x0_BVLP[0] if given else None,
        num_condition_latents=given,
        positive_VMC=random_text(grid),
        negative_VMC=None,
        guidance=0.0,
        num_steps=3,
        seed=4,
        model_fps=30.0,
        parallel=ContextParallel(),
    )
    assert (made_VLP - x0_BVLP[0]).abs().max() < 1e-4
    # The sampler starts from noise alone; training from the clip with noise: at sigma 200 a difference of 1/201.
    (trained, mask, times), (asked, asked_mask, asked_times) = shown[0], shown[1]
    assert (trained - asked).abs().max() < 0.03
    assert torch.equal(mask, asked_mask)
    assert (times - asked_times).abs().max() < 1e-6
    assert noise_VLP.shape == made_VLP.shape


def test_given_cells_have_no_loss_and_cars_have_more(monkeypatch):
    network, grid = small_network(), Grid(2, 3, 2, 2)
    encoder = build_encoder(T5Dims(vocab_size=198, d_kv=4, d_ff=8, num_layers=1, num_heads=2), 10)
    share = network.share(grid, 30.0, ContextParallel())
    example = batch(given=1, sigma=1.0)
    target = patchify(example.noise - example.x0)

    def wrong_at(frame: int):
        def answer(self, x, *_):
            out = target.clone()
            out[:, :, 4 * frame : 4 * frame + 4] += 1
            return out

        monkeypatch.setattr(MultiviewDiT, "forward_tokens", answer)

    wrong_at(0)
    assert tiny_dit.flow_loss(network, encoder, example, share) == 0
    wrong_at(1)
    plain = tiny_dit.flow_loss(network, encoder, example, share)
    assert plain == pytest.approx(0.5)
    example.cars[:, :, 1] = True
    weight = tiny_dit.CAR_WEIGHT
    assert tiny_dit.flow_loss(network, encoder, example, share) == pytest.approx(weight / (weight + 1))


def test_texts_become_what_the_text_encoder_makes_of_them(tokenizer):
    """Padding to fewer tokens changes nothing, and each text comes to its clip and view."""
    encoder = build_encoder(T5Dims(vocab_size=198, d_kv=8, d_ff=16, num_layers=2, num_heads=2), 16)
    texts = ["A clear day on a city street, blue sky. No cars.", "Rear view."]
    example = replace(
        batch(0, 1.0),
        tokens=tokenise(tokenizer, texts).long(),
        text_clip=torch.tensor([0, 0]),
        text_view=torch.tensor([1, 0]),
    )
    with torch.no_grad():
        windows = tiny_dit.text_windows(encoder, example, 16)
    for view, expected in ((1, texts[0]), (0, texts[1])):
        (embedding,) = TextEncoder(tokenizer, encoder).encode([expected])
        np.testing.assert_allclose(windows[0, view, : len(embedding)], embedding, atol=1e-5)
        assert not windows[0, view, len(embedding) :].any()


def test_batches_hold_every_kind_of_text_in_its_share(tokenizer):
    scenes = [scene_from_seed(seed) for seed in range(4)]
    tokens = tokenise(tokenizer, [t for s in scenes for t in (caption(s), *view_captions(s))]).unflatten(0, (4, -1))
    clips = tiny_dit.Clips(
        torch.zeros(4, 7, 16, 2, 4, 4, dtype=torch.bfloat16),
        torch.zeros(4, 7, 2, 4, 4, dtype=torch.bool),
        tokens,
        torch.tensor([labels(s) for s in scenes]),
    )
    negative = tokenise(tokenizer, [load_bundle("tiny").sampling.negative_prompt])[0]
    drawn = tiny_dit.draw_batch(clips, negative, 4000, np.random.default_rng(0))
    counts = drawn.text_clip.bincount(minlength=4000)
    negatives = drawn.tokens.eq(negative.long()).all(dim=1)
    assert (counts == 0).float().mean() == pytest.approx(tiny_dit.EMPTY_SHARE, abs=0.01)
    assert negatives.sum() / 4000 == pytest.approx(tiny_dit.NEGATIVE_SHARE, abs=0.015)
    captioned = 1 - tiny_dit.EMPTY_SHARE - tiny_dit.NEGATIVE_SHARE
    assert (counts == 7).float().mean() == pytest.approx(captioned * tiny_dit.LIST_SHARE, abs=0.02)
    assert drawn.text_view[negatives].eq(0).all()
    assert drawn.given.bincount().float().div(4000).sub(1 / 3).abs().max() < 0.03
    assert 0.009 < drawn.sigma.min() < 0.05
    assert drawn.sigma.max() >= 200


# --- all of it --------------------------------------------------------------------------------------------------------


def train(state: Path, *more: str) -> dict:
    command = [sys.executable, str(DATASETS / "train_tiny.py"), "--state", str(state), "--smoke", *more]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads((state / "progress.json").read_text())


@pytest.mark.long
def test_a_training_in_several_runs_and_from_small_files_ends_in_a_bundle(tmp_path):
    """A run that is over in the first phase; a second machine that has its carry files only; there, all the rest."""
    first = train(tmp_path / "one", "--run-seconds", "1")
    assert first["done"] == []
    assert 0 < first["seconds"]["vae"] < 2
    carried = load_file(tmp_path / "one" / "carry" / "vae.safetensors")
    second = train(tmp_path / "two", "--carried", str(tmp_path / "one" / "carry"), "--run-seconds", "600")
    assert second["done"] == ["vae", "judge", "dit"]
    assert second["steps"]["vae"] > first["steps"]["vae"]
    assert second["clips"] > first["clips"], "a run on another machine sees new scenes"
    assert {tensor.dtype for tensor in carried.values()} == {torch.bfloat16}

    state = tmp_path / "two"
    generator = Generator.load(load_bundle(str(state / "bundle")))
    scene = scene_from_seed(0)
    for given in (0, 1, 5):
        made = generator.generate(request(generator, scene, truth(generator, scene), given))
        assert made["rear"].shape == (9, 32, 48, 3)
    assert (state / "sheets" / "sheet0.png").stat().st_size > 1000
    assert train(state, "--run-seconds", "600")["seconds"] == second["seconds"], "nothing left to do"
    with pytest.raises(ValueError, match="do not fit"):
        export(state / "carry", tmp_path / "other", load_bundle("tiny"))
