"""Names, dtypes, shapes and places of the tensors in a weights file, without reading (or unpickling) the weights.

`.safetensors` have a JSON header. `.pt`, `.pth` and `.bin` are pickles in a zip archive, or (before torch 1.6) a pickle
with the tensors' bytes behind it; both are read by an unpickler that knows stand-ins only. No torch, no Ray.
"""

from __future__ import annotations

import collections
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cosmos_ray.models.bundle.leads import leaves
from cosmos_ray.models.bundle.pickles import PickleFunction, PlainUnpickler

#: Of a DiT or a video tokenizer.
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")
#: Largest header, and largest pickle: those of the largest models published have less than one megabyte.
_MAX_HEADER_BYTES, _MAX_PICKLE_BYTES = 16 * 2**20, 4 * 2**20
#: The end of an archive, with its comment, and what stands before it in large ones.
_MAX_RANK = 16
_TAIL = 2**16 + 200
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_SAFETENSORS_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_STORAGE_DTYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "UntypedStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
#: What weights are stored in.
FLOATS = ("float64", "float32", "float16", "bfloat16")
_ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file. offset: of its first byte in the file; contiguous: its bytes follow in row-major order."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    contiguous: bool = True


@dataclass(frozen=True)
class Header:
    """What a weights file says it holds; `a.b` is entry `b` of dictionary `a`.

    others: names of entries that are no tensors. legacy: pickled without zip.
    """

    tensors: Mapping[str, TensorEntry]
    others: tuple[str, ...] = ()
    legacy: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.tensors.items()}


def read_header(path: Path) -> Header:
    """Of a local file. ValueError if it is no weights file, or cut short."""
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        return parse_header(file, path.stat().st_size, path.suffix)


def parse_header(file: BinaryIO, size: int, suffix: str) -> Header:
    """Of an open, seekable file of `size` bytes. ValueError as `read_header`."""
    if suffix == ".safetensors":
        return _safetensors(file, size)
    try:
        if not zipfile.is_zipfile(file):
            return _legacy(file, size)
        _check_directory(file, size)
        return _zipped(file)
    except OSError:
        raise
    except Exception as error:  # a spoilt file can fail in any way
        raise ValueError(f"not a file of tensors only ({type(error).__name__}: {error})") from error


def check_keys(file: BinaryIO, size: int) -> None:
    """Raises an error for a file whose pickle would keep its reader busy for ever: see `PlainUnpickler`."""
    if not zipfile.is_zipfile(file):
        file.seek(0)
        for _ in range(4):  # magic number, version, system, and what was saved
            _KeysOnly(file).load()
        return
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        pickled = next((name for name in infos if name.endswith("data.pkl")), "no data.pkl")
        if infos[pickled].file_size > _MAX_PICKLE_BYTES:
            raise ValueError("its index is too large")
        with archive.open(pickled) as stream:
            _KeysOnly(stream).load()


def item_bytes(dtype: str) -> int:
    """Bytes of a number, by the name of its dtype in a header; 1 for one that is not known."""
    return _ITEM_BYTES.get(dtype, 1)


def _safetensors(file: BinaryIO, size: int) -> Header:
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
        raise ValueError("not a safetensors file (its header length does not fit)")
    try:
        header = json.loads(file.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        whole = 8 + length + _bytes_of(entries.values())
        tensors = {
            name: TensorEntry(
                _SAFETENSORS_DTYPES.get(entry["dtype"], entry["dtype"]),
                tuple(entry["shape"]),
                8 + length + entry["data_offsets"][0],
            )
            for name, entry in entries.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError("not a safetensors file (its header cannot be read)") from error
    if whole != size:
        raise ValueError(f"truncated or overlong: found {size} bytes, expected {whole}")
    return Header(tensors)


def _bytes_of(entries: Iterable[Mapping[str, Any]]) -> int:
    """Of all tensors of a safetensors file, which lie one behind the other, each as long as its shape says: loading
    would refuse others, on the GPUs of a job. Raises ValueError, KeyError, TypeError."""
    position = 0
    for begin, end, entry in sorted(((*entry["data_offsets"], entry) for entry in entries), key=lambda one: one[:2]):
        shape = entry["shape"]
        numbers = (begin, end, *shape)
        if len(shape) > _MAX_RANK or not all(type(one) is int and 0 <= one < 2**63 for one in numbers):
            raise ValueError("a tensor whose shape or place is none")
        if begin != position:
            raise ValueError(f"a tensor begins at byte {begin}, expected {position}")
        dtype = _SAFETENSORS_DTYPES.get(entry["dtype"])
        if dtype is not None and end - begin != (due := math.prod(shape) * item_bytes(dtype)):
            raise ValueError(f"a tensor has {end - begin} bytes, expected {due}")
        position = end
    return position


def _check_directory(file: BinaryIO, size: int) -> None:
    """Python reads an archive's whole directory: raises ValueError for one of millions of entries, unread."""
    file.seek(max(size - _TAIL, 0))
    tail = file.read(_TAIL)
    end, end64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    length = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if length == 0xFFFFFFFF:
        length = int.from_bytes(tail[end64 + 40 : end64 + 48], "little") if end64 >= 0 else 0
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"its directory has {length} bytes, expected at most {_MAX_HEADER_BYTES}")


def _zipped(file: BinaryIO) -> Header:
    with zipfile.ZipFile(file) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        pickled = next((name for name in infos if name.endswith("/data.pkl")), "no data.pkl")
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in infos and infos[f"{folder}byteorder"].file_size > 16:
            raise ValueError("not a weights file (its byte order is not one)")
        order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in infos else b"little"
        if order != b"little" or infos[pickled].file_size > _MAX_PICKLE_BYTES:
            raise ValueError("not a weights file that can be read here (big-endian, or its index is too large)")
        with archive.open(pickled) as stream:
            value = _Reader(stream).load()

    def offset_of(key: str) -> int:
        info = infos[f"{folder}data/{key}"]
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its tensors are compressed")
        file.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        return int(info.header_offset) + 30 + name_length + extra_length

    return _header(value, offset_of, legacy=False)


def _legacy(file: BinaryIO, size: int) -> Header:
    """Magic number, version and system, then the object, then the keys of its storages, then their bytes."""
    file.seek(0)
    if _Reader(file).load() != _LEGACY_MAGIC:
        raise ValueError("not a weights file (neither a zip archive nor torch's older format)")
    _version, system = _Reader(file).load(), _Reader(file).load()
    if not system.get("little_endian", True):
        raise ValueError("not a weights file that can be read here (big-endian)")
    reader = _Reader(file)
    value = reader.load()
    keys = _Reader(file).load()
    offsets, position = {}, file.tell()
    for key in keys:
        # Each storage is its number of elements (8 bytes) and its bytes.
        dtype, elements = reader.storages[key]
        offsets[key] = position + 8
        position += 8 + elements * item_bytes(dtype)
    if position > size:
        raise ValueError(f"truncated: found {size} bytes, expected {position}")
    return _header(value, lambda key: offsets[key], legacy=True)


def _header(value: object, offset_of: Callable[[str], int], legacy: bool) -> Header:
    if not isinstance(value, dict):
        raise ValueError(f"found a {type(value).__name__}, expected a dict from names to tensors")
    tensors, others = {}, []
    for name, entry in leaves(value):
        if isinstance(entry, _Tensor):
            offset = offset_of(entry.key) + entry.start * item_bytes(entry.dtype)
            tensors[name] = TensorEntry(entry.dtype, entry.shape, offset, entry.contiguous)
        else:
            others.append(name)
    return Header(tensors, tuple(others), legacy)


@dataclass(frozen=True)
class _Tensor:
    """Stands in for a tensor while unpickling."""

    dtype: str
    key: str
    start: int
    shape: tuple[int, ...]
    contiguous: bool


class _Opaque:
    """Stands in for objects whose content does not matter."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _tensor(
    storage: tuple[str, str], start: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> object:
    if len(shape) > _MAX_RANK or len(stride) != len(shape) or not all(type(one) is int for one in (*shape, *stride)):
        raise pickle.UnpicklingError("a tensor whose shape is none")
    expected, step = [], 1
    for size in reversed(shape):
        expected.append(step)
        step *= max(size, 1)
    in_order = all(found == due or size < 2 for found, due, size in zip(stride, expected[::-1], shape, strict=True))
    return _Tensor(storage[0], storage[1], int(start), tuple(shape), in_order)


_ALLOWED: dict[tuple[str, str], object] = {
    ("torch._utils", "_rebuild_tensor"): PickleFunction(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): PickleFunction(_tensor),
    ("torch._utils", "_rebuild_parameter"): PickleFunction(lambda tensor, *_: tensor),
    ("torch", "Size"): PickleFunction(tuple),
    ("_io", "BytesIO"): _Opaque,
    ("_codecs", "encode"): PickleFunction(lambda *_: b""),  # how bytes are written; what they say does not matter
    ("collections", "OrderedDict"): PickleFunction(lambda: collections.OrderedDict()),
    **{("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()},
}


class _Reader(PlainUnpickler):
    """Reads what torch pickles, tensors as stand-ins; refuses every other name before it is looked up."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        module = "torch" if module == "torch.storage" else module
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for `{module}.{name}`; only tensors and plain values are read"
            ) from None

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _storage, dtype, key, _location, elements = pid[:5]
        self.storages[str(key)] = (dtype, int(elements))
        return dtype, str(key)


class _KeysOnly(_Reader):
    """Makes nothing of anything; only whether it can be read to its end."""

    def find_class(self, module: str, name: str) -> Any:
        return _Opaque

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        return "", ""
