"""How far diffusers' Predict2 pipelines of one view are from the published ones, which ours agree with. On a CPU.

    python benchmarks/diffusers_single.py [--steps 35]

Both get the same small random weights (q and k projections at a fifth of the usual scale, so that the normalisation's
epsilon shows), texts, noise and first frame, in float32. Prints a line of JSON a difference, largest and mean, beside
the size (rms) of what differs:

* network: one call of `CosmosTransformer3DModel`; as it is, with the published epsilon of the q and k norms (1e-6, not
  1e-5), and with the rate 16 that its pipeline passes on, which stretches positions in time
* video, picture: a whole run of `Cosmos2VideoToWorldPipeline` and `Cosmos2TextToImagePipeline`, as they are (Euler, 35
  network pairs on another grid of noise levels, no last evaluation), and with epsilon and rate corrected, which leaves
  the solver. The autoencoder's mean is encoded, where the pipeline draws.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from reporting import machine, report
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from diffusers import (
    Cosmos2TextToImagePipeline,
    Cosmos2VideoToWorldPipeline,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.models.transformers import transformer_cosmos
from PIL import Image

from cosmos_ray.clip.request import PICTURE, TEXT_TOKENS, VIDEO, ClipRequest, ClipText
from cosmos_ray.models.bundle.bundle import load_bundle, parse_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network.dit import MultiviewDiT, unpatchify
from cosmos_ray.models.noise import clip_noise

PUBLISHED_EPS = 1e-6
#: diffusers' names, by the beginnings and parts of the published ones.
_NAMES = (
    ("x_embedder.proj.1", "patch_embed.proj"), ("t_embedder.1", "time_embed.t_embedder"),
    ("t_embedding_norm", "time_embed.norm"), ("blocks.", "transformer_blocks."),
    ("adaln_modulation_self_attn.", "norm1.linear_"), ("adaln_modulation_cross_attn.", "norm2.linear_"),
    ("adaln_modulation_mlp.", "norm3.linear_"), ("final_layer.adaln_modulation.", "norm_out.linear_"),
    ("final_layer.linear", "proj_out"), ("self_attn", "attn1"), ("cross_attn", "attn2"), ("q_proj", "to_q"),
    ("k_proj", "to_k"), ("v_proj", "to_v"), ("output_proj", "to_out.0"), ("q_norm", "norm_q"), ("k_norm", "norm_k"),
    ("mlp.layer1", "ff.net.0.proj"), ("mlp.layer2", "ff.net.2"),
)  # fmt: skip


class _Transforms:
    """In the place of torchvision, which diffusers takes to resize a mask of zeros, where that is not installed."""

    InterpolationMode = SimpleNamespace(NEAREST="nearest")
    functional = SimpleNamespace(resize=lambda mask, size, interpolation: F.interpolate(mask, size, mode=interpolation))


if not hasattr(transformer_cosmos, "transforms"):
    transformer_cosmos.transforms = _Transforms


class NoChecks:
    """In the place of the guardrail, which needs weights of its own."""

    def to(self, *_: Any) -> NoChecks:
        return self

    def check_text_safety(self, _: str) -> bool:
        return True


def generator_of(name: str) -> Generator:
    bundle = load_bundle(name)
    said = bundle.model_dump(mode="json")
    said["network"] |= {"num_blocks": 2}
    if said["state_t"] > 1:
        said |= {"state_t": 3}
    found = Generator.load(parse_bundle(json.dumps(said | {"height": 64, "width": 64}), bundle.root))
    for block in found.network.blocks:
        for attention in (block.self_attn, block.cross_attn):
            attention.q_proj.weight *= 0.2
            attention.k_proj.weight *= 0.2
    return found


def theirs(network: MultiviewDiT) -> CosmosTransformer3DModel:
    """diffusers' network with the same weights, as its own converter would make it."""
    config = network.config
    made = CosmosTransformer3DModel(
        in_channels=config.in_channels + config.has_condition_mask,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        num_layers=config.num_blocks,
        text_embed_dim=config.crossattn_emb_channels,
        adaln_lora_dim=config.adaln_lora_dim,
        rope_scale=(
            config.rope_t_extrapolation_ratio,
            config.rope_h_extrapolation_ratio,
            config.rope_w_extrapolation_ratio,
        ),
        extra_pos_embed_type=None,
    )
    state = {}
    for name, tensor in network.state_dict().items():
        for ours, other in _NAMES:
            name = name.replace(ours, other)
        state[name] = tensor
    made.load_state_dict(state)
    return made.eval()


def correct_eps(model: CosmosTransformer3DModel) -> None:
    for block in model.transformer_blocks:
        for attention in (block.attn1, block.attn2):
            for norm in (attention.norm_q, attention.norm_k):
                norm.eps = PUBLISHED_EPS


def told(what: str, found: Tensor, expected: Tensor, **more: Any) -> None:
    apart = (found - expected).abs()
    figures = {
        "largest": apart.max().item(),
        "mean": apart.mean().item(),
        "rms": expected.square().mean().sqrt().item(),
    }
    report(what=what, **more, **{name: float(f"{value:.3g}") for name, value in figures.items()})


def compare_networks(generator: Generator) -> None:
    drawn = torch.Generator().manual_seed(1)
    bundle = generator.bundle
    shape = (1, 16, bundle.state_t, bundle.height // 8, bundle.width // 8)
    x, text = torch.randn(shape, generator=drawn), torch.randn(1, 20, bundle.text_width, generator=drawn)
    timesteps, mask = torch.full((1, bundle.state_t), 0.4), torch.zeros(shape)[:, :1]
    mask[:, :, :1] = 1
    expected = generator.network(x, timesteps, text, mask, fps=24.0)
    model = theirs(generator.network)

    def answer(fps: int | None) -> Tensor:
        return model(
            hidden_states=x, timestep=timesteps[:, None, :, None, None], encoder_hidden_states=text, fps=fps,
            condition_mask=mask, padding_mask=torch.zeros(1, 1, bundle.height, bundle.width), return_dict=False,
        )[0]  # fmt: skip

    told("network", answer(None), expected, as_it_is=True)
    correct_eps(model)
    told("network", answer(None), expected, eps=PUBLISHED_EPS)
    told("network", answer(16), expected, eps=PUBLISHED_EPS, fps=16)


def texts(width: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.RandomState(2)
    return tuple(drawn.standard_normal((20, width)).astype(np.float32) for _ in range(2))  # type: ignore[return-value]


def window(text_MC: np.ndarray) -> Tensor:
    whole = torch.zeros(1, TEXT_TOKENS, text_MC.shape[1])
    whole[0, : len(text_MC)] = torch.from_numpy(text_MC)
    return whole


def compare_runs(name: str, generator: Generator, steps: int) -> None:
    """name: `video` or `picture`."""
    bundle, is_video = generator.bundle, name == VIDEO
    caption, negative = texts(bundle.text_width)
    frame = np.random.RandomState(3).randint(0, 256, (bundle.height, bundle.width, 3)).astype(np.uint8)
    guidance = 7.0 if is_video else 4.0
    asked = ClipRequest(
        "a", (), "yes", 1, int(is_video), 4, guidance, steps, chosen_views=(name,),
        frames=frame[None, None] if is_video else None, text=ClipText((caption,), (negative,)),
    )  # fmt: skip
    latents_VlP = generator.denoise(asked)
    assert isinstance(latents_VlP, Tensor)
    expected = unpatchify(latents_VlP, generator._grid(1))
    model = theirs(generator.network)
    pipeline = Cosmos2VideoToWorldPipeline if is_video else Cosmos2TextToImagePipeline
    pipe = pipeline(None, None, model, generator.vae.model, FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
                    safety_checker=NoChecks())  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    module = sys.modules[pipeline.__module__]
    noise = torch.from_numpy(clip_noise(4, bundle, 1)).transpose(0, 1)

    def run(fps: int) -> Tensor:
        common = {
            "height": bundle.height, "width": bundle.width, "num_inference_steps": steps, "guidance_scale": guidance,
            "latents": noise.clone(), "prompt_embeds": window(caption), "negative_prompt_embeds": window(negative),
        }  # fmt: skip
        if is_video:
            common |= {"image": Image.fromarray(frame), "num_frames": bundle.num_frames, "fps": fps}
        kept: list[Tensor] = []

        def keep(_: Any, __: int, ___: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
            kept.append(found["latents"].clone())
            return found

        pipe(**common, output_type="latent", callback_on_step_end=keep)
        return kept[-1]

    if is_video:
        known = module.retrieve_latents
        module.retrieve_latents = lambda found, _=None, sample_mode="argmax": known(found, None, sample_mode)
    told(name, run(16), expected, steps=steps, as_it_is=True)
    correct_eps(model)
    told(name, run(24), expected, steps=steps, eps=PUBLISHED_EPS, **({"fps": 24} if is_video else {}))
    if is_video:
        module.retrieve_latents = known


@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=35)
    steps = parser.parse_args(arguments).steps
    report(**machine("torch", "diffusers"))
    video = generator_of("tiny-video2world")
    compare_networks(video)
    compare_runs(VIDEO, video, steps)
    compare_runs(PICTURE, generator_of("tiny-text2image"), steps)


if __name__ == "__main__":
    main()
