"""The generator that a bundle asks for, behind the protocol that all generators share. No torch until one needs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cosmos_ray.approximations import EXACT, Approximations
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import Bundle, Numerics
from cosmos_ray.request import ClipRequest

if TYPE_CHECKING:
    from cosmos_ray.parallel import ContextParallel


class ClipGenerator(Protocol):
    """One rank's model. `embed` and `decode` of collected latents are local; the rest is collective in a gang."""

    @property
    def bundle(self) -> Bundle: ...

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

    def collect(self, latents: Any) -> dict[str, Any]:
        """From every rank's share, the whole latents of the views this rank owns, by view name."""
        ...

    def decode(self, latents: Any) -> dict[str, np.ndarray]:
        """Frames uint8 [T, H, W, 3] by view name, from this rank's share (collective) or from `collect` (local)."""
        ...

    def generate(self, request: ClipRequest) -> dict[str, np.ndarray]:
        """All of it."""
        ...


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Puts down how long this part of a loading takes."""
    began = time.monotonic()
    yield
    seconds[part] = time.monotonic() - began


def load_generator(
    bundle: Bundle,
    device: str = "cpu",
    parallel: ContextParallel | None = None,
    numerics: Numerics | None = None,
    approximations: Approximations = EXACT,
    seconds: dict[str, float] | None = None,
) -> ClipGenerator:
    """The model of `bundle` on `device`, as this rank of a gang holds it (`parallel`: None is a gang of one).

    The fake one has nothing to approximate. seconds: where each part's are put down, if they are wanted.
    """
    if bundle.generator == "fake":
        from cosmos_ray.models.fake import FakeGenerator

        return FakeGenerator.load(bundle, device, parallel, numerics)
    if bundle.generator == "cosmos":
        from cosmos_ray.generator import Generator
        from cosmos_ray.parallel import ContextParallel

        return Generator.load(bundle, device, parallel or ContextParallel(), numerics, approximations, seconds)
    raise UsageError(f"bundle `{bundle.name}`: unknown generator {bundle.generator!r}")
