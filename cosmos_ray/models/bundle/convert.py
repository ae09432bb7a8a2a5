"""Checkpoints as safetensors in the node's cache: written on first use, memory-mapped ever after.

A pickle is read once a node; all ranks then map the same pages. Files are made under a lock and renamed when complete,
and named by what they are made from (hash or revision, names, dtype), so that none is ever taken for another.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import DitPrefix
from cosmos_ray.models.bundle.cache import cache_folder, node_lock, put_in_place, short_key
from cosmos_ray.models.bundle.checkpoint import Selection, of_numbers, select_dit, select_exactly
from cosmos_ray.models.bundle.headers import WEIGHT_SUFFIXES, Header, read_header
from cosmos_ray.models.bundle.shapes import Shapes
from cosmos_ray.models.bundle.weights import read_pickled

logger = logging.getLogger(__name__)
_DTYPE_CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
#: Part of every name: raised when what is written changes.
_FORMAT = 1


def load_dit_state(
    path: Path, source: str, expected: Shapes, prefix: DitPrefix, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """The DiT's parameters under the network's names, mapped; in `dtype` (None: as the file has them).

    source: what fixes the file's content (`files.source_key`). UsageError lists missing and misshapen parameters.
    """
    header = _header_of(path)
    selection = select_dit(header.shapes, header.others, expected, prefix)
    return load_selected(str(path), "dit", [path], source, header, selection, dtype)


def load_vae_state(path: Path, source: str, expected: Shapes, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """As `load_dit_state`: the video tokenizer's tensors under their published names."""
    header = _header_of(path)
    return load_selected(str(path), "vae", [path], source, header, select_exactly(header.shapes, expected), dtype)


def load_selected(
    what: str,
    part: str,
    paths: Sequence[Path],
    source: str,
    header: Header,
    selection: Selection,
    dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    """The selected tensors of one part's weights files, mapped; from a converted copy unless the files will do.

    header: of all the files together. UsageError, beginning with `what`, if the selection has faults.
    """
    selection = of_numbers(selection, header)
    if selection.faults:
        raise UsageError(f"{what}: {'; '.join(selection.faults)}")
    if selection.ignored:
        level = logging.WARNING if selection.unknown else logging.INFO
        logger.log(level, "%s: %s", what, selection.ignored_text())
    wanted = str(dtype).removeprefix("torch.") if dtype else None
    in_place = all(wanted in (None, header.tensors[name].dtype) for name in selection.names.values())
    if in_place and all(path.suffix == ".safetensors" for path in paths):
        return selected(paths, selection.names)
    key = {"format": _FORMAT, "source": source, "part": part, "names": sorted(selection.names.items()), "dtype": wanted}
    target = _converted(
        part,
        short_key(json.dumps(key, sort_keys=True)),
        lambda scratch: write_safetensors(scratch, selected(paths, selection.names), dtype),
    )
    return dict(safetensors.torch.load_file(target))


def _converted(part: str, key: str, write: Callable[[Path], None]) -> Path:
    """The cached file that `write(path)` makes, made now if it is not there; once a node, others wait."""
    target = cache_folder("converted") / f"{part}-{key}.safetensors"
    if _is_whole(target):
        return target
    with node_lock(str(target), f"converting the {part}"):
        if not _is_whole(target):  # nobody has made it while this waited
            _put(target, write)
    return target


def _put(target: Path, write: Callable[[Path], None]) -> None:
    scratch = target.with_suffix(".part")  # of a converter that was killed: written over
    try:
        write(scratch)
        put_in_place(scratch, target)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error}); COSMOS_RAY_CACHE moves the cache") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> None:
    """A safetensors file of these tensors, floats cast to `dtype`. One tensor at a time: memory stays flat."""
    header: dict[str, object] = {}
    position = 0
    for name, tensor in tensors.items():
        stored = dtype if dtype and tensor.is_floating_point() else tensor.dtype
        end = position + tensor.numel() * stored.itemsize
        header[name] = {"dtype": _DTYPE_CODES[stored], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            stored = dtype if dtype and tensor.is_floating_point() else tensor.dtype
            file.write(tensor.to(stored).contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _read_tensors(path: Path, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Some tensors of a `.safetensors` file, mapped: {name here: name in the file}."""
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(entry) for name, entry in names.items()}


def selected(paths: Iterable[Path], names: Mapping[str, str]) -> dict[str, Tensor]:
    """{name here: mapped tensor} of the named entries, whichever file they are in; the others are never touched."""
    by_entry: dict[str, Tensor] = {}
    for path in paths:
        if path.suffix == ".safetensors":
            there = read_header(path).tensors
            by_entry |= _read_tensors(path, {entry: entry for entry in names.values() if entry in there})
        else:
            by_entry |= read_pickled(path, set(names.values()))
    return {name: by_entry[entry] for name, entry in names.items()}


def _is_whole(path: Path) -> bool:
    """Whether a converted file is there with all its bytes (a full disk, a crash or a person may have cut it off)."""
    try:
        read_header(path)
    except (OSError, ValueError):
        return False
    return True


def _header_of(path: Path) -> Header:
    if path.suffix not in WEIGHT_SUFFIXES:
        raise UsageError(f"{path}: found suffix `{path.suffix}`, expected {', '.join(WEIGHT_SUFFIXES)}")
    try:
        return read_header(path)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
