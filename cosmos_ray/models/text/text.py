"""Captions to embeddings, by a T5 encoder. (Embeddings that come as files: `embedding.py`.)

Legend: N texts, M text tokens of one text, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.text.cache import TextCache

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, T5EncoderModel

_CACHED_TEXTS = 256


class TextEncoder:
    """T5 embeddings of captions, float32 whatever the encoder computes in. Safe to call from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoder: T5EncoderModel) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)
        self._cache = TextCache(_CACHED_TEXTS)

    @property
    def width(self) -> int:
        return int(self.encoder.config.d_model)

    def to(self, device: str | torch.device) -> TextEncoder:
        self.encoder.to(device)
        return self

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One float32 [M, D] array a text, 1 <= M <= 512 tokens, the end-of-text token included.

        The forward pass is padded to 512 tokens and masked; longer texts are cut.
        """
        return [self._cache.get(text, self._forward) for text in texts]

    def tokens_of(self, text: str) -> int:
        """How many tokens the whole text has, the end-of-text token included; `encode` reads TEXT_TOKENS of them."""
        return len(self.tokenizer(text, verbose=False).input_ids)

    def _forward(self, text: str) -> np.ndarray:
        tokens = self.tokenizer(
            [text], padding="max_length", truncation=True, max_length=TEXT_TOKENS, return_tensors="pt"
        )
        length = int(tokens.attention_mask.sum())
        embedding_1MD = encode_ids(self.encoder, tokens.input_ids, tokens.attention_mask)
        embedding_MD: np.ndarray = embedding_1MD[0, :length].float().cpu().numpy()
        return embedding_MD


@torch.no_grad()
def encode_ids(encoder: T5EncoderModel, input_ids_NM: Tensor, attention_mask_NM: Tensor) -> Tensor:
    """Last hidden states [N, M, D] of tokenised texts; rows from each text's length on are exactly 0."""
    device = encoder.device
    mask_NM = attention_mask_NM.to(device)
    hidden_NMD = encoder(input_ids=input_ids_NM.to(device), attention_mask=mask_NM).last_hidden_state
    positions_M = torch.arange(mask_NM.shape[1], device=device)
    within_NM = positions_M < mask_NM.sum(dim=1, keepdim=True)
    return torch.where(within_NM[..., None], hidden_NMD, 0.0)
