"""A stand-in for the model, to test everything round it: same protocol, no torch, no weights, told to fail.

Frames depend on (seed, view) alone. Faults come as directives in the prompt, so that a real job can meet them:

    [seconds=1.5]                               time that denoising takes
    [black]                                     all frames are black; `[black seed=N]`: with that seed
    [grain]                                     half of every value is noise, so that files become large
    [fail=input|model|oom|...]                  every rank raises RowError of that class (oom: as `[oom]`)
    [nan]                                       latents not finite: every rank raises RowError "model"
    [die] [hang] [oom]                          one rank is killed, sleeps forever, raises MemoryError

with options `rank=R` (default 0 for die, hang, oom), `at=embed|denoise|decode` (default denoise), `step=N` (denoising,
after so many steps; default 0), `attempt=N` (only on that attempt; default always), as in `[die rank=1 attempt=1]`.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol, cast, get_args

import numpy as np

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import VIEWS, ClipRequest, ClipText
from cosmos_ray.errors import FAILURE_CLASSES, FailureClass, RowError, column_error
from cosmos_ray.models.bundle.bundle import Bundle, Numerics, check_world_size

FAULTS = ("fail", "die", "hang", "nan", "oom")
STAGES = ("embed", "denoise", "decode")
_ONE_RANK = ("die", "hang", "oom")
_DIRECTIVE = re.compile(r"\[([^\[\]]*)\]")
_COLOURS = ((220, 40, 40), (230, 140, 30), (220, 210, 40), (50, 180, 60), (40, 170, 200), (60, 70, 210), (160, 60, 190))


class Place(Protocol):
    """What the fake needs to know of a gang (`cosmos_ray.models.parallel.ContextParallel` has it)."""

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...


@dataclass(frozen=True)
class Alone:
    """A gang of one, or ranks that never exchange anything."""

    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class Fault:
    """One thing to go wrong: rank None means every rank, attempt None every attempt. step: of denoising."""

    kind: str
    failure_class: FailureClass
    rank: int | None
    stage: str
    attempt: int | None
    step: int = 0


@dataclass(frozen=True)
class Directives:
    """What a prompt tells the fake generator to do. seconds: time of a whole denoise, None if not said. black: seeds of
    which all frames are; None among them: all seeds."""

    seconds: float | None = None
    grain: bool = False
    black: frozenset[int | None] = frozenset()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class FakeState:
    """A run between two steps, as `resume` takes it."""

    step: int


@dataclass(frozen=True)
class FakeLatents:
    """What a denoised clip leaves behind: all that its frames depend on, and the faults still to come."""

    seed: int
    views: tuple[str, ...]
    attempt: int
    directives: Directives


def parse_directives(text: str) -> Directives:
    """The directives in a prompt. RowError `input` for anything in brackets that is not one."""
    directives = Directives()
    for body in _DIRECTIVE.findall(text):
        head, *options = body.split() or [""]
        kind, _, value = head.partition("=")
        if kind == "seconds" and re.fullmatch(r"\d+(\.\d+)?", value) and not options:
            directives = replace(directives, seconds=float(value))
        elif body == "grain":
            directives = replace(directives, grain=True)
        elif kind == "black" and (found := re.fullmatch(r"black(?: seed=(\d+))?", body)):
            seed = None if found[1] is None else int(found[1])
            directives = replace(directives, black=directives.black | {seed})
        elif kind in FAULTS and (kind == "fail") == (value in FAILURE_CLASSES) and (kind == "fail" or not value):
            directives = replace(directives, faults=(*directives.faults, _fault(body, kind, value, options)))
        else:
            raise _bad_directive(body)
    return directives


def _fault(body: str, kind: str, value: str, options: list[str]) -> Fault:
    given = dict(option.partition("=")[::2] for option in options)
    if len(given) != len(options) or given.keys() - {"rank", "at", "step", "attempt"}:
        raise _bad_directive(body)
    numbers = {name: given[name] for name in ("rank", "step", "attempt") if name in given}
    if not all(re.fullmatch(r"\d+", number) for number in numbers.values()) or given.get("at", "denoise") not in STAGES:
        raise _bad_directive(body)
    stage, step = given.get("at", "denoise"), int(numbers.get("step", 0))
    if step and stage != "denoise":
        raise _bad_directive(body)
    if value == "oom":
        kind = "oom"
    rank = int(numbers["rank"]) if "rank" in numbers else (0 if kind in _ONE_RANK else None)
    attempt = int(numbers["attempt"]) if "attempt" in numbers else None
    failure_class = cast(FailureClass, value) if kind == "fail" else "model"
    return Fault(kind, failure_class, rank, stage, attempt, step)


def _bad_directive(body: str) -> RowError:
    expected = (
        f"[seconds=F], [grain], [black], [fail={'|'.join(get_args(FailureClass))}], [die], [hang], [nan] or [oom], "
        f"the faults with options rank=R, at={'|'.join(STAGES)}, step=N, attempt=N"
    )
    return column_error("prompt", f"[{body}]", expected)


class FakeGenerator:
    """The generator protocol in numpy. step_seconds: time a denoising step takes, unless a prompt says otherwise."""

    def __init__(self, bundle: Bundle, parallel: Place | None = None, step_seconds: float = 0.0) -> None:
        self.bundle = bundle
        self.parallel: Place = parallel or Alone()
        self.step_seconds = step_seconds
        check_world_size(bundle, self.parallel.world_size)

    @classmethod
    def load(
        cls, bundle: Bundle, device: str = "cpu", parallel: Place | None = None, numerics: Numerics | None = None
    ) -> FakeGenerator:
        return cls(bundle.with_numerics(numerics), parallel)

    def sampled_by(self, bundle: Bundle, approximations: Approximations) -> FakeGenerator:
        """It has nothing to approximate."""
        return FakeGenerator(bundle, self.parallel, self.step_seconds)

    def embed(self, request: ClipRequest) -> ClipRequest:
        """`request` with text embeddings: one row of zeros for each captioned view."""
        self._act(_directives(request), request.attempt, "embed")
        if request.text is not None:
            return request
        row = np.zeros((1, self.bundle.text_width), np.float32)
        none = row[:0]
        captioned = len(request.prompts)
        positive = tuple(row if view < captioned else none for view in range(request.n_views))
        negative = (row, *[none] * (request.n_views - 1)) if request.negative_prompt else None
        return replace(request, text=ClipText(positive, negative))

    def denoise(
        self,
        request: ClipRequest,
        on_step: Callable[[int, int], None] | None = None,
        resume: FakeState | None = None,
        on_state: Callable[[FakeState], None] | None = None,
    ) -> FakeLatents:
        """This rank's share of a clip. on_step(done, total) after each pass of its family, as the real one."""
        directives = _directives(request)
        total = self.bundle.recipe.passes(request.num_steps)
        pause = self.step_seconds if directives.seconds is None else directives.seconds / total
        state = resume or FakeState(0)
        self._act(directives, request.attempt, "denoise", range(state.step + 1))
        if on_state:
            on_state(state)
        for step in range(state.step, total):
            time.sleep(pause)
            if on_state and step + 1 < total:
                on_state(FakeState(step + 1))
            if on_step:
                on_step(step + 1, total)
            self._act(directives, request.attempt, "denoise", (step + 1,))
        return FakeLatents(request.seed, request.views, request.attempt, directives)

    def pack_state(self, state: FakeState) -> dict[str, np.ndarray]:
        return {"step": np.array(state.step)} if self.parallel.rank == 0 else {}

    def unpack_state(self, packed: Mapping[str, np.ndarray]) -> FakeState:
        return FakeState(int(packed["step"]))

    def collect(self, latents: FakeLatents, views: Sequence[str] = ()) -> dict[str, FakeLatents]:
        """The views this rank owns (view v on rank v % world size), each with what its frames depend on.

        The latents know their views' names; `views` is taken as every generator takes it.
        """
        owned = range(self.parallel.rank, len(latents.views), self.parallel.world_size)
        return {latents.views[view]: replace(latents, views=(latents.views[view],)) for view in owned}

    def decode(self, latents: FakeLatents | Mapping[str, FakeLatents], overlap: int = 1) -> dict[str, np.ndarray]:
        """Frames uint8 [T, H, W, 3] of the views this rank owns, from its share or from what `collect` returned."""
        collected = self.collect(latents) if isinstance(latents, FakeLatents) else latents
        if any_view := next(iter(collected.values()), None):
            self._act(any_view.directives, any_view.attempt, "decode")
        frames = {view: self._frames(part.seed, view, part.directives.grain) for view, part in collected.items()}
        for view, part in collected.items():
            if part.directives.black & {None, part.seed}:
                frames[view][:] = 0
        return frames

    def generate(self, request: ClipRequest) -> dict[str, np.ndarray]:
        return self.decode(self.denoise(self.embed(request)))

    def _frames(self, seed: int, view: str, grain: bool) -> np.ndarray:
        """A gradient that drifts with time, and a block in the view's colour that crosses it."""
        frames, height, width = self.bundle.num_frames, self.bundle.height, self.bundle.width
        index = VIEWS.index(view) if view in VIEWS else 0
        random = np.random.RandomState([seed % 2**32, index])
        start, speed = random.randint(1, 256, size=2)
        t, y, x = np.ogrid[:frames, :height, :width]
        grey = (start + 4 * t + 2 * y + x) % 256
        video = np.repeat(grey[..., None].astype(np.uint8), 3, axis=-1)
        size = height // 4
        top = height // 2 - size // 2
        for frame in range(frames):
            left = int(start + frame * (1 + speed % 4)) % (width - size)
            video[frame, top : top + size, left : left + size] = _COLOURS[index]
        return video // 2 + random.randint(0, 128, video.shape, np.uint8) if grain else video

    def _act(self, directives: Directives, attempt: int, stage: str, steps: Container[int] = (0,)) -> None:
        for fault in directives.faults:
            on_this_rank = fault.rank in (None, self.parallel.rank) or fault.kind == "nan"
            is_now = fault.stage == stage and fault.step in steps and fault.attempt in (None, attempt)
            if is_now and on_this_rank:
                _commit(fault)


def _directives(request: ClipRequest) -> Directives:
    return parse_directives(" ".join(request.prompts))


def _commit(fault: Fault) -> NoReturn:
    where = f"told to at {fault.stage}"
    if fault.kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.kind == "oom":
        raise MemoryError(f"out of memory, {where}")
    if fault.kind == "nan":
        raise RowError(f"latents are not finite, {where}", "model")
    if fault.kind == "fail":
        raise RowError(f"failure of class {fault.failure_class}, {where}", fault.failure_class)
    while True:
        time.sleep(3600)
