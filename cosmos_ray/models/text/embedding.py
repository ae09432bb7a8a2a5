"""Prompt embeddings out of files that nobody vouches for: nothing in them is ever run.

Legend: V views, M text tokens of one view (up to 512), D text width.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import sys
import zipfile
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.errors import column_error
from cosmos_ray.models.bundle.headers import check_keys, parse_header
from cosmos_ray.models.bundle.pickles import PickleFunction, PlainUnpickler

COLUMN = "prompt_embedding"
#: How libraries, and we, begin what they quote of a file.
_QUOTES = re.compile(r"\s*b?['\"`\[({].*")
#: Packages, beside Python's own, whose names are told where a pickle asks for something of theirs; any other is the
#: file's own word.
_KNOWN = ("numpy", "torch")


def load_embedding(
    data: bytes, suffix: str, n_views: int, width: int, raw_width: int | None = None
) -> tuple[np.ndarray, ...]:
    """Embeddings of V views, float32 [M, D] each, zero padding cut off, from the bytes of a file.

    suffix: `.pt`, `.safetensors` (one tensor), `.npy` or `.pkl`. Accepted: one array [1, V*512, D] or [V*512, D], or
    (.pt, .pkl) a list of V arrays [M <= 512, D]. Anything else, and any pickle that holds more than arrays, lists and
    tuples, is a RowError that names what was found; no code in it is run. raw_width: of what an encoder gives before
    the network's own layer, which is refused by name.
    """
    expected = (
        f"one array [1, {n_views * TEXT_TOKENS}, {width}] or [{n_views * TEXT_TOKENS}, {width}], or a list of "
        f"{n_views} arrays [up to {TEXT_TOKENS}, {width}], finite floating-point numbers only"
    )
    check_suffix(suffix)
    try:
        value = _READERS[suffix.lower()](data)
    except Exception as error:
        found = f"a {suffix} file that cannot be read as plain arrays ({type(error).__name__}: {_first_line(error)})"
        raise column_error(COLUMN, found, expected) from error
    views = _split_views(value, n_views, width)
    if views is None:
        why = raw_text_words(raw_width, width) if raw_width and _is_raw(value, raw_width) else ""
        raise column_error(COLUMN, _describe(value), f"{expected}{why}")
    if not all(np.isfinite(view).all() for view in views):
        raise column_error(COLUMN, f"{_describe(value)} with NaN or infinity", expected)
    return tuple(_without_padding(view) for view in views)


def raw_text_words(raw_width: int, width: int) -> str:
    """Why the encoder's own numbers are not taken, and the way out: for messages."""
    return (
        f": {raw_width} numbers a token are the text encoder's own, a hundred times as many; give the {width} that the "
        "network's layer crossattn_proj makes of them (docs/models.md), or the caption in `prompt`"
    )


def _is_raw(value: object, raw_width: int) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(_is_floats(one) and tuple(one.shape[-1:]) == (raw_width,) for one in parts)


def check_suffix(suffix: str, found: str = "") -> None:
    """RowError for a file that cannot be an embedding by its name. found: all of it."""
    if suffix.lower() not in _READERS:
        what = f"{found}, a file ending in `{suffix}`" if found else f"a file ending in `{suffix}`"
        raise column_error(COLUMN, what, ", ".join(_READERS))


def _split_views(value: object, n_views: int, width: int) -> list[np.ndarray] | None:
    """One float32 [M, D] array a view; None if the value has any other form.

    Shapes are compared before a number is touched: a file of 2 KB can name an array that would fill the memory.
    """
    if isinstance(value, list | tuple):
        if len(value) != n_views or not all(_is_text(item, width) for item in value):
            return None
        return [_as_float32(item) for item in value]
    shapes = {(1, n_views * TEXT_TOKENS, width), (n_views * TEXT_TOKENS, width)}
    if not _is_floats(value) or tuple(value.shape) not in shapes:
        return None
    return list(_as_float32(value).reshape(n_views, TEXT_TOKENS, width))


def _is_floats(value: object) -> TypeGuard[Tensor | np.ndarray]:
    """A dense array of floats; not one of integers or objects."""
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.layout == torch.strided
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _is_text(value: object, width: int) -> bool:
    return _is_floats(value) and len(value.shape) == 2 and value.shape[0] <= TEXT_TOKENS and value.shape[1] == width


def _as_float32(value: Tensor | np.ndarray) -> np.ndarray:
    return value.detach().float().cpu().numpy() if isinstance(value, Tensor) else value.astype(np.float32)


def _without_padding(view_MD: np.ndarray) -> np.ndarray:
    used = np.flatnonzero(view_MD.any(axis=1))
    return np.ascontiguousarray(view_MD[: used[-1] + 1 if len(used) else 0])


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {list(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a {value.dtype.name} array {list(value.shape)}"
    if isinstance(value, list | tuple):
        # Not deeper: a list that holds itself over and over would be described for ever.
        shown = ", ".join(_describe([] if isinstance(item, list | tuple) else item) for item in value[:2])
        return f"a {type(value).__name__} of {len(value)}: {shown}{', ...' if len(value) > 2 else ''}"
    return f"a {type(value).__name__}"


def _first_line(error: Exception) -> str:
    """Up to where it begins to quote: that is the file's own, which nobody is shown."""
    return _QUOTES.sub("…", (str(error).strip().splitlines() or [""])[0])[:80]


def _read_torch(data: bytes) -> object:
    file = io.BytesIO(data)
    if zipfile.is_zipfile(file) and sum(info.file_size for info in zipfile.ZipFile(file).infolist()) > len(data):
        raise ValueError("compressed, or entries that overlap")  # torch writes neither
    check_keys(io.BytesIO(data), len(data))  # torch's own reader makes keys of whatever it finds, and may not end
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _read_safetensors(data: bytes) -> object:
    found = len(parse_header(io.BytesIO(data), len(data), ".safetensors").tensors)
    if found != 1:
        raise ValueError(f"expected one tensor, found {found}")
    return next(iter(safetensors.torch.load(data).values()))


def _read_npy(data: bytes) -> object:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > len(data):
        raise ValueError("it claims more numbers than it has")
    return np.load(io.BytesIO(data), allow_pickle=False)


def _read_pickle(data: bytes) -> object:
    return _plain(_ArraysOnly(data).load())


class _Dtype:
    """Stands in for numpy.dtype while unpickling: a float type and its byte order, nothing else."""

    def __init__(self, code: str, *_flags: bool) -> None:
        if code not in ("f2", "f4", "f8"):
            raise pickle.UnpicklingError("an array of another type, only floats are read")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("an unknown byte order")
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stands in for numpy.ndarray while unpickling: bytes, shape and type, checked before they become an array."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, raw = state
        self.value = _make_array(raw, dtype, shape, "F" if is_fortran else "C")


def _reconstruct(_subtype: object, _shape: object, _code: object) -> _Array:
    """numpy's way to begin an array; `__setstate__` fills it."""
    return _Array()


def _frombuffer(raw: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    """numpy's way since pickle protocol 5: all in one call."""
    array = _Array()
    array.value = _make_array(raw, dtype, shape, order)
    return array


def _make_array(raw: object, dtype: object, shape: object, order: str) -> np.ndarray:
    if not isinstance(raw, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array that is not made of bytes and a float type")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not all(type(size) is int and size >= 0 for size in sizes) or order not in ("C", "F", "A"):
        raise pickle.UnpicklingError("an array of a shape that is none")
    return np.frombuffer(raw, dtype.value).reshape(sizes, order="F" if order == "F" else "C")


_MULTIARRAY = ("numpy._core.multiarray", "numpy.core.multiarray")
_NUMERIC = ("numpy._core.numeric", "numpy.core.numeric")

#: All that a pickle may name, and the stand-in it gets. Nothing of numpy or Python itself can be reached.
_ALLOWED: dict[tuple[str, str], object] = {
    **{(module, "_reconstruct"): PickleFunction(_reconstruct) for module in _MULTIARRAY},
    **{(module, "_frombuffer"): PickleFunction(_frombuffer) for module in _NUMERIC},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _ArraysOnly(PlainUnpickler):
    """Reads pickles of float arrays, lists and tuples; refuses every other name before it is looked up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._left = len(data)

    def _latin1(self, text: str, encoding: str) -> bytes:
        """How old pickle protocols write bytes; each of the file's at most once."""
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("an unknown encoding")
        self._left -= len(text)
        if self._left < 0:
            raise pickle.UnpicklingError("more bytes than the file has")
        return text.encode("latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return PickleFunction(self._latin1)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {_told(module, name)}; only plain arrays are read") from None


def _told(module: str, name: str) -> str:
    is_known = module.partition(".")[0] in (*_KNOWN, *sys.stdlib_module_names)
    return f"{module}.{name}" if is_known and re.fullmatch(r"[\w.]{1,40}", f"{module}.{name}") else "something else"


def _plain(value: object) -> object:
    """The arrays out of their stand-ins, one list or tuple deep."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list | tuple):
        return [item.value if isinstance(item, _Array) else item for item in value]
    return value


_READERS: dict[str, Callable[[bytes], object]] = {
    ".pt": _read_torch,
    ".safetensors": _read_safetensors,
    ".npy": _read_npy,
    ".pkl": _read_pickle,
}
