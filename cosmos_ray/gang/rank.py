"""One GPU's resident actor: a rank of a gang. It loads the model once and keeps it.

A rank has lanes, each a thread of its own, so that neighbouring clips overlap: `refine` and `text` find and embed the
words of clip n+1, `denoise` works on clip n, `publish` decodes, encodes and stores clip n-1. Only `denoise` (and
loading) talks to the other ranks, so collectives happen in one order on all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray

from cosmos_ray.clip.checks import Looked, look_at
from cosmos_ray.clip.encode import encode_view
from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.request import ALL_VIEWS, ClipRequest, ClipText, file_of
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.gang.idle import IdleClock
from cosmos_ray.gang.machine import cores_of_gang, peak_memory, wait_for_free_memory
from cosmos_ray.gang.previews import leave_small
from cosmos_ray.gang.process_log import in_words, log_as
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import PackedState, StepCheckpoint, Writer
from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.ledger.process import process_start
from cosmos_ray.ledger.record import FileEntry
from cosmos_ray.models.bundle.held import Held, held_files
from cosmos_ray.models.guardrails.guard import Guard, load_guard
from cosmos_ray.models.imports import import_network, import_others
from cosmos_ray.models.protocol import ClipGenerator
from cosmos_ray.models.timing import timed
from cosmos_ray.refine.asks import Ask
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.traffic import Traffic, take

log = logging.getLogger(__name__)

#: How long a finished clip leaves the GPU to the next one's beginning; none comes so late but for want of clips.
_NEXT_CLIP_S = 0.5


@dataclass(frozen=True)
class DenoiseReport:
    """idle_seconds: GPU time since the clip before, or the loading. first_step: 0, or where a stored state was gone on
    from."""

    seconds: float
    idle_seconds: float
    first_step: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Published:
    """What a rank has made of its views: files that are to be stored, what they look like by view, seconds by phase.

    blurred: how many regions of a view guardrails have made unrecognisable, where they have."""

    files: list[FileEntry]
    looked: dict[str, Looked]
    seconds: dict[str, float]
    blurred: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Denoised:
    """A clip between two lanes. latents: of this rank's views; given: frames that their videos are to begin with."""

    latents: Any
    given: dict[str, np.ndarray]
    num_chunks: int
    overlap: int


class Rank:
    """Rank `rank` of `world_size`. Made by the gang's leader on its own node; dies with it."""

    # There once it is loaded; the spec and what follows from it are those of the job that it works for.
    _spec: GangSpec
    _states: Writer
    _generator: ClipGenerator
    _guard: Guard
    _idle: IdleClock

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank = rank
        self._world_size = world_size
        self._store: Any = None
        self._denoised: dict[str, _Denoised] = {}  # by id, until they are published
        self._refiner: Any = None
        self._held: tuple[Held, ...] = ()
        self._step = 0  # of the clip that is being denoised, done
        self._in_the_middle = threading.Event()  # of a clip: its inputs are on the device, its steps are under way

    def process(self) -> tuple[int, str]:
        """(pid, start time): together they name a process even after its pid was given to another."""
        return os.getpid(), process_start(os.getpid())

    def prepare(self, spec: GangSpec, is_spare: bool = False) -> dict[str, float]:
        """Import what loading begins with, or, in a spare, all that it will need; seconds. No GPU is touched."""
        seconds: dict[str, float] = {}
        if spec.bundle.generator != "fake":
            with timed(seconds, "imports"):
                import_network()
                if is_spare:
                    import_others(spec.bundle.recipe.text_encoder if self._rank == 0 else None)
        return seconds

    def open_store(self) -> int:
        """On rank 0: open the rendezvous of the process group on a free port of this node."""
        from torch.distributed import TCPStore

        self._store = TCPStore("127.0.0.1", 0, self._world_size, is_master=True, wait_for_workers=False)
        return int(self._store.port)

    def load(self, spec: GangSpec, port: int) -> dict[str, float]:
        """Join the gang and load the model; seconds that each part took. Collective."""
        from cosmos_ray.models.load import load_generator

        check_ffmpeg()
        log_as(str(ray.get_runtime_context().get_actor_name()))
        self._spec = spec
        self._states = Writer(Storage(spec.output))
        seconds: dict[str, float] = {}
        with timed(seconds, "device and group"):
            parallel = self._join(spec, port)
        self._generator = load_generator(
            spec.bundle, spec.device, parallel, spec.numerics, spec.approximations, seconds
        )
        self._held = _held(spec)
        if self._rank == 0 and spec.refining.rules.backend == "local":
            from cosmos_ray.gang.local_refiner import load_refiner

            with timed(seconds, "refiner"):
                self._refiner = load_refiner(spec)
        with timed(seconds, "guardrails") if spec.guardrails.checks else contextlib.nullcontext():
            self._guard = self._guarded(spec)
        self._idle = IdleClock("cpu" if spec.bundle.generator == "fake" else spec.device)
        log.info("%s is loaded on %s: %s", spec.bundle.name, spec.device, in_words(seconds))
        return seconds

    def take_up(self, spec: GangSpec) -> None:
        """Another job, whose clips the model that is loaded makes. Its own are all published."""
        if spec.guardrails != self._spec.guardrails:
            self._guard = self._guarded(spec)
        self._generator = self._generator.sampled_by(spec.bundle, spec.approximations)
        self._spec = spec
        self._states = Writer(Storage(spec.output))

    def _guarded(self, spec: GangSpec) -> Guard:
        """The first rank asks about captions, those that have views look at them."""
        if not spec.guardrails.checks:
            return Guard((), ())
        from cosmos_ray.models.guardrails.checks import checks_of

        on_gpu = spec.guardrails.rules.device == "gang" and spec.bundle.generator != "fake"
        checks = checks_of(spec.guardrails.rules, spec.bundle.recipe)
        has_views = self._rank < len(spec.bundle.recipe.files)
        return load_guard(spec.guardrails, checks, spec.device if on_gpu else "cpu", self._rank == 0, has_views)

    def kernels(self) -> str:
        """Which attention and passes the network runs with here, in words; "" for a generator without a network."""
        if self._spec.bundle.generator == "fake":
            return ""
        from cosmos_ray.models.network.kernels import kernels_of

        return kernels_of(self._generator.bundle, self._spec.device, self._spec.approximations)

    def _join(self, spec: GangSpec, port: int) -> Any:
        if spec.bundle.generator == "fake":
            from cosmos_ray.models.fake import Alone

            return Alone(self._rank, self._world_size)  # its ranks never exchange anything
        import torch
        import torch.distributed as dist

        from cosmos_ray.models.parallel import ContextParallel

        if spec.device == "cuda":
            wait_for_free_memory()
            if self._rank == 0 and spec.bundle.text_encoder_device == "cpu":
                torch.set_num_threads(max(1, int(cores_of_gang("GPU", self._world_size) / 2)))
        else:
            torch.set_num_threads(max(1, int(cores_of_gang("CPU", self._world_size) / self._world_size)))
        if self._world_size == 1:
            return ContextParallel()
        # All ranks are on one node; without this, gloo looks the host name up, which need not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = self._store or dist.TCPStore("127.0.0.1", port, self._world_size, is_master=False)
        backend = "nccl" if spec.device == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self._rank, world_size=self._world_size)
        return ContextParallel(self._rank, self._world_size, dist.group.WORLD)

    @ray.method(concurrency_group="text")
    def check_captions(self, captions: Sequence[str], has_embedding: bool) -> None:
        """On rank 0: RowError of class `guardrail` for those of which no clip is to be made."""
        self._guard.check_captions(captions, has_embedding)

    @ray.method(concurrency_group="text")
    def embed(self, request: ClipRequest) -> ClipText:
        """On rank 0, which holds the text encoder."""
        began = time.monotonic()
        text = self._generator.embed(request).text
        assert text is not None
        self._check_held()
        log.info("%s: embedded in %.2f s", request.id, time.monotonic() - began)
        return text

    @ray.method(concurrency_group="refine")
    def refine(self, ask: Ask) -> str:
        """On rank 0, where it has a refiner: the answer to a question, as the model wrote it. Raises NoWordsError."""
        return str(self._refiner(ask))

    @ray.method(concurrency_group="denoise")
    def denoise(
        self, request: ClipRequest, checkpoint: StepCheckpoint | None = None, packed: PackedState | None = None
    ) -> DenoiseReport:
        """This rank's share of the clip, then whole views to their owners. Collective. Raises RowError on all ranks.

        checkpoint: where to store the clip in flight; packed: the state to go on from.
        """
        started = time.monotonic()
        resume = None if packed is None else self._generator.unpack_state(packed)
        if request.num_conditional_frames:
            self._idle.work_begins()  # with encoding them
        try:
            latents = self._denoise(request, resume, checkpoint)
            overlap = self._spec.bundle.recipe.overlap(request.num_conditional_frames, request.chunk_overlap)
            collected = self._generator.collect(latents, request.views)
            self._check_held()
            given = _given(request, collected)
            self._denoised[request.id] = _Denoised(collected, given, request.num_chunks, overlap)
        finally:
            idle_seconds = self._idle.work_ends()
            self._in_the_middle.clear()
        first_step = 0 if packed is None else int(packed["step"])
        seconds = time.monotonic() - started
        log.info("%s: denoised in %.1f s, %.3f s after the clip before", request.id, seconds, idle_seconds)
        return DenoiseReport(seconds, idle_seconds, first_step, peak_memory(self._spec.device))

    def _denoise(self, request: ClipRequest, resume: Any, checkpoint: StepCheckpoint | None) -> Any:
        self._step = 0

        def on_state(state: Any) -> None:
            self._step = int(state.step)
            self._idle.work_begins()
            self._in_the_middle.set()
            if checkpoint and checkpoint.wants(state.step) and (packed := self._generator.pack_state(state)):
                self._states.write(checkpoint, packed)

        latents = self._generator.denoise(request, resume=resume, on_state=on_state)
        if checkpoint:
            self._states.denoised(checkpoint)
        return latents

    @ray.method(concurrency_group="publish")
    def publish(self, clip_id: str, place: str, folder: str, fps: int) -> Published:
        """Decode this rank's views, look at them and encode them here where the frames are, into `place` on this node's
        disk. Files are to be stored in `folder` of the output. RowError of class `guardrail`, before any of this rank's
        is written, for one that is not to be published."""
        # Both lanes feed one queue of the GPU: every copy of the next clip's inputs would wait for a view's decoding.
        self._in_the_middle.wait(_NEXT_CLIP_S)
        seconds = {"decode": 0.0, "encode": 0.0, "checks": 0.0}
        clip = self._denoised.pop(clip_id)
        with timed(seconds, "decode"):
            frames = self._generator.decode(clip.latents, clip.overlap)
            self._check_held()
        for view in frames:
            expected = self._spec.bundle.shape_of(view, clip.num_chunks, clip.overlap)
            if frames[view].shape != expected:
                raise RowError(f"view {view}: decoded frames {frames[view].shape}, expected {expected}", "model")
        blurred = self._guarded_views(frames, seconds)
        entries, looked = [], {}
        for view in sorted(frames, key=ALL_VIEWS.index):
            with timed(seconds, "encode"):
                data = encode_view(view, frames[view], fps)
                name = file_of(view)
                _write(Path(place) / name, data)
                leave_small(place, view, frames[view])
                entries.append(FileEntry(view, f"{folder}/{name}", len(data), hashlib.sha256(data).hexdigest()))
            with timed(seconds, "checks"):
                looked[view] = look_at(frames[view], clip.given.get(view))
        log.info("%s: made %d views, %d bytes", clip_id, len(entries), sum(entry.size for entry in entries))
        return Published(entries, looked, seconds, blurred)

    def _check_held(self) -> None:
        """What was made of weights that somebody has written over meanwhile is nobody's model's."""
        try:
            for file in self._held:
                file.check()
        except UsageError as error:
            raise GangBrokenError("internal", str(error)) from None

    def _guarded_views(self, frames: dict[str, np.ndarray], seconds: dict[str, float]) -> dict[str, int]:
        """Views as they may be published, in place of those that were made."""
        if not self._spec.guardrails.checks:
            return {}
        blurred: dict[str, int] = {}
        with timed(seconds, "guardrails"):
            for view in list(frames):
                frames[view], regions = self._guard.check_view(frames[view])
                blurred |= {view: regions} if regions else {}
        return blurred

    @ray.method(concurrency_group="watch")
    def watch(self) -> None:
        """Never returns: the leader waits on this call to hear of the rank's death at once."""
        threading.Event().wait()

    @ray.method(concurrency_group="watch")
    def step(self) -> int:
        """How many steps are done of the clip that is being denoised."""
        return self._step

    @ray.method(concurrency_group="watch")
    def traffic(self) -> Traffic:
        """What this rank has exchanged with stores since it was asked last."""
        return take()


rank_actor: Any = ray.remote(
    num_cpus=0,
    num_gpus=0,
    max_restarts=0,
    concurrency_groups={"text": 1, "refine": 1, "denoise": 1, "publish": 1, "watch": 2},
)(Rank)


def _held(spec: GangSpec) -> tuple[Held, ...]:
    """The files that the loaded model still reads: what is on a GPU was copied. All were verified before they were
    read, and are so once more."""
    held = held_files(spec.bundle, spec.bundle.kinds)
    if spec.device == "cpu":
        return held
    return tuple(one for one in held if one.kind == "text_encoder" and spec.bundle.text_encoder_device == "cpu")


def _given(request: ClipRequest, views: Iterable[str]) -> dict[str, np.ndarray]:
    """Of these views: the frames that their videos are to begin with."""
    if request.frames is None:
        return {}
    return {view: request.frames[request.views.index(view)] for view in views}


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
