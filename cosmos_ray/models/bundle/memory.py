"""How much GPU memory a rank needs: a plan from a bundle's dimensions, before any GPU is taken. No torch, no Ray.

Weights are exact. Activations count the tensors that live at the same time in an eager forward pass; the decoder's
workspace is an estimate, and so is the overhead. Bytes; GB are 10^9 bytes.

Symbols: V views, L tokens of all views, l = L / ranks, D model channels, e bytes a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.clip.request import PICTURE
from cosmos_ray.models.bundle.bundle import Bundle, fitting_world_sizes
from cosmos_ray.models.bundle.dims import NetworkDims, Qwen2Dims, T5Dims
from cosmos_ray.models.bundle.shapes import Shapes, dit_shapes, qwen2_shapes, t5_shapes, vae_shapes
from cosmos_ray.words import byte_size

#: Memory of the GPUs that the plan is compared with (H100, H200).
GPU_BYTES = {"80 GB": 80_000_000_000, "141 GB": 141_000_000_000}
#: CUDA context, cuBLAS and cuDNN workspaces, NCCL buffers.
_OVERHEAD_BYTES = 3_000_000_000
#: Part of a GPU's memory that decoding a view whole may take.
WHOLE_DECODE_SHARE = 1 / 3
#: Below this many channels x blocks, a model is small enough for CPUs.
_SMALL_MODEL = 512 * 12
#: T5-11B's encoder: assumed where the dimensions come with the weights and those are not at hand.
T5_11B_ENCODER_PARAMETERS = 4_864_791_552
#: Of Cosmos-Reason1-7B, eyes and words, in bfloat16; and what it needs to see five pictures and write 512 tokens.
REFINER_BYTES = 8_292_166_656 * 2 + 2_500_000_000
#: Of Llama-Guard-3-8B in bfloat16; of the half of SigLIP that sees and of RetinaFace in float32; and of their work.
_LLAMA_GUARD_BYTES = 8_030_261_248 * 2 + 500_000_000
_VIDEO_CHECKS_BYTES = {"content_filter": 428_225_600 * 4 + 500_000_000, "face_blur": 27_300_000 * 4 + 1_000_000_000}
#: Of cosmos-guardrail: Qwen3Guard-Gen-0.6B and RetinaFace, and their work, without the video, which it takes whole.
_PACKAGE_BYTES = 751_632_384 * 2 + 27_300_000 * 4 + 1_000_000_000
#: Of each number of that video: three float32 copies.
_PACKAGE_BYTES_A_NUMBER = 3 * 4
#: Of the text tower of Cosmos-Reason1-7B.
REASON1_7B_PARAMETERS = 7_070_619_136


@dataclass(frozen=True)
class MemoryPlan:
    """Rank 0's needs, the most of all: text_encoder, refiner and the guardrails' check of texts are on no other."""

    gang_size: int
    network: int
    vae: int
    text_encoder: int
    activations: int
    latents: int
    decode: int
    refiner: int = 0
    guardrails: int = 0
    overhead: int = _OVERHEAD_BYTES

    @property
    def total(self) -> int:
        """Everything at once: a rank decodes one clip while it denoises the next."""
        of_clips = self.network + self.vae + self.text_encoder + self.activations + self.latents + self.decode
        return of_clips + self.refiner + self.guardrails + self.overhead

    def line(self) -> str:
        parts = ["network", "vae", "text_encoder", "activations", "latents", "decode", "overhead"]
        parts += [part for part in ("refiner", "guardrails") if getattr(self, part)]
        listed = ", ".join(f"{part.replace('_', ' ')} {byte_size(getattr(self, part))}" for part in parts)
        fits = ", ".join(
            f"{'fits' if self.total <= size else 'too much for'} {name}" for name, size in GPU_BYTES.items()
        )
        return f"gang of {self.gang_size}: {byte_size(self.total)} on rank 0 ({listed}); {fits}"


def runs_on_cpus(bundle: Bundle) -> bool:
    """Whether the network is small enough to be worth running without GPUs."""
    return bundle.network.model_channels * bundle.network.num_blocks <= _SMALL_MODEL


def memory_plans(
    bundle: Bundle, text_parameters: int | None = None, limit: int = 8, refiner: int = 0, guardrails: int = 0
) -> list[MemoryPlan]:
    """A plan for each gang size up to `limit` that the bundle fits on. refiner, guardrails: their bytes, if any."""
    sizes = fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view, limit)
    return [
        replace(memory_plan(bundle, size, text_parameters), refiner=refiner, guardrails=guardrails) for size in sizes
    ]


def memory_plan(bundle: Bundle, gang_size: int, text_parameters: int | None = None) -> MemoryPlan:
    """For a gang of `gang_size`. text_parameters: of the text encoder, where its weights say (default: T5-11B's)."""
    item = 2 if bundle.numerics == "reference" else 4
    text_item = 2 if bundle.text_encoder_dtype == "bfloat16" else 4
    on_gpu = bundle.text_encoder_device == "gang"
    if isinstance(bundle.text_encoder, T5Dims):
        text_parameters = parameters(t5_shapes(bundle.text_encoder, bundle.text_width))
    elif isinstance(bundle.text_encoder, Qwen2Dims):
        text_parameters = parameters(qwen2_shapes(bundle.text_encoder))
    assumed = REASON1_7B_PARAMETERS if bundle.recipe.text_encoder == "reason1" else T5_11B_ENCODER_PARAMETERS
    return MemoryPlan(
        gang_size=gang_size,
        network=sum(parameters(dit_shapes(one)) for one in _networks(bundle)) * item,
        vae=parameters(vae_shapes(bundle.vae)) * item,
        text_encoder=(text_parameters or assumed) * text_item if on_gpu else 0,
        activations=activation_bytes(bundle, gang_size, item),
        latents=_latent_bytes(bundle, gang_size),
        decode=decode_bytes(bundle, gang_size, item),
    )


def stays_beside(plan: MemoryPlan, gpu_bytes: int) -> bool:
    """Whether the published refiner of prompts has room on a GPU of this size, beside all that a clip needs."""
    return plan.total + REFINER_BYTES <= gpu_bytes


def refiner_line(plan: MemoryPlan) -> str:
    """Where it writes beside all else of this plan, on GPUs of each size."""
    stays = [name for name, size in GPU_BYTES.items() if stays_beside(plan, size)]
    leaves = [name for name in GPU_BYTES if name not in stays]
    places = [f"on the first GPU of {' or '.join(stays)}"] if stays else []
    places += [f"on the node's processors beside one of {' or '.join(leaves)}"] if leaves else []
    return f"refiner ({byte_size(REFINER_BYTES)}): {', '.join(places)} (refiner.device says otherwise)"


def guardrail_bytes(rules: GuardrailRules, bundle: Bundle, frames: int = 0) -> int:
    """On a gang's first GPU, while all checks are at work; 0 for those that are not there, and for people's own.

    frames: of a view of the longest video, where it has more than the bundle's clips.
    """
    if not rules.enabled or rules.provider == "none" or rules.device == "cpu":
        return 0
    if rules.provider == "package":
        longest = max(frames, bundle.recipe.frames(bundle.num_frames, 1))
        return _PACKAGE_BYTES + longest * bundle.height * bundle.width * 3 * _PACKAGE_BYTES_A_NUMBER
    looks = bundle.recipe.views != (PICTURE,)  # the published checks look at no picture that is all there is
    of_videos = sum(size for check, size in _VIDEO_CHECKS_BYTES.items() if looks and check in rules.checks)
    return of_videos + (_LLAMA_GUARD_BYTES if "llama_guard" in rules.checks else 0)


def _networks(bundle: Bundle) -> list[NetworkDims]:
    """Those that a rank holds: of a clip that begins with a picture, the picture's too."""
    return [bundle.network, *([bundle.picture.network] if bundle.picture else [])]


def parameters(shapes: Shapes) -> int:
    """How many numbers there are in all."""
    return sum(math.prod(shape) for shape in shapes.values())


def activation_bytes(bundle: Bundle, gang_size: int, item: int) -> int:
    """The larger of a block's two peaks, in units of l*D numbers of both branches (caption and negative prompt):

    * self-attention, 12 (14 in a gang): residual stream, modulated input, q, k, v and the normalised q and k (7); the
      rotation's float32 copies (4 in bfloat16's units); attention's output (1). In a gang the exchange's send and
      receive buffers (3 + 3) take the place of the rotation's copies.
    * MLP, 11: residual stream, modulated input and its factors (3), hidden layer of 4 D before and after GELU (8).

    On GPUs 2 more (1 in a gang) were seen than these, by all networks alike; whose they are was not looked for
    (benchmarks/results/2026-11-28-passes.md).

    A control branch has its own residual stream, and a hint (2).

    The rotary tables are 2 * 64 float32 a token.
    """
    units = (15 if gang_size > 1 else 14) + (2 if bundle.recipe.has_control else 0)
    tokens = bundle.n_views * bundle.tokens_per_view // gang_size
    table = tokens // bundle.n_views * (bundle.network.model_channels // bundle.network.num_heads) * 4
    return 2 * units * tokens * bundle.network.model_channels * item + table


def decode_bytes(bundle: Bundle, gang_size: int, item: int) -> int:
    """The tokenizer decodes one view at a time, beside the finished frames of the rank's views.

    As a whole, if an 80 GB GPU has `WHOLE_DECODE_SHARE` of its memory for that (`vae` asks the GPU itself). Else four
    frames at once: the peak is then the last doubling of height and width, at full size with twice the base width, in
    float32 and once more in the working precision; with it the convolution's output, and causal convolutions' caches of
    two frames (at full size 2 (blocks + 1) + 1 of them, of the base width).
    """
    pixels = bundle.height * bundle.width
    frame = bundle.vae.dim * pixels
    views = -(-bundle.n_views // gang_size)
    finished = 3 * bundle.num_frames * pixels * (2 * item + views)
    if decodes_whole(bundle, GPU_BYTES["80 GB"], item):
        return finished + whole_decode_bytes(bundle.vae.dim, bundle.num_frames, pixels, item)
    doubling = 4 * 2 * frame * (4 + item) + 4 * frame * item
    caches = 2 * frame * item * (2 * (bundle.vae.num_res_blocks + 1) + 1)
    return finished + doubling + caches


def decodes_whole(bundle: Bundle, gpu_bytes: int, item: int = 2) -> bool:
    """Whether a GPU of so much memory decodes a view whole."""
    whole = whole_decode_bytes(bundle.vae.dim, bundle.num_frames, bundle.height * bundle.width, item)
    return whole <= WHOLE_DECODE_SHARE * gpu_bytes


def whole_decode_bytes(dim: int, frames: int, pixels: int, item: int) -> int:
    """Decoding a view at once: five of its largest layers, of the base width at full size. 25 GB for a 720p view of 29
    frames in bfloat16."""
    return 5 * dim * frames * pixels * item


def _latent_bytes(bundle: Bundle, gang_size: int) -> int:
    """float32, at most 8 at a time: sample, each branch's prediction, the last step's, conditions, masks, update."""
    per_token = bundle.vae.z_dim * bundle.network.patch_spatial**2
    return 8 * 4 * bundle.n_views * bundle.tokens_per_view * per_token // gang_size
