"""Llama-Guard-3 asked about a prompt, as published: one message of a user, fourteen categories, greedily."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from cosmos_ray.errors import UsageError, first_line
from cosmos_ray.models.text.template import check_template

#: As its template is given them: the last key is in small letters there.
CATEGORIES = {
    "S1": "Violent Crimes.",
    "S2": "Non-Violent Crimes.",
    "S3": "Sex Crimes.",
    "S4": "Child Exploitation.",
    "S5": "Defamation.",
    "S6": "Specialized Advice.",
    "S7": "Privacy.",
    "S8": "Intellectual Property.",
    "S9": "Indiscriminate Weapons.",
    "S10": "Hate.",
    "S11": "Self-Harm.",
    "S12": "Sexual Content.",
    "S13": "Elections.",
    "s14": "Code Interpreter Abuse.",
}
_MOST_TOKENS = 100
_CODE = re.compile(r"\bs(\d{1,2})\b", re.IGNORECASE)
_NAMES = {key.upper(): name.rstrip(".") for key, name in CATEGORIES.items()}


def read_llama_guard(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and model (bfloat16) from a folder in Hugging Face layout. Raises UsageError."""
    from transformers import AutoModelForCausalLM

    tokenizer = read_tokenizer(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{folder}: Llama-Guard cannot be loaded ({type(error).__name__})") from None
    return tokenizer, model.eval()


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer, once its chat template was tried. Raises UsageError where either is missing or no use."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        check_template(tokenizer.chat_template, {"messages": _messages("(words)"), "categories": CATEGORIES})
        said = _conversation("(words)", tokenizer)
    except Exception as error:  # noqa: BLE001 - a library's readers of strangers' files, and strangers' templates
        raise UsageError(
            f"{folder}: Llama-Guard's tokenizer or chat template cannot be used: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from None
    if "(words)" not in said:
        raise UsageError(f"{folder}: Llama-Guard's chat template leaves out what it is given")
    return tokenizer


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _conversation(text: str, tokenizer: Any) -> str:
    return str(tokenizer.apply_chat_template(_messages(text), categories=CATEGORIES, tokenize=False))


@torch.no_grad()
def answer(text: str, tokenizer: Any, model: Any) -> str:
    """What the model says of a prompt."""
    words = _conversation(without_marks(text, tokenizer), tokenizer)
    ids = tokenizer(words, add_special_tokens=False, return_tensors="pt").input_ids.to(model.device)
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=_MOST_TOKENS, pad_token_id=0, do_sample=False
    )
    return str(tokenizer.decode(made[0][ids.shape[1] :], skip_special_tokens=True))


def without_marks(text: str, tokenizer: Any) -> str:
    """A prompt that cannot end its own message: the tokenizer's marks in it are taken apart."""
    marks = {str(token) for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())}
    for mark in sorted(filter(None, marks), key=len, reverse=True):
        text = text.replace(mark, " ".join(mark))
    return text


def category_of(said: str) -> str | None:
    """None unless it says `unsafe`, in whatever letters: then what it names."""
    if "unsafe" not in said.lower():
        return None
    codes = [f"S{code}" for code in _CODE.findall(said)]
    named = [f"{code} {_NAMES[code]}" for code in dict.fromkeys(codes) if code in _NAMES]
    return ", ".join(named)[:80] or "unsafe"
