"""What a request says reaches the sampler, chunk by chunk, and a bundle's files reach those that read them.

In the place of networks and autoencoders stands what remembers what it was given: no model is loaded.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import LATENT_FRAMES, PICTURE, TEXT_TOKENS, VIDEO, ClipRequest, ClipText
from cosmos_ray.models import generator as generator_module
from cosmos_ray.models import parts, picture_first
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import SamplerState

SIDE, FRAMES = 32, 5
UNIPC = Approximations(solver="unipc", guidance_interval=(0.0, 0.5))


class Autoencoder:
    """Encodes frames as their mean; decodes view v to bytes 10 t + 100 v, however rounded, t being a frame's number."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.encoded: list[np.ndarray] = []

    def encode(self, video_BCTHW: torch.Tensor) -> torch.Tensor:
        self.encoded.append(((video_BCTHW[0, 0, :, 0, 0] + 1) * 127.5).round().numpy())
        latent_frames = 1 + (video_BCTHW.shape[2] - 1) // 4
        return torch.ones(1, 16, latent_frames, SIDE // 8, SIDE // 8) * video_BCTHW.mean()

    def decode(self, latents_BCTHW: torch.Tensor) -> torch.Tensor:
        views = latents_BCTHW[:, 0, 0, 0, 0]
        shown = 10 * torch.arange(4 * latents_BCTHW.shape[2] - 3)[None] + 100 * views[:, None] + 0.25
        return (shown / 127.5 - 1)[:, None, :, None, None].expand(-1, 3, -1, SIDE, SIDE)


def generator(name: str, approximations: Approximations = Approximations(), **more: Any) -> Generator:  # noqa: B008
    bundle = load_bundle(name).model_copy(update={"state_t": 2, "height": SIDE, "width": SIDE, "model_fps": 17.0})
    network: Any = SimpleNamespace(device=torch.device("cpu"))
    vae: Any = Autoencoder()
    return Generator(bundle.solved_by(approximations), ContextParallel(), network, vae, None, approximations, **more)


def text(width: int, views: int, value: float) -> tuple[np.ndarray, ...]:
    return tuple(np.full((view + 1, width), value + view, np.float32) for view in range(views))


def request(made: Generator, views: tuple[str, ...], **changes: Any) -> ClipRequest:
    width = made.bundle.text_width
    embedded = ClipText(text(width, len(views), 1.0), text(width, len(views), 11.0))
    plain = ClipRequest(
        "a", (), "ugly", len(views), 0, seed=40, guidance=2.5, num_steps=3, text=embedded, chosen_views=views,
        control_weight=0.25,
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the sampler is told, chunk after chunk. Its latents are the views' numbers."""
    calls: list[dict[str, Any]] = []

    def denoise(network: Any, **given: Any) -> torch.Tensor:
        calls.append({"network": network, **given})
        grid: Grid = given["grid"]
        return torch.arange(grid.views)[:, None, None].expand(-1, grid.tokens_per_view, 64).float()

    monkeypatch.setattr(generator_module.sampler, "denoise", denoise)
    return calls


def bytes_of(views: int, count: int, first: int = 0) -> np.ndarray:
    levels = first + np.arange(views)[:, None] * 50 + np.arange(count)[None]
    return np.broadcast_to(levels[:, :, None, None, None], (views, count, SIDE, SIDE, 3)).astype(np.uint8)


def test_everything_that_a_request_says_reaches_the_sampler(told: list[dict[str, Any]]) -> None:
    made = generator("tiny", UNIPC)
    noise = np.random.RandomState(0).standard_normal((16, 2, 2, 4, 4)).astype(np.float32)
    frames = bytes_of(2, 5)
    made.denoise(request(made, ("rear", "front_tele"), num_conditional_frames=5, frames=frames, noise=noise))
    (given,) = told
    assert given.pop("network") is made.network
    assert torch.equal(given.pop("noise_CVTHW"), torch.from_numpy(noise))
    for name, first in (("positive_VMC", 1.0), ("negative_VMC", 11.0)):
        windows = given.pop(name)
        assert windows.shape == (2, TEXT_TOKENS, made.bundle.text_width)
        assert [int((windows[view] != 0).all(dim=1).sum()) for view in range(2)] == [1, 2], "padded with zeros"
        assert [float(windows[view].max()) for view in range(2)] == [first, first + 1]
    condition = given.pop("condition_VlP")
    assert condition.shape == (2, 2 * 4, 64)
    assert [one.tolist() for one in made.vae.encoded] == [[0, 1, 2, 3, 4], [50, 51, 52, 53, 54]]  # type: ignore[attr-defined]
    assert callable(given.pop("on_step"))
    assert callable(given.pop("on_state"))
    assert given == {
        "grid": Grid(2, 2, 2, 2),
        "view_ids": (3, 6),
        "num_condition_latents": 2,
        "guidance": 2.5,
        "approximations": UNIPC,
        "num_steps": 3,
        "seed": 40,
        "model_fps": 17.0,
        "parallel": made.parallel,
        "family": made.bundle.recipe,
        "control_VlP": None,
        "control_weight": 0.25,
        "resume": None,
    }
    assert made.bundle.recipe.solver == "unipc-noise"


@pytest.mark.parametrize(("given", "latents"), LATENT_FRAMES.items())
def test_so_many_frames_fill_so_many_latent_ones_and_the_rest_is_zero(
    told: list[dict[str, Any]], given: int, latents: int
) -> None:
    made = generator("tiny")
    frames = bytes_of(1, given, first=200) if given else None
    made.denoise(request(made, ("rear",), num_conditional_frames=given, frames=frames))
    assert told[0]["num_condition_latents"] == latents
    condition = told[0]["condition_VlP"]
    if given:
        per_frame = (condition != 0).all(dim=2).unflatten(1, (2, -1)).all(dim=2)[0]
        assert per_frame.tolist() == [frame < latents for frame in range(2)]
        assert not condition[:, latents * 4 :].any()
    else:
        assert condition is None


def test_without_a_negative_prompt_there_is_one_text(told: list[dict[str, Any]]) -> None:
    made = generator("tiny")
    asked = request(made, ("rear",), negative_prompt="")
    made.denoise(replace(asked, text=ClipText(asked.text.positive, None)))  # type: ignore[union-attr]
    assert told[0]["negative_VMC"] is None
    assert told[0]["noise_CVTHW"] is None


@pytest.mark.parametrize(
    ("name", "given", "overlap", "seeds"),
    [
        ("tiny25", 1, 1, (40, 40, 40)),
        ("tiny-transfer25", 1, 1, (40, 41, 42)),
        ("tiny-transfer25", 0, 1, (40, 41, 42)),
        ("tiny-video2world", 1, 1, (40, 41, 42)),
        ("tiny-video2world", 5, 5, (40, 41, 42)),
    ],
)
def test_each_chunk_begins_with_the_last_frames_of_the_one_before(
    told: list[dict[str, Any]], name: str, given: int, overlap: int, seeds: tuple[int, ...]
) -> None:
    """With its own noise, or the same, as the family has it; noise that was drawn ahead is of the first one's seed."""
    made = generator(name)
    views = ("video",) if name == "tiny-video2world" else ("front_wide", "rear")
    count, noise = len(views), np.zeros((16, len(views), 2, 4, 4), np.float32)
    whole = 3 * (FRAMES - 1) + 1
    controls = bytes_of(count, whole, first=100) if made.bundle.recipe.has_control else None
    frames = bytes_of(count, given) if given else None
    asked = request(
        made, views, num_conditional_frames=given, frames=frames, noise=noise, num_chunks=3, controls=controls
    )
    latents = made.denoise(asked)
    assert tuple(one["seed"] for one in told) == seeds
    is_same = seeds[0] == seeds[1]
    assert [one["noise_CVTHW"] is not None for one in told] == [True, is_same, is_same]
    assert [one["num_condition_latents"] for one in told] == [LATENT_FRAMES[n] for n in (given, overlap, overlap)]
    encoded = [one.tolist() for one in made.vae.encoded]  # type: ignore[attr-defined]
    last = [[10 * t + 100 * view for t in range(FRAMES - overlap, FRAMES)] for view in range(count)]
    if controls is not None:
        of_chunks = [
            [[100 + 50 * view + 4 * chunk + t for t in range(FRAMES)] for view in range(count)] for chunk in range(3)
        ]
        expected = [*([[0], [50]] if given else []), *of_chunks[0], *last, *of_chunks[1], *last, *of_chunks[2]]
        assert all(one["control_VlP"].abs().sum() > 0 for one in told)
    else:
        expected = [[50 * view + t for t in range(given)] for view in range(count)] + 2 * last
    assert encoded == expected
    decoded = made.decode(made.collect(latents, views), overlap)
    assert list(decoded) == list(views)
    for view, video in zip(range(count), decoded.values(), strict=True):
        chunk = [10 * t + 100 * view for t in range(FRAMES)]
        assert video[:, 0, 0, 0].tolist() == chunk + 2 * chunk[overlap:]


# --- a clip that begins with a picture -------------------------------------------------------------------------------


def changed(before: ClipRequest, after: ClipRequest) -> set[str]:
    return {field.name for field in fields(before) if getattr(before, field.name) is not getattr(after, field.name)}


def test_the_picture_is_asked_for_with_its_own_models_settings() -> None:
    world = load_bundle("tiny-text2world")
    assert world.picture is not None
    own = world.picture.model_copy(update={"num_steps": 9, "guidance": 1.25})
    bundle = world.model_copy(update={"picture": own}).picture_bundle()
    noise = np.zeros((16, 1, 2, 4, 4), np.float32)
    asked = request(generator("tiny-text2world"), (VIDEO,), num_chunks=2, noise=noise)
    found = picture_first.picture_request(asked, bundle)
    assert changed(asked, found) == {"chosen_views", "num_steps", "guidance", "text", "noise", "num_chunks"}
    assert (found.chosen_views, found.num_steps, found.guidance, found.noise, found.num_chunks) == (
        (PICTURE,), 9, 1.25, None, 1,
    )  # fmt: skip
    assert found.text == asked.text
    words = ClipText(text(bundle.text_width, 1, 5.0), None)
    other = picture_first.picture_request(replace(asked, picture_text=words), bundle).text
    assert other is not None
    assert other.positive is words.positive
    assert other.negative is not None
    assert other.negative[0].shape == (0, bundle.text_width), "no text at all, where there is no negative prompt"


def test_the_video_goes_on_with_the_middle_of_the_picture() -> None:
    asked = request(generator("tiny-text2world"), (VIDEO,))
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 32:96] = 200
    found = picture_first.video_request(asked, picture, (48, 32))
    assert changed(asked, found) == {"frames", "num_conditional_frames"}
    assert found.num_conditional_frames == 1
    assert found.frames is not None
    assert (found.frames.shape, found.frames.dtype) == ((1, 1, 48, 32, 3), np.uint8)
    assert found.frames.min() >= 199, "nothing of its dark sides"
    elsewhere = picture_first.video_request(asked, None, (48, 32)).frames
    assert elsewhere is not None
    assert (elsewhere.shape, elsewhere.any()) == ((1, 1, 48, 32, 3), False)


def test_a_run_is_gone_on_with_under_its_picture() -> None:
    states: list[SamplerState] = []
    picture, sample = torch.ones(1), torch.zeros(2)
    keep = picture_first.with_picture(states.append, picture)
    assert keep is not None
    keep(SamplerState(3, {"sample": sample}))
    (state,) = states
    assert state.tensors.keys() == {"sample", picture_first.STATE}
    video, found = picture_first.split_state(state)
    assert video is not None
    assert (video.step, list(video.tensors), found) == (3, ["sample"], picture)
    assert picture_first.STATE in state.tensors, "what was handed in stays whole"
    assert picture_first.split_state(None) == (None, None)
    assert picture_first.with_picture(None, picture) is None


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numerics", ["reference", "float32"])
@pytest.mark.parametrize("name", ["cosmos-predict2-2b-multiview", "cosmos-predict2.5-2b-multiview"])
def test_each_part_is_read_from_its_own_file(name: str, numerics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own source, in the dtype that is computed in; the text encoder in one of its own."""
    bundle: Bundle = load_bundle(name).with_numerics(numerics).with_text_encoder(None, "float32")
    bundle = bundle.model_copy(update={"dit_prefix": "net_ema."})
    stored = torch.bfloat16 if numerics == "reference" else None
    read: list[tuple[Any, ...]] = []
    layer = {f"crossattn_proj.0.{part}": torch.ones(1, dtype=torch.float64) for part in ("weight", "bias")}
    monkeypatch.setattr(parts, "local_path", lambda _, kind: Path(kind))
    monkeypatch.setattr(parts, "source_key", lambda _, kind: f"source of {kind}")
    monkeypatch.setattr(parts, "load_vae_state", lambda *given: read.append(given) or {})
    monkeypatch.setattr("cosmos_ray.models.vae.vae.WanVAE.from_published", lambda _, **dims: dims)
    monkeypatch.setattr("cosmos_ray.models.text.tokenizer.load_tokenizer", lambda path: read.append((path,)))
    for reader in ("t5.load_encoder", "reason1.load_tower"):
        monkeypatch.setattr(f"cosmos_ray.models.text.{reader}", lambda *given: read.append(given))
    monkeypatch.setattr("cosmos_ray.models.text.text.TextEncoder", lambda *given: given)
    monkeypatch.setattr("cosmos_ray.models.text.reason1.Reason1Encoder", lambda *given: given)
    assert parts.load_vae(bundle) == bundle.vae.model_dump()
    encoder: Any = parts.load_text_encoder(bundle, lambda: layer)
    of_vae, tokenizer, of_text = read
    assert (of_vae[0], of_vae[1], of_vae[3]) == (Path("vae"), "source of vae", stored)
    assert tokenizer == (Path("tokenizer"),)
    width = bundle.network.crossattn_proj_in_channels or bundle.text_width
    assert of_text == (Path("text_encoder"), None, width, torch.float32, "source of text_encoder")
    assert {one.dtype for one in encoder[2:]} == ({stored or torch.float32} if "2.5" in name else set())

    of_dit: list[tuple[Any, ...]] = []
    monkeypatch.setattr(parts, "load_dit_state", lambda *given: of_dit.append(given) or dict(layer))
    monkeypatch.setattr(parts, "MultiviewDiT", lambda config: SimpleNamespace(load=dict, eval=lambda: config))
    config, rest = parts.load_network(bundle)
    ((path, source, _, prefix, dtype),) = of_dit
    assert (path, source, prefix, dtype) == (Path("dit"), "source of dit", "net_ema.", stored)
    assert rest.keys() == layer.keys(), "that layer is the text encoder's"
    assert config.state_t == bundle.state_t  # type: ignore[attr-defined]
    said = {**bundle.network.model_dump(), **bundle.recipe.network}
    assert {key: getattr(config, key) for key in said} == said
