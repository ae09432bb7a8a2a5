"""Weight files: read without running anything in them; random weights: the same on every machine."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support.waiting import PATIENCE_S

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle, parse_bundle
from cosmos_ray.models.bundle.cache import file_sha256
from cosmos_ray.models.bundle.weights import random_state_dict, read_pickled
from cosmos_ray.models.fake import Alone
from cosmos_ray.models.generator import Generator


def test_published_pickles_with_extra_states_are_read(tmp_path):
    """Transformer Engine leaves BytesIO objects among the tensors; they are dropped."""
    torch.save({"net.a": torch.ones(2), "net.q_norm._extra_state": io.BytesIO(b"state")}, tmp_path / "model.pt")
    state = read_pickled(tmp_path / "model.pt")
    assert list(state) == ["net.a"]
    assert state["net.a"].tolist() == [1, 1]


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (exec, (f"open({str(self.path)!r}, 'w').write('ran')",))


def test_two_files_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network and the autoencoder are: what the one that ends first had allowed, the other still needs."""
    load, second_is_open, first_is_read = torch.load, threading.Event(), threading.Event()

    def in_this_order(path: Path, **options: Any) -> Any:
        if path.stem == "second":
            second_is_open.set()
        assert (first_is_read if path.stem == "second" else second_is_open).wait(PATIENCE_S)
        return load(path, **options)

    monkeypatch.setattr(torch, "load", in_this_order)
    with ThreadPoolExecutor() as pool:
        reading = {}
        for name in ("first", "second"):
            torch.save({"net.a": torch.ones(2), "net.state": io.BytesIO(b"state")}, tmp_path / f"{name}.pt")
            reading[name] = pool.submit(read_pickled, tmp_path / f"{name}.pt")
        reading["first"].result(PATIENCE_S)
        first_is_read.set()
        assert set(reading["second"].result(PATIENCE_S)) == {"net.a"}


def test_a_weights_file_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    torch.save({"a": torch.ones(2), "b": Bomb(tmp_path / "mark")}, tmp_path / "model.pth")
    with pytest.raises(UsageError, match="not a file of tensors only"):
        read_pickled(tmp_path / "model.pth")
    assert not (tmp_path / "mark").exists()


def test_a_file_of_something_else_than_named_tensors_is_refused(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "model.pt")
    with pytest.raises(UsageError, match="found a list"):
        read_pickled(tmp_path / "model.pt")


def test_what_is_made_of_mapped_weights_never_reaches_the_file(tmp_path):
    """The pages are a process's own once it writes to them: the file is another's, maybe on a disk for all."""
    for is_zip in (True, False):
        # Names of several lengths: in the older format only those are mapped whose bytes happen to be aligned.
        for length in range(1, 5):
            torch.save({"a" * length: torch.arange(1000.0)}, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
            before = (tmp_path / "x.pt").read_bytes()
            (tensor,) = read_pickled(tmp_path / "x.pt").values()
            tensor += 1
            assert tensor[-1] == 1000
            del tensor
            assert (tmp_path / "x.pt").read_bytes() == before


def test_tensors_of_the_older_format_that_are_not_stored_in_order_are_refused(tmp_path):
    """Their bytes in the order of the file would be other weights of the same shape."""
    square = torch.arange(9.0).view(3, 3)
    torch.save({"a": square.t(), "b": square}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UsageError, match="not a file of tensors only"):
        read_pickled(tmp_path / "x.pt")
    assert torch.equal(read_pickled(tmp_path / "x.pt", only={"b"})["b"], square)


def test_random_weights_are_numpys_frozen_stream_in_the_order_of_the_names():
    state = random_state_dict(
        {"b.weight": (4, 9), "a.weight": (3, 16), "c.bias": (5,), "d.norm.weight": (2,), "e.weight": (3, 4, 2, 2)},
        seed=9,
    )
    random = np.random.RandomState(9)
    assert np.allclose(state["a.weight"], random.standard_normal((3, 16)) / 4)
    assert np.allclose(state["b.weight"], random.standard_normal((4, 9)) / 3)
    assert np.allclose(state["c.bias"], random.standard_normal(5) * 0.02)
    assert np.allclose(state["d.norm.weight"], 1 + 0.1 * random.standard_normal(2))
    assert np.allclose(state["e.weight"], random.standard_normal((3, 4, 2, 2)) / 4), "16 numbers go into each"


def test_a_bundle_of_files_is_the_bundle_whose_weights_they_hold(tmp_path):
    """Every kind of file, in a folder of one's own: the same latents as with the weights they were written from."""
    tiny = load_bundle("tiny").model_copy(update={"state_t": 1})
    source = Generator.load(tiny)
    network = {f"net.{name}": tensor for name, tensor in source.network.state_dict().items()}
    torch.save(network | {"net.accum_iteration": torch.tensor(1)}, tmp_path / "dit.pt")
    safetensors.torch.save_file(source.vae.published_state_dict(), tmp_path / "vae.safetensors")
    source.text_encoder.encoder.save_pretrained(tmp_path / "t5")
    source.text_encoder.tokenizer.save_pretrained(tmp_path / "t5")
    (tmp_path / "tokenizer.json").write_bytes(Path(tiny.root, "tokenizer.json").read_bytes())
    uris = {
        "dit": "dit.pt",
        "vae": "vae.safetensors",
        "text_encoder": "t5/model.safetensors",
        "tokenizer": "tokenizer.json",
    }
    files = {kind: {"uri": uri, "sha256": file_sha256(tmp_path / uri)} for kind, uri in uris.items()}
    spec = tiny.model_dump(mode="json") | {"files": files}
    bundle = parse_bundle(json.dumps(spec), str(tmp_path))
    loaded = Generator.load(bundle)
    assert all(torch.equal(a, b) for a, b in zip(loaded.network.parameters(), source.network.parameters(), strict=True))
    assert np.array_equal(loaded.text_encoder.encode(["red"])[0], source.text_encoder.encode(["red"])[0])
    video = torch.rand(1, 3, 1, 64, 112)
    assert torch.equal(loaded.vae.encode(video), source.vae.encode(video))

    torch.save({}, tmp_path / "dit.pt")
    for rank in (0, 1):  # each of them: what a rank makes of a wrong file would be kept under the right one's name
        with pytest.raises(UsageError, match=r"dit\.pt: found sha256 .*, expected"):
            Generator.load(bundle, parallel=Alone(rank, 2))
    with pytest.raises(UsageError, match=r"dit\.pt: found sha256 .*, expected"):
        Generator.load(bundle)
    spec["files"]["dit"]["sha256"] = file_sha256(tmp_path / "dit.pt")
    with pytest.raises(UsageError, match=r"files\.dit: .*found no entries, expected"):
        Generator.load(parse_bundle(json.dumps(spec), str(tmp_path)))
