"""Captions rewritten by a Qwen2.5-VL, such as Cosmos-Reason1-7B, on this machine: the published refiner of prompts.

Legend: n pictures, H/W height/width in pixels, C colours.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from cosmos_ray.errors import UsageError
from cosmos_ray.models.text.conversation import Conversation, tokenizer_of
from cosmos_ray.store.regular import check_folder, read_object

#: As a folder's config.json has it.
KIND = "qwen2_5_vl"
#: Pixels that a picture is seen with, as published: it is made smaller or larger, sides multiples of 28.
_MIN_PIXELS, _MAX_PIXELS = 256 * 28 * 28, 1280 * 28 * 28
#: Numbers that choose words begin with this: the same question has the same answer.
_SEED = 0


@dataclass(frozen=True)
class Answered:
    """text: as the model wrote it, without its marks. tokens: how many it wrote."""

    text: str
    tokens: int


class OnlyAscii(LogitsProcessor):
    """As published: tokens that are read as ASCII alone, and the model's marks."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        allowed = torch.zeros(vocabulary, dtype=torch.bool)
        for number in range(min(len(tokenizer), vocabulary)):
            allowed[number] = tokenizer.decode([number]).isascii()
        special = [number for number in tokenizer.all_special_ids if number < vocabulary]
        allowed[special] = True
        self._allowed = allowed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._allowed.device != scores.device:
            self._allowed = self._allowed.to(scores.device)
        return scores.masked_fill(~self._allowed, float("-inf"))


class QwenVL:
    """One model, in one place. home: where it stays; works_on: where it writes. Safe to call from several threads."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        home: str = "cpu",
        works_on: str = "cpu",
        conversation: Conversation | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False).to(home)
        self.tokenizer = tokenizer
        self._conversation = conversation or Conversation(tokenizer, None)
        self._home, self._works_on = home, works_on
        self._marks = sorted((str(mark) for mark in tokenizer.get_added_vocab()), key=len, reverse=True)
        self._pictures = _picture_processor(model.config.vision_config)
        self._ascii = OnlyAscii(tokenizer, int(model.config.text_config.vocab_size))
        # Of its own: what is denoised is queued ahead on the usual one, and each word would wait for all of it.
        self._stream = torch.cuda.Stream(works_on, priority=-1) if works_on.startswith("cuda") else None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path, home: str = "cpu", works_on: str = "cpu", dtype: str = "bfloat16") -> QwenVL:
        """From a folder in Hugging Face layout. UsageError if it holds something else."""
        try:
            check_folder(folder)
            kind = read_object(folder / "config.json")["model_type"]
            if kind != KIND:  # asked first: of a folder without one, a model of the usual size would be made
                raise ValueError(f"found a model of type {kind!r}, expected {KIND}")
            disable_progress_bar()  # it draws over what a command says
            model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                str(folder), dtype=getattr(torch, dtype), local_files_only=True, trust_remote_code=False,
                use_safetensors=True,
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise UsageError(f"refiner {folder}: cannot be loaded: {type(error).__name__}: {error}") from error
        tokenizer = tokenizer_of(folder)
        return cls(model, tokenizer, home, works_on, Conversation.of(folder, tokenizer))

    def answer(
        self,
        instructions: str,
        words: str,
        frames_nHWC: np.ndarray | None,
        max_tokens: int = 512,
        temperature: float | None = None,
        seconds: float | None = None,
    ) -> Answered:
        """frames: uint8, what the words are about. seconds: after which it stops where it is.

        The same question has the same answer on the same kind of device, whatever was asked before.
        """
        with self._lock, self._at_work():
            return self._answer(instructions, words, frames_nHWC, max_tokens, temperature, seconds)

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        with torch.cuda.stream(self._stream):
            if self._works_on != self._home:
                self.model.to(self._works_on)
            try:
                yield
            finally:
                if self._stream is not None:
                    self._stream.synchronize()
                if self._works_on != self._home:
                    self.model.to(self._home)
                    torch.cuda.empty_cache()

    @torch.no_grad()
    def _answer(
        self,
        instructions: str,
        words: str,
        frames_nHWC: np.ndarray | None,
        max_tokens: int,
        temperature: float | None,
        seconds: float | None,
    ) -> Answered:
        inputs = self._inputs(instructions, words, frames_nHWC)
        given = inputs["input_ids"].shape[1]
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(_SEED)
            written = self.model.generate(
                **inputs, max_new_tokens=max_tokens, max_time=seconds, logits_processor=[self._ascii],
                **_choice(temperature),
            )  # fmt: skip
        new = written[0, given:]
        return Answered(str(self.tokenizer.decode(new, skip_special_tokens=True)), int(new.numel()))

    def _inputs(self, instructions: str, words: str, frames_nHWC: np.ndarray | None) -> Mapping[str, Any]:
        """The conversation as tokens, each picture as many as it has patches, and the pictures' patches."""
        device = self.model.device
        found: dict[str, Any] = {}
        patches: list[int] = []
        if frames_nHWC is not None and len(frames_nHWC):
            seen = self._pictures(images=list(frames_nHWC), return_tensors="pt")
            merged = self.model.config.vision_config.spatial_merge_size**2
            patches = [int(grid.prod() // merged) for grid in seen["image_grid_thw"]]
            found["pixel_values"] = seen["pixel_values"].to(device, self.model.dtype)
            found["image_grid_thw"] = seen["image_grid_thw"].to(device)
        text = self._conversation.text(instructions, self._unmarked(words), patches)
        tokens = self.tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False)
        found["input_ids"] = tokens.input_ids.to(device)
        found["attention_mask"] = tokens.attention_mask.to(device)
        if patches and "mm_token_type_ids" in inspect.signature(self.model.forward).parameters:
            is_picture = found["input_ids"] == self.model.config.image_token_id
            found["mm_token_type_ids"] = is_picture.to(torch.int32)
        return found

    def _unmarked(self, words: str) -> str:
        """Without what the tokenizer would take for a mark: a person's words end no turn, and bring no picture."""
        for mark in self._marks:
            words = words.replace(mark, f"{mark[:1]} {mark[1:]}")
        return words


def _choice(temperature: float | None) -> dict[str, Any]:
    """How words are chosen; {}: as the model's own settings say, which is as published."""
    if temperature is None:
        return {}
    return {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}


def _picture_processor(vision: Any) -> Any:
    try:
        from transformers import Qwen2VLImageProcessorPil as Processor
    except ImportError:  # of older releases
        from transformers import Qwen2VLImageProcessor as Processor
    return Processor(
        min_pixels=_MIN_PIXELS,
        max_pixels=_MAX_PIXELS,
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
    )
