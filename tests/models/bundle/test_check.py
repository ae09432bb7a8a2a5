"""`model check` on files that are elsewhere, and what it says of sizes: from headers, without a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from safetensors.numpy import save
from support import published_weights as published
from support.paths import ROOT
from support.tiny_spec import TINY, random_tiny_spec
from transformers import T5Config, T5EncoderModel

from cosmos_ray.models.bundle.bundle import Bundle, parse_bundle
from cosmos_ray.models.bundle.cache import content_sha256
from cosmos_ray.models.bundle.check import Finding, check_bundle, text_encoder_parameters
from cosmos_ray.models.bundle.shapes import dit_shapes, t5_shapes, vae_shapes
from cosmos_ray.models.bundle.t5_files import encoder_shapes, read_t5

pytestmark = pytest.mark.usefixtures("own_cache")


def remote(name: str, **files: tuple[str, bytes]) -> Bundle:
    """A bundle in fsspec's in-memory store with some parts as files; the sha256 is never compared before a download."""
    memory = fsspec.filesystem("memory")
    spec = random_tiny_spec()
    spec["network"] |= {"model_channels": 64, "num_blocks": 1}
    memory.pipe(f"/check/{name}/tokenizer.json", (TINY / "tokenizer.json").read_bytes())
    for kind, (uri, data) in files.items():
        memory.pipe(f"/check/{name}/{uri}", data)
        spec["files"][kind] = {"uri": uri, "sha256": "0" * 64}
    return parse_bundle(json.dumps(spec), f"memory://check/{name}")


def of(bundle: Bundle, subject: str) -> list[Finding]:
    return [finding for finding in check_bundle(bundle) if finding.subject == subject]


def zeros(shapes: dict[str, tuple[int, ...]]) -> bytes:
    return save({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


@pytest.mark.parametrize("kind", ["dit", "vae"])
def test_weights_in_a_store_are_checked_by_their_header_before_they_are_fetched(own_cache: Path, kind: Any) -> None:
    plain = remote("plain")
    shapes = {"dit": dit_shapes(plain.network), "vae": vae_shapes(plain.vae)}[kind]
    found = of(remote("right", **{kind: ("weights.safetensors", zeros(shapes))}), kind)
    assert [finding.level for finding in found] == ["ok", "ok"]
    assert "to be fetched: memory://check/right/weights.safetensors, " in found[0].message
    assert f"{len(shapes)} tensors" in found[1].message
    name = next(iter(shapes))
    wrong = shapes | {name: (1, *shapes[name])}
    found = of(remote("wrong", **{kind: ("weights.safetensors", zeros(wrong))}), kind)
    assert [finding.level for finding in found] == ["ok", "problem"]
    assert name in found[1].message
    assert not (own_cache / "bundles").exists()


@pytest.mark.parametrize("kind", ["dit", "vae"])
def test_weights_in_a_form_that_nobody_reads_are_a_problem(kind: Any) -> None:
    found = of(remote("form", **{kind: ("weights.onnx", b"")}), kind)
    assert [finding.level for finding in found] == ["ok", "problem"]
    assert "found suffix `.onnx`, expected .safetensors, .pt, .pth" in found[1].message


def test_a_file_that_is_not_in_the_store_is_a_problem() -> None:
    bundle = remote("gone", vae=("vae.safetensors", b""))
    fsspec.filesystem("memory").rm("/check/gone/vae.safetensors")
    (found,) = of(bundle, "vae")
    assert (found.level, found.message) == ("problem", "memory://check/gone/vae.safetensors not found")


def test_sizes_are_told_in_the_unit_that_people_read() -> None:
    (found,) = of(remote("small", text_encoder=("t5", bytes(2_340_000))), "text_encoder")
    assert found.message.endswith("2.34 MB")
    (found,) = of(remote("large", text_encoder=("t5", bytes(100_000_000))), "text_encoder")
    assert found.message.endswith("100.00 MB")


def test_a_text_encoder_is_as_large_as_the_configuration_beside_it_says(tmp_path: Path) -> None:
    """For the memory plan: of a folder that is here, whatever lies in it beside `config.json`."""
    published.write_t5_folder(tmp_path / "t5", published.SMALL_T5, 16, ROOT / TINY / "tokenizer.json")
    spec = random_tiny_spec()
    del spec["text_encoder"]
    spec["network"] |= {"crossattn_emb_channels": 16}
    assert text_encoder_parameters(parse_bundle(json.dumps(random_tiny_spec()), "")) is None, "random weights"
    spec["files"]["text_encoder"] = {"uri": "t5", "sha256": content_sha256(tmp_path / "t5")}
    bundle = parse_bundle(json.dumps(spec), str(tmp_path))
    with torch.device("meta"):
        encoder = T5EncoderModel(T5Config(**published.t5_config(published.SMALL_T5, 16)))
    assert text_encoder_parameters(bundle) == sum(parameter.numel() for parameter in encoder.parameters())
    (tmp_path / "t5" / "config.json").write_text("{}")
    assert text_encoder_parameters(bundle) is None
    assert text_encoder_parameters(parse_bundle(json.dumps(spec), str(tmp_path / "elsewhere"))) is None


# --- T5 in its later form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["relu", "gated-gelu", "gated-silu"])
def test_encoders_of_both_forms_have_the_librarys_names_and_shapes(form: str) -> None:
    config = published.t5_config(published.SMALL_T5, 16) | {"feed_forward_proj": form}
    with torch.device("meta"):
        encoder = T5EncoderModel(T5Config(**config))
    expected = {name: tuple(parameter.shape) for name, parameter in encoder.named_parameters()}
    assert encoder_shapes(config) == expected
    assert t5_shapes(published.SMALL_T5, 16, gated=form != "relu") == expected


@pytest.mark.parametrize("width", [15, 17])
def test_an_encoder_of_another_width_is_refused(tmp_path: Path, width: int) -> None:
    """Wider or narrower than what the network was trained on."""
    published.write_t5_folder(tmp_path / "t5", published.SMALL_T5, 16, ROOT / TINY / "tokenizer.json")
    with pytest.raises(ValueError, match=f"the text encoder is 16 wide, expected {width}"):
        read_t5(tmp_path / "t5", None, width)
    with pytest.raises(ValueError, match="one weights file needs the bundle's `text_encoder` dimensions"):
        read_t5(tmp_path / "t5" / "pytorch_model.bin", None, 16)
