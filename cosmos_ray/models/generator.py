"""One clip, from captions and conditioning frames to the frames of every camera. No Ray.

A gang runs one `Generator` a rank. In a gang, `denoise`, `collect` and `decode` of a share are collective: every
rank calls them for the same request, in the same order.

Legend: V views, T frames, t/h/w latent frames, patch rows and columns, C latent channels, H/W height/width, L tokens
of a view, l a rank's share of them, P = 64 values a token, M text tokens, D text width, k conditional latent frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.request import TEXT_TOKENS, VIEWS, ClipRequest, ClipText
from cosmos_ray.errors import RowError, UsageError, column_error
from cosmos_ray.models import sampler
from cosmos_ray.models.bundle.bundle import Bundle, Numerics, RandomWeights, check_world_size
from cosmos_ray.models.bundle.convert import load_dit_state, load_vae_state
from cosmos_ray.models.bundle.files import local_path, source_key
from cosmos_ray.models.bundle.shapes import dit_shapes, vae_shapes
from cosmos_ray.models.bundle.weights import random_state_dict
from cosmos_ray.models.network.dit import NUMERICS_DTYPE, DiTConfig, MultiviewDiT, patchify, unpatchify
from cosmos_ray.models.network.fp8 import check_fp8
from cosmos_ray.models.parallel import ContextParallel, gather_all, gather_views_to_owners, shard
from cosmos_ray.models.sampler import Grid, SamplerState
from cosmos_ray.models.text import t5, text
from cosmos_ray.models.text.tokens import cut_captions, texts_of
from cosmos_ray.models.timing import timed
from cosmos_ray.models.vae.vae import WanVAE, normalise_frames, signed_to_uint8
from cosmos_ray.words import counted

#: Views decoded in one call on a CPU, where small models gain from it; a GPU is full with one.
_CPU_DECODE_VIEWS = 7


@dataclass(frozen=True)
class Generator:
    """A bundle's model on one device, as one rank of a gang holds it. text_encoder: on rank 0 only."""

    bundle: Bundle
    parallel: ContextParallel
    network: MultiviewDiT
    vae: WanVAE
    text_encoder: text.TextEncoder | None
    approximations: Approximations = EXACT

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        device: str = "cpu",
        parallel: ContextParallel = ContextParallel(),  # noqa: B008 - frozen, no process group
        numerics: Numerics | None = None,
        approximations: Approximations = EXACT,
        seconds: dict[str, float] | None = None,
    ) -> Generator:
        """numerics: `reference` (bfloat16 as published) or `float32`; None takes the bundle's own.

        seconds: where those of each part are put down, if they are wanted. UsageError for what cannot run here: a gang
        of this size, 8-bit attention.
        """
        bundle = bundle.with_numerics(numerics)
        check_world_size(bundle, parallel.world_size)
        dtype = NUMERICS_DTYPE[bundle.numerics]
        approximations.check_blocks(bundle.network.num_blocks)
        if approximations.attention == "fp8":
            check_fp8(torch.device(device), dtype, bundle.network.model_channels // bundle.network.num_heads)
        if bundle.numerics == "float32":
            # As it says: convolutions of a GPU would round their inputs to 10 bits otherwise.
            torch.backends.cudnn.allow_tf32 = False
        text_device = "cpu" if bundle.text_encoder_device == "cpu" else device
        seconds = {} if seconds is None else seconds
        with timed(seconds, "network"):
            network = _load_network(bundle).to(device, dtype)
        with timed(seconds, "vae"):
            vae = _load_vae(bundle).to(device, dtype)
        text_encoder = None
        if parallel.rank == 0:
            with timed(seconds, "text encoder"):
                text_encoder = _load_text_encoder(bundle).to(text_device)
        return cls(bundle, parallel, network, vae, text_encoder, approximations)

    def generate(self, request: ClipRequest) -> dict[str, np.ndarray]:
        """The clip's frames, uint8 [T, H, W, 3] a view, for the views this rank owns.

        In a gang of several ranks the request must have been through rank 0's `embed` first.
        """
        latents_VlP = self.denoise(request)
        return self.decode(self.collect(latents_VlP, request.views))

    def embed(self, request: ClipRequest) -> ClipRequest:
        """The request with its captions, and its negative prompt, as embeddings. Local; unchanged if it has them.

        One caption goes to view 0, as the published model expects; a list captions each view. The negative prompt
        goes to view 0; an empty one leaves no unconditional branch.
        """
        if is_embedded(request):
            return request
        if self.text_encoder is None:
            raise UsageError(f"clip `{request.id}` has no text embeddings, and only rank 0 has the text encoder")
        views = request.n_views
        positive = request.text.positive if request.text else self._encode_views(request.prompts, views)
        negative = self._encode_views([request.negative_prompt], views) if request.negative_prompt else None
        named = texts_of(request.views, () if request.text else request.prompts, request.negative_prompt)
        return replace(request, text=ClipText(positive, negative, cut_captions(named, self.text_encoder.tokens_of)))

    def denoise(
        self,
        request: ClipRequest,
        on_step: Callable[[int, int], None] | None = None,
        resume: SamplerState | None = None,
        on_state: Callable[[SamplerState], None] | None = None,
    ) -> Tensor:
        """This rank's share [V, l, 64] float32 of the clip's latents, on its device. Collective.

        on_step(done, total) follows each pass of the family; on_state gets the run's state at its
        start and after each pass but the last; as `resume` it continues that run bit for bit. RowError "model" on every
        rank if the latents of any are not finite.
        """
        self._check(request)
        if self.parallel.world_size == 1:
            request = self.embed(request)
        if request.text is None or not is_embedded(request):
            # All ranks raise alike: rank 0 going on alone would hang in its first exchange.
            raise UsageError(f"clip `{request.id}` has no text embeddings: in a gang, rank 0 must embed it first")
        negative = request.text.negative
        latents_VlP = sampler.denoise(
            self.network,
            grid=self._grid(request.n_views),
            view_ids=request.view_ids,
            condition_VlP=self._encode_conditioning(request),
            num_condition_latents=self.bundle.recipe.latent_frames[request.num_conditional_frames],
            positive_VMC=self._text_windows(request.text.positive),
            negative_VMC=None if negative is None else self._text_windows(negative),
            guidance=request.guidance,
            approximations=self.approximations,
            num_steps=request.num_steps,
            seed=request.seed,
            noise_CVTHW=None if request.noise is None else torch.from_numpy(np.array(request.noise)),
            model_fps=self.bundle.model_fps,
            parallel=self.parallel,
            family=self.bundle.recipe,
            on_step=on_step,
            on_state=on_state,
            resume=resume,
        )
        self._check_finite(latents_VlP)
        return latents_VlP

    def pack_state(self, state: SamplerState) -> dict[str, np.ndarray]:
        """What `on_state` got, whole: step, and the state's tensors [V, L, P] float32; {} beside rank 0. Collective."""
        whole = {name: gather_all(part, self.parallel) for name, part in sorted(state.tensors.items())}
        if self.parallel.rank != 0:
            return {}
        return {"step": np.array(state.step), **{name: part.cpu().numpy() for name, part in whole.items()}}

    def unpack_state(self, packed: Mapping[str, np.ndarray]) -> SamplerState:
        """This rank's share of a state that a gang of any size has packed."""

        def share(name: str) -> Tensor:
            return shard(torch.from_numpy(np.array(packed[name])), self.parallel).to(self.network.device)

        return SamplerState(
            int(packed["step"]), {name: share(name) for name in self.bundle.recipe.state if name in packed}
        )

    def collect(self, latents_VlP: Tensor, views: Sequence[str] = VIEWS) -> dict[str, Tensor]:
        """Whole latents [C, t, H/8, W/8] of the views this rank owns (view v on rank v % ranks). Collective.

        views: the request's, where they are not the first ones of the rig.
        """
        grid = self._grid(latents_VlP.shape[0])
        owned = gather_views_to_owners(latents_VlP, self.parallel)
        return {views[view]: unpatchify(tokens_LP, grid) for view, tokens_LP in owned.items()}

    def decode(self, latents: Tensor | Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Frames uint8 [T, H, W, 3] of the views this rank owns.

        latents: this rank's share (collective; of the rig's first views), or what `collect` returned (local: needs no
        other rank, so it can run while the gang denoises the next clip).
        """
        collected = self.collect(latents) if isinstance(latents, Tensor) else latents
        names = list(collected)
        at_once = _CPU_DECODE_VIEWS if self.vae.device.type == "cpu" else 1
        frames: dict[str, np.ndarray] = {}
        for start in range(0, len(names), at_once):
            batch = names[start : start + at_once]
            video_VCTHW = self.vae.decode(torch.stack([collected[name] for name in batch]))
            frames_VTHWC = signed_to_uint8(video_VCTHW).permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()
            frames.update(zip(batch, frames_VTHWC, strict=True))
        return frames

    def _grid(self, views: int) -> Grid:
        patch = 8 * self.bundle.network.patch_spatial
        return Grid(views, self.bundle.state_t, self.bundle.height // patch, self.bundle.width // patch)

    def _check(self, request: ClipRequest) -> None:
        """What the manifest's reader has checked already; here for callers from Python."""
        bundle = self.bundle
        if not 1 <= request.n_views <= bundle.n_views:
            raise column_error("n_views", request.n_views, f"1 to {bundle.n_views}")
        rig, chosen = bundle.recipe.views[: bundle.n_views], request.views
        if len(set(chosen)) != request.n_views or len(chosen) != request.n_views or not set(chosen) <= set(rig):
            raise column_error("views", list(chosen), f"{counted(request.n_views, 'view')} of {', '.join(rig)}")
        known = bundle.recipe.latent_frames
        if request.num_conditional_frames not in known:
            expected = ", ".join(map(str, known))
            raise column_error("num_conditional_frames", request.num_conditional_frames, f"one of {expected}")
        if request.text and len(request.text.positive) != request.n_views:
            given = counted(len(request.text.positive), "view")
            raise column_error("prompt_embedding", given, counted(request.n_views, "view"))
        if request.num_conditional_frames:
            expected_shape = (request.n_views, request.num_conditional_frames, bundle.height, bundle.width, 3)
            frames = request.frames
            if frames is None or frames.dtype != np.uint8 or frames.shape != expected_shape:
                found = "no frames" if frames is None else f"{frames.dtype} frames {list(frames.shape)}"
                raise column_error("input_video", found, f"uint8 frames {list(expected_shape)}")

    def _encode_views(self, captions: Sequence[str], views: int) -> tuple[np.ndarray, ...]:
        """[M, D] a view: one caption for view 0 and none for the others, or one each. An empty caption is no text."""
        if len(captions) not in (1, views) or self.text_encoder is None:
            expected = f"1, or one for each of {counted(views, 'view')}"
            raise column_error("prompt", counted(len(captions), "caption"), expected)
        every = [*captions, *[""] * (views - len(captions))]
        empty = np.zeros((0, self.bundle.text_width), np.float32)
        return tuple(self.text_encoder.encode([caption])[0] if caption.strip() else empty for caption in every)

    def _text_windows(self, embeddings: Sequence[np.ndarray]) -> Tensor:
        """[V, 512, D] zero padded: the model has no text mask, the padding is part of what it attends to.

        Padded on the device: the GPU waits for what is copied here.
        """
        windows_VMD = torch.zeros(len(embeddings), TEXT_TOKENS, self.bundle.text_width, device=self.network.device)
        for window_MD, embedding in zip(windows_VMD, embeddings, strict=True):
            if len(embedding):
                window_MD[: len(embedding)] = torch.from_numpy(np.array(embedding, np.float32))
        return windows_VMD

    def _encode_conditioning(self, request: ClipRequest) -> Tensor | None:
        """This rank's share [V, l, P] of the conditioning latents, zero after the conditional frames. Collective.

        Each view is encoded by the rank that owns it and by no other, so that all ranks hold the same bits.
        """
        if request.frames is None or request.num_conditional_frames == 0:
            return None
        grid = self._grid(request.n_views)
        latents = self.bundle.recipe.latent_frames[request.num_conditional_frames]
        size = (self.bundle.vae.z_dim, latents, 2 * grid.height, 2 * grid.width)
        ranks, rank = self.parallel.world_size, self.parallel.rank
        encoded_vCkHW = torch.zeros(-(-request.n_views // ranks), *size, device=self.vae.device)
        for slot, view in enumerate(range(rank, request.n_views, ranks)):
            frames_THWC = torch.from_numpy(np.ascontiguousarray(request.frames[view])).to(self.vae.device)
            video_1CTHW = normalise_frames(frames_THWC.permute(3, 0, 1, 2)[None], self.vae.dtype)
            encoded_vCkHW[slot] = self.vae.encode(video_1CTHW)[0]
        # View v is in slot v // ranks of rank v % ranks.
        gathered_Pv = gather_all(encoded_vCkHW.flatten(1)[None], self.parallel).unflatten(1, (ranks, -1))[0]
        latents_VCkHW = gathered_Pv.transpose(0, 1).flatten(0, 1)[: request.n_views].unflatten(1, size)
        given_VLP = patchify(latents_VCkHW)
        tokens_VLP = given_VLP.new_zeros(request.n_views, grid.tokens_per_view, given_VLP.shape[-1])
        tokens_VLP[:, : given_VLP.shape[1]] = given_VLP
        return shard(tokens_VLP, self.parallel)

    def _check_finite(self, latents_VlP: Tensor) -> None:
        is_bad = (~torch.isfinite(latents_VlP)).any().to(torch.int32).reshape(1)
        if self.parallel.world_size > 1:
            dist.all_reduce(is_bad, op=dist.ReduceOp.MAX, group=self.parallel.group)
        if is_bad.item():
            raise RowError("the model's latents are not finite (NaN or infinity)", "model")


def is_embedded(request: ClipRequest) -> bool:
    """Whether nothing is left for the text encoder to do: rows with embeddings may still lack the negative prompt's."""
    return request.text is not None and (request.text.negative is not None or not request.negative_prompt)


def _load_network(bundle: Bundle) -> MultiviewDiT:
    config = DiTConfig(state_t=bundle.state_t, **bundle.network.model_dump())
    with torch.device("meta"):
        network = MultiviewDiT(config)
    source = bundle.file("dit")
    if isinstance(source, RandomWeights):
        shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
        network.load(random_state_dict(shapes, source.random_seed))
    else:
        try:
            stored = torch.bfloat16 if bundle.numerics == "reference" else None
            path, shapes = local_path(bundle, "dit"), dit_shapes(bundle.network)
            network.load(load_dit_state(path, source_key(bundle, "dit"), shapes, bundle.dit_prefix, stored))
        except (ValueError, UsageError) as error:
            raise UsageError(f"bundle `{bundle.name}`, files.dit: {error}") from error
    return network.eval()


def _load_vae(bundle: Bundle) -> WanVAE:
    source = bundle.file("vae")
    if isinstance(source, RandomWeights):
        return WanVAE.random(bundle.vae, source.random_seed)
    stored = torch.bfloat16 if bundle.numerics == "reference" else None
    path, shapes = local_path(bundle, "vae"), vae_shapes(bundle.vae)
    return WanVAE.from_published(
        load_vae_state(path, source_key(bundle, "vae"), shapes, stored), **bundle.vae.model_dump()
    )


def _load_text_encoder(bundle: Bundle) -> text.TextEncoder:
    reference = bundle.file("text_encoder")
    dtype = getattr(torch, bundle.text_encoder_dtype)
    if isinstance(reference, RandomWeights):
        if bundle.text_encoder is None:
            raise UsageError(f"bundle `{bundle.name}`: random text encoder without dimensions")
        encoder = t5.random_encoder(bundle.text_encoder, bundle.text_width, reference.random_seed).to(dtype)
    else:
        path, source = local_path(bundle, "text_encoder"), source_key(bundle, "text_encoder")
        encoder = t5.load_encoder(path, bundle.text_encoder, bundle.text_width, dtype, source)
    return text.TextEncoder(text.load_tokenizer(local_path(bundle, "tokenizer")), encoder)
