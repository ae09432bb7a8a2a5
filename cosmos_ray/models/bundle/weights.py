"""Weights into modules: read from files without running anything in them, or drawn reproducibly."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.checkpoint import select_exactly
from cosmos_ray.models.bundle.headers import read_header
from cosmos_ray.models.bundle.leads import leaves


def read_pickled(path: Path, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a file that torch.save wrote, memory-mapped; entries that are no tensors are dropped.

    `a.b` is entry `b` of dictionary `a`. only: names of interest (default: all). Read with torch's restricted
    unpickler, or, where that cannot map (files older than torch 1.6), with ours: a file that would run code is a
    UsageError.
    """
    try:
        if not zipfile.is_zipfile(path):
            return _map_legacy(path, only)
        # Published files may carry Transformer Engine's extra states as BytesIO objects: plain bytes, harmless. Allowed
        # for good: a `with` block's end in one thread would take it from another that is reading.
        torch.serialization.add_safe_globals([io.BytesIO])
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UsageError(f"{path}: not a file of tensors only ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise UsageError(f"{path}: found a {type(state).__name__}, expected a dict from names to tensors")
    return {
        name: value for name, value in leaves(state) if isinstance(value, Tensor) and (only is None or name in only)
    }


def _map_legacy(path: Path, only: Collection[str] | None) -> dict[str, Tensor]:
    """The pages of a tensor that nobody asks for are never read."""
    raw = np.memmap(path, np.uint8, mode="c")
    state = {}
    for name, entry in read_header(path).tensors.items():
        if only is not None and name not in only:
            continue
        if not entry.contiguous:
            raise ValueError(f"{name} is not stored in order")
        dtype = getattr(torch, entry.dtype)
        stored = raw[entry.offset : entry.offset + math.prod(entry.shape) * dtype.itemsize]
        # Bytes of the old format lie where they happen to; tensors must be aligned.
        is_aligned = (stored.ctypes.data % dtype.itemsize) == 0
        state[name] = torch.from_numpy(stored if is_aligned else stored.copy()).view(dtype).view(entry.shape)
    return state


def random_state_dict(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """float32 tensors of these names and shapes, drawn in the order of the names: the same with every torch.

    Scaled so that activations keep their size: weights N(0, 1/fan_in), gains about 1, small biases.
    """
    random = np.random.RandomState(seed)
    state = {}
    for name, shape in sorted(shapes.items()):
        draw = random.standard_normal(shape)
        if name.endswith(".bias"):
            draw = 0.02 * draw
        elif name.endswith(".gamma") or len(shape) < 2:
            draw = 1.0 + 0.1 * draw
        else:
            draw = draw / math.sqrt(math.prod(shape[1:]))
        state[name] = torch.from_numpy(draw.astype(np.float32))
    return state


@torch.no_grad()
def fill_random(module: nn.Module, seed: int) -> None:
    """Draws every parameter of `module` anew with `random_state_dict`."""
    parameters = dict(module.named_parameters())
    drawn = random_state_dict({name: tuple(parameter.shape) for name, parameter in parameters.items()}, seed)
    for name, parameter in parameters.items():
        parameter.copy_(drawn[name])


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    what: str,
    names: Mapping[str, str] | None = None,
    assign: bool = False,
) -> None:
    """Loads exactly the module's tensors. `names`: the file's name of each of the module's (default: the same).

    assign: the module takes these very tensors, instead of their values. Raises UsageError, beginning with `what`, that
    lists missing, unexpected and misshapen names, as the file calls them.
    """
    target = module.state_dict()
    names = names or {name: name for name in target}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    selection = select_exactly(found, {names[name]: tuple(tensor.shape) for name, tensor in target.items()})
    if selection.faults:
        raise UsageError(f"{what}: {'; '.join(selection.faults)}")
    module.load_state_dict({name: state[names[name]] for name in target}, assign=assign)
