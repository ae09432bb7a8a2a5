"""A judge of what a video shows: which palette, and which colours of cars, read from the latents of its frames.

It sees videos through the autoencoder's encoder (so encode a decoded video anew to judge it) and is trained on the
latents of rendered clips and of their reconstructions. All colours of a scene's cars differ, so the number of
colours seen is the number of cars.

Legend: N clips, V views, C latent channels, t latent frames, H/W latent height/width.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from sample_drive import PALETTES
from sample_drive_world import CAR_COLOURS
from tiny_vae import round_weights
from torch import Tensor, nn
from torch.nn import functional as F


class Judge(nn.Module):
    """Latents [N, V, C, t, H, W] -> logits [N, palettes + colours]: a small convolutional network a view, and the
    largest activation of any place, time and view."""

    def __init__(self, channels: int, width: int = 48) -> None:
        super().__init__()
        self.places = nn.Sequential(
            nn.Conv3d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(width, 2 * width, 3, padding=1),
        )
        self.verdict = nn.Sequential(
            nn.Linear(4 * width, width), nn.SiLU(), nn.Linear(width, len(PALETTES) + len(CAR_COLOURS))
        )

    def forward(self, latents: Tensor) -> Tensor:
        features = self.places(latents.flatten(0, 1)).flatten(2).unflatten(0, latents.shape[:2])
        pooled = torch.cat((features.amax(dim=(1, 3)), features.mean(dim=(1, 3))), dim=1)
        return self.verdict(pooled)


def judge_loss(logits: Tensor, labels: Tensor) -> Tensor:
    palettes = len(PALETTES)
    colours = F.binary_cross_entropy_with_logits(logits[:, palettes:], labels[:, 1:].float())
    return F.cross_entropy(logits[:, :palettes], labels[:, 0]) + colours


def verdicts(logits: Tensor) -> Tensor:
    """int64 [N, 1 + colours] in the form of `tiny_data.labels`."""
    palettes = len(PALETTES)
    return torch.cat((logits[:, :palettes].argmax(dim=1, keepdim=True), (logits[:, palettes:] > 0).long()), dim=1)


def scores(found: Tensor, labels: Tensor) -> dict[str, float]:
    """Shares of clips: palette right, number of cars right, all colours right; and of colours right."""
    return {
        "palette": (found[:, 0] == labels[:, 0]).float().mean().item(),
        "car_count": (found[:, 1:].sum(1) == labels[:, 1:].sum(1)).float().mean().item(),
        "car_colours": (found[:, 1:] == labels[:, 1:]).all(dim=1).float().mean().item(),
        "colour_by_colour": (found[:, 1:] == labels[:, 1:]).float().mean().item(),
    }


def train_judge(
    latents: Tensor, labels: Tensor, seconds: float, round_trip: Callable[[Tensor], Tensor], batch: int = 64
) -> tuple[Judge, dict[str, float]]:
    """The judge, and its scores on reconstructions it was not trained on.

    latents, labels: rendered clips; round_trip: latents -> latents of the decoded and encoded clip. An eighth of the
    clips goes round; of those, half are for the scores.
    """
    few = max(2, min(len(latents) // 8, 1024))
    trips = torch.cat([round_trip(part.float()) for part in latents[:few].split(8)])
    half = few // 2
    sources = [(latents[few:], labels[few:]), (trips[half:], labels[half:few])]
    device = str(latents.device)
    judge = Judge(latents.shape[2]).to(device)
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    end, start = time.monotonic() + seconds, time.monotonic()
    while (now := time.monotonic()) < end:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (1.02 - (now - start) / seconds)
        for source, truth in sources:
            chosen = torch.randint(len(source), (batch,), device=device)
            x = source[chosen].float()
            x = x + 0.1 * torch.rand(len(x), 1, 1, 1, 1, 1, device=device) * torch.randn_like(x)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
                loss = judge_loss(judge(x), truth[chosen])
            loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    judge.eval().requires_grad_(False)
    round_weights(judge)
    with torch.no_grad():
        found = torch.cat([verdicts(judge(part.float())) for part in trips[:half].split(16)])
    return judge, scores(found, labels[:half])
