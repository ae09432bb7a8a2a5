"""What every generator promises, the network's and the fake one alike. One object a rank. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.models.bundle.bundle import Bundle


class ClipGenerator(Protocol):
    """One rank's model. `embed` and `decode` of collected latents are local; the rest is collective in a gang."""

    @property
    def bundle(self) -> Bundle: ...

    def sampled_by(self, bundle: Bundle, approximations: Approximations) -> ClipGenerator:
        """The same model, loaded as it is, for clips with other approximations; bundle: its own, solved by them."""
        ...

    def embed(self, request: ClipRequest) -> ClipRequest:
        """The request with its text embedded; only on a rank that has the text encoder (rank 0)."""
        ...

    def denoise(
        self,
        request: ClipRequest,
        on_step: Callable[[int, int], None] | None = None,
        resume: Any = None,
        on_state: Callable[[Any], None] | None = None,
    ) -> Any:
        """This rank's share of the clip's latents. `on_state` hands out what `resume` takes."""
        ...

    def pack_state(self, state: Any) -> dict[str, np.ndarray]:
        """What `on_state` handed out, whole, as named arrays (`step` among them); {} beside rank 0. Collective."""
        ...

    def unpack_state(self, packed: Mapping[str, np.ndarray]) -> Any:
        """What `resume` takes, on this rank, of a state packed by a gang of any size."""
        ...

    def collect(self, latents: Any, views: Sequence[str] = VIEWS) -> dict[str, Any]:
        """From every rank's share, the whole latents of the views this rank owns, by view name.

        views: the request's, where they are not the first ones of the rig.
        """
        ...

    def decode(self, latents: Any, overlap: int = 1) -> dict[str, np.ndarray]:
        """Frames uint8 [T, H, W, 3] by view name, from this rank's share (collective) or from `collect` (local).

        overlap: frames that neighbouring chunks of a longer video have in common (`Family.overlap`).
        """
        ...

    def generate(self, request: ClipRequest) -> dict[str, np.ndarray]:
        """All of it."""
        ...
