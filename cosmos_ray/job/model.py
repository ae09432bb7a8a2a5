"""The model that a job's settings ask for."""

from __future__ import annotations

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.bundle.derive import with_dit


def bundle_of(config: GenerateConfig) -> Bundle:
    """The bundle that `model` names, with the network of the checkpoint `dit`, if there is one, and all else that the
    settings change about it. Raises UsageError."""
    bundle = load_bundle(config.model)
    if config.dit is not None:
        bundle = with_dit(bundle, config.dit, config.ema)
    if config.picture_dit is not None:
        bundle = with_dit(bundle, config.picture_dit, config.ema, of_picture=True)
    if config.ema and config.dit is None and config.picture_dit is None:
        raise UsageError("ema: found true without dit, expected a checkpoint (`--set model.dit=FILE`)")
    bundle = bundle.with_size(config.resolution)
    bundle = bundle.with_numerics(config.sampling.numerics)
    bundle = bundle.with_text_encoder(config.text_encoder.device, config.text_encoder.dtype)
    bundle = bundle.with_camera_prefix(config.sampling.camera_prefix)
    return bundle.solved_by(config.sampling.approximations)
