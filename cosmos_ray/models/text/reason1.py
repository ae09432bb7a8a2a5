"""Captions to embeddings by Cosmos-Reason1's text tower, as the models from Predict2.5 on take them.

Each token's states after every layer, normalised and side by side, are made as wide as the network's text by a layer of
the network's own checkpoint. That is done here, once a text: what travels to the other ranks is a hundredth as large.

Legend: M text tokens, N layers, H hidden width, W = N*H raw width, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2Model

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.convert import load_selected
from cosmos_ray.models.bundle.dims import Qwen2Dims
from cosmos_ray.models.bundle.qwen2_files import read_qwen2
from cosmos_ray.models.bundle.weights import fill_random
from cosmos_ray.models.text.cache import TextCache
from cosmos_ray.models.text.tokens import chat_text

_TINY = 1e-8
#: Of 2 MB each.
_CACHED_TEXTS = 64


class Reason1Encoder:
    """Embeddings float32 [512, D] of captions, one for each token, pads among them: the encoder knows no mask.

    weight [D, W], bias [D]: the network's layer for raw text. Safe to call from several threads.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, encoder: Qwen2Model, weight_DW: Tensor, bias_D: Tensor
    ) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)
        self._weight_DW, self._bias_D = weight_DW, bias_D
        self._pad_id = int(tokenizer.pad_token_id)
        self._cache = TextCache(_CACHED_TEXTS)

    @property
    def width(self) -> int:
        return int(self._bias_D.shape[0])

    def to(self, device: str | torch.device) -> Reason1Encoder:
        self.encoder.to(device)
        self._weight_DW, self._bias_D = self._weight_DW.to(device), self._bias_D.to(device)
        return self

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One float32 [512, D] array a text; longer ones are cut."""
        return [self._cache.get(text, self._forward) for text in texts]

    def no_text(self) -> np.ndarray:
        """float32 [512, D]: what the network's layer makes of raw text that is zero."""
        weight_DW = self._weight_DW
        raw_MW = torch.zeros(1, weight_DW.shape[1], dtype=weight_DW.dtype, device=weight_DW.device)
        return np.repeat(projected(raw_MW, weight_DW, self._bias_D).float().cpu().numpy(), TEXT_TOKENS, axis=0)

    def ids_of(self, text: str) -> list[int]:
        return list(self.tokenizer(chat_text(text), add_special_tokens=False, verbose=False).input_ids)

    def tokens_of(self, text: str) -> int:
        """How many tokens the conversation about the whole text has; `encode` reads TEXT_TOKENS of them."""
        return len(self.ids_of(text))

    def _forward(self, text: str) -> np.ndarray:
        raw_MW = raw_states(self.encoder, self.ids_of(text), self._pad_id)
        embedding_MD = projected(raw_MW.to(self._weight_DW.dtype), self._weight_DW, self._bias_D)
        found: np.ndarray = embedding_MD.float().cpu().numpy()
        return found


def build_encoder(config: Mapping[str, Any]) -> Qwen2Model:
    """A text tower of these dimensions (transformers' names), with the weights that transformers initialises."""
    known = {name: config[name] for name in _CONFIG if name in config}
    theta = config.get("rope_theta", 1e6)
    rope = {"rope_type": "default", "rope_theta": theta}
    return Qwen2Model(Qwen2Config(**known, rope_parameters=rope, use_sliding_window=False, attention_dropout=0.0))


_CONFIG = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
    "vocab_size", "rms_norm_eps", "max_position_embeddings",
)  # fmt: skip


@torch.no_grad()
def raw_states(encoder: Qwen2Model, ids: Sequence[int], pad_id: int) -> Tensor:
    """[512, W] in the encoder's dtype: states after each layer, the last one normed, each with mean 0 and deviation 1.

    Shorter texts are padded, and the pads read like any token; longer ones are cut.
    """
    padded = [*ids, *[pad_id] * TEXT_TOKENS][:TEXT_TOKENS]
    ids_1M = torch.tensor([padded], device=encoder.device)
    states = encoder(input_ids=ids_1M, output_hidden_states=True, use_cache=False).hidden_states[1:]
    return torch.cat([_normalised(state_1MH[0]) for state_1MH in states], dim=-1)


def _normalised(state_MH: Tensor) -> Tensor:
    return (state_MH - state_MH.mean(dim=-1, keepdim=True)) / (state_MH.std(dim=-1, keepdim=True) + _TINY)


@torch.no_grad()
def projected(raw_MW: Tensor, weight_DW: Tensor, bias_D: Tensor) -> Tensor:
    """What the network attends to: [M, D]. Not even raw zeros give zeros."""
    return F.gelu(F.linear(raw_MW, weight_DW, bias_D))


def random_tower(dims: Qwen2Dims | None, seed: int) -> Qwen2Model:
    """UsageError without dimensions."""
    if dims is None:
        raise UsageError("a random text encoder without dimensions")
    tower = build_encoder(dims.model_dump())
    fill_random(tower, seed)
    return tower


def load_tower(
    path: Path, dims: Qwen2Dims | None, raw_width: int | None, dtype: torch.dtype, source: str
) -> Qwen2Model:
    """The text tower of a folder in Hugging Face layout, or of one weights file whose dimensions the bundle gives.

    Files that have it in another dtype are converted into the node's cache once. source: what fixes their content.
    UsageError lists missing and misshapen parameters.
    """
    try:
        found = read_qwen2(path, dims, raw_width)
    except (ValueError, TypeError) as error:
        raise UsageError(f"text encoder {path}: {error}") from error
    state = load_selected(
        f"text encoder {path}", "text_encoder", found.files, source, found.header, found.selection, dtype
    )
    with torch.device("meta"):
        tower = build_encoder(found.dims.model_dump())
    tower.load_state_dict(state, strict=True, assign=True)
    # Positions are no parameters: on the CPU, in float32, as they would have been made.
    tower.rotary_emb = build_rotary(tower.config)
    return tower


def build_rotary(config: Qwen2Config) -> torch.nn.Module:
    """The library's rotation of positions, whose buffers no file has."""
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

    return Qwen2RotaryEmbedding(config)
