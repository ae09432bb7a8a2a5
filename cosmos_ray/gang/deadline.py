"""How long a clip may take before its gang counts as hung: a multiple of what the clips before it predict."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_ray.config import GangConfig
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle


def denoise_work(clip: Clip, bundle: Bundle, guided_share: float = 1.0) -> float:
    """What denoising a clip costs, in units that only compare clips of one bundle.

    Attention grows with the square of the tokens, everything else with their number: 4 L^2 D + 28 L D^2 operations a
    block and network call, so a clip of one view costs about a fiftieth of one of seven, not a seventh. guided_share:
    of a guided clip's steps, those that are.
    """
    family = bundle.recipe
    calls = family.passes(clip.num_steps) * (1 + guided_share if family.is_guided(clip.negative_prompt) else 1)
    tokens = clip.n_views * bundle.tokens_per_view
    return clip.num_chunks * calls * tokens * (tokens + 7.0 * bundle.network.model_channels)


@dataclass
class Pace:
    """Seconds a unit of work, and seconds a publishing, as measured last; 0 before they were."""

    denoise: float = 0.0
    publish: float = 0.0

    def of_denoise(self, settings: GangConfig, work: float) -> float:
        """Deadline of a denoising, seconds."""
        return _deadline(settings, self.denoise * work)

    def of_rest(self, settings: GangConfig) -> float:
        """Deadline of an embedding or a publishing, seconds."""
        return _deadline(settings, self.publish)


def _deadline(settings: GangConfig, predicted_s: float) -> float:
    if not predicted_s:
        return settings.deadline_first_s
    return max(settings.deadline_min_s, settings.deadline_factor * predicted_s)
