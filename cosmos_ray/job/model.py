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
    bundle = bundle.solved_by(config.sampling.approximations)
    check_steps(bundle, config.sampling.num_steps, "sampling.num_steps")
    if bundle.recipe.no_negative and config.sampling.negative_prompt:
        raise UsageError(
            f"sampling.negative_prompt: found a text, expected null or an empty one: model `{bundle.name}` weighs the "
            "caption against no text at all"
        )
    return bundle


def check_steps(bundle: Bundle, num_steps: int | None, name: str) -> None:
    """UsageError for more steps than the model knows, which would fail every row that does not say its own. name: of
    the setting or the flag; num_steps: None for the model's own."""
    most = bundle.recipe.max_steps
    if num_steps is not None and most is not None and num_steps > most:
        raise UsageError(f"{name}: found {num_steps}, expected 1 to {most}, as model `{bundle.name}` is distilled for")
