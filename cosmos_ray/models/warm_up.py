"""What a first clip would otherwise wait for: kernels loaded or compiled, and ranks that meet, for the first time.

Done with the network as soon as it is on the GPU, while what comes beside it is still being read.
"""

from __future__ import annotations

import torch

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.network.dit import Grid, MultiviewDiT
from cosmos_ray.models.parallel import ContextParallel, shard
from cosmos_ray.models.sampler import denoise
from cosmos_ray.models.timing import timed


def warm_up(
    network: MultiviewDiT,
    bundle: Bundle,
    parallel: ContextParallel,
    approximations: Approximations,
    seconds: dict[str, float],
) -> None:
    """`short_run` on a GPU; nothing on a CPU, which has nothing to load. Collective.

    seconds: where those that it takes are put down.
    """
    if network.device.type == "cuda":
        with timed(seconds, "warming up"):
            short_run(network, bundle, parallel, approximations)
            torch.cuda.synchronize(network.device)


def short_run(network: MultiviewDiT, bundle: Bundle, parallel: ContextParallel, approximations: Approximations) -> None:
    """One step of a clip of one view, with and without guidance: of seven views, a fiftieth of the work. Collective.

    With a black control video, where the network follows one. What comes out is nobody's, finite or not.
    """
    patch = 8 * bundle.network.patch_spatial
    grid = Grid(1, bundle.state_t, bundle.height // patch, bundle.width // patch)
    control_1lP = None
    if bundle.recipe.has_control:
        values = bundle.vae.z_dim * bundle.network.patch_spatial**2
        control_1lP = shard(torch.zeros(1, grid.tokens_per_view, values, device=network.device), parallel)
    text_1MC = torch.zeros(1, TEXT_TOKENS, bundle.text_width, device=network.device)
    denoise(
        network,
        grid=grid,
        condition_VlP=None,
        num_condition_latents=0,
        positive_VMC=text_1MC,
        negative_VMC=text_1MC,
        guidance=1.0,
        num_steps=1,
        seed=0,
        model_fps=bundle.model_fps,
        parallel=parallel,
        family=bundle.recipe,
        control_VlP=control_1lP,
        approximations=approximations,
    )
