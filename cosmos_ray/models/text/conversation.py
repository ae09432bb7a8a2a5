"""What a Qwen2.5-VL is asked, as the text of a conversation: by its folder's template, as all who use it have it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from cosmos_ray.errors import UsageError, first_line
from cosmos_ray.models.text.template import check_template

#: Where a picture is, once for each of its patches.
PAD = "<|image_pad|>"
_PICTURE = f"<|vision_start|>{PAD}<|vision_end|>"
#: Of older folders; newer ones have `chat_template.jinja`, which the tokenizer reads, or it is among its settings.
_OLDER_FILE = "chat_template.json"
_MAX_BYTES = 2**20
_A_WORD = "street"
_GOES_ON = {"add_generation_prompt": True}


class Conversation:
    """Instructions, then words and the pictures that they are about; the model is to go on.

    template: of the folder, in Jinja; None: the form of Qwen2.5-VL's own, written out here.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str | dict[str, str] | None) -> None:
        self._tokenizer, self._template = tokenizer, template

    @classmethod
    def of(cls, folder: Path, tokenizer: PreTrainedTokenizerBase) -> Conversation:
        """UsageError for a folder whose template has no place for words and pictures."""
        template = _older(folder) or tokenizer.chat_template
        found = cls(tokenizer, template)
        if template is not None:
            try:
                check_template(template, {"messages": _messages("(instructions)", "(words)", 1)} | _GOES_ON)
                text = found.text("(instructions)", "(words)", [1])
            except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise UsageError(
                    f"refiner {folder}: its chat template cannot be used: {type(error).__name__}: {first_line(error)}"
                ) from error
            if "(instructions)" not in text or "(words)" not in text:
                raise UsageError(f"refiner {folder}: its chat template leaves out what it is given")
        return found

    def text(self, instructions: str, words: str, patches: Sequence[int]) -> str:
        """patches: of each picture, how many there are. ValueError where the template has no place for each."""
        pieces = self._with_one_pad_each(instructions, words, len(patches)).split(PAD)
        if len(pieces) != len(patches) + 1:
            raise ValueError(
                f"found places for {len(pieces) - 1} pictures in the conversation, expected {len(patches)}"
            )
        pads = (PAD * count for count in patches)
        return pieces[0] + "".join(pad + piece for pad, piece in zip(pads, pieces[1:], strict=True))

    def _with_one_pad_each(self, instructions: str, words: str, pictures: int) -> str:
        if self._template is None:
            return (
                f"<|im_start|>system\n{instructions}<|im_end|>\n"
                f"<|im_start|>user\n{words}{_PICTURE * pictures}<|im_end|>\n<|im_start|>assistant\n"
            )
        chosen = None if isinstance(self._template, dict) else self._template
        return str(
            self._tokenizer.apply_chat_template(
                _messages(instructions, words, pictures), chat_template=chosen, tokenize=False, **_GOES_ON
            )
        )


def _messages(instructions: str, words: str, pictures: int) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = [{"type": "text", "text": words}, *([{"type": "image"}] * pictures)]
    return [{"role": "system", "content": instructions}, {"role": "user", "content": content}]


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """Of a folder in Hugging Face layout. UsageError."""
    try:
        found = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        said = "" if found(_A_WORD).input_ids else "it knows no words: are its files there?"  # of none, one is made
    except Exception as error:  # noqa: BLE001 - a library's readers of strangers' files, of several formats
        said = f"{type(error).__name__}: {first_line(error)}"
    if said:
        raise UsageError(f"refiner {folder}: its tokenizer cannot be loaded: {said}")
    return found


def _older(folder: Path) -> str | None:
    path = folder / _OLDER_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))["chat_template"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"refiner {folder}: {_OLDER_FILE} holds no chat template ({type(error).__name__})") from error
    if not isinstance(found, str):
        raise UsageError(f"refiner {folder}: {_OLDER_FILE} holds no chat template (found {type(found).__name__})")
    return found
