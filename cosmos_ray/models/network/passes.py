"""Passes over all tokens between matrix products: one fused kernel each on a GPU, plain PyTorch elsewhere.

The two give the same numbers up to the order of the sums in the norms. `fused_kernels` alone decides which is used.

Legend: as in `layers`.
"""

from __future__ import annotations

import importlib
import logging
import subprocess
from functools import cache
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from cosmos_ray.errors import first_line
from cosmos_ray.models.network.rope import rotate
from cosmos_ray.models.network.toolchain import missing_tools

NORM_EPS = 1e-6

logger = logging.getLogger(__name__)


def modulated_norm(x_BVSsD: Tensor, shift_BVS1D: Tensor, scale_BVS1D: Tensor) -> Tensor:
    """LayerNorm without weights of its own, then scale and shift from the timestep."""
    if kernels := fused_kernels(x_BVSsD):
        return kernels.modulated_norm(x_BVSsD, shift_BVS1D, scale_BVS1D, NORM_EPS)
    return F.layer_norm(x_BVSsD, x_BVSsD.shape[-1:], eps=NORM_EPS) * (1 + scale_BVS1D) + shift_BVS1D


def add_gated(x_BVSsD: Tensor, gate_BVS1D: Tensor, y_BVSsD: Tensor) -> Tensor:
    """x + gate * y."""
    if kernels := fused_kernels(x_BVSsD):
        return kernels.add_gated(x_BVSsD, gate_BVS1D, y_BVSsD)
    return x_BVSsD + gate_BVS1D * y_BVSsD


def norm_and_rotate(x_BVlNK: Tensor, weight_K: Tensor, cos_l1k: Tensor, sin_l1k: Tensor) -> Tensor:
    """Heads normalised (`rms_norm`) and turned by their tokens' positions (`rotate`)."""
    if kernels := fused_kernels(x_BVlNK):
        return kernels.norm_and_rotate(x_BVlNK, weight_K, cos_l1k, sin_l1k, NORM_EPS)
    return rotate(rms_norm(x_BVlNK, weight_K), cos_l1k, sin_l1k)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """x / rms(x) * weight over the last axis; float32 inside, rounded once."""
    # In training with autocast the weight is wider than x, which PyTorch's kernel does not take.
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), NORM_EPS)


def fused_kernels(x: Tensor) -> ModuleType | None:
    """The module `fused` if it can be used for x: on a GPU, when nothing is learnt."""
    trains = torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type)
    return _working_kernels(x.device)[0] if x.is_cuda and not trains else None


def why_plain(device: torch.device) -> str:
    """Why passes on this device are plain PyTorch's, in words; "" if they are fused."""
    return _working_kernels(device)[1] if device.type == "cuda" else "on a CPU"


@cache
def _working_kernels(device: torch.device) -> tuple[ModuleType | None, str]:
    """(None, why) where Triton is missing or has no C compiler and Python headers to build its launcher with."""
    try:
        kernels = importlib.import_module("cosmos_ray.models.network.fused")
        x_BVSsD = torch.zeros(1, 1, 1, 1, 16, device=device)
        kernels.add_gated(x_BVSsD, x_BVSsD, x_BVSsD)
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        logger.warning("no fused kernels on %s, plain PyTorch takes 8 %% longer: %s", device, error)
        return None, ", ".join(missing_tools()) or first_line(error)
    return kernels, ""
