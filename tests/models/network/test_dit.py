"""The network: token order, conditioning, text, numerics, and what a checkpoint may hold."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from support.networks import caption, small_network
from support.paths import GOLDEN, ROOT, TESTS

from cosmos_ray.errors import UsageError
from cosmos_ray.models.network import passes
from cosmos_ray.models.network.attention import attention, attention_kernel
from cosmos_ray.models.network.dit import NUMERICS_DTYPE, DiTConfig, Grid, MultiviewDiT, patchify, unpatchify
from cosmos_ray.models.parallel import ContextParallel

GRID = Grid(views=3, frames=3, height=2, width=2)


def call(network: MultiviewDiT, grid: Grid = GRID, **changes: torch.Tensor | None) -> torch.Tensor:
    """One forward in the published layout with random inputs, one thing changed at a time."""
    generator = torch.Generator().manual_seed(5)
    frames = grid.views * grid.frames
    inputs: dict[str, torch.Tensor | None] = {
        "x_BCFHW": torch.randn(1, 16, frames, 2 * grid.height, 2 * grid.width, generator=generator),
        "timesteps_BF": torch.rand(1, frames, generator=generator),
        "context_BMC": caption(grid).flatten(0, 1)[None],
        "cond_mask_B1FHW": torch.zeros(1, 1, frames, 2 * grid.height, 2 * grid.width),
        "view_indices_BF": None,
    }
    return network(**(inputs | changes), fps=30.0)


def test_a_patch_holds_channels_slowest() -> None:
    """Value c*4 + row*2 + column of a token is channel c at that place of the patch; tokens run over (t, h, w)."""
    latent = torch.arange(16 * 2 * 4 * 6.0).view(16, 2, 4, 6)
    tokens = patchify(latent)
    assert tokens.shape == (2 * 2 * 3, 64)
    token = (1 * 2 + 1) * 3 + 2  # frame 1, patch row 1, patch column 2
    assert tokens[token, 5 * 4 + 1 * 2 + 0] == latent[5, 1, 2 * 1 + 1, 2 * 2 + 0]


def test_unpatchify_undoes_patchify() -> None:
    latent = torch.randn(3, 16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpatchify(patchify(latent), GRID), latent)


def test_parameters_of_the_published_model() -> None:
    """The 2B model: 1,956,470,833 parameters in 568 tensors, without the weight of any bias."""
    config = DiTConfig(
        model_channels=2048, num_blocks=28, num_heads=16, adaln_lora_dim=256, crossattn_emb_channels=1024, state_t=8
    )
    with torch.device("meta"):
        parameters = dict(MultiviewDiT(config).named_parameters())
    assert len(parameters) == 568
    assert sum(parameter.numel() for parameter in parameters.values()) == 1_956_470_833
    assert not any(name.endswith("bias") for name in parameters)
    assert parameters["x_embedder.proj.1.weight"].shape == (2048, 100)
    assert parameters["final_layer.linear.weight"].shape == (64, 2048)


def test_foreign_weights_are_refused_by_name() -> None:
    network = small_network()
    state = dict(network.state_dict())
    del state["t_embedding_norm.weight"]
    state["final_layer.linear.weight"] = torch.zeros(3, 3)
    state["crossattn_proj.0.weight"] = torch.zeros(2, 2)
    named = r"t_embedding_norm\.weight.*crossattn_proj\.0\.weight.*final_layer\.linear\.weight found \[3, 3\]"
    with pytest.raises(UsageError, match=named):
        network.load(state)


def test_meta_network_takes_its_tensors_from_the_checkpoint() -> None:
    """The published 2B model is loaded without ever being initialised."""
    source = small_network()
    with torch.device("meta"):
        network = MultiviewDiT(source.config)
    network.load(source.state_dict())
    assert torch.equal(call(network), call(source))


def test_attention_is_softmax_without_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, length, 3, 12, generator=generator) for length in (5, 7, 7))
    weights = (torch.einsum("blnk,bmnk->bnlm", q, k) / 12**0.5).softmax(dim=-1)
    torch.testing.assert_close(attention(q, k, v), torch.einsum("bnlm,bmnk->blnk", weights, v))
    assert attention_kernel(q.device, q.dtype, 12) == "sdpa"


def test_views_without_text_are_skipped_exactly() -> None:
    """A view whose window is zero gets exactly nothing from cross-attention: skipping it changes no bit."""
    network = small_network()
    share = network.share(GRID, 30.0, ContextParallel())
    attn = network.get_submodule("blocks.0.cross_attn")
    x_BVSsD = torch.randn(1, 3, len(share.frame_S), 4, 24, generator=torch.Generator().manual_seed(0))
    out = attn(x_BVSsD, caption(GRID, views=(1,))[None])
    assert out[:, 1].abs().max() > 0
    assert not out[:, [0, 2]].any()


def test_text_of_each_view_reaches_only_that_view_in_one_block() -> None:
    """Cross-attention is per view; only self-attention of the next block carries it on."""
    network = small_network()
    network.blocks = network.blocks[:1]
    one, other = (call(network, context_BMC=caption(GRID, views=(1,), seed=s).flatten(0, 1)[None]) for s in (1, 2))
    changed = (one - other).abs().amax(dim=(0, 1, 3, 4)).view(GRID.views, GRID.frames)
    assert (changed[1] > 1e-5).all()
    assert not changed[[0, 2]].any()


def test_padding_tokens_take_part_in_the_softmax() -> None:
    """Text repeated over the padding is another text: zero tokens dilute attention instead of being masked."""
    network = small_network()
    padded = caption(GRID, tokens=1)
    full = padded.clone()
    full[0] = padded[0, 0]
    outs = [call(network, context_BMC=text.flatten(0, 1)[None]) for text in (padded, full)]
    assert (outs[0] - outs[1]).abs().max() > 1e-3


def test_absent_cameras_mean_0_to_v() -> None:
    network = small_network()
    cameras = torch.arange(3).repeat_interleave(3)[None]
    assert torch.equal(call(network, view_indices_BF=cameras), call(network))
    assert (call(network, view_indices_BF=cameras + 2) - call(network)).abs().max() > 1e-3


def test_cameras_beyond_the_table_are_its_last_one() -> None:
    """As in the published pipeline: the number is clamped, on its upper side."""
    network = small_network()
    cameras = torch.tensor([0, 6, 6]).repeat_interleave(3)[None]
    beyond = torch.tensor([0, 7, 99]).repeat_interleave(3)[None]
    assert torch.equal(call(network, view_indices_BF=beyond), call(network, view_indices_BF=cameras))


def test_views_are_told_apart_by_their_camera_alone() -> None:
    """Positions restart in each view: with the same camera, text and latents, two views get the same velocity."""
    network = small_network()
    grid = Grid(views=2, frames=3, height=2, width=2)
    x = torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(0)).repeat(1, 1, 2, 1, 1)
    same = {"x_BCFHW": x, "timesteps_BF": torch.full((1, 1), 0.5), "context_BMC": torch.zeros(1, 1024, 10)}
    out = call(network, grid, **same, view_indices_BF=torch.zeros(1, 6, dtype=torch.long))
    torch.testing.assert_close(out[:, :, :3], out[:, :, 3:], atol=1e-5, rtol=1e-5)
    out = call(network, grid, **same)
    assert (out[:, :, :3] - out[:, :, 3:]).abs().max() > 1e-3


def test_a_batch_is_computed_clip_by_clip() -> None:
    """Conditional and unconditional branch may be batched: each gets what it gets alone."""
    network = small_network()
    texts = torch.stack([caption(GRID, seed=seed).flatten(0, 1) for seed in (1, 2)])
    generator = torch.Generator().manual_seed(5)
    x, timesteps = torch.randn(2, 16, 9, 4, 4, generator=generator), torch.rand(2, 9, generator=generator)
    for same in (True, False):  # one clip under two texts, two clips
        if same:
            x[1], timesteps[1] = x[0], timesteps[0]
        else:
            x[1], timesteps[1] = x[1].flip(0), timesteps[1].flip(0)
        both = call(network, x_BCFHW=x, timesteps_BF=timesteps, cond_mask_B1FHW=torch.zeros(2, 1, 9, 4, 4),
                    context_BMC=texts)  # fmt: skip
        alone = [call(network, x_BCFHW=x[n, None], timesteps_BF=timesteps[n, None], context_BMC=texts[n, None])
                 for n in (0, 1)]  # fmt: skip
        torch.testing.assert_close(both, torch.cat(alone), atol=2e-6, rtol=1e-5)


def test_numerics_follow_the_parameters_dtype() -> None:
    """`reference` rounds positions and timesteps to bfloat16 with the weights; `float32` rounds nothing."""
    network = small_network()
    exact = network.share(GRID, 10.0, ContextParallel()).cos_l1k
    network.to(NUMERICS_DTYPE["reference"])
    rounded = network.share(GRID, 10.0, ContextParallel()).cos_l1k
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert call(network).dtype == torch.bfloat16
    near, nearer = torch.full((1, 9), 0.5), torch.full((1, 9), 0.5001)  # one and the same bfloat16 number
    assert torch.equal(call(network, timesteps_BF=near), call(network, timesteps_BF=nearer))
    network.float()
    assert not torch.equal(call(network, timesteps_BF=near), call(network, timesteps_BF=nearer))


@pytest.mark.slow
def test_bfloat16_agrees_with_the_reference_to_the_bit() -> None:
    """Every rounding stands where the reference has it. A process of its own: oneDNN's kernels are chosen at start."""
    code = (
        "import sys; from pathlib import Path; from parity import run_case; from cosmos_ray.models.parallel import *; "
        "print(run_case(Path(sys.argv[1]), ContextParallel()).worst.error)"
    )
    case = GOLDEN / "dit_7v_cond1_bf16.json"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": f"{TESTS}:{ROOT}"}
    found = subprocess.run(
        [sys.executable, "-c", code, str(case)], env=environment, check=True, capture_output=True, text=True
    )
    assert float(found.stdout) == 0.0


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(1, 129, 2, 2), r"\(129, 2, 2\).*\(128, 120, 120\)"),
        (Grid(1, 2, 121, 2), r"\(2, 121, 2\)"),
        (Grid(1, 2, 2, 121), r"\(2, 2, 121\)"),
    ],
)
def test_clips_beyond_the_position_tables_are_refused(grid: Grid, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_network().share(grid, 30.0, ContextParallel())


def test_the_largest_clip_is_allowed_and_each_limit_is_its_own() -> None:
    """Limits that differ, in frames and in latent rows and columns: 4 frames of 3 x 5 patches at most."""
    config = small_network().config.model_copy(update={"max_frames": 4, "max_img_h": 6, "max_img_w": 10})
    with torch.device("meta"):
        network = MultiviewDiT(config)
    network.to_empty(device="cpu")
    network.share(Grid(1, 4, 3, 5), 30.0, ContextParallel())
    for beyond in (Grid(1, 5, 3, 5), Grid(1, 4, 4, 5), Grid(1, 4, 3, 6), Grid(1, 4, 5, 3)):
        with pytest.raises(ValueError, match=r"beyond the model's \(4, 3, 5\)"):
            network.share(beyond, 30.0, ContextParallel())


def test_each_axis_is_stretched_by_its_own_ratio() -> None:
    """In the published models height and width share one."""
    ratios = {"rope_t_extrapolation_ratio": 0.5, "rope_h_extrapolation_ratio": 2.0, "rope_w_extrapolation_ratio": 4.0}
    axes = small_network().config.model_copy(update=ratios).rope_axes
    assert (axes.head_dim, axes.ratio_t, axes.ratio_h, axes.ratio_w) == (12, 0.5, 2.0, 4.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 7}, "model_channels 24 do not divide over 7 heads"),
        ({"out_channels": 17}, "out_channels 17: expected in_channels, 16"),
        ({"out_channels": 15}, "out_channels 15: expected in_channels, 16"),
    ],
)
def test_dimensions_that_make_no_network_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiTConfig.model_validate(small_network().config.model_dump() | change)


def test_nothing_of_a_network_is_learnt_unless_it_is_asked_for() -> None:
    """Gradients of a clip would take many times the memory of its activations."""
    assert not any(parameter.requires_grad for parameter in small_network().parameters())


def test_frames_that_are_no_whole_views_are_refused() -> None:
    with pytest.raises(ValueError, match="7 latent frames: expected a multiple of state_t, 3"):
        call(small_network(), x_BCFHW=torch.zeros(1, 16, 7, 4, 4))


@pytest.mark.parametrize("captioned", [0, 1, 3])
def test_a_clip_under_two_texts_is_what_it_is_under_each(captioned: int) -> None:
    """What texts cannot change is computed once; views with and without text, and no text at all."""
    grid, network = Grid(3, 3, 2, 4), small_network(num_heads=2)
    share = network.share(grid, 30.0, ContextParallel())
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, grid.tokens_per_view, 64, generator=generator)
    mask = torch.zeros(1, 3, grid.tokens_per_view, 4)
    timesteps = torch.full((1, 3, 3), 0.4)
    texts = torch.randn(2, 3, 512, network.config.crossattn_emb_channels, generator=generator)
    texts[:, captioned:] = 0
    both = network.forward_tokens(x, mask, timesteps, texts, share)
    alone = [network.forward_tokens(x, mask, timesteps, text[None], share)[0] for text in texts]
    assert both.shape == (2, 3, grid.tokens_per_view, 64)
    torch.testing.assert_close(both, torch.stack(alone), rtol=1e-5, atol=1e-5)
    assert captioned == 0 or (both[0] - both[1]).norm() > 1e-3 * both.norm()


@pytest.mark.parametrize(("first", "second"), [((0,), (2,)), ((0, 1), (1,)), ((), (1,)), ((2,), ())], ids=str)
def test_texts_may_caption_different_views(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """A negative prompt stands in view 0, embeddings may leave that one without text: each text acts where it is."""
    network = small_network()
    share = network.share(GRID, 30.0, ContextParallel())
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, GRID.tokens_per_view, 64, generator=generator)
    arguments = (x, torch.zeros(1, 3, GRID.tokens_per_view, 4), torch.full((1, 3, 3), 0.4))
    texts = torch.stack([caption(GRID, views=first, seed=1), -caption(GRID, views=second, seed=2).abs()])
    both = network.forward_tokens(*arguments, texts, share)
    alone = [network.forward_tokens(*arguments, text[None], share)[0] for text in texts]
    torch.testing.assert_close(both, torch.stack(alone), rtol=1e-5, atol=1e-5)
    without = network.forward_tokens(*arguments, torch.zeros_like(texts[:1]), share)[0]
    for views, found in ((first, both[0]), (second, both[1])):
        assert ((found - without).abs().max() > 1e-3) == bool(views), "a text that is there is heard"


@pytest.mark.parametrize(
    ("fp8_blocks", "kernels"),
    [
        ((), ["attention", "attend_under_texts", "attend_for_wanted"]),
        ((0,), ["fp8_attention", "attend_under_texts", "attend_for_wanted"]),
        ((1,), ["attention", "fp8_attention", "attend_for_wanted"]),
        ((2,), ["attention", "attend_under_texts", "fp8_attention"]),
        ((0, 1, 2), ["fp8_attention"] * 3),
    ],
    ids=str,
)
def test_a_block_that_is_asked_for_in_8_bits_is_in_8_bits(
    fp8_blocks: tuple[int, ...], kernels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the two whose exact attention would be cut short: of three blocks the second and the last."""
    used: list[str] = []
    for name in ("attention", "fp8_attention", "attend_under_texts", "attend_for_wanted"):

        def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, name: str = name, **_: object) -> torch.Tensor:
            used.append(name)
            return attention(q, k, v)

        monkeypatch.setattr(f"cosmos_ray.models.network.dit.{name}", call)
    with torch.device("meta"):
        network = MultiviewDiT(small_network().config.model_copy(update={"num_blocks": 3}))
    network.to_empty(device="cpu")
    share = network.share(GRID, 30.0, ContextParallel(), given_frames=1)
    tokens = torch.zeros(1, 3, GRID.tokens_per_view, 64), torch.zeros(1, 3, GRID.tokens_per_view, 4)
    texts = torch.stack([caption(GRID, seed=seed) for seed in (1, 2)])
    network.forward_tokens(*tokens, torch.zeros(1, 3, 3), texts, share, fp8_blocks=fp8_blocks)
    assert used == kernels


def test_without_a_working_triton_passes_are_plain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine without it, or without the compiler that it needs. Said once, for it costs time."""
    monkeypatch.setitem(sys.modules, "cosmos_ray.models.network.fused", None)
    assert passes._working_kernels.__wrapped__(torch.device("cpu"))[0] is None
    assert "no fused kernels on cpu" in caplog.text
