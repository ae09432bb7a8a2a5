"""Pictures of another transfer or other primaries than a model knows, as it knows them: BT.709 for an SDR display.

Computed here rather than by ffmpeg's `zscale`, which many builds lack and whose tone curves differ by version: from
tables over 16-bit codes, square roots and products in a fixed order, so that every machine gets the same bytes.

White of SDR, 203 cd/m2 in BT.2408, stays near white, and what is brighter is compressed above a knee rather than cut.
Light is linear, 1.0 for 203 cd/m2. An SDR display is BT.1886's with black at 0: its light is code^2.4.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cosmos_ray.clip.resize import BAND

#: Light that counts as white, and the brightest that is told apart, cd/m2.
WHITE, PEAK = 203.0, 1000.0
_GAMMA = 2.4
#: Where compression begins, as a part of white's light. White itself comes out at 241 of 255.
_KNEE = 0.75
_STEPS = 65536

#: Linear light of wider primaries (D65) to that of BT.709: rows of 3x3.
_TO_BT709 = {
    "bt2020": ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    "smpte432": ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
    "adobe": ((1.398356, -0.398356, 0.0), (0.0, 1.0, 0.0), (0.0, -0.042929, 1.042929)),
}
#: Luminance of BT.2020's primaries.
_LUMINANCE = (0.2627, 0.6780, 0.0593)
HDR = {"arib-std-b67": "HLG", "smpte2084": "PQ"}
WIDE = {"bt2020": "BT.2020", "smpte432": "Display P3", "adobe": "Adobe RGB"}


def to_bt709(picture_HWC: np.ndarray, transfer: str, primaries: str) -> np.ndarray:
    """uint8 [H, W, 3] of uint16 [H, W, 3], full-range RGB of that transfer and those primaries in ffmpeg's words.

    Primaries that are not in WIDE are kept, and transfers that are not in HDR taken for an SDR display's. Some rows are
    worked on at a time: each takes ten times its room meanwhile.
    """
    out = np.empty(picture_HWC.shape, np.uint8)
    for first in range(0, len(out), BAND):
        out[first : first + BAND] = _to_bt709(picture_HWC[first : first + BAND], transfer, primaries)
    return out


def picture_to_bt709(picture_HWC: np.ndarray, primaries: str) -> np.ndarray:
    """uint8 [H, W, 3] of the same in those primaries, with a tone curve much like sRGB's; some rows at a time."""
    out = np.empty_like(picture_HWC)
    for first in range(0, len(out), BAND):
        out[first : first + BAND] = _to_bt709(picture_HWC[first : first + BAND].astype(np.uint16) * 257, "", primaries)
    return out


def _to_bt709(picture_HWC: np.ndarray, transfer: str, primaries: str) -> np.ndarray:
    channels = [_linear(transfer)[picture_HWC[..., channel]] for channel in range(3)]
    if transfer == "arib-std-b67":
        gain = _system_gain()[_code(_weighted(channels, _LUMINANCE))]
        channels = [channel * gain for channel in channels]
    if primaries in _TO_BT709:
        channels = [np.maximum(_weighted(channels, row), 0) for row in _TO_BT709[primaries]]
    if transfer in HDR:
        brightest = np.maximum(np.maximum(channels[0], channels[1]), channels[2])
        gain = _compression()[_code(brightest * np.float32(WHITE / PEAK))]
        channels = [channel * gain for channel in channels]
    return np.stack([_encoded()[_code(channel)] for channel in channels], -1)


def _weighted(channels: list[np.ndarray], weights: tuple[float, ...]) -> np.ndarray:
    red, green, blue = (channel * np.float32(weight) for channel, weight in zip(channels, weights, strict=True))
    total: np.ndarray = red + green + blue
    return total


def _code(light: np.ndarray) -> np.ndarray:
    """Place of linear light (0 to 1, what is beyond is cut) in a table over its square root."""
    return np.rint(np.sqrt(np.clip(light, 0, 1)) * np.float32(_STEPS - 1)).astype(np.uint16)


def _light() -> np.ndarray:
    """Light at each place of a table over its square root."""
    return np.square(np.arange(_STEPS) / (_STEPS - 1))


@lru_cache
def _linear(transfer: str) -> np.ndarray:
    """Light of each 16-bit code: of HLG that of the scene, 0 to 1; else that of the display, 1 for white."""
    code = np.arange(_STEPS) / (_STEPS - 1)
    if transfer == "arib-std-b67":  # BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, np.square(code) / 3, (np.exp((code - c) / a) + b) / 12)
    elif transfer == "smpte2084":  # BT.2100, table 4
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = code ** (1 / m2)
        light = 10000 / WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:
        light = code**_GAMMA
    return light.astype(np.float32)


@lru_cache
def _system_gain() -> np.ndarray:
    """HLG's way from the scene's light to that of a display of PEAK cd/m2, by the scene's luminance (gamma 1.2)."""
    return (PEAK / WHITE * _light() ** 0.2).astype(np.float32)


@lru_cache
def _compression() -> np.ndarray:
    """What light, 1 for PEAK, is multiplied by: up to the knee 1, then so that PEAK becomes 1 (Reinhard, extended)."""
    light = _light() * PEAK / WHITE
    over, top = (light - _KNEE) / (1 - _KNEE), (PEAK / WHITE - _KNEE) / (1 - _KNEE)
    shown = np.where(over > 0, _KNEE + (1 - _KNEE) * over * (1 + over / top**2) / (1 + np.maximum(over, 0)), light)
    return np.divide(shown, light, out=np.ones(_STEPS), where=light > 0).astype(np.float32)


@lru_cache
def _encoded() -> np.ndarray:
    """uint8 code of an SDR display for light."""
    return np.rint(255 * _light() ** (1 / _GAMMA)).astype(np.uint8)
