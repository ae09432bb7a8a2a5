"""cosmos_ray: datasets of generated multi-camera driving videos, with Cosmos-Predict2 Multiview on Ray.

`generate(GenerateConfig(...))` runs a job; `Generator.load(load_bundle(...))` is the model without Ray, and takes a
`ClipRequest`. These are the public names, and `dir(cosmos_ray)` lists them. Each is imported when it is first used, so
that the parts that need neither torch nor Ray stay light.

The folders are the floors of the house: `errors version words`; `store clip`; `config manifest models`; `ledger`;
`gang`; `pool output`; `job`; `cli published`. Each imports from those before it alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cosmos_ray.version import VERSION

if TYPE_CHECKING:
    from cosmos_ray.clip.request import ClipRequest
    from cosmos_ray.config import GenerateConfig
    from cosmos_ray.job.job import generate
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.generator import Generator

__version__ = VERSION
__all__ = ["ClipRequest", "GenerateConfig", "Generator", "generate", "load_bundle"]

_HOMES = {
    "ClipRequest": "cosmos_ray.clip.request",
    "GenerateConfig": "cosmos_ray.config",
    "Generator": "cosmos_ray.models.generator",
    "generate": "cosmos_ray.job.job",
    "load_bundle": "cosmos_ray.models.bundle.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
