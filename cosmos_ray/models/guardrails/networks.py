"""Networks of the guardrails: their weights out of files of tensors only, and on a GPU as long as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.weights import load_strictly

#: Counts of a training's batches: not every file has them, and nothing depends on them.
_COUNTER = "num_batches_tracked"


def read_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """What a `.pt` or `.pth` holds, below `key` if it has that, without the prefix `module.`; nothing in it is run.

    Raises UsageError.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever it is
        raise UsageError(f"{path}: not a file of tensors only ({type(error).__name__})") from None
    if isinstance(state, Mapping) and key is not None and isinstance(state.get(key), Mapping):
        state = state[key]
    if not isinstance(state, Mapping):
        raise UsageError(f"{path}: found a {type(state).__name__}, expected a dict from names to tensors")
    named = {str(name).removeprefix("module."): one for name, one in state.items() if isinstance(one, Tensor)}
    return {name: one for name, one in named.items() if not name.endswith(_COUNTER)}


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The module, on the CPU in float32, with exactly these weights. Raises UsageError."""
    module = module.to_empty(device="cpu") if _is_meta(module) else module
    counters = {name: torch.zeros((), dtype=torch.int64) for name in module.state_dict() if name.endswith(_COUNTER)}
    load_strictly(module, {**state, **counters}, str(path))
    return module.float().eval().requires_grad_(False)


def _is_meta(module: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in module.parameters())


@contextmanager
def on_device(module: nn.Module, device: str, offload: bool) -> Iterator[nn.Module]:
    """The module there; with `offload` only for as long as this lasts."""
    module.to(device)
    try:
        yield module
    finally:
        if offload and device != "cpu":
            module.to("cpu")
