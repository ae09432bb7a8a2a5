"""Chunks of Transfer2.5 that have several frames in common, against the published way with one long input.

That way, written anew here: a film of all frames, which begins with what the clip was given and is black after it. Each
chunk reads its part of the film, is conditioned on the latent frames that its first frames fill, and puts what it has
made into the film, but for the frames that it was conditioned on. Those are bytes, of which rounding may make the next
level, so that later chunks agree less well than the first.

Legend: V views, o frames in common, H/W height and width, l tokens of a view, P values a token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.thread_ranks import run_on_copies

from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.errors import RowError
from cosmos_ray.models import sampler
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, parse_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network.dit import Grid, patchify, unpatchify
from cosmos_ray.models.sampler import SamplerState

F, V, H, W = 9, 2, 16, 32
VIEWS = ("front_wide", "rear")


@pytest.fixture(scope="module")
def steered() -> Generator:
    """The tiny model of the recipe, two blocks and three latent frames."""
    folder = BUILT_IN_FOLDER / "tiny25"
    said = json.loads((folder / "bundle.json").read_text())
    network = said["network"] | {"num_blocks": 2, "vace_block_every_n": 1}
    said |= {"family": "transfer2.5-multiview", "network": network, "state_t": 3, "height": H, "width": W}
    return Generator.load(parse_bundle(json.dumps(said), str(folder)))


def pixels(count: int, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (V, count, H, W, 3)).astype(np.uint8)


def longer(model: Generator, overlap: int | None, chunks: int, given: int = 1) -> ClipRequest:
    asked = ClipRequest(
        "a", ("A street.",), "ugly", V, given, seed=5, guidance=3.0, num_steps=1, chosen_views=VIEWS,
        frames=pixels(given, 0) if given else None, controls=pixels(chunks * (F - (overlap or 1)) + (overlap or 1), 1),
        control_weight=0.7, num_chunks=chunks, chunk_overlap=overlap,
    )  # fmt: skip
    return model.embed(asked)


def encoded(model: Generator, frames_VTHWC: np.ndarray) -> torch.Tensor:
    """Tokens [V, l, P] of whole chunks, a view at a time."""
    signed = torch.from_numpy(frames_VTHWC.copy()).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    return patchify(torch.cat([model.vae.encode(view[None].to(model.vae.dtype)) for view in signed]).float())


def published(model: Generator, asked: ClipRequest, overlap: int) -> tuple[list[torch.Tensor], np.ndarray]:
    """(latents of each chunk, the whole video [V, T, H, W, 3])."""
    assert asked.controls is not None
    assert asked.text is not None
    assert asked.text.negative is not None
    film = np.zeros_like(asked.controls)
    if asked.frames is not None:
        film[:, : asked.num_conditional_frames] = asked.frames
    grid, latents, made = Grid(V, 3, H // 16, W // 16), [], []
    texts = [
        torch.from_numpy(np.stack([np.asarray(one, np.float32) for one in of]))
        for of in (asked.text.positive, asked.text.negative)
    ]
    for number in range(asked.num_chunks):
        part = slice(number * (F - overlap), number * (F - overlap) + F)
        given = overlap if number else asked.num_conditional_frames
        filled = 1 + (given - 1) // 4
        condition_VlP = encoded(model, film[:, part])
        condition_VlP[:, filled * grid.height * grid.width :] = 0
        tokens_VlP = sampler.denoise(
            model.network, grid=grid, view_ids=(0, 3), condition_VlP=condition_VlP if filled else None,
            num_condition_latents=filled, positive_VMC=texts[0], negative_VMC=texts[1], guidance=3.0, num_steps=1,
            seed=5 + number, model_fps=model.bundle.model_fps, parallel=model.parallel, family=model.bundle.recipe,
            control_VlP=encoded(model, asked.controls[:, part]), control_weight=0.7,
        )  # fmt: skip
        video = model.vae.decode(unpatchify(tokens_VlP, grid)).float()
        chunk = (((video + 1) / 2).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()
        film[:, part][:, given:] = chunk[:, given:]
        latents.append(tokens_VlP)
        made.append(chunk if not number else chunk[:, overlap:])
    return latents, np.concatenate(made, axis=1)


@pytest.mark.parametrize(
    ("overlap", "chunks", "given"),
    [(2, 2, 1), (5, 2, 0), (6, 3, 5), (8, 4, 5)],
    ids=[
        "one latent frame",
        "two of them, from text alone",
        "more than half of a chunk, given frames among them",
        "all but one",
    ],
)
def test_a_longer_video_is_that_of_the_published_way(steered: Generator, overlap: int, chunks: int, given: int) -> None:
    asked = longer(steered, overlap, chunks, given)
    latents, expected = published(steered, asked, overlap)
    found = steered.denoise(asked)
    torch.testing.assert_close(found[..., :64], latents[0], rtol=0, atol=5e-5)
    torch.testing.assert_close(found, torch.cat(latents, dim=-1), rtol=0, atol=5e-3)
    video = steered.decode(steered.collect(found, VIEWS), overlap)
    assert expected.shape[1] == chunks * (F - overlap) + overlap
    for number, view in enumerate(VIEWS):
        assert np.abs(video[view].astype(int) - expected[number]).max() <= 1, view


def test_a_run_is_gone_on_with_in_a_later_chunk(steered: Generator) -> None:
    """Also where its first frames come from two chunks before it, which the state has."""
    asked, states, steps = longer(steered, 6, 3), [], []
    keep: Callable[[SamplerState], None] = states.append
    whole = steered.denoise(asked, on_state=keep, on_step=lambda *at: steps.append(at))
    assert steps == [(done, 3) for done in range(1, 4)]
    for number in (1, 2):
        again = steered.denoise(asked, resume=steered.unpack_state(steered.pack_state(states[number])))
        assert torch.equal(again, whole)


def test_a_gang_makes_it_as_one_rank_does(steered: Generator) -> None:
    asked = longer(steered, 6, 2)
    alone = steered.denoise(asked)
    found = torch.cat(run_on_copies(2, steered, lambda generator: generator.denoise(asked)), dim=1)
    torch.testing.assert_close(found[..., :64], alone[..., :64], rtol=0, atol=5e-5)
    torch.testing.assert_close(found, alone, rtol=0, atol=2e-2)


def test_one_frame_is_what_chunks_have_in_common_where_nobody_says_more(steered: Generator) -> None:
    plain = longer(steered, None, 2)
    one = steered.generate(replace(plain, chunk_overlap=1))
    assert {video.shape for video in one.values()} == {(2 * (F - 1) + 1, H, W, 3)}
    assert torch.equal(steered.denoise(plain), steered.denoise(replace(plain, chunk_overlap=1)))
    with pytest.raises(RowError, match="column `chunk_overlap`: found 9, expected 1 to 8"):
        steered.denoise(replace(plain, chunk_overlap=9))
    words = r"column `control_videos`: found 'uint8 frames \[2, 17, .* expected uint8 frames \[2, 16, "
    with pytest.raises(RowError, match=words):
        steered.denoise(replace(plain, chunk_overlap=2))


def test_a_longer_video_may_have_the_largest_seed(steered: Generator) -> None:
    asked = replace(longer(steered, None, 2), seed=2**32 - 1)
    whole, first = steered.denoise(asked), replace(asked, num_chunks=1, controls=pixels(F + F - 1, 1)[:, :F])
    assert torch.equal(whole[..., :64], steered.denoise(first))
    last = steered.decode(steered.collect(whole[..., :64], VIEWS))
    frames = np.stack([last[view][-1:] for view in VIEWS])
    second = replace(first, seed=0, frames=frames, controls=pixels(F + F - 1, 1)[:, F - 1 :])
    assert torch.equal(whole[..., 64:], steered.denoise(second))
