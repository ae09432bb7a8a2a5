"""The decoder of whole clips keeps each part of its stacked frames within its limit; one frame is the least."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cosmos_ray.models.vae import vae_whole


def test_frames_that_are_over_the_limit_go_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Conv3d(2, 2, 1)
    x = torch.randn(3, 2, 4, 4)
    together = vae_whole._conv(layer, x, 1)
    conv2d = F.conv2d
    seen: list[int] = []

    def watched(x: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        seen.append(len(x))
        return conv2d(x, *args, **named)

    monkeypatch.setattr(vae_whole, "_STACK_LIMIT", 1)
    monkeypatch.setattr(F, "conv2d", watched)
    assert torch.allclose(vae_whole._conv(layer, x, 1), together, atol=1e-6)
    assert seen == [1, 1, 1]
