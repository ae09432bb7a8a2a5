"""One clip, from captions and conditioning frames to the frames of every camera. No Ray.

A gang runs one `Generator` a rank. In a gang, `denoise`, `collect` and `decode` of a share are collective: every
rank calls them for the same request, in the same order.

Legend: V views, T frames, t/h/w latent frames, patch rows and columns, C latent channels, H/W height/width, L tokens
of a view, l a rank's share of them, P = 64 values a token, M text tokens, D text width, k conditional latent frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.chunks import chunk_seed, chunks_behind, conditioned_frames, keep_given
from cosmos_ray.clip.request import PICTURE, TEXT_TOKENS, VIEWS, ClipRequest, ClipText, latent_frames_of
from cosmos_ray.errors import RowError, UsageError, column_error
from cosmos_ray.models import picture_first, sampler
from cosmos_ray.models.bundle.bundle import Bundle, Numerics, check_world_size
from cosmos_ray.models.chunks import DONE, Chunks
from cosmos_ray.models.network.dit import NUMERICS_DTYPE, Grid, MultiviewDiT, patchify, unpatchify
from cosmos_ray.models.network.kernels import check_approximations
from cosmos_ray.models.network.neighbourhood import check_natten
from cosmos_ray.models.parallel import ContextParallel, gather_all, gather_views_to_owners, shard
from cosmos_ray.models.parts import load_network, load_parts
from cosmos_ray.models.picture_first import WithPicture
from cosmos_ray.models.request_check import check_request
from cosmos_ray.models.sampler import SamplerState
from cosmos_ray.models.text.layout import caption_texts, negative_texts
from cosmos_ray.models.text.tokens import cut_captions, overhead_of, texts_of
from cosmos_ray.models.timing import timed
from cosmos_ray.models.vae.pixels import normalise_frames, signed_to_uint8, truncated_to_uint8
from cosmos_ray.models.warm_up import warm_up
from cosmos_ray.words import counted

if TYPE_CHECKING:
    from cosmos_ray.models.text.reason1 import Reason1Encoder
    from cosmos_ray.models.text.text import TextEncoder
    from cosmos_ray.models.vae.vae import WanVAE

#: Of a clip, this rank's share.
Latents = Tensor | WithPicture
#: Views decoded in one call on a CPU, where small models gain from it; a GPU is full with one.
_CPU_DECODE_VIEWS = 7


@dataclass(frozen=True)
class Generator:
    """A bundle's model on one device, as one rank of a gang holds it. text_encoder: on rank 0 only. picture: the model
    of the picture that clips begin with, where they do; it shares all but the network."""

    bundle: Bundle
    parallel: ContextParallel
    network: MultiviewDiT
    vae: WanVAE
    text_encoder: TextEncoder | Reason1Encoder | None
    approximations: Approximations = EXACT
    picture: Generator | None = None

    def __post_init__(self) -> None:
        if self.bundle.solved_by(self.approximations) is not self.bundle:  # they would be told, and not followed
            raise ValueError(f"the bundle is not solved by the solver of {self.approximations}: see `sampled_by`")

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
        bundle = bundle.with_numerics(numerics).solved_by(approximations)
        check_world_size(bundle, parallel.world_size)
        dtype = NUMERICS_DTYPE[bundle.numerics]
        check_approximations(bundle, torch.device(device), approximations)
        if bundle.network.natten is not None:
            check_natten(device)  # found before anything is loaded
        if bundle.numerics == "float32":
            # As it says: convolutions of a GPU would round their inputs to 10 bits otherwise.
            torch.backends.cudnn.allow_tf32 = False
        seconds = {} if seconds is None else seconds
        meanwhile = partial(warm_up, bundle=bundle, parallel=parallel, approximations=approximations, seconds=seconds)
        network, vae, text_encoder = load_parts(bundle, device, parallel.rank == 0, seconds, meanwhile)
        picture = None
        if bundle.picture is not None:
            first = bundle.picture_bundle()
            with timed(seconds, "picture's network"):
                of_picture = load_network(first)[0].to(device, dtype)
            picture = Generator(first, picture_first.parallel_for(first, parallel), of_picture, vae, None)
        return cls(bundle, parallel, network, vae, text_encoder, approximations, picture)

    def sampled_by(self, bundle: Bundle, approximations: Approximations) -> Generator:
        """The same model as it is loaded, for clips with other approximations; bundle: its own, solved by them."""
        check_approximations(bundle, self.network.device, approximations)
        return replace(self, bundle=bundle, approximations=approximations)

    def generate(self, request: ClipRequest) -> dict[str, np.ndarray]:
        """The clip's frames, uint8 [T, H, W, 3] a view, for the views this rank owns.

        In a gang of several ranks the request must have been through rank 0's `embed` first.
        """
        latents_VlP = self.denoise(request)
        return self.decode(self.collect(latents_VlP, request.views), self._overlap(request))

    def embed(self, request: ClipRequest) -> ClipRequest:
        """The request with its captions, and its negative prompt, as embeddings. Local; unchanged if it has them.

        One caption goes to the view that looks ahead, as the published models expect; a list captions each view. What
        an empty view's text is, and where the negative prompt goes, is the family's to say (`text.layout`).
        """
        if self._is_embedded(request):
            return request
        if self.text_encoder is None:
            raise UsageError(f"clip `{request.id}` has no text embeddings, and only rank 0 has the text encoder")
        family, prefix = self.bundle.recipe, self.bundle.sampling.camera_prefix
        captions, views = request.prompts, request.views
        if request.text:
            positive = request.text.positive
        elif len(captions) in (1, len(views)):
            positive = self._encoded(caption_texts(captions, views, family, prefix))
        else:
            expected = f"1, or one for each of {counted(len(views), 'view')}"
            raise column_error("prompt", counted(len(captions), "caption"), expected)
        negative = None
        if family.no_negative:
            negative = (cast("Reason1Encoder", self.text_encoder).no_text(),) * len(views)
        elif family.is_guided(request.negative_prompt):
            texts = negative_texts(request.negative_prompt, captions, views, family, prefix)
            negative = self._encoded(texts if request.negative_prompt else [None] * len(views))
        named = texts_of(request.views, () if request.text else request.prompts, request.negative_prompt)
        return replace(
            request,
            text=ClipText(positive, negative, cut_captions(named, self.text_encoder.tokens_of, overhead_of(family))),
        )

    def denoise(
        self,
        request: ClipRequest,
        on_step: Callable[[int, int], None] | None = None,
        resume: SamplerState | None = None,
        on_state: Callable[[SamplerState], None] | None = None,
    ) -> Latents:
        """This rank's share [V, l, 64] float32 of the clip's latents, on its device; of several chunks, side by side in
        the last axis; with those of the picture that it began with, where it did. Collective.

        on_step(done, total) follows each pass of the family; on_state gets the run's state at its start and after each
        pass but the last; as `resume` it continues that run bit for bit. RowError "model" on every rank if the latents
        of any are not finite.
        """
        check_request(request, self.bundle)
        if self.parallel.world_size == 1:
            request = self.embed(request)
        if request.text is None or not self._is_embedded(request):
            # All ranks raise alike: rank 0 going on alone would hang in its first exchange.
            raise UsageError(f"clip `{request.id}` has no text embeddings: in a gang, rank 0 must embed it first")
        if self.picture is None:
            return self._denoise_chunks(request, on_step, resume, on_state)
        video_resume, picture_VlP = picture_first.split_state(resume)
        if picture_VlP is None:
            asked = picture_first.picture_request(request, self.picture.bundle)
            picture_VlP = self.picture._denoise_chunks(asked)
        made = self.picture.decode(self.picture.collect(picture_VlP, (PICTURE,))).get(PICTURE)
        size = self.bundle.height, self.bundle.width
        request = picture_first.video_request(request, None if made is None else made[0], size)
        keep = picture_first.with_picture(on_state, picture_VlP)
        return WithPicture(picture_VlP, self._denoise_chunks(request, on_step, video_resume, keep))

    def _denoise_chunks(
        self,
        request: ClipRequest,
        on_step: Callable[[int, int], None] | None = None,
        resume: SamplerState | None = None,
        on_state: Callable[[SamplerState], None] | None = None,
    ) -> Tensor:
        chunks = Chunks(self.bundle.recipe.passes(request.num_steps), request.num_chunks, on_step, on_state, resume)
        while (number := len(chunks.done_VlP)) < request.num_chunks:
            asked = self._next_chunk(request, chunks) if number else request
            chunks.add(self._denoise_chunk(asked, number, chunks))
        latents_VlP = chunks.together()
        self._check_finite(latents_VlP)
        return latents_VlP

    def _denoise_chunk(self, request: ClipRequest, number: int, chunks: Chunks) -> Tensor:
        assert request.text is not None
        negative, family = request.text.negative, self.bundle.recipe
        return sampler.denoise(
            self.network,
            grid=self._grid(request.n_views),
            view_ids=request.view_ids,
            condition_VlP=self._encode_conditioning(request),
            num_condition_latents=latent_frames_of(request.num_conditional_frames),
            positive_VMC=self._text_windows(request.text.positive),
            negative_VMC=None if negative is None else self._text_windows(negative),
            guidance=request.guidance,
            approximations=self.approximations,
            num_steps=request.num_steps,
            seed=chunk_seed(request.seed, number, family),
            noise_CVTHW=None if request.noise is None else torch.from_numpy(np.array(request.noise)),
            model_fps=self.bundle.model_fps,
            parallel=self.parallel,
            family=family,
            control_VlP=self._encode_controls(request, number),
            control_weight=request.control_weight,
            on_step=chunks.on_step,
            on_state=chunks.on_state,
            resume=chunks.take_resume(),
        )

    def _next_chunk(self, request: ClipRequest, chunks: Chunks) -> ClipRequest:
        """What the next chunk is made from: the last frames of those before, as decoded on each view's owner."""
        bundle, overlap = self.bundle, self._overlap(request)
        count = conditioned_frames(overlap)
        frames = np.zeros((request.n_views, count, bundle.height, bundle.width, 3), np.uint8)
        before_VlP = chunks.last(chunks_behind(overlap, bundle.num_frames))
        for view, video_THWC in self._decode(self._collect(before_VlP, request.views), overlap).items():
            frames[request.views.index(view)] = video_THWC[-overlap:][:count]
        if bundle.recipe.overlaps == "asked" and request.num_conditional_frames:
            assert request.frames is not None
            keep_given(frames, request.frames, len(chunks.done_VlP) * (bundle.num_frames - overlap))
        noise = None if bundle.recipe.chunk_seed == "next" else request.noise
        return replace(request, frames=frames, num_conditional_frames=count, noise=noise)

    def _overlap(self, request: ClipRequest) -> int:
        return self.bundle.recipe.overlap(request.num_conditional_frames, request.chunk_overlap)

    def pack_state(self, state: SamplerState) -> dict[str, np.ndarray]:
        """What `on_state` got, whole: step, and the state's tensors [V, L, P] float32; {} beside rank 0. Collective."""
        whole = {name: gather_all(part, self._parallel_of(name)) for name, part in sorted(state.tensors.items())}
        if self.parallel.rank != 0:
            return {}
        return {"step": np.array(state.step), **{name: part.cpu().numpy() for name, part in whole.items()}}

    def unpack_state(self, packed: Mapping[str, np.ndarray]) -> SamplerState:
        """This rank's share of a state that a gang of any size has packed."""

        def share(name: str) -> Tensor:
            return shard(torch.from_numpy(np.array(packed[name])), self._parallel_of(name)).to(self.network.device)

        names = (*self.bundle.recipe.state, DONE, picture_first.STATE)
        return SamplerState(int(packed["step"]), {name: share(name) for name in names if name in packed})

    def _parallel_of(self, name: str) -> ContextParallel:
        """Over which ranks this tensor of a state is spread."""
        return self.picture.parallel if self.picture and name == picture_first.STATE else self.parallel

    def collect(self, latents: Latents, views: Sequence[str] = VIEWS) -> dict[str, Tensor]:
        """Whole latents [C, t, H/8, W/8] of the views this rank owns (view v on rank v % ranks); of several chunks,
        [chunks, C, t, H/8, W/8]. Collective.

        views: the request's, where they are not the first ones of the rig. The picture is the first rank's.
        """
        if isinstance(latents, Tensor):
            return self._collect(latents, views)
        assert self.picture is not None
        pictures = self.picture._collect(latents.picture_VlP, (PICTURE,))
        return {**self._collect(latents.video_VlP, views), **(pictures if self.parallel.rank == 0 else {})}

    def _collect(self, latents: Tensor, views: Sequence[str]) -> dict[str, Tensor]:
        grid = self._grid(latents.shape[0])
        values = self.bundle.vae.z_dim * self.bundle.network.patch_spatial**2
        owners = [gather_views_to_owners(part, self.parallel) for part in latents.split(values, dim=-1)]
        chunks = [{view: unpatchify(tokens_LP, grid) for view, tokens_LP in of.items()} for of in owners]
        owned = chunks[0] if len(chunks) == 1 else {v: torch.stack([one[v] for one in chunks]) for v in chunks[0]}
        return {views[view]: latents_CTHW for view, latents_CTHW in owned.items()}

    def decode(self, latents: Latents | Mapping[str, Tensor], overlap: int = 1) -> dict[str, np.ndarray]:
        """Frames uint8 [T, H, W, 3] of the views this rank owns.

        latents: this rank's share (collective; of the rig's first views), or what `collect` returned (local: needs no
        other rank, so it can run while the gang denoises the next clip). overlap: frames that chunks share.
        """
        collected = latents if isinstance(latents, Mapping) else self.collect(latents, self.bundle.recipe.views)
        pictures = {name: one for name, one in collected.items() if self.picture and name == PICTURE}
        videos = {name: one for name, one in collected.items() if name not in pictures}
        return {**self._decode(videos, overlap), **self._decode(pictures, overlap)}

    def _decode(self, collected: Mapping[str, Tensor], overlap: int) -> dict[str, np.ndarray]:
        """Of views of one size."""
        parts = [(name, one) for name, found in collected.items() for one in found.view(-1, *found.shape[-4:])]
        at_once = _CPU_DECODE_VIEWS if self.vae.device.type == "cpu" else 1
        to_bytes = truncated_to_uint8 if self.bundle.recipe.truncates else signed_to_uint8
        frames: dict[str, list[np.ndarray]] = {name: [] for name in collected}
        for start in range(0, len(parts), at_once):
            batch = parts[start : start + at_once]
            video_VCTHW = self.vae.decode(torch.stack([latents_CTHW for _, latents_CTHW in batch]))
            frames_VTHWC = to_bytes(video_VCTHW).permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()
            for (name, _), frames_THWC in zip(batch, frames_VTHWC, strict=True):
                frames[name].append(frames_THWC[overlap:] if frames[name] else frames_THWC)
        return {name: found[0] if len(found) == 1 else np.concatenate(found) for name, found in frames.items()}

    def _grid(self, views: int) -> Grid:
        patch = 8 * self.bundle.network.patch_spatial
        return Grid(views, self.bundle.state_t, self.bundle.height // patch, self.bundle.width // patch)

    def _is_embedded(self, request: ClipRequest) -> bool:
        """Whether nothing is left for the text encoder to do: rows with embeddings may lack the negative prompt's."""
        is_guided = self.bundle.recipe.is_guided(request.negative_prompt)
        return request.text is not None and (request.text.negative is not None or not is_guided)

    def _encoded(self, texts: Sequence[str | None]) -> tuple[np.ndarray, ...]:
        """[M, D] a view; none for a view without text."""
        assert self.text_encoder is not None
        empty = np.zeros((0, self.bundle.text_width), np.float32)
        return tuple(empty if text is None else self.text_encoder.encode([text])[0] for text in texts)

    def _text_windows(self, embeddings: Sequence[np.ndarray]) -> Tensor:
        """[V, 512, D] zero padded, on the device, which waits for what is copied: the model has no text mask, the
        padding is part of what it attends to."""
        windows_VMD = torch.zeros(len(embeddings), TEXT_TOKENS, self.bundle.text_width, device=self.network.device)
        for window_MD, embedding in zip(windows_VMD, embeddings, strict=True):
            if len(embedding):
                window_MD[: len(embedding)] = torch.from_numpy(np.array(embedding, np.float32))
        return windows_VMD

    def _encode_conditioning(self, request: ClipRequest) -> Tensor | None:
        """This rank's share [V, l, P] of the conditioning latents, zero after the conditional frames. Collective."""
        if request.frames is None or request.num_conditional_frames == 0:
            return None
        return self._encode(request.frames, latent_frames_of(request.num_conditional_frames))

    def _encode_controls(self, request: ClipRequest, number: int) -> Tensor | None:
        """This rank's share [V, l, P] of the latents of a chunk's control frames. Collective."""
        if request.controls is None:
            return None
        frames = self.bundle.num_frames
        first = number * (frames - self._overlap(request))
        return self._encode(request.controls[:, first : first + frames], self.bundle.state_t)

    def _encode(self, frames_VTHWC: np.ndarray, latent_frames: int) -> Tensor:
        """This rank's share [V, l, P] of the latents of frames that each view begins with, then zeros. Collective.

        Each view is encoded by the rank that owns it and by no other, so that all ranks hold the same bits.
        """
        views = len(frames_VTHWC)
        grid = self._grid(views)
        size = (self.bundle.vae.z_dim, latent_frames, 2 * grid.height, 2 * grid.width)
        ranks, rank = self.parallel.world_size, self.parallel.rank
        encoded_vCkHW = torch.zeros(-(-views // ranks), *size, device=self.vae.device)
        for slot, view in enumerate(range(rank, views, ranks)):
            frames_THWC = torch.from_numpy(np.ascontiguousarray(frames_VTHWC[view])).to(self.vae.device)
            video_1CTHW = normalise_frames(frames_THWC.permute(3, 0, 1, 2)[None], self.vae.dtype)
            encoded_vCkHW[slot] = self.vae.encode(video_1CTHW)[0]
        # View v is in slot v // ranks of rank v % ranks.
        gathered_Pv = gather_all(encoded_vCkHW.flatten(1)[None], self.parallel).unflatten(1, (ranks, -1))[0]
        latents_VCkHW = gathered_Pv.transpose(0, 1).flatten(0, 1)[:views].unflatten(1, size)
        given_VLP = patchify(latents_VCkHW)
        tokens_VLP = given_VLP.new_zeros(views, grid.tokens_per_view, given_VLP.shape[-1])
        tokens_VLP[:, : given_VLP.shape[1]] = given_VLP
        return shard(tokens_VLP, self.parallel)

    def _check_finite(self, latents_VlP: Tensor) -> None:
        is_bad = (~torch.isfinite(latents_VlP)).any().to(torch.int32).reshape(1)
        if self.parallel.world_size > 1:
            dist.all_reduce(is_bad, op=dist.ReduceOp.MAX, group=self.parallel.group)
        if is_bad.item():
            raise RowError("the model's latents are not finite (NaN or infinity)", "model")
