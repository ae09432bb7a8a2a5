"""The text encoder as a gang uses it: a cache, several threads, and checkpoints that nobody vouches for."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from support import published_weights as published

from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, load_bundle
from cosmos_ray.models.text.t5 import load_encoder, random_encoder
from cosmos_ray.models.text.text import TextEncoder
from cosmos_ray.models.text.tokenizer import load_tokenizer

TOKENIZER = BUILT_IN_FOLDER / "tiny" / "tokenizer.json"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def encoder() -> TextEncoder:
    tiny = load_bundle("tiny")
    assert tiny.text_encoder is not None
    return TextEncoder(load_tokenizer(TOKENIZER), random_encoder(tiny.text_encoder, tiny.text_width, seed=3))


@pytest.fixture
def forwards(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were really encoded."""
    real, done = encoder._forward, list[str]()

    def forward(text: str) -> np.ndarray:
        done.append(text)
        return real(text)

    monkeypatch.setattr(encoder, "_forward", forward)
    return done


def test_the_texts_used_last_are_kept(
    encoder: TextEncoder, forwards: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative prompt of all clips is used again and again between captions that are used once."""
    monkeypatch.setattr(encoder._cache, "most", 2)
    for text in ("night", "one", "night", "two", "night", "three", "night"):
        encoder.encode([text])
    assert forwards == ["night", "one", "two", "three"]
    encoder.encode(["one"])
    assert forwards[-1] == "one", "it had to go"
    assert len(encoder._cache) == 2


def test_two_threads_that_want_one_text_encode_it_once(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in turn: what an encoder computes in two threads at once on one GPU takes twice the memory."""
    real, inside = encoder._forward, list[str]()
    second_is_inside = threading.Event()

    def forward(text: str) -> np.ndarray:
        inside.append(text)
        if len(inside) > 1:
            second_is_inside.set()
        second_is_inside.wait(0.5)  # time in which a second one would come in if it could
        return real(text)

    monkeypatch.setattr(encoder, "_forward", forward)
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(encoder.encode(["night"])[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == ["night"]
    assert found[0] is found[1]


def test_nobody_can_spoil_what_is_kept(encoder: TextEncoder) -> None:
    (embedding,) = encoder.encode(["night"])
    with pytest.raises(ValueError, match="read-only"):
        embedding[0] = 0


def test_an_encoder_is_never_in_training(tmp_path: Path) -> None:
    """The published configuration drops a tenth of all numbers in training: each clip would get another caption."""
    folder = tmp_path / "t5"
    published.write_t5_folder(folder, published.SMALL_T5, 16, TOKENIZER)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dropout_rate": 0.5}))
    encoders = [TextEncoder(load_tokenizer(folder), load_encoder(folder, None, 16)) for _ in range(2)]
    once, again = (encoder.encode(["a red car"])[0] for encoder in encoders)
    assert np.array_equal(once, again)
    assert not any(parameter.requires_grad for parameter in encoders[0].encoder.parameters())


def test_an_encoder_in_16_bits_gives_float32() -> None:
    encoder = random_encoder(published.SMALL_T5, 16, seed=1).to(torch.bfloat16)
    (embedding,) = TextEncoder(load_tokenizer(TOKENIZER), encoder).encode(["a red car"])
    assert embedding.dtype == np.float32
    assert np.array_equal(embedding, torch.from_numpy(embedding.copy()).bfloat16().float().numpy())


def test_weights_that_were_replaced_are_read_again(tmp_path: Path) -> None:
    """A conversion is of a file's content, which its size and time stand for: not of its path."""
    folder = tmp_path / "t5"
    published.write_t5_folder(folder, published.SMALL_T5, 16, TOKENIZER)
    before = load_encoder(folder, None, 16).shared.weight.clone()
    state = published.t5_state(published.SMALL_T5, 16)
    for name in ("shared.weight", "encoder.embed_tokens.weight"):
        state[name] = before + 1
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(load_encoder(folder, None, 16).shared.weight, before + 1)


@pytest.mark.parametrize("form", ["folder", "tokenizer class"])
def test_a_tokenizers_folder_runs_no_code(tmp_path: Path, form: str) -> None:
    """A folder may name code that comes with it; it is neither run nor asked about."""
    folder, mark = tmp_path / "tokenizer", tmp_path / "mark"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(TOKENIZER.read_bytes())
    (folder / "evil.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom transformers import PreTrainedTokenizerFast as Tokenizer\n"
    )
    config = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config |= {"auto_map": {"AutoTokenizer": [None, "evil.Tokenizer"]}} if form == "folder" else {}
    config |= {"tokenizer_class": "PreTrainedTokenizerFast" if form == "folder" else "evil.Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    try:
        tokenizer = load_tokenizer(folder)
    except (ValueError, OSError, ImportError):
        tokenizer = None  # refused is as well
    assert not mark.exists()
    assert tokenizer is None or type(tokenizer).__module__.startswith("transformers")


def test_random_weights_are_their_seeds() -> None:
    """The same on every machine and at every time, whatever was drawn before."""
    tiny = load_bundle("tiny")
    assert tiny.text_encoder is not None

    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.rand(3)
        return dict(random_encoder(tiny.text_encoder, tiny.text_width, seed).named_parameters())  # type: ignore[arg-type]

    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
