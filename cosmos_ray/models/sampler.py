"""From noise to a clip's latents: one loop for all families, and a solver for each kind of schedule.

Everything is elementwise on a rank's share of the tokens, so it needs no communication of its own. The sample is
float32.

Legend: V views, T latent frames, H/W latent height and width, L tokens of a view, l a rank's share of them, P = 64
values a token, m = 4 of its mask, M text tokens, C text width (of noise: latent channels), R texts of a clip that
guidance weighs: the caption's and the negative prompt's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.family import PREDICT2, Family
from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.ab2 import AdamsBashforth
from cosmos_ray.models.distilled import Distilled
from cosmos_ray.models.network.dit import Grid, MultiviewDiT, Share, patchify
from cosmos_ray.models.noise import draw_noise
from cosmos_ray.models.parallel import ContextParallel, shard, share_slice
from cosmos_ray.models.unipc import UniPC
from cosmos_ray.models.unipc_noise import NoiseUniPC


@dataclass(frozen=True)
class SamplerState:
    """A run between two passes: all it takes to go on (this rank's share).

    step: passes done; tensors: [V, l, P] float32 by name, as the family's solver has them (`Family.state`), `sample`
    at the noise level of that step among them.
    """

    step: int
    tensors: Mapping[str, Tensor]


class Solver(Protocol):
    """One clip's schedule. Passes have numbers from 0; a state is that before pass `number`.

    passes: evaluations of the network. reads_noise: `prediction` needs the clip's noise.
    """

    passes: int
    reads_noise: bool

    def start(self, noise_VlP: Tensor) -> dict[str, Tensor]:
        """The state before the first pass."""
        ...

    def timesteps(self, number: int, given: int, grid: Grid, device: torch.device) -> Tensor:
        """What the network is told of time: [V, T], or [1, 1] for one that all frames share. given: conditional
        latent frames."""
        ...

    def shown(self, sample_VlP: Tensor, number: int) -> Tensor:
        """The sample as the network takes it, conditional frames aside."""
        ...

    def prediction(
        self,
        sample_VlP: Tensor,
        answer_RVlP: Tensor,
        number: int,
        is_given_l1: Tensor,
        given_VlP: Tensor,
        noise_VlP: Tensor,
    ) -> Tensor:
        """What each text's answer means, [R, V, l, P]: what guidance weighs."""
        ...

    def advance(self, state: Mapping[str, Tensor], guided_VlP: Tensor, number: int) -> dict[str, Tensor]:
        """The state before the next pass."""
        ...

    def result(self, state: Mapping[str, Tensor], guided_VlP: Tensor) -> Tensor:
        """The clip, of the last pass."""
        ...


def solver_of(family: Family, num_steps: int, draw: Callable[[int], Tensor]) -> Solver:
    """draw: noise that a later pass begins with, of this rank, for solvers that have some."""
    match family.solver:
        case "ab2":
            return AdamsBashforth(num_steps, family.noise_levels, family.exponent)
        case "unipc":
            return UniPC(num_steps)
        case "unipc-noise":
            return NoiseUniPC(num_steps, family.noise_levels, family.exponent)
        case "distilled":
            return Distilled(num_steps, draw)


def initial_noise(seed: int, shape: tuple[int, ...], number: int = 0) -> Tensor:
    """Unit normal noise, float32: the same numbers for a seed on every machine, whatever the number of ranks."""
    return torch.from_numpy(draw_noise(seed, shape, number))


@torch.no_grad()
def denoise(
    network: MultiviewDiT,
    *,
    # The clip's shape, and what it begins with
    grid: Grid,
    condition_VlP: Tensor | None,
    num_condition_latents: int,
    seed: int,
    noise_CVTHW: Tensor | None = None,
    # What it is to show
    positive_VMC: Tensor,
    negative_VMC: Tensor | None,
    guidance: float,
    control_VlP: Tensor | None = None,
    control_weight: float = 1.0,
    view_ids: Sequence[int] | None = None,
    # How it is made, and on which ranks
    num_steps: int,
    model_fps: float,
    parallel: ContextParallel,
    family: Family = PREDICT2,
    approximations: Approximations = EXACT,
    # Who hears of it, and where it goes on
    on_step: Callable[[int, int], None] | None = None,
    on_state: Callable[[SamplerState], None] | None = None,
    resume: SamplerState | None = None,
) -> Tensor:
    """Generate one clip's latents: this rank's share [V, l, 64] float32. Collective.

    condition_VlP: this rank's share of the conditioning latents, read on the first `num_condition_latents` frames of
    each view only; None if that number is 0. noise: the whole clip's, where it was drawn from the seed ahead; of a
    solver that draws again, perhaps all draws, [n, C, V, T, H, W].
    positive, negative: text of each view [V, 512, C], zero padded; without a negative there is one text and nothing for
    guidance to act on. guidance: weighs the caption against the negative prompt, in the family's form. control: latents
    of the control videos of a network that takes them, this rank's share, and how much they weigh. view_ids: the camera
    of each view; 0 to V-1 if left out.
    approximations: among others, where guidance acts; elsewhere the positive branch is computed alone.
    on_step(done, total): after each of the family's passes. on_state: the state before the first pass and after each
    one but the last; given back as `resume`, on the network's device, it continues that run bit for bit.
    """
    _check_inputs(grid, condition_VlP, num_condition_latents, positive_VMC, negative_VMC)

    def draw(number: int) -> Tensor:
        return _noise(network, seed, grid, parallel, noise_CVTHW, number)

    solver = solver_of(family, num_steps, draw)
    share = network.share(grid, model_fps, parallel, given_frames=num_condition_latents)
    given = _given(network, grid, parallel, condition_VlP, num_condition_latents)
    needs_noise = resume is None or (solver.reads_noise and num_condition_latents > 0)
    noise_VlP = draw(0) if needs_noise else torch.zeros((), device=network.device)
    texts = [text_VMC for text_VMC in (positive_VMC, negative_VMC) if text_VMC is not None]
    guided = _Guided(
        network,
        solver,
        grid,
        share,
        given,
        noise_VlP,
        texts_RVMC=torch.stack(texts).to(network.device, network.dtype),
        guidance=guidance,
        family=family,
        approximations=approximations,
        extras=_cameras(network, grid, view_ids) | _control(network, control_VlP, control_weight),
    )

    state = resume or SamplerState(0, solver.start(noise_VlP))
    if on_state:
        on_state(state)
    for number in range(state.step, solver.passes - 1):
        guided_VlP = guided(state.tensors["sample"], number)
        state = SamplerState(number + 1, solver.advance(state.tensors, guided_VlP, number))
        if on_state:
            on_state(state)
        if on_step:
            on_step(number + 1, solver.passes)
    clean_VlP = solver.result(state.tensors, guided(state.tensors["sample"], state.step))
    if on_step:
        on_step(solver.passes, solver.passes)
    return clean_VlP


@dataclass(frozen=True, eq=False)
class _Given:
    """What every view begins with: so many latent frames.

    is_l1: which of this rank's tokens are theirs, the only ones on which `latents` are read; mask: the same for the
    network.
    """

    frames: int
    is_l1: Tensor
    latents_VlP: Tensor
    mask_Vlm: Tensor


@dataclass(frozen=True, eq=False)
class _Guided:
    """What guidance makes of the network's answers about one clip: all that its passes share.

    extras: arguments of the network that only some clips, or families, have.
    """

    network: MultiviewDiT
    solver: Solver
    grid: Grid
    share: Share
    given: _Given
    noise_VlP: Tensor
    texts_RVMC: Tensor
    guidance: float
    family: Family
    approximations: Approximations
    extras: Mapping[str, Any]

    def __call__(self, sample_VlP: Tensor, number: int) -> Tensor:
        """Of the sample before pass `number`, [V, l, P]."""
        is_guided = self.approximations.is_guided(number, self.solver.passes)
        caption_VlP, *negative = self._predictions(
            sample_VlP, number, self.texts_RVMC if is_guided else self.texts_RVMC[:1]
        )
        return guide(self.family, caption_VlP, negative[0], self.guidance) if negative else caption_VlP

    def _predictions(self, sample_VlP: Tensor, number: int, texts_RVMC: Tensor) -> Tensor:
        """What each text predicts of the sample, [R, V, l, P]."""
        network, solver, given = self.network, self.solver, self.given
        net_in_VlP = torch.where(given.is_l1, given.latents_VlP, solver.shown(sample_VlP, number))
        answer_RVlP = network.forward_tokens(
            net_in_VlP[None],
            given.mask_Vlm[None],
            solver.timesteps(number, given.frames, self.grid, network.device)[None],
            texts_RVMC,
            self.share,
            fp8_blocks=self.approximations.fp8_blocks(number, solver.passes, network.config.num_blocks),
            **self.extras,
        ).float()
        return solver.prediction(sample_VlP, answer_RVlP, number, given.is_l1, given.latents_VlP, self.noise_VlP)


def _given(
    network: MultiviewDiT, grid: Grid, parallel: ContextParallel, condition_VlP: Tensor | None, frames: int
) -> _Given:
    device, tokens = network.device, share_slice(grid.tokens_per_view, parallel)
    # Conditional tokens are the first frames of each view.
    is_given_l1 = torch.arange(tokens.start, tokens.stop, device=device)[:, None] < frames * grid.tokens_per_frame
    nothing = torch.zeros((), device=device)
    given_VlP = nothing if condition_VlP is None else condition_VlP.to(device, torch.float32)
    mask_Vlm = is_given_l1.float().expand(grid.views, -1, network.config.patch_spatial**2)
    return _Given(frames, is_given_l1, given_VlP, mask_Vlm)


def _cameras(network: MultiviewDiT, grid: Grid, view_ids: Sequence[int] | None) -> dict[str, Any]:
    """The network's own order of cameras if there are no ids."""
    if view_ids is None:
        return {}
    cameras_1V1 = torch.tensor(view_ids, device=network.device)[None, :, None]
    return {"view_indices_BVT": cameras_1V1.expand(1, grid.views, grid.frames)}


def _control(network: MultiviewDiT, control_VlP: Tensor | None, weight: float) -> dict[str, Any]:
    if control_VlP is None:
        return {}
    return {"control_BVlP": control_VlP[None].to(network.device), "control_weight": weight}


def guide(family: Family, caption_VlP: Tensor, other_VlP: Tensor, guidance: float) -> Tensor:
    """The two answers weighed, in the family's form."""
    beyond_VlP = guidance * (caption_VlP - other_VlP)
    return (other_VlP if family.guidance == "from_other" else caption_VlP) + beyond_VlP


def _noise(
    network: MultiviewDiT,
    seed: int,
    grid: Grid,
    parallel: ContextParallel,
    noise_CVTHW: Tensor | None,
    number: int,
) -> Tensor:
    """This rank's share [V, l, P] of unit noise, drawn for the whole clip in the single-GPU layout, then cut: the
    ranks' number never changes a clip."""
    config = network.config
    patch = config.patch_spatial
    if noise_CVTHW is not None and noise_CVTHW.ndim == 6:
        noise_CVTHW = noise_CVTHW[number]
    elif noise_CVTHW is None or number:
        shape = (config.in_channels, grid.views, grid.frames, grid.height * patch, grid.width * patch)
        noise_CVTHW = initial_noise(seed, shape, number)
    return shard(patchify(noise_CVTHW.to(network.device).transpose(0, 1), patch), parallel)


def _check_inputs(
    grid: Grid,
    condition_VlP: Tensor | None,
    num_condition_latents: int,
    positive_VMC: Tensor,
    negative_VMC: Tensor | None,
) -> None:
    if not 0 <= num_condition_latents <= grid.frames:
        raise ValueError(f"{num_condition_latents} conditional latent frames: expected 0 to {grid.frames}")
    if num_condition_latents and condition_VlP is None:
        raise ValueError(f"{num_condition_latents} conditional latent frames, but no conditioning latents")
    for name, text_VMC in (("positive", positive_VMC), ("negative", negative_VMC)):
        # Shorter text would be another softmax: the padding is part of the model.
        if text_VMC is not None and text_VMC.shape[:2] != (grid.views, TEXT_TOKENS):
            raise ValueError(
                f"{name} text {list(text_VMC.shape)}: expected [{grid.views}, {TEXT_TOKENS}, text width], zero padded"
            )
