"""The face detector RetinaFace on a ResNet-50, under the published parameter names.

Legend: B pictures, N anchors (`boxes.anchors`). A picture is BGR less the mean colours, float32 [B, 3, H, W].
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Blocks of each of ResNet-50's four stages.
_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4
#: Anchors at each place of a map.
_ANCHORS = 2
#: Mean blue, green and red of the training's pictures.
MEANS = (104.0, 117.0, 123.0)


class Bottleneck(nn.Module):
    """A block of ResNet-50 (arXiv 1512.03385). reshapes: what goes round it is convolved too."""

    def __init__(self, channels: int, inner: int, stride: int, reshapes: bool) -> None:
        super().__init__()
        out = inner * _EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = _convolved(channels, out, 1, stride) if reshapes else None

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + kept)


class ResNet(nn.Module):
    """Its last three maps, at an eighth, a sixteenth and a thirty-second of the size."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base)
        channels = base
        for stage, blocks in enumerate(_BLOCKS):
            inner = base * 2**stage
            made = []
            for block in range(blocks):
                made.append(Bottleneck(channels, inner, 2 if block == 0 and stage else 1, reshapes=block == 0))
                channels = inner * _EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*made))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return maps[1:]


class Pyramid(nn.Module):
    """Maps of one width, the coarser ones added to the finer ones."""

    def __init__(self, base: int, width: int) -> None:
        super().__init__()
        self.leak = _leak(width)
        for number in (1, 2, 3):
            self.add_module(f"output{number}", _convolved(base * _EXPANSION * 2**number, width, 1))
        self.merge1, self.merge2 = _convolved(width, width, 3), _convolved(width, width, 3)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        each = zip((1, 2, 3), maps, strict=True)
        fine, middle, coarse = (self._lit(self.get_submodule(f"output{number}")(x)) for number, x in each)
        middle = self._lit(self.merge2(middle + F.interpolate(coarse, size=middle.shape[-2:], mode="nearest")))
        fine = self._lit(self.merge1(fine + F.interpolate(middle, size=fine.shape[-2:], mode="nearest")))
        return [fine, middle, coarse]

    def _lit(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.leak)


class Context(nn.Module):
    """Windows of three, five and seven places, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.leak = _leak(width)
        self.conv3X3 = _convolved(width, width // 2, 3)
        self.conv5X5_1, self.conv5X5_2 = _convolved(width, width // 4, 3), _convolved(width // 4, width // 4, 3)
        self.conv7X7_2, self.conv7x7_3 = _convolved(width // 4, width // 4, 3), _convolved(width // 4, width // 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        shared = F.leaky_relu(self.conv5X5_1(x), self.leak)
        widest = self.conv7x7_3(F.leaky_relu(self.conv7X7_2(shared), self.leak))
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(shared), widest], dim=1))


class Head(nn.Module):
    """So many numbers an anchor."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.conv1x1 = nn.Conv2d(width, _ANCHORS * numbers, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv1x1(x).permute(0, 2, 3, 1)
        return found.reshape(len(x), -1, self.numbers)


class RetinaFace(nn.Module):
    """base: channels of the first map, 64 as published; width: of the pyramid, 256."""

    def __init__(self, base: int = 64, width: int = 256) -> None:
        super().__init__()
        self.body, self.fpn = ResNet(base), Pyramid(base, width)
        self.ssh1, self.ssh2, self.ssh3 = Context(width), Context(width), Context(width)
        self.ClassHead = nn.ModuleList(Head(width, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(Head(width, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(Head(width, 10) for _ in range(3))  # in every file; nothing reads them

    @staticmethod
    def sized_as(shapes: Mapping[str, tuple[int, ...]]) -> RetinaFace:
        """As large as weights of these shapes; on the meta device. ValueError if they are not of such a network."""
        try:
            base, width = shapes["body.conv1.weight"][0], shapes["fpn.output1.0.weight"][0]
        except (KeyError, IndexError):
            raise ValueError("these are no weights of RetinaFace on a ResNet-50") from None
        with torch.device("meta"):
            return RetinaFace(base, width)

    def forward(self, x_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets [B, N, 4] of each anchor's box, and how sure it is that it is a face, [B, N]."""
        maps = [
            context(x)
            for context, x in zip((self.ssh1, self.ssh2, self.ssh3), self.fpn(self.body(x_B3HW)), strict=True)
        ]
        offsets = torch.cat([head(x) for head, x in zip(self.BboxHead, maps, strict=True)], dim=1)
        classes = torch.cat([head(x) for head, x in zip(self.ClassHead, maps, strict=True)], dim=1)
        return offsets, classes.softmax(dim=-1)[..., 1]


def _convolved(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and normalisation."""
    convolution = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))


def _leak(width: int) -> float:
    """Narrow pyramids leak, as published."""
    return 0.1 if width <= 64 else 0.0
