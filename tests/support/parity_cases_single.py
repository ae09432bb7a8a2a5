"""The kinds of golden cases of Predict2's models of one view, as `parity_cases` has those of the multiview one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from cosmos_ray.clip.family import TEXT2IMAGE, TEXT2IMAGE_DISTILLED, VIDEO2WORLD, Family
from cosmos_ray.clip.request import LATENT_FRAMES, TEXT_TOKENS
from cosmos_ray.models.ab2 import sigma_schedule
from cosmos_ray.models.network.rope import RopeAxes, angle_table, axis_angles
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import SamplerState, denoise, initial_noise
from support.parity_case import Case, Check, in_ulps, largest
from support.parity_cases25 import Layout
from support.parity_network import Recorder, grid_of, network_of
from support.published_inputs import conditioning_frames

#: What the published networks of one view are, beside what their configuration says.
_NO_CAMERAS = {"n_cameras_emb": 0, "view_condition_dim": 0}


def network(case: Case, parallel: ContextParallel, latent_BCFHW: Tensor) -> Any:
    frames = latent_BCFHW.shape[2]
    said = {**_NO_CAMERAS, "has_condition_mask": case.info["network"] != "text2image", "state_t": frames}
    said["rope_enable_fps_modulation"] = case.info["dit_config"]["rope_enable_fps_modulation"]
    return network_of(case, parallel, grid_of(latent_BCFHW, frames), **said)


def run_dit_forward(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    x_BCFHW, fps_B = case["in.x"], case["in.fps"]
    dit = network(case, parallel, x_BCFHW)
    mask_B1FHW = case.tensors.get("in.cond_mask", torch.zeros_like(x_BCFHW[:, :1]))
    inputs = (x_BCFHW, case["in.timesteps"], case["in.crossattn_emb"], mask_B1FHW)
    if not dit.config.rope_enable_fps_modulation or fps_B.unique().numel() == 1:
        found = dit(*inputs, fps=fps_B[0].item(), parallel=parallel)
    else:  # one after the other: our clips of a batch have one rate
        each = zip(*(x.split(1) for x in inputs), fps_B.tolist(), strict=True)
        found = torch.cat([dit(*one, fps=fps, parallel=parallel) for *one, fps in each])
    if case.info["run_dtype"] == "float32":
        yield largest("out", found, case["out"], 2e-5)
    else:
        yield largest("out", found, case["out"], 5e-2)
        yield Check("mean of out", (found.float() - case["out"].float()).abs().mean().item(), 1e-2)


class Run:
    """A run of the sampler as a case says, in the reference's layout [1, 16, T, H, W]."""

    def __init__(
        self,
        case: Case,
        family: Family,
        latent_1CFHW: Tensor,
        steps: int,
        parallel: ContextParallel,
        draws_nCVTHW: Tensor | None = None,
    ) -> None:
        grid = grid_of(latent_1CFHW, latent_1CFHW.shape[2])
        layout = Layout(grid, parallel)
        self.calls = Recorder(network(case, parallel, latent_1CFHW))
        states: list[SamplerState] = []
        given = case.info.get("num_latent_conditional_frames", 0)
        out_VlP = denoise(
            self.calls,  # type: ignore[arg-type]
            grid=grid,
            condition_VlP=layout.to_share(latent_1CFHW) if given else None,
            num_condition_latents=given,
            positive_VMC=window(case["in.text_emb"]),
            negative_VMC=other_window(case, family),
            guidance=case.info.get("guidance", 0.0),
            num_steps=steps,
            seed=case.info["noise_seed"],
            model_fps=16.0,
            parallel=parallel,
            family=family,
            noise_CVTHW=draws_nCVTHW,
            on_state=states.append,
        )
        self.out = layout.to_clip(out_VlP)
        self.samples = [layout.to_clip(state.tensors["sample"]) for state in states]
        self.timesteps = torch.stack([timesteps.flatten() for _, timesteps, _ in self.calls.calls])
        x, _, answers = self.calls.calls[0]
        self.first_in, self.first_out = layout.to_clip(x), [layout.to_clip(answer) for answer in answers]


def window(text_1MC: Tensor) -> Tensor:
    """The text's rows, and zeros up to the window's."""
    text_MC = text_1MC[0]
    window_1MC = text_MC.new_zeros(1, TEXT_TOKENS, text_MC.shape[1])
    window_1MC[0, : len(text_MC)] = text_MC
    return window_1MC


def other_window(case: Case, family: Family) -> Tensor | None:
    """What is weighed against: the negative prompt; without one, what the family says."""
    if not family.is_guided("yes" if "in.neg_text_emb" in case else ""):
        return None
    if "in.neg_text_emb" in case:
        return window(case["in.neg_text_emb"])
    return torch.zeros_like(window(case["in.text_emb"]))


def run_loop(family: Family, case: Case, parallel: ContextParallel) -> Iterator[Check]:
    steps, noise = case.info["steps"], case["in.noise_unit"]
    run = Run(case, family, case.tensors.get("in.gt_latent", torch.zeros_like(noise)), steps, parallel)
    yield largest("out", run.out, case["out"], 2e-4)
    yield largest("noise", initial_noise(case.info["noise_seed"], tuple(noise.shape)), noise, 0)
    high, low = family.noise_levels
    sigmas = torch.from_numpy(sigma_schedule(steps, high, low))
    yield Check("sigmas", ((sigmas - case["sigmas"]) / case["sigmas"]).abs().max().item(), 1e-12)
    yield largest("timesteps", run.timesteps, case["timesteps_all"], 1e-6)
    yield largest("x_at_step[0]", run.samples[0][0], case["x_at_step"][0], 0)
    kept = range(steps + 1) if steps <= 8 else (0, 1, 2, steps // 2, steps - 1, steps)
    for expected, step in zip(case["x_at_step"], kept, strict=True):
        yield largest(f"x at step {step}", run.samples[step][0], expected, 2e-4)
    yield largest("first.net_in", run.first_in, case["first.net_in"], 1e-5)
    names = ("first.net_out_cond", "first.net_out_uncond")
    for name, found in zip(names, run.first_out, strict=False):
        yield largest(name, found, case[name], 2e-5)


def run_denoise_loop_v2w(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    yield from run_loop(VIDEO2WORLD, case, parallel)


def run_denoise_loop_t2i(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    yield from run_loop(TEXT2IMAGE, case, parallel)


def run_distill_loop(case: Case, parallel: ContextParallel) -> Iterator[Check]:
    draws_nCTHW = case["in.noise_draws"]
    steps = case.info["distill_steps"]
    run = Run(case, TEXT2IMAGE_DISTILLED, draws_nCTHW[:1], steps, parallel, draws_nCTHW.unsqueeze(2))
    yield largest("out", run.out, case["out"], 1e-5)
    yield largest("timesteps", run.timesteps, case["timesteps_all"], 1e-6)
    for step, expected in enumerate(case["x_at_step"]):
        yield largest(f"x at step {step}", run.samples[step][0], expected, 1e-4)


def run_rope_angles(case: Case, _: ContextParallel) -> Iterator[Check]:
    for spec in case.info["specs"]:
        i, (ratio_h, ratio_w, ratio_t) = spec["index"], spec["ratios_h_w_t"]
        axes = RopeAxes(spec["head_dim"], ratio_t=ratio_t, ratio_h=ratio_h, ratio_w=ratio_w)
        dtype = getattr(torch, spec["buffer_dtype"].removeprefix("torch."))
        fps = float(spec["fps"]) if spec["fps_modulation"] else None
        asked = (axes, spec["T"], spec["H_patches"], spec["W_patches"], fps, dtype)
        found = dict(zip((f"{i}.angles_{axis}" for axis in "thw"), axis_angles(*asked), strict=True))
        found[f"{i}.full_L_1_1_D"] = angle_table(*asked).repeat(1, 2)[:, None, None]
        for name, angles in found.items():
            if name in case and dtype == torch.float32:
                yield largest(name, angles, case[name], 1e-4)
            elif name in case:
                yield in_ulps(name, angles, case[name])


def run_preprocess(case: Case, _: ContextParallel) -> Iterator[Check]:
    """The reference fills what no clip depends on: the rest of a video with its last frame, of a picture with black."""
    for spec in case.info["specs"]:
        i, is_image, stride = spec["index"], spec["input"] == "image", spec.get("stride", 1)
        given_THWC = _given(case, spec)
        latents = 1 if is_image else spec["num_latent_conditional_frames"]
        count = next(pixels for pixels, filled in LATENT_FRAMES.items() if filled == latents)
        height, width = spec["target_hw"]
        taken_THWC = conditioning_frames(given_THWC, 1, count, (height, width))[0]
        rest = np.zeros_like(taken_THWC[-1:]) if is_image else taken_THWC[-1:]
        whole_THWC = np.concatenate([taken_THWC, rest.repeat(spec["frames_out"] - count, axis=0)])
        found = rearrange(torch.from_numpy(whole_THWC[:, ::stride, ::stride]), "t h w c -> 1 c t h w")
        expected = case[f"{i}.out_1CTHW_u8"]
        yield largest(f"{i}.video", found, expected, 0 if spec["in_hw"] == spec["target_hw"] else 1)
        yield Check(f"mean of {i}.video", (found.double() - expected.double()).abs().mean().item(), 0.05)


def _given(case: Case, spec: dict[str, Any]) -> np.ndarray:
    """The input's frames [T, H, W, 3]: stored, or of the case's recipe."""
    i = spec["index"]
    if f"{i}.video_in_THWC_u8" in case:
        return case[f"{i}.video_in_THWC_u8"].numpy()
    if f"{i}.image_in_HWC_u8" in case:
        return case[f"{i}.image_in_HWC_u8"].numpy()[None]
    seed = int(spec["input_recipe"].split("RandomState(")[1].split(")")[0])
    shape = (spec.get("frames_in", 1), *spec["in_hw"], 3)
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


KINDS_SINGLE: dict[str, Callable[[Case, ContextParallel], Iterator[Check]]] = {
    "dit_forward_single": run_dit_forward,
    "denoise_loop_v2w": run_denoise_loop_v2w,
    "denoise_loop_t2i": run_denoise_loop_t2i,
    "distill_loop_t2i": run_distill_loop,
    "rope_angles_single": run_rope_angles,
    "video_preprocess_single": run_preprocess,
}
NETWORK_KINDS_SINGLE = frozenset({"dit_forward_single", "denoise_loop_v2w", "denoise_loop_t2i", "distill_loop_t2i"})
