"""Which solver and which schedule come nearest to the converged clip, by network evaluations of a text?

    python benchmarks/solvers.py [--model tiny] [--device cuda] [--guidance 3] [--clips 4] [--evaluations 8 12 16 36]
        [--solvers ab2 ab3 unipc2 ...] [--schedules karras7 flow5 profile ...] [--json solvers.json]

The converged clip is that of the same seed by `--converged` evaluations of `ab3` on the published schedule, in float32;
the distance is the mean over clips of the relative error of latents, and of the PSNR of all cameras' frames. Prints
a line of JSON for the profile (how fast the predicted clip bends, by noise level), then one a solver, schedule and
number of evaluations.

Solvers, all on the clean clip that the network predicts, weighed by guidance, as a function of the log of the noise
level:

    ab2, ab3         exponential Adams-Bashforth of that order; ab2 is the published one
    abm2, abm3       the same, each step corrected once its end has been evaluated (no evaluation more)
    dpm2, dpm3       DPM-Solver++ 2M and 3M as diffusers has them, in its flow form
    unipc2, unipc3   UniPC (bh2) of that order, likewise

Each ends with an evaluation at the lowest noise level, whose prediction is the clip, as published; `-stop` after a
solver's name takes the sample that the last step leads to instead, and saves that evaluation.

Schedules of noise levels from 200 to 0.01: `karrasR` (exponent R; 7 is published), `log` (even in the logarithm),
`flowS` (even in time t = s / (1 + s), shifted by S as flow models have it), `profile` (denser where the predicted clip
bends, by the cube root of its second derivative over 1 + noise level: what equal errors of second-order steps ask for,
each counted by what is left of it when the noise is gone).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from approximations import Made as Clip
from approximations import compare
from reporting import machine, report
from torch import Tensor

from cosmos_ray import Generator
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.models import sampler
from cosmos_ray.models.ab2 import SIGMA_MAX, AdamsBashforth, sigma_schedule
from cosmos_ray.models.bundle.bundle import load_bundle

SIGMA_MIN = 0.01
SOLVERS = ("ab2", "ab3", "abm2", "abm3", "dpm2", "dpm3", "unipc2", "unipc3")
SCHEDULES = ("karras7", "karras4", "log", "flow5", "flow2", "profile")
CAPTIONS = (
    "A clear day on a city street. A red car ahead.",
    "A clear night on a city street. A blue car ahead.",
    "A rainy day on a city street.",
    "A clear dusk on a city street. A white car ahead.",
)

#: (log noise level, density) of the schedule `profile`, measured on the converged clips.
Profile = tuple[np.ndarray, np.ndarray]


def schedule_of(name: str, evaluations: int, profile: Profile | None) -> np.ndarray:
    """Noise levels [evaluations], falling from 200 to 0.01."""
    even = np.linspace(0, 1, evaluations)
    if name == "log":
        return np.exp(np.log(SIGMA_MAX) + even * np.log(SIGMA_MIN / SIGMA_MAX))
    if name.startswith("karras"):
        return sigma_schedule(evaluations - 1, order=float(name.removeprefix("karras")))
    if name.startswith("flow"):
        shift = float(name.removeprefix("flow"))
        times = np.array([SIGMA_MAX / (1 + SIGMA_MAX), SIGMA_MIN / (1 + SIGMA_MIN)])
        first, last = times / (shift - (shift - 1) * times)
        plain = first + even * (last - first)
        shifted = shift * plain / (1 + (shift - 1) * plain)
        return shifted / (1 - shifted)
    assert profile is not None
    log_sigmas, density = profile
    passed = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * -np.diff(log_sigmas))])
    return np.exp(np.interp(even * passed[-1], passed, log_sigmas))


class Tried(AdamsBashforth):
    """A solver on any schedule (`sampler.Solver`), as `denoise` takes it; it remembers, and so makes one clip."""

    def __init__(self, name: str, sigmas: np.ndarray) -> None:
        self._stops = name.endswith("-stop")
        self._kind = name.removesuffix("-stop")
        self.passes = len(sigmas) - self._stops
        self._sigmas = sigmas
        self.predictions: list[Tensor] = []
        self._before: Tensor | None = None  # the sample that the last step began at
        self._scheduler = None if self._kind.startswith("ab") else _of_diffusers(self._kind, sigmas)

    def advance(self, state: Mapping[str, Tensor], x0_VlP: Tensor, number: int) -> dict[str, Tensor]:
        self.predictions.append(x0_VlP)
        step = self._by_diffusers if self._scheduler is not None else self._by_polynomials
        return {"sample": step(state["sample"], x0_VlP, number)}

    def result(self, state: Mapping[str, Tensor], x0_VlP: Tensor) -> Tensor:
        if not self._stops:
            self.predictions.append(x0_VlP)
            return x0_VlP
        return self.advance(state, x0_VlP, self.passes - 1)["sample"]

    def _by_diffusers(self, sample_VlP: Tensor, x0_VlP: Tensor, number: int) -> Tensor:
        """It keeps alpha = 1 - t and sigma = t, which is this sample over (1 + noise level)."""
        now, then = self._sigmas[number], self._sigmas[number + 1]
        assert self._scheduler is not None
        timestep = self._scheduler.timesteps[number]
        return self._scheduler.step(x0_VlP, timestep, sample_VlP / (1 + now)).prev_sample * (1 + then)  # type: ignore[no-any-return]

    def _by_polynomials(self, sample_VlP: Tensor, x0_VlP: Tensor, number: int) -> Tensor:
        order, logs = int(self._kind[-1]), -np.log(self._sigmas)
        x_VlP = sample_VlP.double()
        if self._kind.startswith("abm") and self._before is not None:
            x_VlP = self._along(self._before, number - 1, number, range(max(0, number - order + 1), number + 1), logs)
        self._before = x_VlP
        known = range(max(0, number - order + 1), number + 1)
        return self._along(x_VlP, number, number + 1, known, logs).to(sample_VlP.dtype)

    def _along(self, x_VlP: Tensor, begin: int, end: int, known: range, logs: np.ndarray) -> Tensor:
        """From one noise level to the next: the polynomial through the `known` predictions, integrated exactly."""
        h = logs[end] - logs[begin]
        moments = [1 - math.exp(-h)]
        for power in range(1, len(known)):
            moments.append(h**power - power * moments[-1])
        places = np.array([logs[one] - logs[begin] for one in known])
        weights = np.linalg.solve(np.vander(places, increasing=True).T, moments)
        moved = math.exp(-h) * x_VlP
        for weight, one in zip(weights, known, strict=True):
            moved = moved + float(weight) * self.predictions[one].double()
        return moved


def _of_diffusers(kind: str, sigmas: np.ndarray) -> Any:
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    made = DPMSolverMultistepScheduler if kind.startswith("dpm") else UniPCMultistepScheduler
    scheduler = made(
        solver_order=int(kind[-1]), use_flow_sigmas=True, prediction_type="sample", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(len(sigmas))
    scheduler.sigmas = torch.tensor([*(sigmas / (1 + sigmas)), 0.0], dtype=torch.float64)
    scheduler.timesteps = torch.arange(len(sigmas))
    scheduler.set_begin_index(0)
    return scheduler


def make(generator: Generator, asked: ClipRequest, solver: Tried) -> Clip:
    with mock.patch.object(sampler, "solver_of", return_value=solver):
        latents = generator.collect(generator.denoise(asked))
    return Clip(latents, generator.decode(latents), 0.0)


def profile_of(solvers: list[Tried]) -> Profile:
    """How fast the predicted clip bends with the log of the noise level, over converged clips."""
    logs = np.log(solvers[0]._sigmas)
    bends = []
    for solver in solvers:
        clean = torch.stack([one.flatten() for one in solver.predictions]).double()
        first = (clean[1:] - clean[:-1]) / torch.tensor(np.diff(logs), device=clean.device)[:, None]
        middles = (logs[1:] + logs[:-1]) / 2
        second = (first[1:] - first[:-1]) / torch.tensor(np.diff(middles), device=clean.device)[:, None]
        bends.append((second.pow(2).mean(1).sqrt() / clean[-1].std()).cpu().numpy())
    density = np.cbrt(np.mean(bends, axis=0) / (1 + np.exp(logs[1:-1])))
    smooth = np.convolve(np.pad(density, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
    return logs, np.maximum(np.pad(smooth, 1, mode="edge"), 0.05 * smooth.max())


def requests(generator: Generator, clips: int, guidance: float) -> list[ClipRequest]:
    bundle = generator.bundle
    negative = bundle.sampling.negative_prompt if guidance else ""
    return [
        generator.embed(
            ClipRequest(
                id=str(seed), prompts=(CAPTIONS[seed % len(CAPTIONS)],), negative_prompt=negative,
                n_views=bundle.n_views, num_conditional_frames=0, seed=seed, guidance=guidance, num_steps=1,
            )
        )
        for seed in range(clips)
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="name, folder or URI of a bundle")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--converged", type=int, default=200, help="evaluations of the clip that all are compared with")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[8, 12, 16, 21, 36])
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS))
    parser.add_argument("--schedules", nargs="+", default=list(SCHEDULES))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    report(**machine("torch", "diffusers"), model=arguments.model, guidance=arguments.guidance, clips=arguments.clips)
    generator = Generator.load(load_bundle(arguments.model), arguments.device, numerics="float32")
    asked = requests(generator, arguments.clips, arguments.guidance)
    sigmas = schedule_of("karras7", arguments.converged, None)
    best = [Tried("ab3", sigmas) for _ in asked]
    converged = [make(generator, one, solver) for one, solver in zip(asked, best, strict=True)]
    profile = profile_of(best)
    coarse = slice(None, None, max(1, arguments.converged // 40))
    report(profile_log_sigma=profile[0][coarse].round(3).tolist(), density=profile[1][coarse].round(4).tolist())
    lines = []
    for schedule in arguments.schedules:
        for solver in arguments.solvers:
            for evaluations in arguments.evaluations:
                levels = schedule_of(schedule, evaluations + solver.endswith("-stop"), profile)
                found = [
                    compare(make(generator, one, Tried(solver, levels)), exact)
                    for one, exact in zip(asked, converged, strict=True)
                ]
                line = {
                    "solver": solver, "schedule": schedule, "evaluations": evaluations,
                    **{name: round(float(np.mean([one[name] for one in found])), 5) for name in found[0]},
                }  # fmt: skip
                lines.append(line)
                report(**line)
    if arguments.json:
        arguments.json.write_text(json.dumps(lines))


if __name__ == "__main__":
    main()
