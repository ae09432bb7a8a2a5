"""The published filter of what a video shows: SigLIP looks at every frame, a small network says what it sees.

Legend: T frames, H/W height/width, C channels of an embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_ray.errors import UsageError
from cosmos_ray.models.guardrails.networks import fill, read_tensors

CLASSES = ("Safe", "Sexual_Content", "Violence", "Drugs", "Child_Abuse", "Hate_and_Harassment", "Self-Harm")
#: Frames that are looked at together.
FRAMES_AT_ONCE = 16
_PREFIX = "network."


class Classifier(nn.Module):
    """widths: of the embedding and of the two hidden layers, 1152, 512 and 256 as published."""

    def __init__(self, widths: tuple[int, int, int] = (1152, 512, 256)) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for channels, out in itertools.pairwise(widths):
            parts += [nn.Linear(channels, out), nn.BatchNorm1d(out), nn.ReLU()]
        self.layers = nn.Sequential(*parts, nn.Linear(widths[-1], len(CLASSES)))

    def forward(self, x_TC: Tensor) -> Tensor:
        found: Tensor = self.layers(x_TC)
        return found


def read_classifier(path: Path) -> Classifier:
    """Of `safety_filter.pt`. Raises UsageError."""
    tensors = read_tensors(path, "model")
    state = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
    return _filled(state, path)


def _filled(state: Mapping[str, Tensor], path: Path) -> Classifier:
    try:
        first, second = state["layers.0.weight"], state["layers.3.weight"]
        widths = (int(first.shape[1]), int(first.shape[0]), int(second.shape[0]))
    except (KeyError, IndexError):
        raise UsageError(f"{path}: these are no weights of the content filter") from None
    made = fill(Classifier(widths), state, path)
    assert isinstance(made, Classifier)
    return made


def read_siglip(folder: Path) -> nn.Module:
    """The half of SigLIP that sees, in float32, from a folder in Hugging Face layout. Raises UsageError."""
    from transformers import SiglipVisionModel

    try:
        return SiglipVisionModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{folder}: SigLIP cannot be loaded ({type(error).__name__})") from None


@torch.no_grad()
def seen(frames_THWC: np.ndarray, siglip: nn.Module, classifier: nn.Module, device: str) -> int:
    """The class of the first frame that is not safe; 0 if all are. frames: uint8 RGB."""
    size = int(siglip.config.image_size)  # type: ignore[union-attr, arg-type]
    for start in range(0, len(frames_THWC), FRAMES_AT_ONCE):
        part = torch.from_numpy(np.array(frames_THWC[start : start + FRAMES_AT_ONCE])).to(device)
        embedded_TC = siglip(pixel_values=as_siglip_sees(part, size)).pooler_output
        classes = classifier(F.normalize(embedded_TC.float(), dim=-1)).argmax(dim=-1)
        if bool(classes.any()):
            return int(classes[classes != 0][0])
    return 0


def as_siglip_sees(frames_THWC: Tensor, size: int) -> Tensor:
    """[T, 3, size, size] in -1 to 1: resized bicubically as Pillow does, one direction after the other, to levels."""
    x_T3HW = frames_THWC.permute(0, 3, 1, 2).float()
    for shape in ((x_T3HW.shape[-2], size), (size, size)):
        if x_T3HW.shape[-2:] != shape:
            x_T3HW = F.interpolate(x_T3HW, size=shape, mode="bicubic", antialias=True).round().clamp(0, 255)
    return x_T3HW / 127.5 - 1
