"""The video tokenizer where it rounds, and what neighbouring clips of a gang do to it at the same time.

Numbers in bfloat16 are computed here by other means than the tokenizer's: float32 in numpy, and the rounding by hand.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from cosmos_ray.models.bundle.dims import VaeDims
from cosmos_ray.models.bundle.memory import whole_decode_bytes
from cosmos_ray.models.vae import vae as vae_module
from cosmos_ray.models.vae.vae import WanVAE
from cosmos_ray.models.vae.vae_whole import decode_whole, encode_whole

SMALL = VaeDims(dim=4)
#: The statistics of the latents as they were published, channel by channel.
# fmt: off
MEAN = np.array([-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
                 0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921], np.float32)
STD = np.array([2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160], np.float32)
#: What latents of 1 and -2.71875 are without the normalisation. A product with the deviation gives other numbers.
DECODED = {
    1.0: [2.0625, 0.74609375, 1.421875, 2.765625, 1.046875, 2.75, 2.453125, 3.625,
          3.6875, 2.078125, 3.40625, 1.1875, 1.4453125, 0.17578125, 3.078125, 1.625],
    -2.71875: [-8.4375, -4.65625, -7.21875, -7.125, -3.484375, -3.875, -7.25, -4.09375,
               -8.4375, -5.9375, -7.21875, -4.59375, -4.65625, -4.0, -7.4375, -5.46875],
}
# fmt: on


def rounded(x: np.ndarray) -> np.ndarray:
    """float32 to the nearest bfloat16, ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    last_kept = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + last_kept) & np.uint32(0xFFFF0000)).view(np.float32)


def by_channel(values: np.ndarray) -> np.ndarray:
    return values[None, :, None, None, None]


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return WanVAE.random(SMALL, seed=5).to("cpu", torch.bfloat16)


@pytest.fixture
def decoded(vae: WanVAE, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the decoder is given."""
    seen: list[Tensor] = []

    def decode(latent: Tensor) -> SimpleNamespace:
        seen.append(latent)
        return SimpleNamespace(sample=torch.zeros(1, 3, 1, 8, 8))

    monkeypatch.setattr(vae.model, "decode", decode)
    return seen


def test_latents_are_divided_by_the_rounded_inverse_before_the_mean_is_added(vae, decoded):
    """z / (1 / std) + mean, each operation rounded: a fifth of the numbers are others if it is z * std."""
    inverse, mean = by_channel(rounded(1 / rounded(STD))), by_channel(rounded(MEAN))
    for value, expected in DECODED.items():
        vae.decode(torch.full((1, 16, 1, 1, 1), value))
        assert decoded.pop().flatten().tolist() == expected
    latents = torch.randn(1, 16, 5, 8, 9, generator=torch.Generator().manual_seed(0)) * 2
    vae.decode(latents)
    expected = rounded(rounded(rounded(latents.numpy()) / inverse) + mean)
    assert np.array_equal(decoded[0].float().numpy(), expected)
    other = rounded(rounded(rounded(latents.numpy()) * by_channel(rounded(STD))) + mean)
    assert 0.1 < (other != expected).mean() < 0.3


def test_means_are_subtracted_and_multiplied_by_the_rounded_inverse(vae):
    video = torch.rand(1, 3, 9, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mode = vae.model.encode(video.bfloat16()).latent_dist.mode().float().numpy()
    inverse, mean = by_channel(rounded(1 / rounded(STD))), by_channel(rounded(MEAN))
    expected = rounded(rounded(mode - mean) * inverse)
    assert np.array_equal(vae.encode(video).numpy(), expected)
    assert (rounded(rounded(mode - mean) / by_channel(rounded(STD))) != expected).any()


def test_fewer_channels_have_the_first_statistics():
    narrow = WanVAE.random(VaeDims(dim=4, z_dim=3), seed=5)
    assert narrow.mean.flatten().tolist() == MEAN[:3].tolist()
    assert narrow.inverse_std.flatten().tolist() == (1 / STD[:3]).tolist()


# --- at the same time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numerics", [torch.float32, torch.bfloat16], ids=str)
def test_a_clip_that_is_encoded_in_the_middle_of_a_decoding_changes_neither(numerics, monkeypatch):
    """Chunk by chunk, as large views are decoded: the caches of the frames so far stay the decoder's own."""
    monkeypatch.setattr(vae_module, "_WHOLE_LIMIT", 0)
    vae = WanVAE.random(SMALL, seed=5).to("cpu", numerics)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 16, 4, 2, 3, generator=generator)
    video = torch.rand(1, 3, 5, 16, 24, generator=generator) * 2 - 1
    decoded, encoded = vae.decode(latents), vae.encode(video)
    meanwhile: list[Tensor] = []

    def encode_meanwhile(*_: object) -> None:
        meanwhile.append(vae.encode(video))

    with vae.model.decoder.register_forward_hook(encode_meanwhile):
        assert torch.equal(vae.decode(latents), decoded)
    assert len(meanwhile) == 4, "after each latent frame"
    assert all(torch.equal(found, encoded) for found in meanwhile)
    meanwhile.clear()

    def decode_meanwhile(*_: object) -> None:
        meanwhile.append(vae.decode(latents))

    with vae.model.encoder.register_forward_hook(decode_meanwhile):
        assert torch.equal(vae.encode(video), encoded)
    assert len(meanwhile) == 2
    assert all(torch.equal(found, decoded) for found in meanwhile)


def test_both_ways_share_one_set_of_frozen_weights():
    vae = WanVAE.random(SMALL, seed=5)
    ours, encoders = dict(vae.model.named_parameters()), dict(vae._encoder.named_parameters())
    assert ours.keys() == encoders.keys()
    assert all(encoders[name] is parameter for name, parameter in ours.items())
    assert not any(parameter.requires_grad for parameter in ours.values())
    vae.to("cpu", torch.bfloat16)
    assert {parameter.dtype for parameter in vae._encoder.parameters()} == {torch.bfloat16}


# --- whole or in chunks ----------------------------------------------------------------------------------------------


def test_a_view_is_decoded_whole_on_a_cpu_up_to_a_limit_in_numbers(monkeypatch):
    """Its width times frames times pixels, all three of them."""
    vae, latents = WanVAE.random(SMALL, seed=5), torch.zeros(3, 16, 2, 4, 6)
    numbers = 4 * 5 * (32 * 48)
    monkeypatch.setattr(vae_module, "_WHOLE_LIMIT", numbers)
    assert vae._decodes_whole(latents)
    monkeypatch.setattr(vae_module, "_WHOLE_LIMIT", numbers - 1)
    assert not vae._decodes_whole(latents)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_view_is_decoded_whole_on_a_gpu_in_a_third_of_its_memory(monkeypatch, dtype):
    """The GPU is an imitation: there is none where tests run."""
    vae, latents = WanVAE.random(SMALL, seed=5), torch.zeros(1, 16, 8, 88, 160, dtype=dtype)
    needed = whole_decode_bytes(4, 29, 704 * 1280, dtype.itemsize)
    vae.device = torch.device("cuda", 0)
    for memory, is_whole in ((3 * needed, True), (3 * needed - 3, False)):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _, memory=memory: SimpleNamespace(total_memory=memory)
        )
        assert vae._decodes_whole(latents) == is_whole


def test_a_pixel_of_nothing_is_no_division_by_nothing():
    """The norm of zeros is zero, as the library has it: here of a layer whose output is all zero."""
    model = WanVAE.random(SMALL, seed=7).model
    for layer in (model.decoder.conv_in, model.encoder.conv_in):
        layer.weight.zero_()
        layer.bias.zero_()
    latents, video = torch.ones(1, 16, 2, 2, 3), torch.ones(1, 3, 5, 16, 24)
    with torch.no_grad():
        whole, means = decode_whole(model, latents), encode_whole(model, video)
        assert torch.isfinite(whole).all()
        torch.testing.assert_close(whole.clamp(-1, 1), model.decode(latents).sample, atol=1e-5, rtol=0)
        torch.testing.assert_close(means, model.encode(video).latent_dist.mode(), atol=1e-5, rtol=1e-5)


def test_what_is_decoded_whole_is_clamped_too():
    """The small model's numbers go far beyond; the library clamps what it decodes in chunks."""
    vae = WanVAE.random(SMALL, seed=5)
    latents = 5 * torch.randn(2, 16, 2, 2, 3, generator=torch.Generator().manual_seed(1))
    assert vae._decodes_whole(latents)
    beyond = decode_whole(vae.model, latents / vae.inverse_std + vae.mean)
    assert beyond.abs().max() > 1
    torch.testing.assert_close(vae.decode(latents), beyond.clamp(-1, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 16, 12), (1, 12, 16), (4, 16, 16), (0, 16, 16)])
def test_a_video_that_does_not_divide_is_refused(shape: tuple[int, int, int]) -> None:
    vae = WanVAE.random(VaeDims(dim=4, dim_mult=(1, 1, 1, 1), num_res_blocks=1), 0)
    with pytest.raises(ValueError, match="expected 1 \\+ 4k frames and sizes divisible by 8"):
        vae.encode(torch.zeros(1, 3, *shape))
