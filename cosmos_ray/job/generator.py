"""The model without Ray, as people take it in Python: loaded by name, and told one clip in the manifest's own columns.

It is the gangs' generator (`models/generator.py`) with a row's way to it: read, checked and prepared as a job does, so
that the same columns give the same clip.
"""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, overload

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.input_rules import DEFAULT_RULES, InputRules
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.errors import RowError, UsageError, argument_error
from cosmos_ray.foreign import shown_value
from cosmos_ray.gang.prepare import prepare
from cosmos_ray.job.made_clip import MadeClip, in_order
from cosmos_ray.job.plan import row_defaults
from cosmos_ray.manifest.columns import COLUMNS, check_schema
from cosmos_ray.manifest.names import near_column
from cosmos_ray.manifest.rows import Clip, clips_of_row, rows_of
from cosmos_ray.models import generator as of_a_gang
from cosmos_ray.models.bundle.bundle import Bundle, Numerics, load_bundle
from cosmos_ray.models.generator import Latents
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import SamplerState
from cosmos_ray.store.uris import path_text
from cosmos_ray.words import counted

_ALONE = ContextParallel()


class Generator(of_a_gang.Generator):
    """A model on one device. `Generator.load("tiny").generate(prompt="A clear day on a city street.").show()`"""

    @classmethod
    def load(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        device: str | torch.device = "auto",
        parallel: ContextParallel = _ALONE,
        numerics: Numerics | None = None,
        approximations: Approximations = EXACT,
        seconds: dict[str, float] | None = None,
    ) -> Generator:
        """bundle: a model's name, path or URI of a bundle's folder, or the bundle. device: `auto`, `cpu`, `cuda` or
        `cuda:N`.

        parallel: rank, world size and process group of a gang. numerics: `reference` or `float32`; None: the model's
        own. approximations: what makes clips cheaper and changes them. seconds: where those of each part are put down.
        Raises UsageError for what cannot run here, and for arguments of another kind.
        """
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(path_text("bundle", bundle))
        if not isinstance(parallel, ContextParallel):
            raise argument_error("parallel", parallel, "a ContextParallel")
        if not isinstance(approximations, Approximations):
            raise argument_error("approximations", approximations, "Approximations")
        if seconds is not None and not isinstance(seconds, MutableMapping):
            raise argument_error("seconds", seconds, "a dict, or None")
        if bundle.generator != "cosmos":
            raise UsageError(f"model `{bundle.name}` makes test patterns for jobs; expected a network, such as `tiny`")
        found = super().load(bundle, _device(device), parallel, numerics, approximations, seconds)
        assert isinstance(found, Generator)
        return found

    @overload
    def generate(self, request: ClipRequest) -> dict[str, np.ndarray]: ...
    @overload
    def generate(self, *, rules: InputRules = ..., **columns: Any) -> MadeClip: ...
    def generate(
        self, request: ClipRequest | None = None, *, rules: InputRules = DEFAULT_RULES, **columns: Any
    ) -> dict[str, np.ndarray] | MadeClip:
        """One clip: `generate(prompt="…", video="in.mp4", num_conditional_frames=1, seed=0)`.

        Takes the manifest's own columns (`prompt`, `prompt_embedding`, `input_video`, `input_videos`, `input_frames`,
        `views`, `n_views`, `num_conditional_frames`, `negative_prompt`, `guidance`, `seed`, `num_steps`, `fps`), with
        the model's defaults. `video` is `input_video`, or `input_videos` where it names a file a camera. Relative paths
        start from the current folder. rules: how inputs are taken.

        Raises UsageError for a column that there is not, RowError for what a row of a job would fail with. With a
        `ClipRequest` instead: its frames, uint8 [T, H, W, 3] by view, of the views that this rank owns.
        """
        if request is not None:
            if columns:
                raise UsageError(f"a request says everything: found {', '.join(columns)} beside it")
            return super().generate(_request(request))
        if not isinstance(rules, InputRules):
            raise argument_error("rules", rules, "InputRules")
        clip = clip_of(columns, self.bundle)
        prepared = prepare(clip, self.bundle, 1, rules)
        made = self.embed(prepared.request)
        frames = in_order(super().generate(made))
        warnings = prepared.warnings + (made.text.warnings if made.text else ())
        return MadeClip(replace(made, noise=None), frames, clip.fps, warnings)

    def embed(self, request: ClipRequest) -> ClipRequest:
        """As its base does; UsageError for what is no request."""
        return super().embed(_request(request))

    def denoise(
        self,
        request: ClipRequest,
        on_step: Callable[[int, int], None] | None = None,
        resume: SamplerState | None = None,
        on_state: Callable[[SamplerState], None] | None = None,
    ) -> Latents:
        """As its base does; UsageError for arguments of another kind."""
        for name, function in (("on_step", on_step), ("on_state", on_state)):
            if function is not None and not callable(function):
                raise argument_error(name, function, "a function, or None")
        if resume is not None and not isinstance(resume, SamplerState):
            raise argument_error("resume", resume, "what `on_state` got, or None")
        return super().denoise(_request(request), on_step, resume, on_state)

    def decode(self, latents: Latents | Mapping[str, Tensor], overlap: int = 1) -> dict[str, np.ndarray]:
        """As its base does; UsageError for arguments of another kind."""
        if not isinstance(latents, Latents | Mapping):
            raise argument_error("latents", latents, "what `denoise` or `collect` returned")
        if not isinstance(overlap, int) or overlap < 0:
            raise argument_error("overlap", overlap, "a count of frames")
        return super().decode(latents, overlap)

    def __repr__(self) -> str:
        return f"<Generator {self.bundle.name} on {self.network.device}>"


def _request(given: object) -> ClipRequest:
    if not isinstance(given, ClipRequest):
        raise argument_error("request", given, 'a ClipRequest; or columns, by their names: generate(prompt="…")')
    return given


def _device(given: object) -> str:
    """For torch. UsageError for one that is not here, and for kinds that nothing was tried on."""
    device = str(given) if isinstance(given, torch.device) else given
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", device):
        raise argument_error("device", given, "`auto`, `cpu`, `cuda` or `cuda:N`")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if there else "cpu"
    if device != "cpu" and int(device.removeprefix("cuda").removeprefix(":") or 0) >= there:
        raise argument_error("device", given, f"`auto` or `cpu`: torch finds {counted(there, 'GPU')} here")
    return device


def clip_of(columns: Mapping[str, Any], bundle: Bundle) -> Clip:
    """What a row with these columns asks for. Raises UsageError and RowError."""
    row = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in columns.items()}
    if "video" in row:
        video = row.pop("video")
        name = "input_video" if isinstance(video, str) else "input_videos"
        if row.get(name) is not None:
            raise UsageError(f"found `video` and `{name}`, expected one of them")
        row[name] = _as_text(video)
    for name in row:
        if name not in COLUMNS:
            near = near_column(name, row)
            raise UsageError(f"there is no column `{name}`" + (f"; `{near}` is near" if near else f": {_listed()}"))
    samples = row.get("num_samples")
    if samples is not None and not (isinstance(samples, numbers.Number) and samples == 1):
        raise UsageError("num_samples: one clip a call; seeds make others")
    row = {"id": "clip", **{name: _as_text(value) for name, value in row.items() if value is not None}}
    table = pa.table({name: _array(name, value) for name, value in row.items()})
    if "prompt" not in row and "prompt_embedding" not in row:
        raise UsageError("found neither `prompt` nor `prompt_embedding`, expected one of them")
    check_schema(table.schema, [])
    (clip,) = clips_of_row(rows_of(table)[0], row_defaults(bundle, SamplingConfig()), os.getcwd())
    if clip.error is not None:
        raise RowError(clip.error)
    return clip


def _array(name: str, value: Any) -> pa.Array:
    """One row's column. UsageError for what no column can hold, bytes among it: they may be text of any encoding."""
    try:
        array = pa.array([value])
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        array = None
    if array is None or "binary" in str(array.type):
        raise UsageError(f"column `{name}`: found {shown_value(value)}, expected {COLUMNS[name].expected}")
    return array


def _as_text(value: Any) -> Any:
    """Paths within lists and cameras' dicts too."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {name: _as_text(one) for name, one in value.items()}
    return [_as_text(one) for one in value] if isinstance(value, list | tuple) else value


def _listed() -> str:
    return f"expected {', '.join(name for name in COLUMNS if name not in ('id', 'num_samples'))}"
