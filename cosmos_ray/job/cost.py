"""What clips cost in GPU time, by the size of the gangs that make them. No torch, no Ray.

Times were measured for gangs of some sizes; those of larger ones are modelled from them (docs/performance.md):

    t(P) = (t(1) - u) / P + u + x(P)

with u, the part of a network call that every rank does for itself, such that t of the largest gang that was measured
comes out as it was, and x(P), the time of the exchanges, from the bytes that a rank sends. All of it is for GPUs of one
node, with NVLink. Of other networks and other numbers of tokens t(1) goes with their arithmetic; what a gang loses, u
and x(P), goes with their tokens, channels and blocks: fewer tokens lose less, and more of what they take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.family import (
    FAMILIES,
    PREDICT2,
    PREDICT25,
    PREDICT25_2025_10,
    TEXT2WORLD,
    TRANSFER25,
    VIDEO2WORLD,
    Family,
)
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.models.bundle.bundle import Bundle, fitting_world_sizes
from cosmos_ray.models.bundle.dims import PIXELS_PER_TOKEN
from cosmos_ray.models.bundle.memory import GPU_BYTES, decodes_whole, memory_plan
from cosmos_ray.models.network.windows import keys_of
from cosmos_ray.words import byte_size, counted


@dataclass(frozen=True)
class ClipGroup:
    """So many clips that cost the same. guided: they have a negative prompt, so a step is two network calls."""

    n_views: int
    num_steps: int
    guided: bool
    num_conditional_frames: int
    clips: int


@dataclass(frozen=True)
class Measured:
    """call_s: seconds of a network call, seven views of 704x1280, by gang size, one of them 1; all on one host.
    memory_bytes: of a GPU."""

    call_s: dict[int, float]
    source: str
    memory_bytes: int


MEASURED = {
    "h100": Measured({1: 13.06, 2: 6.60, 4: 3.40}, "benchmarks/results/2026-11-27-four-gpus.md", GPU_BYTES["80 GB"]),
    "h200": Measured({1: 13.27, 2: 6.76}, "benchmarks/results/2026-11-25-step.md", GPU_BYTES["141 GB"]),
}
#: What those times are of: another family's are modelled from them, by their arithmetic.
_MEASURED_FAMILY = PREDICT2
#: What other families' passes took over that arithmetic, alone on an H200 (benchmarks/results/2026-11-28-passes.md):
#: where every view has text, less can be saved.
_OVER_ARITHMETIC = {
    **dict.fromkeys((PREDICT25.name, PREDICT25_2025_10.name), 1.05),
    TRANSFER25.name: 1.04,
    **dict.fromkeys((VIDEO2WORLD.name, TEXT2WORLD.name), 1.025),
}
#: What those times are of: views, tokens of a view, channels, blocks.
_VIEWS, _TOKENS, _CHANNELS, _BLOCKS = 7, 28_160, 2048, 28
#: Channels and blocks of published networks, of which the first was timed; the others follow from their arithmetic.
_KNOWN = ((_CHANNELS, _BLOCKS), (5120, 36), (1280, 20))
#: What a block with 8-bit attention takes off a call: 21.97 of 26.16 s a step with 26 such blocks, one H100.
_FP8_SAVES_A_BLOCK = (1 - 21.97 / 26.16) / 26
#: A rank of two H200 trades 404 MB in 0.80 ms: half of it stays where it is.
_EXCHANGE_S_A_BYTE = 0.80e-3 / 202e6
#: Of a view of 29 frames at 704x1280, one H100. Decoding takes turns with the next clip's denoising.
_DECODE_S = 0.93
#: What it takes where a view is too large to be decoded whole, but four frames after the other: 4.9 s of 93 such frames
#: (benchmarks/results/2026-11-28-passes.md).
_IN_PIECES = 4.93 / (93 / 29 * _DECODE_S)
#: Arithmetic of encoding the first so many frames of a view, as a part of decoding it (6.3 and 24.7 of 225 TFLOP).
_ENCODE_SHARE = {0: 0.0, 1: 6.3 / 225, 5: 24.7 / 225}

#: Memory of a spare rank, which has imported all and holds no model (benchmarks/results/2026-11-28-gang-start.md).
SPARE_BYTES = 377_000_000


@dataclass(frozen=True)
class Estimate:
    """What all clips of some groups cost in gangs of one size.

    clip_seconds: of its gang, a clip, on average; longest_seconds: of the most expensive one. memory_bytes: of rank 0,
    which needs the most. is_measured: its network calls were timed as they are asked for, else modelled.
    """

    gang_size: int
    is_measured: bool
    clip_seconds: float
    longest_seconds: float
    clips_a_gpu_hour: float
    gpu_hours: float
    memory_bytes: int

    def seconds_of_all(self, gangs: int) -> float:
        """Until so many gangs have made all of them, each one clip after the other."""
        clips = round(3600 * self.gpu_hours / self.gang_size / self.clip_seconds)
        return math.ceil(clips / gangs) * self.clip_seconds


def is_known(bundle: Bundle) -> bool:
    """Whether times of this network were measured, or follow from those that were. Its resolution and number of views
    may be others."""
    network = bundle.network
    return bundle.generator == "cosmos" and (network.model_channels, network.num_blocks) in _KNOWN


def estimates(
    groups: Sequence[ClipGroup],
    bundle: Bundle,
    gpu: str,
    approximations: Approximations = EXACT,
    limit: int = 8,
    gang_size: int | None = None,
    guardrails: int = 0,
) -> list[Estimate]:
    """Of gangs of this size, or of each up to `limit` that the bundle fits. [] without clips, or if nothing
    `is_known`. guardrails: bytes that they have on a gang's first GPU."""
    clips = sum(group.clips for group in groups)
    if not clips or not is_known(bundle):
        return []
    found = []
    fitting = fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view, limit)
    for size in fitting if gang_size is None else [gang_size]:
        seconds = [clip_seconds(group, bundle, gpu, size, approximations) for group in groups]
        total_s = sum(each * group.clips for each, group in zip(seconds, groups, strict=True))
        found.append(
            Estimate(
                gang_size=size,
                is_measured=bundle.recipe.name == _MEASURED_FAMILY.name
                and bundle.network.model_channels == _CHANNELS
                and size in MEASURED[gpu].call_s
                and approximations.attention == "exact",
                clip_seconds=total_s / clips,
                longest_seconds=max(seconds),
                clips_a_gpu_hour=3600 * clips / (total_s * size),
                gpu_hours=total_s * size / 3600,
                memory_bytes=memory_plan(bundle, size).total + guardrails,
            )
        )
    return found


def planned_gpu_seconds(
    groups: Sequence[ClipGroup], bundle: Bundle, gang_size: int, approximations: Approximations
) -> float | None:
    """Of these clips in gangs of this size, as on H100s; None if times of the model are not known."""
    found = estimates(groups, bundle, "h100", approximations, gang_size=gang_size)
    return found[0].gpu_hours * 3600 if found else None


def lines(found: Sequence[Estimate], gpu: str, gangs: int, price: float | None) -> list[str]:
    """For people: a line a gang size. price: USD of a GPU for an hour."""
    if not found:
        return []
    told = [f"GPU time of what is left, by gang size, on {gpu.upper()}s ({counted(gangs, 'gang')} at once):"]
    for one in found:
        cost = "" if price is None else f", {one.gpu_hours * price:,.2f} USD"
        told.append(
            f"  gang of {one.gang_size}: {_in_words(one.clip_seconds)} a clip, "
            f"{one.clips_a_gpu_hour:.2f} clips a GPU-hour, {one.gpu_hours:,.1f} GPU-hours{cost}, "
            f"done in {_in_words(one.seconds_of_all(gangs))}, "
            f"{byte_size(one.memory_bytes, 0)} a GPU ({'measured' if one.is_measured else 'modelled'})"
        )
    how = "measured" if any(one.is_measured for one in found) else "modelled from"
    source = f"{MEASURED[gpu].source}; the model: docs/performance.md; without starts and ends of gangs"
    return [*told, f"  {how}: {source}"]


def spares_line(spares: str) -> str | None:
    """Of `gang.spare_ranks`, for a model that needs GPUs; None where it has none beside it."""
    if spares == "never":
        return None
    return (
        f"beside each rank a spare waits in its node's memory: {byte_size(SPARE_BYTES, 0)}, more with CUDA's libraries "
        "(gang.spare_ranks=never does without)"
    )


def _in_words(seconds: float) -> str:
    """`19m54s`, `3h20m`, `2d04h`."""
    for unit, size, part, part_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}{int(seconds % size // part_size):02d}{part}"
    return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"


def clip_seconds(
    group: ClipGroup, bundle: Bundle, gpu: str, gang_size: int, approximations: Approximations = EXACT
) -> float:
    """Of its gang: one clip of this group, its conditioning frames encoded and its views decoded."""
    pixels = bundle.height * bundle.width * bundle.num_frames / (704 * 1280 * 29)
    views_a_rank = math.ceil(group.n_views / gang_size)
    decoded = 1.0 if decodes_whole(bundle, MEASURED[gpu].memory_bytes) else _IN_PIECES
    encoded = _ENCODE_SHARE[group.num_conditional_frames] + bundle.recipe.has_control  # of control videos, every frame
    tokenizer_s = _DECODE_S * pixels * views_a_rank * (decoded + encoded)
    over = _OVER_ARITHMETIC.get(bundle.recipe.name, 1.0)
    call_s = _own_call_seconds(bundle, group.n_views * bundle.tokens_per_view, gpu, gang_size, over)
    seconds = exact_calls(group, approximations, bundle.recipe) * call_s + tokenizer_s
    if bundle.picture is not None:
        seconds += _picture_seconds(group, bundle.picture_bundle(), gpu, gang_size)
    return seconds


def _own_call_seconds(bundle: Bundle, tokens: int, gpu: str, gang_size: int, over: float = 1.0) -> float:
    """Of a call of the bundle's network on so many tokens. over: what it takes alone, over its arithmetic."""
    channels, all_blocks = bundle.network.model_channels, bundle.network.num_blocks + bundle.network.num_control_blocks
    arithmetic = _arithmetic(tokens, channels, all_blocks, _neighbours(bundle))
    arithmetic *= over / _arithmetic(_VIEWS * _TOKENS, _CHANNELS, _BLOCKS)
    alone_s = call_seconds(gpu, 1) / gang_size
    lost_s = call_seconds(gpu, gang_size) - alone_s
    return arithmetic * alone_s + lost_s * (tokens * channels * all_blocks) / (_VIEWS * _TOKENS * _CHANNELS * _BLOCKS)


def _picture_seconds(group: ClipGroup, bundle: Bundle, gpu: str, gang_size: int) -> float:
    """Of the model of the picture that a clip begins with."""
    passes = bundle.recipe.passes(bundle.sampling.num_steps)
    texts = 2 if bundle.recipe.is_guided("yes" if group.guided else "") else 1
    return passes * texts * _own_call_seconds(bundle, bundle.tokens_per_view, gpu, gang_size)


def exact_calls(group: ClipGroup, approximations: Approximations, family: Family = PREDICT2) -> float:
    """Network calls of one clip, in all passes of its family; one with 8-bit attention is a part of one."""
    passes = family.passes(group.num_steps)

    def calls(number: int) -> float:
        texts = 2 if family.is_guided("yes" if group.guided else "") and approximations.is_guided(number, passes) else 1
        return texts * (1 - _FP8_SAVES_A_BLOCK * len(approximations.fp8_blocks(number, passes, _BLOCKS)))

    return sum(map(calls, range(passes)))


def sampling_line(groups: Sequence[ClipGroup], bundle: Bundle, sampling: SamplingConfig) -> str | None:
    """What makes clips cheaper and changes them, and what it leaves of their network calls; None if nothing does."""
    chosen, own = sampling.approximations, bundle.sampling.num_steps
    told = [f"{name} {value}" for name, value in chosen.chosen.items()]
    if sampling.preset != "exact":
        told = [f"preset {sampling.preset}", f"num_steps {sampling.steps_of(own)}", *told]
    if not told:
        return None
    made = published = 0.0
    for group in groups:
        size = group.clips * _arithmetic(group.n_views * bundle.tokens_per_view, _CHANNELS, _BLOCKS)
        made += size * exact_calls(group, chosen, bundle.recipe)
        as_published = replace(group, num_steps=own) if group.num_steps == sampling.steps_of(own) else group
        published += size * exact_calls(as_published, EXACT, FAMILIES[bundle.family])
    share = f", {made / published:.2f} of the exact clips' network calls" if published else ""
    return f"sampling: {', '.join(told)}{share}; `cosmos-ray compare` judges it on your own rows"


def call_seconds(gpu: str, gang_size: int) -> float:
    """Of a network call on seven views of 704x1280."""
    call_s = MEASURED[gpu].call_s
    if gang_size in call_s:
        return call_s[gang_size]
    one_s, largest = call_s[1], max(call_s)
    undivided_s = (largest * (call_s[largest] - exchange_seconds(largest)) - one_s) / (largest - 1)
    return (one_s - undivided_s) / gang_size + undivided_s + exchange_seconds(gang_size)


def exchange_seconds(gang_size: int) -> float:
    """Of a network call's exchanges of q, k, v and the output of attention, in bfloat16, one after the other.

    Of its share of the tokens a rank sends what is for the heads of the others.
    """
    share_bytes = _VIEWS * _TOKENS * _CHANNELS * 2 / gang_size
    return 4 * _BLOCKS * share_bytes * (gang_size - 1) / gang_size * _EXCHANGE_S_A_BYTE


def _arithmetic(tokens: int, channels: int, blocks: int, neighbours: float | None = None) -> float:
    """Of a network call, up to a factor: 4 L K D + 28 L D^2 a block, K being the tokens that each attends to.

    neighbours: K, in the mean of the blocks; None: all.
    """
    keys = tokens if neighbours is None else neighbours
    return float(blocks) * channels * tokens * (keys + 7.0 * channels)


def _neighbours(bundle: Bundle) -> float | None:
    """How many tokens each attends to, in the mean of the blocks; None where that is all of them."""
    letters = bundle.network.natten
    if letters is None:
        return None
    grid = bundle.state_t, bundle.height // PIXELS_PER_TOKEN, bundle.width // PIXELS_PER_TOKEN
    return sum(keys_of(letters, grid)) / len(letters)


def neighbours_line(bundle: Bundle) -> str | None:
    """What attention to neighbourhoods leaves of a network call; None where tokens attend to all."""
    if (neighbours := _neighbours(bundle)) is None or not is_known(bundle):
        return None
    network, tokens = bundle.network, bundle.tokens_per_view
    dense = _arithmetic(tokens, network.model_channels, network.num_blocks)
    share = _arithmetic(tokens, network.model_channels, network.num_blocks, neighbours) / dense
    return (
        f"attention to neighbourhoods: {neighbours / tokens:.2f} of all tokens, {share:.2f} of a dense call's "
        "arithmetic; natten itself was not timed"
    )
