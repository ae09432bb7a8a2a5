"""cosmos_ray: datasets of generated multi-camera driving videos, with Cosmos-Predict2 Multiview on Ray.

`generate(GenerateConfig(...))` runs a job; `Generator` is the model without Ray. Both are imported when first used, so
that the parts that need neither torch nor Ray stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["GenerateConfig", "Generator", "__version__", "generate"]

if TYPE_CHECKING:
    from cosmos_ray.config import GenerateConfig
    from cosmos_ray.generator import Generator
    from cosmos_ray.job import generate


def __getattr__(name: str) -> Any:
    if name == "GenerateConfig":
        from cosmos_ray.config import GenerateConfig

        return GenerateConfig
    if name == "Generator":
        from cosmos_ray.generator import Generator

        return Generator
    if name == "generate":
        from cosmos_ray.job import generate

        return generate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
