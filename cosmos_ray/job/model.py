"""The model that a job's settings ask for."""

from __future__ import annotations

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.bundle.derive import with_dit


def bundle_of(config: GenerateConfig) -> Bundle:
    """The bundle that `model` names, with the network of the checkpoint `dit`, if there is one. Raises UsageError."""
    bundle = load_bundle(config.model)
    if config.dit is not None:
        return with_dit(bundle, config.dit, config.ema)
    if config.ema:
        raise UsageError("ema: found true without dit, expected a checkpoint (`--set model.dit=FILE`)")
    return bundle
