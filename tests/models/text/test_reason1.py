"""Cosmos-Reason1's text tower: what it is told, out of published files, in any dtype. (Numbers: the golden cases.)"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from support.pages import shown_to
from support.published_weights import SMALL_QWEN2, write_reason1_folder

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, load_bundle
from cosmos_ray.models.bundle.files import local_path
from cosmos_ray.models.bundle.qwen2_files import read_dims
from cosmos_ray.models.text.embedding import load_embedding
from cosmos_ray.models.text.reason1 import (
    Reason1Encoder,
    build_encoder,
    load_tower,
    projected,
    random_tower,
    raw_states,
)
from cosmos_ray.models.text.tokenizer import load_tokenizer
from cosmos_ray.models.text.tokens import SYSTEM, chat_text, token_counter

TOKENIZER = BUILT_IN_FOLDER / "tiny25" / "tokenizer.json"
RAW = SMALL_QWEN2.num_hidden_layers * SMALL_QWEN2.hidden_size


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    write_reason1_folder(tmp_path / "reason1", SMALL_QWEN2, TOKENIZER)
    return tmp_path / "reason1"


@pytest.fixture
def encoder() -> Reason1Encoder:
    draw = torch.Generator().manual_seed(0)
    layer = torch.randn(8, RAW, generator=draw), torch.randn(8, generator=draw)
    return Reason1Encoder(load_tokenizer(TOKENIZER), random_tower(SMALL_QWEN2, 1), *layer)


def test_the_caption_stands_in_a_conversation() -> None:
    assert hashlib.sha256(SYSTEM.encode()).hexdigest().startswith("f81ef9ad1d04ddb3")
    assert chat_text("A street.") == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nA street.<|im_end|>\n"
    )


def test_the_tower_in_published_files_is_the_one_that_transformers_builds(folder: Path) -> None:
    """Two shards, names under `model.`, and what is for pictures; positions are made anew."""
    tower = load_tower(folder, None, RAW, torch.float32, "x")
    whole = build_encoder(SMALL_QWEN2.model_dump())
    state = {k: v for file in folder.glob("*.safetensors") for k, v in safetensors.torch.load_file(file).items()}
    own = {name.removeprefix("model."): x.float() for name, x in state.items() if name.startswith("model.")}
    whole.load_state_dict(own)
    ids = list(range(3, 40))
    found, expected = (raw_states(one.eval(), ids, 0) for one in (tower, whole))
    assert found.shape == (512, RAW)
    assert torch.equal(found, expected)
    mapped = load_tower(folder, None, RAW, torch.bfloat16, "x")
    assert mapped.dtype == torch.bfloat16
    assert torch.isfinite(raw_states(mapped.eval(), ids, 0).float()).all()


def test_files_of_another_width_or_model_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"2 layers of 16, expected 64 in all"):
        load_tower(folder, None, 64, torch.float32, "x")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    with pytest.raises(UsageError, match=r"no readable config.json of a Qwen2"):
        load_tower(folder, None, RAW, torch.float32, "x")


def test_dimensions_are_those_of_the_text_also_beside_others(tmp_path: Path) -> None:
    """As newer files have them: a model of language and pictures says its own, and those of its text below."""
    own = SMALL_QWEN2.model_dump()
    theta = {"rope_parameters": {"rope_theta": own.pop("rope_theta")}}
    config = {"model_type": "qwen2_5_vl", "hidden_size": 9, "vocab_size": 7, "text_config": own | theta}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_dims(tmp_path) == SMALL_QWEN2


def test_dimensions_are_the_files_where_they_are_not_the_usual_ones(folder: Path) -> None:
    """Those that have a default too: positions turn as the file says."""
    config = json.loads((folder / "config.json").read_text())
    unusual = SMALL_QWEN2.model_copy(update={"rope_theta": 1e4, "rms_norm_eps": 1e-3})
    said = {"rope_theta": 1e4, "rms_norm_eps": 1e-3}
    (folder / "config.json").write_text(json.dumps(config | said | {"rope_parameters": {"rope_theta": 1e4}}))
    assert read_dims(folder) == unusual
    for tower in (load_tower(folder, None, RAW, torch.float32, "x"), random_tower(unusual, 1)):
        assert tower.config.rms_norm_eps == 1e-3
        found = tower.rotary_emb.inv_freq.tolist()
        assert found == pytest.approx([1e4 ** (-number / 4) for number in range(4)])


def test_every_position_is_read_and_a_text_is_encoded_once(
    encoder: Reason1Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = encoder.encode(["A street."])
    assert (one.shape, one.dtype) == ((512, 8), np.float32)
    assert one.any(axis=1).all(), "pads are read like any token"
    monkeypatch.setattr(encoder, "_forward", None)
    assert encoder.encode(["A street."])[0] is one
    assert not one.flags.writeable


def test_no_text_is_what_the_layer_makes_of_zeros_at_every_position(encoder: Reason1Encoder) -> None:
    found = encoder.no_text()
    assert (found.shape, found.dtype) == ((512, encoder.width), np.float32)
    zeros = torch.zeros(512, encoder._weight_DW.shape[1], dtype=encoder._weight_DW.dtype)
    assert found == pytest.approx(projected(zeros, encoder._weight_DW, encoder._bias_D).float().numpy(), abs=1e-6)


def test_a_text_of_more_than_512_tokens_is_cut_and_counted(encoder: Reason1Encoder) -> None:
    long = "a street " * 300
    one, other = encoder.encode([long + "day", long + "night"])
    assert np.array_equal(one, other)
    assert encoder.tokens_of(long) > 512
    count = token_counter(load_bundle("tiny25"))
    assert count is not None
    assert local_path(load_bundle("tiny25"), "tokenizer") == TOKENIZER
    assert count("A street.") == encoder.tokens_of("A street.") > 20, "the conversation counts"


def test_raw_text_becomes_an_embedding_as_shown(
    encoder: Reason1Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's way gives what the encoder gives of the same caption, and files of it are read."""
    monkeypatch.chdir(tmp_path)
    layer = {"net.crossattn_proj.0.weight": encoder._weight_DW, "net.crossattn_proj.0.bias": encoder._bias_D}
    torch.save(layer, "network.pt")
    raw_MW = raw_states(encoder.encoder, encoder.ids_of("A street."), encoder._pad_id)
    torch.save(raw_MW[None], "raw.pt")
    (block,) = shown_to(__file__, "test_raw_text_becomes_an_embedding_as_shown")
    exec(block, {})
    (view,) = load_embedding(Path("prompt.pt").read_bytes(), ".pt", 1, encoder.width)
    assert np.allclose(view, encoder.encode(["A street."])[0], atol=1e-5)
