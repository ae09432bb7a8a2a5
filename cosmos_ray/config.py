"""A job's settings: one validated object, from flags, a YAML file and `--set key=value`, in that order of weakness."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from cosmos_ray.clip.check_rules import CheckRules
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.schema_words import value_fault
from cosmos_ray.store.plain_yaml import load_yaml
from cosmos_ray.store.reach import Reach
from cosmos_ray.store.regular import read_regular
from cosmos_ray.store.uris import normalise_uri


class _Settings(BaseModel):
    """The words under a setting are its description: `cosmos-ray config` prints them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class TextEncoderConfig(_Settings):
    """Where the text encoder is, and what it computes in."""

    device: Literal["gang", "cpu"] | None = None
    """`gang`: the gang's first rank; `cpu`: its node's memory and processors; null: as the model says."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """null: as the model says."""


class InputsConfig(InputRules):
    """How the inputs of rows are taken."""

    strict: bool = False
    """Whatever is worth a warning fails its row."""
    allow: tuple[str, ...] | None = None
    """Places (files, folders, buckets) that rows may name beside the manifest's own folder, and none else; links in
    that folder may lead there. null: whatever the job can read, and no links out of that folder."""

    @field_validator("allow")
    @classmethod
    def _check_allow(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        try:
            return None if value is None else tuple(normalise_uri(place) for place in value)
        except UsageError as error:
            raise ValueError(str(error)) from None

    def reach(self, home: str) -> Reach:
        """home: URI of the manifest's folder."""
        return Reach(home, self.allow)

    @property
    def rules(self) -> InputRules:
        return InputRules(**self.model_dump(include=set(InputRules.model_fields)))


class GangConfig(_Settings):
    """How gangs work and when they are given up."""

    max_attempts: int = Field(3, ge=1)
    """Tries of one clip before it is `failed`."""
    clips_in_flight: int = Field(3, ge=1)
    """Clips a gang has at once: one being fetched, one denoised, one published."""
    clips_waiting: int = Field(20, ge=0)
    """Clips that are made and may wait on their node's disk, a gang, while the store is out or slow."""
    deadline_factor: float = Field(4.0, gt=1)
    """A clip may take so many times what the clips before it predict."""
    deadline_min_s: float = Field(120.0, gt=0)
    """Seconds that a clip may take at least."""
    deadline_first_s: float = Field(1800.0, gt=0)
    """Seconds that a clip may take before anything was measured."""
    placement_timeout_s: float = Field(3600.0, gt=0)
    """Seconds that a job without any gang waits for the GPUs of one (nodes may have to be started)."""
    load_timeout_s: float = Field(1800.0, gt=0)
    """Seconds that a gang may take to load the model."""
    spare_ranks: Literal["auto", "always", "never"] = "auto"
    """Processes with everything imported that take a gang's place when a rank dies, so that it is back in seconds;
    `auto`: on GPUs. Each takes some GB of its node's memory, none of a GPU's."""
    step_checkpoint: int = Field(0, ge=0)
    """Store the clip in flight after every so many steps, for another gang to go on with; 0: never."""


class LeaseConfig(_Settings):
    """The job's ownership of its output."""

    beat_s: float = Field(5.0, gt=0)
    """Seconds between an owner's beats."""
    life_s: float = Field(15.0, gt=0)
    """Seconds of silence after which another job may take over."""

    @model_validator(mode="after")
    def _check(self) -> LeaseConfig:
        if self.life_s <= 2 * self.beat_s:  # one late beat must not make a living owner look dead
            raise ValueError(f"expected life_s of more than 2 beats ({2 * self.beat_s:g} s), found {self.life_s:g} s")
        return self


class BreakerConfig(_Settings):
    """When the job itself is ill: faults that may not be the rows' own, one after the other, without a clip finished.

    From the third on the job pauses, twice as long each time.
    """

    max_consecutive_faults: int = Field(9, ge=1)
    """The job stops after so many, not counting those of a store."""
    max_pause_s: float = Field(60.0, ge=0)
    """Seconds of the longest pause."""
    patience_s: float = Field(900.0, ge=0)
    """The job stops when they have gone on for so many seconds, whatever they are."""


class GenerateConfig(_Settings):
    """The job of `cosmos-ray generate`."""

    manifest: str
    """URI of a Parquet file, of a folder of them, or a pattern. Required."""
    output: str
    """URI of the output; a job goes on from what is there. Required."""
    model: str = "cosmos-predict2-2b-multiview"
    """Name of a model, or URI of a bundle's folder."""
    dit: str | None = None
    """Checkpoint of one's own (.pt, .safetensors; path or URI) in place of the model's network; also as model.dit."""
    picture_dit: str | None = None
    """As `dit`, in place of the network that makes the picture which a clip begins with (Text2World)."""
    ema: bool = False
    """Of these checkpoints, the running average (net_ema.) in place of the weights (net.); also as model.ema."""
    resolution: str | None = None
    """WIDTHxHEIGHT of what is made, in pixels, multiples of 16; null: the model's own, for which its weights are."""
    gang_size: int | None = Field(None, ge=1)
    """GPUs (or CPU ranks) that share one clip, on one node; null: the largest that fits every node with GPUs."""
    gangs: str = "1"
    """MIN:MAX, or one number for both: as many as are worth their start, MIN if there are clips enough."""
    limit: int | None = Field(None, ge=1)
    """Make at most so many clips in this run; null: all."""
    max_failed: str = "0.05"
    """Failures that are all right, a count ("3") or a fraction ("0.05", "5%"); with more: exit code 3."""
    max_gpu_hours: float | None = Field(None, gt=0)
    """Denoise no further clip once gangs have held GPUs for so long in this run, loading included; then exit code 1."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """What a gang's ranks run on."""
    max_clips: int = Field(10_000_000, ge=1)
    """A manifest that asks for more clips, rows times their num_samples, is refused."""
    redo_changed: bool = False
    """Make clips again whose row was edited, instead of refusing the manifest."""
    sampling: SamplingConfig = SamplingConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    inputs: InputsConfig = InputsConfig()
    checks: CheckRules = CheckRules()
    refiner: RefinerRules = RefinerRules()
    guardrails: GuardrailRules = GuardrailRules()
    gang: GangConfig = GangConfig()
    lease: LeaseConfig = LeaseConfig()
    breaker: BreakerConfig = BreakerConfig()

    _table: Any = PrivateAttr(default=None)

    def __init__(self, **settings: Any) -> None:
        """Raises UsageError, naming the setting, for a value that it cannot have."""
        _check_texts(settings)
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise _bad_settings(error) from None

    @property
    def table(self) -> Any:
        """The pandas DataFrame that was given as manifest; None if that is a URI."""
        return self._table

    @model_validator(mode="wrap")
    @classmethod
    def _take_table(cls, given: Any, validate: Callable[[Any], GenerateConfig]) -> GenerateConfig:
        """A DataFrame is a manifest too: the job keeps it in its output."""
        table = given.get("manifest") if isinstance(given, Mapping) else None
        if not hasattr(table, "to_parquet"):
            return validate(given)
        config = validate({**given, "manifest": "a DataFrame"})
        config._table = table
        return config

    @field_validator("manifest", "output", mode="before")
    @classmethod
    def _take_path(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

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
    """How many of `clips` may fail: "3" is a count, "0.05" and "5%" are a fraction."""
    text = max_failed.strip()
    number, is_percent = text.removesuffix("%"), text.endswith("%")
    try:
        value = float(number) / 100 if is_percent else float(number) if "." in number else int(number)
    except ValueError:
        raise ValueError(f"expected a count or a fraction, found {max_failed!r}") from None
    if not 0 <= value <= (1 if isinstance(value, float) else math.inf):
        raise ValueError(f"expected a count from 0 or a fraction from 0.0 to 1.0 (0% to 100%), found {max_failed!r}")
    # 0.29 * 100 is 28.999999999999996.
    return value if isinstance(value, int) else math.floor(value * clips + 1e-6)


_REQUIRED = ("manifest", "output")
#: As people name them who think of the checkpoint as the model's.
_ALIASES = {"model.dit": "dit", "model.ema": "ema"}


#: Faults of settings that are said: to look for what each may have meant takes its time.
_MOST_PROBLEMS = 20
#: Largest file of settings.
_MAX_CONFIG_BYTES = 2**20


def build_config(
    flags: Mapping[str, Any],
    config_file: Path | None = None,
    assignments: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> GenerateConfig:
    """Flags that were given win over the file, `--set` over both. Raises UsageError naming the setting.

    defaults: of settings that have none of their own, where a command can do without.
    """
    return validated(given_settings(flags, config_file, assignments, defaults))


def given_settings(
    flags: Mapping[str, Any],
    config_file: Path | None = None,
    assignments: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """As `build_config` takes them, before they are looked at."""
    settings = {} if config_file is None else settings_in(config_file, "--config")
    settings = {**(defaults or {}), **settings, **flags}
    for assignment in assignments:
        _assign(settings, assignment)
    return settings


def settings_in(file: Path, flag: str) -> dict[str, Any]:
    """Of a YAML file that `flag` names; UsageError for one that cannot be read."""
    try:
        settings = load_yaml(read_regular(file, _MAX_CONFIG_BYTES).decode("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{flag} {file}: {' '.join(said.split())}") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{flag} {file}: expected a mapping of settings")
    # `cosmos-ray config` prints the two without a default as null.
    return {str(name): value for name, value in settings.items() if not (value is None and name in _REQUIRED)}


def validated(settings: Mapping[str, Any]) -> GenerateConfig:
    """Raises UsageError naming the setting."""
    try:
        return GenerateConfig.model_validate(dict(settings))
    except ValidationError as error:
        raise _bad_settings(error) from error


def _check_texts(settings: Mapping[Any, Any], group: str = "") -> None:
    """Raises UsageError for a text with half a character in it, which no file and no store can have."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _check_texts(value, f"{group}{name}.")
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and any("\ud800" <= one <= "\udfff" for one in text):
                raise UsageError(f"bad settings: {group}{name}: found {text!r}, expected a text of whole characters")


def _bad_settings(error: ValidationError) -> UsageError:
    found = error.errors()
    more = f"; and {len(found) - _MOST_PROBLEMS} more" if len(found) > _MOST_PROBLEMS else ""
    return UsageError(f"bad settings: {'; '.join(map(_problem, found[:_MOST_PROBLEMS]))}{more}")


def _problem(error: ErrorDetails) -> str:
    """What is wrong with one setting."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        near = nearest_setting(name)
        return f"{name}: there is no such setting" + (f"; the nearest is `{near}`" if near else "")
    if error["type"] == "missing":
        return f"{name}: not given; give --{name} URI, `{name}:` in the --config file, or {name}=URI in Python"
    words = value_fault(error)
    if error["type"].startswith("model_"):
        return f"{name}: {words.replace('an object', 'a group of settings')}"
    return f"{name}: {words}" if name else words


def setting_names(settings: type[BaseModel] = GenerateConfig) -> list[str]:
    """All settings as `--set` names them: `limit`, `sampling.num_steps`, …"""
    names = []
    for name, field in settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            names += [f"{name}.{below}" for below in setting_names(group)]
        else:
            names.append(name)
    return names


def nearest_setting(name: str) -> str | None:
    """The setting that `name` may have meant: one that is spelt nearly so, or one of that name in another group."""
    names = setting_names()
    if name in names:
        return name
    leaf = name.rpartition(".")[2]
    by_leaf = {known.rpartition(".")[2]: known for known in names}
    if leaf in by_leaf:
        return by_leaf[leaf]
    if found := difflib.get_close_matches(name, names, 1, 0.7):
        return found[0]
    groups = {known.partition(".")[0]: None for known in names}
    if "." not in name and (found := difflib.get_close_matches(name, groups, 1, 0.7)):
        return found[0]
    leaves = difflib.get_close_matches(leaf, by_leaf, 1, 0.7)
    return by_leaf[leaves[0]] if leaves else None


def _assign(settings: dict[str, Any], assignment: str) -> None:
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {assignment}: expected key=value")
    key = _ALIASES.get(key, key)
    *folders, name = key.split(".")
    target = settings
    for folder in folders:
        target = target.setdefault(folder, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {assignment}: `{folder}` is not a group of settings")
    try:
        target[name] = load_yaml(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {assignment}: {' '.join(str(error).split())}") from error
