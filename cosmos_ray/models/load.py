"""The generator that a bundle asks for, behind the protocol that all share. No torch until one needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, Numerics
from cosmos_ray.models.protocol import ClipGenerator

if TYPE_CHECKING:
    from cosmos_ray.models.parallel import ContextParallel


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
        from cosmos_ray.models.generator import Generator
        from cosmos_ray.models.parallel import ContextParallel

        return Generator.load(bundle, device, parallel or ContextParallel(), numerics, approximations, seconds)
    raise UsageError(f"bundle `{bundle.name}`: unknown generator {bundle.generator!r}")
