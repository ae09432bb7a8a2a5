"""Tokenizers of text encoders, from files. (How many tokens a text has, without torch: `tokens.py`.)"""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cosmos_ray.store.regular import check_folder

#: T5's special tokens, under the ids that its encoder is configured with.
SPECIAL_TOKENS = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """From a `tokenizer.json` with T5's special tokens, or a folder in Hugging Face layout."""
    if path.is_dir():
        check_folder(path)
        return AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    return PreTrainedTokenizerFast(tokenizer_file=str(path), **SPECIAL_TOKENS)
