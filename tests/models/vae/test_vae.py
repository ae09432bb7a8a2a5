"""The video tokenizer: published names, causality, normalisation, bytes.

Numbers against the reference implementation are the business of `parity.py` (kind `vae`).
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.paths import GOLDEN
from support.published_video import to_uint8
from support.waiting import PATIENCE_S

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.dims import VaeDims
from cosmos_ray.models.vae import vae as vae_module
from cosmos_ray.models.vae import vae_whole
from cosmos_ray.models.vae.pixels import normalise_frames, signed_to_uint8
from cosmos_ray.models.vae.vae import WanVAE
from cosmos_ray.models.vae.vae_whole import decode_whole, encode_whole

SMALL = VaeDims(dim=4)
CASE = GOLDEN / "preprocess.safetensors"


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return WanVAE.random(SMALL, seed=5)


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    """[B, C, T, H, W] = [1, 3, 9, 16, 24] in [-1, 1]."""
    return torch.rand(1, 3, 9, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_weights_have_the_published_names_and_places(vae):
    """Spot checks of the published layout: 194 tensors; levels widen and narrow where Wan's do."""
    state = vae.published_state_dict()
    d = SMALL.dim
    assert len(state) == 194
    expected = {
        "conv1.weight": (32, 32, 1, 1, 1),
        "conv2.bias": (16,),
        "encoder.conv1.weight": (d, 3, 3, 3, 3),
        "encoder.downsamples.2.resample.1.weight": (d, d, 3, 3),
        "encoder.downsamples.3.shortcut.weight": (2 * d, d, 1, 1, 1),
        "encoder.downsamples.5.time_conv.weight": (2 * d, 2 * d, 3, 1, 1),
        "encoder.downsamples.10.residual.6.weight": (4 * d, 4 * d, 3, 3, 3),
        "encoder.middle.1.to_qkv.weight": (12 * d, 4 * d, 1, 1),
        "encoder.head.0.gamma": (4 * d, 1, 1, 1),
        "encoder.head.2.weight": (32, 4 * d, 3, 3, 3),
        "decoder.conv1.weight": (4 * d, 16, 3, 3, 3),
        "decoder.middle.2.residual.3.gamma": (4 * d, 1, 1, 1),
        "decoder.upsamples.3.time_conv.weight": (8 * d, 4 * d, 3, 1, 1),
        "decoder.upsamples.4.shortcut.weight": (4 * d, 2 * d, 1, 1, 1),
        "decoder.upsamples.7.resample.1.weight": (2 * d, 4 * d, 3, 3),
        "decoder.upsamples.11.resample.1.weight": (d, 2 * d, 3, 3),
        "decoder.upsamples.14.residual.2.weight": (d, d, 3, 3, 3),
        "decoder.head.2.bias": (3,),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected


@pytest.mark.parametrize("num_res_blocks", [1, 2])
def test_a_published_file_gives_the_same_model(num_res_blocks, video):
    vae = WanVAE.random(VaeDims(dim=4, num_res_blocks=num_res_blocks), seed=6)
    again = WanVAE.from_published(vae.published_state_dict(), dim=4, num_res_blocks=num_res_blocks)
    assert torch.equal(again.encode(video[:, :, :1]), vae.encode(video[:, :, :1]))


def test_a_wrong_file_is_refused_with_the_names(vae):
    state = vae.published_state_dict()
    del state["conv2.weight"]
    state["decoder.extra"] = torch.zeros(1)
    state["encoder.conv1.bias"] = torch.zeros(5)
    with pytest.raises(UsageError) as error:
        WanVAE.from_published(state, dim=4)
    message = str(error.value)
    assert message.startswith("VAE: 1 of 194 tensors missing: conv2.weight")
    assert "1 unexpected tensors: decoder.extra" in message
    assert "encoder.conv1.bias found [5], expected [4]" in message


def test_only_the_frames_given_matter(vae, video):
    """Causal: latents of the first frames do not change when more frames follow, so only those need encoding."""
    whole = vae.encode(video)
    assert whole.shape == (1, 16, 3, 2, 3)
    for frames, latents in ((1, 1), (5, 2)):
        prefix = vae.encode(video[:, :, :frames])
        assert (prefix - whole[:, :, :latents]).abs().max() < 1e-5


def test_decoding_gives_clamped_frames_and_views_in_a_batch_do_not_mix(vae):
    latents = torch.randn(3, 16, 2, 2, 3, generator=torch.Generator().manual_seed(1)) * 3
    video = vae.decode(latents)
    assert video.shape == (3, 3, 5, 16, 24)
    assert video.abs().max() <= 1
    assert (vae.decode(latents[1:2]) - video[1:2]).abs().max() < 1e-5


def test_normalisation_is_undone_by_decoding(vae, video):
    """encode gives (mean - m)/s per channel; decode starts with the inverse."""
    mode = vae.model.encode(video).latent_dist.mode()
    latent = vae.encode(video)
    assert not torch.allclose(mode, latent, atol=1e-2)
    expected = vae.model.decode(mode).sample
    assert (vae.decode(latent) - expected).abs().max() < 1e-4


def test_bfloat16_computes_in_bfloat16_and_returns_the_callers_dtype(video):
    vae = WanVAE.random(SMALL, seed=5).to("cpu", torch.bfloat16)
    latent = vae.encode(video[:, :, :1])
    assert latent.dtype == torch.float32
    assert torch.equal(latent, latent.bfloat16().float())


@pytest.mark.parametrize("shape", [(1, 3, 4, 16, 24), (1, 3, 5, 15, 24)])
def test_sizes_that_would_lose_frames_or_pixels_are_refused(vae, shape):
    with pytest.raises(ValueError, match="1 \\+ 4k frames"):
        vae.encode(torch.zeros(shape))


def test_random_weights_do_not_depend_on_torchs_generator():
    """Drawn from numpy's frozen RandomState: one number pins the stream."""
    torch.manual_seed(1)
    one = WanVAE.random(SMALL, seed=7).published_state_dict()
    torch.manual_seed(2)
    two = WanVAE.random(SMALL, seed=7).published_state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    first = min(WanVAE.random(SMALL, seed=7).model.state_dict())
    drawn = np.random.RandomState(7).standard_normal(one["decoder.conv1.bias"].shape)
    assert first == "decoder.conv_in.bias"
    assert np.allclose(one["decoder.conv1.bias"].numpy(), 0.02 * drawn)


@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "norm_f32"), (torch.bfloat16, "norm_bf16")])
def test_bytes_are_normalised_as_the_reference_rounds_them(dtype, name):
    expected = load_file(CASE)[name].flatten()
    normalised = normalise_frames(torch.arange(256, dtype=torch.uint8), dtype)
    assert normalised.dtype == dtype
    assert torch.equal(normalised.float(), expected.float())


def test_every_byte_survives_the_way_there_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(signed_to_uint8(normalise_frames(levels, torch.float32)), levels)


def test_the_reference_range_rule_takes_bright_clips_for_zero_to_one():
    assert to_uint8(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]
    assert to_uint8(torch.tensor([-0.4, 0.0, 1.5])).tolist() == [0, 0, 255]
    # A clip without dark pixels, which the rule would darken, keeps its brightness here.
    assert signed_to_uint8(torch.tensor([0.0, 1.0])).tolist() == [128, 255]


def test_one_thread_may_encode_while_another_decodes(vae, monkeypatch):
    """In a gang, clip n is encoded while clip n-1 is decoded: neither may see the other's feature caches. In chunks, as
    large views are: a view that is decoded whole has no caches."""
    monkeypatch.setattr(vae_module, "_WHOLE_LIMIT", 0)
    video = torch.linspace(-1, 1, 3 * 9 * 32 * 48).reshape(1, 3, 9, 32, 48)
    latent = vae.encode(video)
    decoded = vae.decode(latent)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(4):
            encoding, decoding = pool.submit(vae.encode, video), pool.submit(vae.decode, latent)
            assert torch.equal(encoding.result(), latent)
            assert torch.equal(decoding.result(), decoded)


# --- the whole sequence at once ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_res_blocks", [1, 2])
@pytest.mark.parametrize(("latent_frames", "stack_limit"), [(1, 2**30), (2, 2**30), (5, 2**30), (5, 2**14)])
def test_the_whole_sequence_at_once_equals_the_librarys_chunks(num_res_blocks, latent_frames, stack_limit, monkeypatch):
    """Both ways, at every length that has its own rule: the first frame alone, its follower, all later ones; and where
    convolutions take some frames at a time."""
    monkeypatch.setattr(vae_whole, "_STACK_LIMIT", stack_limit)
    model = WanVAE.random(VaeDims(dim=8, num_res_blocks=num_res_blocks), seed=7).model
    generator = torch.Generator().manual_seed(latent_frames)
    latents = torch.randn(2, 16, latent_frames, 2, 3, generator=generator)
    video = torch.rand(2, 3, 4 * latent_frames - 3, 16, 24, generator=generator) * 2 - 1
    with torch.no_grad():
        assert (decode_whole(model, latents).clamp(-1, 1) - model.decode(latents).sample).abs().max() < 1e-5
        means = model.encode(video).latent_dist.mode()
        assert (encode_whole(model, video) - means).abs().max() < 1e-5 * max(1.0, means.abs().max().item())


class Counting:
    """Functions of torch, and how many numbers each convolution has read."""

    def __init__(self):
        self.read = []

    def __getattr__(self, name):
        return getattr(torch.nn.functional, name)

    def conv2d(self, x, *arguments, **options):
        self.read.append(x.numel())
        return torch.nn.functional.conv2d(x, *arguments, **options)


def test_a_convolution_reads_no_more_at_once_than_the_limit_says(monkeypatch):
    """Three frames side by side count three times, those of twice the size four times."""
    model = WanVAE.random(VaeDims(dim=8, num_res_blocks=1), seed=7).model
    latents = torch.zeros(1, 16, 5, 2, 3)
    counting = Counting()
    monkeypatch.setattr(vae_whole, "F", counting)
    monkeypatch.setattr(vae_whole, "_STACK_LIMIT", 1)
    decode_whole(model, latents)
    a_frame, frames = max(counting.read), len(counting.read)
    for limit in (a_frame, 2 * a_frame + 1):
        counting.read.clear()
        monkeypatch.setattr(vae_whole, "_STACK_LIMIT", limit)
        decode_whole(model, latents)
        assert limit / 2 < max(counting.read) <= limit
        assert len(counting.read) < frames, "small ones are taken together"


def test_small_float32_views_on_a_cpu_are_decoded_whole_and_no_others():
    latents = torch.zeros(7, 16, 8, 8, 14)
    tiny, wide = WanVAE.random(VaeDims(dim=16, num_res_blocks=1), seed=1), WanVAE.random(SMALL, seed=1)
    assert tiny._decodes_whole(latents)
    assert not wide._decodes_whole(torch.zeros(1, 16, 8, 88, 160)), "gigabytes"
    assert not tiny.to("cpu", torch.bfloat16)._decodes_whole(latents), "rounded in another order"


def test_one_decodes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder's caches are on the model: a clip is decoded while the next one's picture, or first chunk, is."""
    vae = WanVAE.random(VaeDims(dim=4), seed=5).to("cpu", torch.bfloat16)  # not decoded whole
    inside, most = 0, 0
    both_came = threading.Barrier(2)
    decode = vae.model.decode

    def counted(latent: torch.Tensor) -> object:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        found = decode(latent)
        inside -= 1
        return found

    monkeypatch.setattr(vae.model, "decode", counted)

    def run() -> None:
        both_came.wait(PATIENCE_S)
        vae.decode(torch.zeros(1, 16, 3, 4, 4))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
