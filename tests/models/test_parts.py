"""In which dtype text encoders compute, what names their conversions, and what is imported ahead of them."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cosmos_ray.errors import UsageError
from cosmos_ray.models import imports, parts
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.references import RandomWeights
from cosmos_ray.models.text import reason1, t5, text, tokenizer


class Asked(Exception):
    """What a reader was called with."""


def asked(*arguments: Any, **named: Any) -> Any:
    raise Asked(*arguments, *named.values())


@pytest.mark.parametrize("model", ["tiny", "tiny25"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("source", ["a file", "drawn"])
def test_a_text_encoder_computes_in_its_own_dtype(model: str, dtype: Any, source: str) -> None:
    """And the network's layer behind it in the network's."""
    bundle = load_bundle(model)
    if source == "drawn":
        assert bundle.files is not None
        files = bundle.files.model_copy(update={"text_encoder": RandomWeights(random_seed=1)})
        bundle = bundle.model_copy(update={"files": files})
    for numerics, layer in (("reference", torch.bfloat16), ("float32", torch.float32)):
        one = bundle.model_copy(update={"numerics": numerics, "text_encoder_dtype": dtype})
        zeros = {f"crossattn_proj.0.{part}": torch.zeros(2, 2) for part in ("weight", "bias")}
        found = parts.load_text_encoder(one, lambda of_network=zeros: of_network)
        assert found.encoder.dtype == getattr(torch, dtype)
        if isinstance(found, reason1.Reason1Encoder):
            assert (found._weight_DW.dtype, found._bias_D.dtype) == (layer, layer)


@pytest.mark.parametrize("encoder", [t5, reason1], ids=["t5", "reason1"])
def test_a_part_is_read_from_its_own_file_as_that_file_is_named(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source names what is converted: under another part's, or none, a conversion would be taken for it."""
    bundle = load_bundle("cosmos-predict2-2b-multiview" if encoder is t5 else "cosmos-predict2.5-2b-multiview")
    monkeypatch.setattr(parts, "local_path", lambda _, kind: f"file of {kind}")
    monkeypatch.setattr(parts, "source_key", lambda _, kind: f"source of {kind}")
    monkeypatch.setattr(tokenizer, "load_tokenizer", lambda path: path)
    monkeypatch.setattr(parts, "load_dit_state", asked)
    monkeypatch.setattr(parts, "load_vae_state", asked)
    monkeypatch.setattr(encoder, "load_encoder" if encoder is t5 else "load_tower", asked)
    for part, load in (
        ("dit", parts.load_network), ("vae", parts.load_vae),
        ("text_encoder", lambda one: parts.load_text_encoder(one, dict)),
    ):  # fmt: skip
        with pytest.raises(Asked) as one:
            load(bundle)  # type: ignore[operator]
        path, *others = one.value.args
        assert (path, f"source of {part}" in others) == (f"file of {part}", True)


@pytest.mark.parametrize(("module", "dtype"), [(t5, torch.float32), (reason1, torch.bfloat16)])
def test_a_conversion_is_named_by_what_it_is_told_of_the_files(
    module: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two copies of one revision there is one conversion."""
    found = SimpleNamespace(config={}, dims=None, files=(tmp_path,), header=None, selection=None)
    monkeypatch.setattr(module, "load_selected", asked)
    monkeypatch.setattr(t5, "read_t5", lambda *_: found)
    monkeypatch.setattr(reason1, "read_qwen2", lambda *_: found)
    read = t5.load_encoder if module is t5 else reason1.load_tower
    with pytest.raises(Asked) as one:
        read(tmp_path, None, 8, dtype, "revision 1")  # type: ignore[arg-type]
    assert one.value.args == (
        f"text encoder {tmp_path}", "text_encoder", (tmp_path,), "revision 1", None, None, dtype,
    )  # fmt: skip


def test_what_a_checkpoint_lacks_is_said_of_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle("cosmos-predict2-2b-multiview")
    monkeypatch.setattr(parts, "MultiviewDiT", lambda config: None)
    monkeypatch.setattr(parts, "local_path", lambda *_: (_ for _ in ()).throw(UsageError("it is not there")))
    with pytest.raises(UsageError, match=rf"^bundle `{bundle.name}`, files\.dit: it is not there$"):
        parts.load_network(bundle)


def test_libraries_that_are_brought_in_ahead_are_those_of_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name that is none, nothing would be said before a gang begins."""
    brought: list[str] = []
    monkeypatch.setattr(importlib, "import_module", lambda name: brought.append(name))
    for encoder, module in (("t5", t5), ("reason1", reason1), (None, None)):
        brought.clear()
        imports.import_network()
        imports.import_others(encoder)  # type: ignore[arg-type]
        expected = ["cosmos_ray.models.generator", "cosmos_ray.models.vae.vae"]
        assert brought == expected + ([] if module is None else [module.__name__, tokenizer.__name__])
        assert all(importlib.util.find_spec(name) for name in brought)


def test_tokens_of_a_caption_are_counted_beyond_what_is_read() -> None:
    bundle = load_bundle("tiny")
    found = parts.load_text_encoder(bundle, dict)
    assert isinstance(found, text.TextEncoder)
    assert [found.tokens_of(caption) for caption in ("car", "car " * 600)] == [2, 601]
