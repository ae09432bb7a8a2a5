"""cosmos_ray: data sets of generated multi-camera driving videos, with NVIDIA's Cosmos models on Ray.

A job, as `cosmos-ray generate` runs it. The same call again goes on where it stopped:

    from cosmos_ray import GenerateConfig, generate, results

    summary = generate(GenerateConfig(manifest="m.parquet", output="out", model="tiny", gang_size=2))
    table = results("out", where="status = 'ok'")           # a pandas DataFrame, a row a clip

`manifest` is a URI or a pandas DataFrame with the columns `id` and `prompt`; `cosmos-ray config` prints every setting.

One clip, without Ray, in a script or a notebook:

    from cosmos_ray import Generator

    generator = Generator.load("tiny")
    clip = generator.generate(prompt="A clear day on a city street.", seed=1)
    clip.frames["front_wide"].shape                         # (29, 64, 112, 3), uint8
    clip.save("clip.mp4")                                   # layout="grid", "stack" or "views"
    clip.show()                                             # in a notebook

`load_bundle("tiny")` says what a model is; `ClipRequest` is what `Generator.generate` takes from who has frames and
embeddings already. These are the public names, and `dir(cosmos_ray)` lists them. Each is imported when it is first
used, so that the parts that need neither torch nor Ray stay light.

The folders are the floors of the house: `foreign limits said scratch`; `errors version words signals schema_words`;
`store clip`; `config manifest models`; `ledger`; `refine`; `gang`; `pool output`; `job`; `cli published`. Each imports
from those before it alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cosmos_ray.version import VERSION

if TYPE_CHECKING:
    from cosmos_ray.clip.request import ClipRequest
    from cosmos_ray.config import GenerateConfig
    from cosmos_ray.job.generator import Generator
    from cosmos_ray.job.job import generate
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.output.results import results

__version__ = VERSION
__all__ = ["ClipRequest", "GenerateConfig", "Generator", "generate", "load_bundle", "results"]

_HOMES = {
    "ClipRequest": "cosmos_ray.clip.request",
    "GenerateConfig": "cosmos_ray.config",
    "Generator": "cosmos_ray.job.generator",
    "generate": "cosmos_ray.job.job",
    "load_bundle": "cosmos_ray.models.bundle.bundle",
    "results": "cosmos_ray.output.results",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
