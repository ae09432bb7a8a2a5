"""The kinds of golden cases: how each is computed with this package, and how close it must come.

A kind's function computes what the case holds and returns one `Check` for each comparison. All sizes come from the
case. Every function runs on each rank of a gang; only the network cases talk to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from cosmos_ray.clip.request import LATENT_FRAMES, TEXT_TOKENS
from cosmos_ray.models.ab2 import SIGMA_MAX, ab2_step, sigma_schedule
from cosmos_ray.models.network.dit import patchify, unpatchify
from cosmos_ray.models.network.rope import RopeAxes, angle_table, axis_angles
from cosmos_ray.models.parallel import ContextParallel, gather_all, shard
from cosmos_ray.models.sampler import SamplerState, denoise, initial_noise
from cosmos_ray.models.text.text import encode_ids
from cosmos_ray.models.vae.pixels import normalise_frames
from cosmos_ray.models.vae.vae import WanVAE
from support.parity_case import Case, Check, in_ulps, largest
from support.parity_cases25 import KINDS25, NETWORK_KINDS25
from support.parity_cases_guardrail import KINDS_GUARDRAIL
from support.parity_cases_single import KINDS_SINGLE, NETWORK_KINDS_SINGLE
from support.parity_network import Recorder, grid_of, network_of
from support.published_inputs import conditioning_frames
from support.published_video import to_uint8

# ---------------------------------------------------------------------------------------------------- the network


def run_dit_forward(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    x_BCFHW, fps_B = case["in.x"], case["in.fps"]
    network = network_of(case, parallel, grid_of(x_BCFHW, case.info["dit_config"]["state_t"]))
    if fps_B.unique().numel() != 1:
        raise ValueError(f"fps {fps_B.tolist()}: expected one for the whole batch")
    found = network(
        x_BCFHW,
        case["in.timesteps"],
        case["in.crossattn_emb"],
        case["in.cond_mask"],
        fps=fps_B[0].item(),
        view_indices_BF=case.tensors.get("in.view_indices"),
        parallel=parallel,
    )
    if case.info["run_dtype"] == "float32":
        yield largest("out", found, case["out"], 2e-5)
    else:
        yield largest("out", found, case["out"], 5e-2)
        yield Check("mean of out", (found.float() - case["out"].float()).abs().mean().item(), 1e-2)


# ---------------------------------------------------------------------------------------------------- the sampler


@dataclass(frozen=True)
class Run:
    """A sampling run in the reference's layout: latents [1, 16, V*T, H, W]; samples and timesteps a step."""

    out: Tensor
    samples: list[Tensor]
    timesteps: list[Tensor]
    first_calls: list[tuple[Tensor, Tensor, Tensor]]


def sample_case(case: Case, gt_latent: Tensor, noise_unit: Tensor | None, parallel: ContextParallel) -> Run:
    """Run the whole sampler as the case says. noise_unit None: drawn from the case's seed."""
    info = case.info
    grid = grid_of(gt_latent, info["state_t"])
    recorder = Recorder(network_of(case, parallel, grid))

    def to_share(latent_1CFHW: Tensor) -> Tensor:
        return shard(patchify(rearrange(latent_1CFHW, "1 c (v t) h w -> v c t h w", v=grid.views)), parallel)

    def to_clip(share_VlP: Tensor) -> Tensor:
        whole_VCTHW = unpatchify(gather_all(share_VlP, parallel), grid)
        return rearrange(whole_VCTHW, "v c t h w -> 1 c (v t) h w")

    def text(name: str) -> Tensor:
        """The reference captions view 0 only; the files hold its first tokens."""
        text_MC = case[name][0]
        windows_MC = text_MC.new_zeros(grid.views * TEXT_TOKENS, text_MC.shape[1])
        windows_MC[: len(text_MC)] = text_MC
        return windows_MC.unflatten(0, (grid.views, TEXT_TOKENS))

    states: list[SamplerState] = []
    out = denoise(
        recorder,  # type: ignore[arg-type]
        grid=grid,
        condition_VlP=to_share(gt_latent),
        num_condition_latents=info["num_latent_conditional_frames"],
        positive_VMC=text("in.text_emb"),
        negative_VMC=text("in.neg_text_emb") if info.get("negative_prompt", True) else None,
        guidance=info["guidance"],
        num_steps=info["steps"],
        seed=info["noise_seed"],
        model_fps=info["fps_for_rope"],
        parallel=parallel,
        on_state=states.append,
        resume=None if noise_unit is None else SamplerState(0, {"sample": SIGMA_MAX * to_share(noise_unit)}),
    )
    x, timesteps, answers = recorder.calls[0]
    return Run(
        out=to_clip(out),
        samples=[to_clip(state.tensors["sample"]) for state in states],
        timesteps=[timesteps.flatten() for _, timesteps, _ in recorder.calls],
        first_calls=[(to_clip(x), timesteps.flatten(), to_clip(answer)) for answer in answers],
    )


def run_denoise_loop(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    steps = case.info["steps"]
    run = sample_case(case, case["in.gt_latent"], None, parallel)
    yield largest("out", run.out, case["out"], 2e-4)
    noise = initial_noise(case.info["noise_seed"], tuple(case["in.noise_unit"].shape))
    yield largest("noise", noise, case["in.noise_unit"], 0)
    if "sigmas" in case:
        sigmas = torch.from_numpy(sigma_schedule(steps))
        yield Check("sigmas", ((sigmas - case["sigmas"]) / case["sigmas"]).abs().max().item(), 1e-12)
    if "timesteps_all" in case:
        yield largest("timesteps", torch.stack(run.timesteps), case["timesteps_all"], 1e-6)
    if "x_at_step" in case:
        kept = range(steps + 1) if steps <= 8 else (0, 1, 2, steps // 2, steps - 1, steps)
        yield largest("x_at_step[0]", run.samples[0][0], case["x_at_step"][0], 0)
        for expected, step in zip(case["x_at_step"], kept, strict=True):
            # float32 near the start's 200 times unit noise resolves 6e-5
            yield largest(f"x at step {step}", run.samples[step][0], expected, 5e-4)
    names = ("first.net_out_cond", "first.net_out_uncond")
    for name, (net_in, timesteps, net_out) in zip(names, run.first_calls, strict=False):
        if name in case:
            yield largest("first.net_in", net_in, case["first.net_in"], 1e-5)
            yield largest("first.timesteps", timesteps, case["first.timesteps"].flatten(), 1e-6)
            yield largest(name, net_out, case[name], 2e-5)


def run_denoise_loop_cp(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    """The reference's own context-parallel runs permute the noise, so the case says which noise they really used."""
    run = sample_case(case, case["in.gt_latent"], case["in.noise_effective"], parallel)
    yield largest("out", run.out, case["out"], 1e-3)


def run_end_to_end(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    """Clip to latents in one go, then the decoder on the case's own final latents.

    The decoder of these cases is 2 channels wide and multiplies a difference in its input by up to 2500, so float32
    rounding in the sampler (1e-5) alone would exceed the tolerance of the video. The whole chain is held to it in
    the mean.
    """
    info = case.info
    views, pixel_frames = info["views"], 4 * (info["state_t"] - 1) + 1
    video_TNHWC = case["in.video_THWC_u8"].numpy()
    given_latents, given = info["num_latent_conditional_frames"], info["num_conditional_frames"]
    height, width = case["mid.model_video_u8"].shape[-2:]
    model_video = _model_video(video_TNHWC, views, given, pixel_frames, (height, width))
    yield largest("frames selected", model_video, case["mid.model_video_u8"], 0)

    vae = vae_of(case)
    latents_VCTHW = torch.zeros(views, 16, info["state_t"], height // 8, width // 8)
    if given:
        per_view = rearrange(model_video, "1 c (v f) h w -> v c f h w", v=views)[:, :, :given]
        latents_VCTHW[:, :, :given_latents] = vae.encode(normalise_frames(per_view, torch.float32))
        expected = rearrange(case["mid.gt_latent"], "1 c (v t) h w -> v c t h w", v=views)
        error = (latents_VCTHW - expected)[:, :, :given_latents].abs().max().item()
        yield Check("conditioning latents", error, 1e-3)

    run = sample_case(case, rearrange(latents_VCTHW, "v c t h w -> 1 c (v t) h w"), None, parallel)
    yield largest("final latents", run.out, case["mid.final_latent"], 1e-3)

    def decode(latent_1CFHW: Tensor) -> Tensor:
        decoded = vae.decode(rearrange(latent_1CFHW, "1 c (v t) h w -> v c t h w", v=views))
        return rearrange(decoded, "v c f h w -> 1 c (v f) h w")

    # Our decoder clamps to [-1, 1], the reference's range rule does it later: compare after clamping both.
    expected_video = case["out.video_float"].clamp(-1, 1)
    chain_error = (decode(run.out) - expected_video).abs().mean().item()
    yield Check("mean of the whole chain's video", chain_error, 2e-3)
    video = decode(case["mid.final_latent"])
    yield largest("video", video, expected_video, 2e-3)
    saved_FHWC = rearrange(to_uint8(video), "1 c (v f) h w -> f (v h) w c", v=views)
    yield largest("bytes", saved_FHWC, case["out.saved_frames_u8"], 1)


# ---------------------------------------------------------------------------------------------------- the parts


def run_scheduler(case: Case, _: ContextParallel) -> Iterator[Check]:
    info = case.info
    for steps in info["steps"]:
        sigmas = sigma_schedule(steps, info["sigma_max"], info["sigma_min"], info["order"])
        expected = case[f"n{steps}.sigmas"].numpy()
        yield Check(f"{steps} sigmas", float(np.abs(sigmas / expected - 1).max()), 1e-12)
        x, previous = case[f"n{steps}.x_init"], None
        for i, (x0, after) in enumerate(zip(case[f"n{steps}.x0_pred"], case[f"n{steps}.x_after_step"], strict=True)):
            x, previous = ab2_step(x, x0, previous, sigmas, i), x0
            yield largest(f"x after step {i} of {steps}", x, after, 1e-4)


def run_noise(case: Case, _: ContextParallel) -> Iterator[Check]:
    for spec in case.info["specs"]:
        i = spec.get("index")
        noise = initial_noise(spec["seed"], tuple(spec["shape"]))
        if (whole := f"s{spec['seed']}.noise") in case:
            yield largest(whole, noise, case[whole], 0)
        flat = noise.flatten()
        stride = flat[:: max(1, flat.numel() // 997)][:997]
        for name, found in {"full": noise, "first64": flat[:64], "last64": flat[-64:], "stride": stride}.items():
            if f"{i}.{name}" in case:
                yield largest(f"{i}.{name}", found, case[f"{i}.{name}"], 0)
        if f"{i}.sum_f64" in case:
            yield largest(f"{i}.sum", flat.double().sum()[None], case[f"{i}.sum_f64"], 1e-6)


def run_rope_angles(case: Case, _: ContextParallel) -> Iterator[Check]:
    for spec in case.info["specs"]:
        i, (ratio_h, ratio_w, ratio_t) = spec["index"], spec["ratios_h_w_t"]
        axes = RopeAxes(spec["head_dim"], ratio_t=ratio_t, ratio_h=ratio_h, ratio_w=ratio_w)
        extent = spec["T_per_view"], spec["H_patches"], spec["W_patches"]
        dtype = getattr(torch, spec["buffer_dtype"].removeprefix("torch."))
        found = dict(zip("thw", axis_angles(axes, *extent, spec["fps"], dtype), strict=True))
        table = angle_table(axes, *extent, spec["fps"], dtype)
        found_all = {f"{i}.angles_{axis}": angles for axis, angles in found.items()}
        found_all[f"{i}.full_L_1_1_D"] = table.repeat(spec["n_cameras"], 2)[:, None, None]
        for name, angles in found_all.items():
            if name not in case:
                continue
            if dtype == torch.float32:
                yield largest(name, angles, case[name], 1e-4)
            else:
                yield in_ulps(name, angles, case[name])


def run_video_preprocess(case: Case, _: ContextParallel) -> Iterator[Check]:
    for spec in case.info["specs"]:
        i, given = spec["index"], _pixel_frames(spec["num_latent_conditional_frames"])
        video_THWC = case[f"{i}.video_in_THWC_u8"].numpy()
        target = tuple(spec["target_hw"])
        found = _model_video(video_THWC, spec["n_views"], given, spec["frames_per_view_out"], target)
        resized = tuple(spec["in_hw"]) != target
        yield largest(f"{i}.video", found, case[f"{i}.out_1CTHW_u8"], 1 if resized else 0)
    levels = torch.arange(256, dtype=torch.uint8)
    for name, dtype in (("norm_f32", torch.float32), ("norm_bf16", torch.bfloat16)):
        if name in case:
            yield largest(name, normalise_frames(levels, dtype), case[name], 0)


def _pixel_frames(latent_frames: int) -> int:
    return next(pixels for pixels, latents in LATENT_FRAMES.items() if latents == latent_frames)


def _model_video(video_THWC: np.ndarray, views: int, given: int, frames: int, size_hw: tuple[int, ...]) -> Tensor:
    """The reference's model video uint8 [1, 3, V*frames, H, W]: the conditioning frames of each view, then black.

    This package never makes the black frames: nothing depends on them.
    """
    video_VFHWC = np.zeros((views, frames, *size_hw, 3), np.uint8)
    if given:
        height, width = size_hw
        video_VFHWC[:, :given] = conditioning_frames(video_THWC, views, given, (height, width))
    return rearrange(torch.from_numpy(video_VFHWC), "v f h w c -> 1 c (v f) h w")


def run_t5_encode(case: Case, _: ContextParallel) -> Iterator[Check]:
    encoder = T5EncoderModel(T5Config(**case.info["t5_config"]))
    weights = case.under("t5.")
    weights.setdefault("encoder.embed_tokens.weight", weights["shared.weight"])
    encoder.load_state_dict(weights)
    encoder.eval()
    with torch.no_grad():
        found = encode_ids(encoder, case["in.input_ids"], case["in.attention_mask"])
    yield largest("embedding", found, case["out.embedding"], 1e-4)
    beyond = found[case["in.attention_mask"] == 0]
    yield Check("padding rows", beyond.abs().max().item() if beyond.numel() else 0.0, 0)


def vae_of(case: Case) -> WanVAE:
    """The case's VAE; cases may leave out dimensions that are the published ones."""
    config = case.info["vae_config"]
    dim_mult, num_res_blocks = tuple(config.get("dim_mult", (1, 2, 4, 4))), config.get("num_res_blocks", 2)
    return WanVAE.from_published(case.under("vae."), config["dim"], config["z_dim"], dim_mult, num_res_blocks)


def run_vae(case: Case, _: ContextParallel) -> Iterator[Check]:
    vae = vae_of(case)
    for name in sorted(case.tensors):
        direction, number, what = (*name.split("."), "", "")[:3]
        if direction == "enc" and what == "video":
            yield largest(f"encode {number}", vae.encode(case[name]), case[f"enc.{number}.latent"], 1e-4)
        if direction == "dec" and what == "latent":
            # diffusers clamps its decoder's output to [-1, 1], the reference does not: compare after clamping both.
            yield largest(f"decode {number}", vae.decode(case[name]), case[f"dec.{number}.video"].clamp(-1, 1), 1e-4)


KINDS: dict[str, Callable[[Case, ContextParallel], Iterator[Check]]] = {
    "dit_forward": run_dit_forward,
    "denoise_loop": run_denoise_loop,
    "denoise_loop_cp": run_denoise_loop_cp,
    "end_to_end": run_end_to_end,
    "scheduler": run_scheduler,
    "noise": run_noise,
    "rope_angles": run_rope_angles,
    "video_preprocess": run_video_preprocess,
    "t5_encode": run_t5_encode,
    "vae": run_vae,
    **KINDS25,
    **KINDS_SINGLE,
    **KINDS_GUARDRAIL,
}

#: Kinds that run over the ranks of a gang.
NETWORK_KINDS = (
    frozenset({"dit_forward", "denoise_loop", "denoise_loop_cp", "end_to_end"}) | NETWORK_KINDS25 | NETWORK_KINDS_SINGLE
)
