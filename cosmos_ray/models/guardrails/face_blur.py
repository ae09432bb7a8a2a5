"""The published blur of faces: RetinaFace finds them in every frame, each becomes five by five colours.

Legend: T frames, H/W height/width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from cosmos_ray.errors import UsageError
from cosmos_ray.models.guardrails.boxes import anchors, best, decode
from cosmos_ray.models.guardrails.networks import fill, read_tensors
from cosmos_ray.models.guardrails.pixelate import pixelate
from cosmos_ray.models.guardrails.retinaface import MEANS, RetinaFace

#: Frames that are looked at together: about a quarter of a GB of maps each, at 704x1280.
FRAMES_AT_ONCE = 4


def read_retinaface(path: Path) -> RetinaFace:
    """Of `Resnet50_Final.pth`. Raises UsageError."""
    state = {
        name: tensor for name, tensor in read_tensors(path, "state_dict").items() if not name.startswith("body.fc")
    }
    try:
        net = RetinaFace.sized_as({name: tuple(tensor.shape) for name, tensor in state.items()})
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    made = fill(net, state, path)
    assert isinstance(made, RetinaFace)
    return made


@torch.no_grad()
def blurred(frames_THWC: np.ndarray, net: nn.Module, device: str) -> tuple[np.ndarray, int]:
    """The frames with their faces pixelated (the same array where there are none), and how many faces that were."""
    height, width = frames_THWC.shape[1:3]
    places = anchors(height, width).to(device)
    means = torch.tensor(MEANS, device=device).view(1, 3, 1, 1)
    out, found = frames_THWC, 0
    for start in range(0, len(frames_THWC), FRAMES_AT_ONCE):
        part = torch.from_numpy(np.array(frames_THWC[start : start + FRAMES_AT_ONCE])).to(device)
        offsets, faces = net(part.permute(0, 3, 1, 2).flip(1).float() - means)
        boxes = decode(offsets.float(), places, height, width).cpu().numpy()
        for number, sure in enumerate(faces.float().cpu().numpy()):
            if len(kept := best(boxes[number], sure)):
                out = frames_THWC.copy() if out is frames_THWC else out
                found += pixelate(out[start + number], kept)
    return out, found
