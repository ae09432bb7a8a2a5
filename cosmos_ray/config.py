"""A job's settings: one validated object, from flags, a YAML file and `--set key=value`, in that order of weakness."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.rules import InputRules
from cosmos_ray.errors import UsageError


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplingConfig(Approximations):
    """What a row may leave out, and the numerics of all rows (None: the bundle's own); and the job's approximations."""

    numerics: Literal["reference", "float32"] | None = None
    num_steps: int | None = Field(None, ge=1, le=1000)
    guidance: float | None = Field(None, ge=0, le=100)
    negative_prompt: str | None = None

    @property
    def approximations(self) -> Approximations:
        return Approximations(**self.model_dump(include=set(Approximations.model_fields)))


class TextEncoderConfig(_Settings):
    """Where the text encoder is (the gang's first rank, or the CPU of its node), and its dtype. None: the bundle's."""

    device: Literal["gang", "cpu"] | None = None
    dtype: Literal["bfloat16", "float32"] | None = None


class InputsConfig(InputRules):
    """How the inputs of rows are taken (`InputRules`). strict: whatever is worth a warning fails its row."""

    strict: bool = False

    @property
    def rules(self) -> InputRules:
        return InputRules(**self.model_dump(include=set(InputRules.model_fields)))


class GangConfig(_Settings):
    """How gangs work and when they are given up.

    max_attempts: tries of one clip before it is `failed`. clips_in_flight: one being fetched, one denoised, one
    published. placement_timeout_s: a job that has no gang at all fails after waiting so long for the GPUs of one (nodes
    may have to be started). A clip's deadline is `deadline_factor` times the time predicted from the clips before it,
    at least `deadline_min_s`; before anything was measured it is `deadline_first_s`. step_checkpoint: store the clip in
    flight after every so many steps, for another gang to go on with; 0: never.
    """

    max_attempts: int = Field(3, ge=1)
    clips_in_flight: int = Field(3, ge=1)
    deadline_factor: float = Field(4.0, gt=1)
    deadline_min_s: float = Field(120.0, gt=0)
    deadline_first_s: float = Field(1800.0, gt=0)
    placement_timeout_s: float = Field(3600.0, gt=0)
    load_timeout_s: float = Field(1800.0, gt=0)
    step_checkpoint: int = Field(0, ge=0)


class LeaseConfig(_Settings):
    """Seconds between an owner's beats, and of silence after which another job may take over."""

    beat_s: float = Field(5.0, gt=0)
    life_s: float = Field(15.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> LeaseConfig:
        if self.life_s <= 2 * self.beat_s:  # one late beat must not make a living owner look dead
            raise ValueError(f"expected life_s of more than 2 beats ({2 * self.beat_s:g} s), found {self.life_s:g} s")
        return self


class BreakerConfig(_Settings):
    """When the job itself is ill: faults that may not be the rows' own, one after the other, without a clip finished.

    From the third on the job pauses, twice as long each time, up to `max_pause_s`. It stops after
    `max_consecutive_faults` of them, not counting those of a store, or when they have gone on for `patience_s`.
    """

    max_consecutive_faults: int = Field(9, ge=1)
    max_pause_s: float = Field(60.0, ge=0)
    patience_s: float = Field(900.0, ge=0)


class GenerateConfig(_Settings):
    """The job of `cosmos-ray generate`.

    manifest: URI of a Parquet file, of a folder of them, or a pattern.
    gang_size: GPUs (or CPU ranks) that share one clip, on one node; None takes the largest that fits every node with
    GPUs. gangs: "MIN:MAX", or one number for both; as many as are worth their start (`demand.py`), MIN if there are
    clips enough. max_failed: failures that are all right, a count ("3") or a fraction
    ("0.05"). limit: make at most so many clips in this run. max_gpu_hours: denoise no further clip once gangs have held
    GPUs for so long in this run, loading included; the job then ends with exit code 1.
    redo_changed: make clips again whose row was edited, instead of refusing the manifest.
    """

    manifest: str
    output: str
    model: str = "cosmos-predict2-2b-multiview"
    gang_size: int | None = Field(None, ge=1)
    gangs: str = "1"
    limit: int | None = Field(None, ge=1)
    max_failed: str = "0.05"
    max_gpu_hours: float | None = Field(None, gt=0)
    device: Literal["auto", "cuda", "cpu"] = "auto"
    redo_changed: bool = False
    sampling: SamplingConfig = SamplingConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    inputs: InputsConfig = InputsConfig()
    gang: GangConfig = GangConfig()
    lease: LeaseConfig = LeaseConfig()
    breaker: BreakerConfig = BreakerConfig()

    @field_validator("manifest", "output")
    @classmethod
    def _check_uri(cls, value: str) -> str:
        if not value.strip():  # as a variable that is not set leaves it
            raise ValueError(f"expected a URI, found {value!r}")
        return value

    @field_validator("gangs", "max_failed", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value

    @field_validator("gangs")
    @classmethod
    def _check_gangs(cls, value: str) -> str:
        low, high = _gangs(value)
        if not 0 <= low <= high or high < 1:
            raise ValueError(f"expected MIN:MAX with 0 <= MIN <= MAX and MAX >= 1, found {value!r}")
        return value

    @field_validator("max_failed")
    @classmethod
    def _check_max_failed(cls, value: str) -> str:
        failed_allowed(value, 1)
        return value

    @property
    def min_gangs(self) -> int:
        return _gangs(self.gangs)[0]

    @property
    def max_gangs(self) -> int:
        return _gangs(self.gangs)[1]


def _gangs(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise ValueError(f"expected MIN:MAX or a number, found {text!r}") from None


def failed_allowed(max_failed: str, clips: int) -> int:
    """How many of `clips` may fail: "3" is a count, "0.05" a fraction."""
    try:
        value = float(max_failed) if "." in max_failed else int(max_failed)
    except ValueError:
        raise ValueError(f"expected a count or a fraction, found {max_failed!r}") from None
    if value < 0 or (isinstance(value, float) and value > 1):
        raise ValueError(f"expected a count from 0 or a fraction from 0.0 to 1.0, found {max_failed!r}")
    # 0.29 * 100 is 28.999999999999996.
    return value if isinstance(value, int) else math.floor(value * clips + 1e-6)


class _Loader(yaml.SafeLoader):
    """YAML whose numbers are decimal: in YAML 1.1 `gangs: 1:4` would be a number of base 60, and make 64 gangs."""


_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(?:0|[1-9][0-9]*)$",
    "tag:yaml.org,2002:float": r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list("-+.0123456789"))


def _load_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader: it makes plain values only


def build_config(
    flags: Mapping[str, Any], config_file: Path | None = None, assignments: Iterable[str] = ()
) -> GenerateConfig:
    """Flags that were given win over the file, `--set` over both. Raises UsageError naming the setting."""
    settings: dict[str, Any] = {}
    if config_file is not None:
        try:
            settings = _load_yaml(config_file.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"--config {config_file}: {_one_line(error)}") from error
        if not isinstance(settings, dict):
            raise UsageError(f"--config {config_file}: expected a mapping of settings")
    settings.update(flags)
    for assignment in assignments:
        _assign(settings, assignment)
    try:
        return GenerateConfig.model_validate(settings)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise UsageError(f"bad settings: {problems}") from error


def _assign(settings: dict[str, Any], assignment: str) -> None:
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {assignment}: expected key=value")
    *folders, name = key.split(".")
    target = settings
    for folder in folders:
        target = target.setdefault(folder, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {assignment}: `{folder}` is not a group of settings")
    try:
        target[name] = _load_yaml(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {assignment}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
