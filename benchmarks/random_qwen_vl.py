"""Qwen2.5-VLs of the published class with random weights: small for tests, of Cosmos-Reason1-7B's shapes for timing.

Their tokenizer knows bytes, and the marks of the published one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

#: As the published tokenizer calls them.
MARKS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
#: (text, vision) dimensions, as transformers calls them.
TINY: tuple[dict[str, Any], dict[str, Any]] = (
    {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 272,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
    },
    {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
        "fullatt_block_indexes": [1], "window_size": 112,
    },
)  # fmt: skip
PUBLISHED: tuple[dict[str, Any], dict[str, Any]] = (
    {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112,
    },
)  # fmt: skip


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte, and the marks: some tokens are no ASCII, as of the published one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    found.add_special_tokens({"additional_special_tokens": list(MARKS)})
    return found


def config_of(size: tuple[dict[str, Any], dict[str, Any]], tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    ends = {
        "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"],
    }  # fmt: skip
    text, vision = size
    return Qwen2_5_VLConfig(
        text_config={**text, **ends, "max_position_embeddings": 128000}, vision_config=vision,
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip


def random_model(
    size: tuple[dict[str, Any], dict[str, Any]], tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype, device: str
) -> Qwen2_5_VLForConditionalGeneration:
    """Made where it is to be, in that dtype."""
    was = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen2_5_VLForConditionalGeneration(config_of(size, tokenizer))
    finally:
        torch.set_default_dtype(was)
    model.generation_config.update(do_sample=True, temperature=0.7, top_p=0.9, eos_token_id=tokenizer.eos_token_id)
    return model


def write_tiny(folder: Path, seed: int = 0) -> Path:
    """The folder, in Hugging Face layout. Its model writes something: which is nobody's language."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    model = random_model(TINY, tokenizer, torch.float32, "cpu")
    with torch.no_grad():
        for weight in model.parameters():  # or a picture would be lost among words
            weight.mul_(8 if weight.ndim > 1 else 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
