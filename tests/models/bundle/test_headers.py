"""Headers of weights' files: what torch would load is known without reading it, and without running what is pickled."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from support import published_weights as published

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import headers
from cosmos_ray.models.bundle.headers import read_header
from cosmos_ray.models.bundle.weights import read_pickled

NETWORK = published.SMALL_NETWORK


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickled_files_header_says_what_torch_would_load(tmp_path, is_zip):
    state = published.dit_state(NETWORK) | {"int": torch.arange(5), "view": torch.arange(12.0).view(3, 4)[1:]}
    state |= {
        "none of three": torch.zeros(2, 0, 3),
        "scalar": torch.tensor(2.5),
        "transposed": torch.arange(6.0).view(2, 3).t(),
    }
    # Also of the widths that lie between others in the older format, and one whose strides of size 1 mean nothing.
    dtypes = (torch.float64, torch.float16, torch.int16, torch.int32, torch.int8, torch.uint8, torch.bool)
    state |= {str(dtype): torch.arange(7).to(dtype) for dtype in dtypes}
    state |= {"column": torch.arange(5.0)[None].t(), "row": torch.arange(6.0).view(2, 3).t()[:1].t()[:1]}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    header = read_header(tmp_path / "x.pt")
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    assert header.legacy is not is_zip
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert len(header.others) == 4, "the states that are bytes"
    raw = np.memmap(tmp_path / "x.pt", np.uint8, mode="r")
    in_order = [
        "int",
        "view",
        "scalar",
        "column",
        "row",
        "net.blocks.1.mlp.layer2.weight",
        *map(str, dtypes),
    ]
    for name in in_order:
        assert header.tensors[name].contiguous, name
        entry, tensor = header.tensors[name], tensors[name]
        stored = np.array(raw[entry.offset : entry.offset + tensor.numel() * tensor.itemsize])
        assert torch.equal(torch.from_numpy(stored).view(tensor.dtype).view(entry.shape), tensor), name
        assert entry.dtype == str(tensor.dtype).removeprefix("torch.")
    assert not header.tensors["transposed"].contiguous
    assert header.tensors["none of three"].contiguous, "numbers that are not there are in order"
    assert read_pickled(tmp_path / "x.pt", only={"none of three"})["none of three"].shape == (2, 0, 3)


class Bomb:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_would_run_code_is_refused_by_the_header_too(tmp_path, is_zip):
    torch.save({"a": torch.ones(2), "b": Bomb()}, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ValueError, match=r"asks for `\w+\.exec`"):
        read_header(tmp_path / "x.pt")
    with pytest.raises(UsageError, match="not a file of tensors only"):
        read_pickled(tmp_path / "x.pt")


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x80\x02]q\x00."])
def test_what_is_no_weights_file_is_a_value_error(tmp_path, data):
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(ValueError, match="not a"):
        read_header(tmp_path / "x.pt")


def test_a_cut_off_file_is_found_by_its_header(tmp_path):
    for is_zip in (True, False):
        buffer = io.BytesIO()
        torch.save({"a": torch.ones(1000)}, buffer, _use_new_zipfile_serialization=is_zip)
        (tmp_path / "x.pt").write_bytes(buffer.getvalue()[:-500])
        with pytest.raises(ValueError, match=r"not a|truncated"):
            read_header(tmp_path / "x.pt")


def test_bytes_that_belong_to_no_tensor_are_not_a_weights_file(tmp_path):
    """A safetensors file is as long as its header says, neither shorter nor longer."""
    data = safetensors.torch.save({"a": torch.ones(10), "b": torch.zeros(3, dtype=torch.int64)})
    for changed in (data[:-1], data + b"x"):
        (tmp_path / "x.safetensors").write_bytes(changed)
        with pytest.raises(ValueError, match=rf"found {len(changed)} bytes, expected {len(data)}"):
            read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data_offsets": [0, 12]}, "a tensor begins at byte 0, expected 12"),
        ({"data_offsets": [41, 52]}, "a tensor begins at byte 41, expected 40"),
        ({"data_offsets": [40, 51]}, "a tensor has 11 bytes, expected 12"),
        ({"shape": [4]}, "a tensor has 12 bytes, expected 16"),
        ({"dtype": "F64"}, "a tensor has 12 bytes, expected 24"),
        ({"data_offsets": [-8, 52]}, "shape or place is none"),
        ({"data_offsets": [40.0, 52]}, "shape or place is none"),
        ({"shape": [-1, -3]}, "shape or place is none"),
        ({"shape": [True, 3]}, "shape or place is none"),
        ({"shape": [2**63]}, "shape or place is none"),
        ({"shape": "3"}, "shape or place is none"),
    ],
)
def test_a_tensor_that_loading_would_refuse_is_refused_before_a_job_begins(tmp_path, changed, words):
    data = safetensors.torch.save({"a": torch.ones(10), "b": torch.ones(3)})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["b"] |= changed
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(ValueError, match="its header cannot be read") as error:
        read_header(tmp_path / "x.safetensors")
    assert words in str(error.value.__cause__)
    with pytest.raises(safetensors.SafetensorError):
        safetensors.torch.load_file(tmp_path / "x.safetensors")


def test_compressed_tensors_have_no_place_in_the_file_and_are_refused(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as old, zipfile.ZipFile(tmp_path / "x.pt", "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        read_header(tmp_path / "x.pt")


def test_an_archives_directory_is_the_one_that_its_last_end_names() -> None:
    """What looks like an end may lie before it, in what the archive holds; readers take the last."""

    def end(length: int) -> bytes:
        return b"PK\x05\x06" + bytes(8) + length.to_bytes(4, "little") + bytes(6)

    def check(data: bytes) -> None:
        headers._check_directory(io.BytesIO(data), len(data))

    check(end(2**31) + b"more" + end(10))
    with pytest.raises(ValueError, match="its directory has 2147483648 bytes"):
        check(end(10) + b"more" + end(2**31))

    def end64(length: int) -> bytes:
        return b"PK\x06\x06" + bytes(36) + length.to_bytes(8, "little") + bytes(8)

    check(end64(10) + end(2**32 - 1))
    with pytest.raises(ValueError, match="its directory has 1099511627776 bytes"):
        check(end64(2**40) + end(2**32 - 1))
