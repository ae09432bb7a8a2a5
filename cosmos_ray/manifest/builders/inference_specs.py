"""The specs of Cosmos-Predict2.5's and -Transfer2.5's multiview examples, as strictly as those take them.

A spec is an object: alone in a `.json`, one a line of a `.jsonl`, or (of Predict2.5) a `.yaml`. Keys that the published
programs do not know are refused as there; paths start from the file's own folder. `from_multiview_json` is the builder
that takes what is only similar.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticKnownError

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.notes import Notes
from cosmos_ray.manifest.builders.sources import (
    JSON_MARKS,
    MAX_SPEC_BYTES,
    check_each_once,
    check_values,
    from_json,
    read_captions,
    read_named_text,
    suffix_of,
)
from cosmos_ray.manifest.builders.writing import Draft, absolute, captions_in, reference, with_prompt, write
from cosmos_ray.schema_words import key_fault
from cosmos_ray.store.plain_yaml import DecimalLoader
from cosmos_ray.store.uris import parent_uri

_FRAMES = {"text2world": 0, "image2world": 1, "video2world": 5}


#: Keys of an object that may be a spec, with some that it cannot have.
_MOST_KEYS = 1000
#: Values that a spec in YAML may stand for, with each alias written out.
_MAX_YAML_VALUES = 100_000


class _EachOnce(DecimalLoader):
    """An object that has a key twice would lose one of the two; aliases of aliases stand for any number of values."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _values(node, {}) > _MAX_YAML_VALUES:
            raise ManifestError(f"found aliases that stand for more than {_MAX_YAML_VALUES} values, expected fewer")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        check_each_once([str(key.value) for key, _ in node.value])
        return super().construct_mapping(node, deep)


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Values in a node, with each alias written out: too many in one that is in itself. known: of nodes before it."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = _MAX_YAML_VALUES + 1
        inside = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(one, known) for one in inside)
    return known[id(node)]


def _no_bool(kind: Literal["int_type", "float_type"]) -> BeforeValidator:
    """`yes` and `true` are no numbers."""

    def check(value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticKnownError(kind)
        return value

    return BeforeValidator(check)


Whole = Annotated[int, _no_bool("int_type")]
Number = Annotated[float, _no_bool("float_type")]
#: Frames that a clip starts from.
Given = Annotated[Literal[0, 1, 5], _no_bool("int_type")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PredictCamera(_Strict):
    video_path: str


class TransferCamera(_Strict):
    control_path: str
    input_path: str | None = None
    num_conditional_frames_per_view: Given | None = None


class Spec(_Strict):
    """What both programs' specs have."""

    name: str
    prompt: str | None = None
    prompt_path: str | None = None
    seed: Whole = Field(0, ge=0)
    guidance: Whole = Field(3, ge=0, le=7)
    num_steps: Whole = Field(35, ge=1)
    control_weight: Number = Field(1.0, ge=0, le=1)
    enable_autoregressive: bool = False
    num_chunks: Whole = Field(2, ge=1)
    chunk_overlap: Whole = 1

    #: The most frames that chunks may have in common, if the model's chunks do not say it; both in words.
    _most_overlap: ClassVar[int | None] = None
    _overlaps: ClassVar[str] = "at least 1"

    @model_validator(mode="after")
    def _check(self) -> Spec:
        if (self.prompt is None) == (self.prompt_path is None):
            raise ValueError("expected one of `prompt` and `prompt_path`")
        if self.enable_autoregressive and not 1 <= self.chunk_overlap <= (self._most_overlap or self.chunk_overlap):
            raise ValueError(f"chunk_overlap: found {self.chunk_overlap}, expected {self._overlaps}")
        return self

    @property
    def chunks(self) -> int:
        return self.num_chunks if self.enable_autoregressive else 1

    def common(self) -> dict[str, Any]:
        """Columns of a manifest."""
        said = {name: getattr(self, name) for name in ("seed", "guidance", "num_steps", "fps")}
        row = {"id": self.name, "prompt": self.prompt, **said, "num_chunks": self.chunks}
        return {**row, "chunk_overlap": self.chunk_overlap} if self.chunks > 1 else row


class PredictSpec(Spec):
    """Of Predict2.5: all seven cameras, also where none of their frames is used."""

    _most_overlap: ClassVar[int | None] = 1
    _overlaps: ClassVar[str] = (
        "1: chunks overlap by one frame here, as with more the published pipeline takes black frames for given ones"
    )

    inference_type: Literal["text2world", "image2world", "video2world"]
    fps: Whole = Field(30, ge=1)
    stack_mode: Literal["time", "height"] = "time"
    negative_prompt: None = None
    front_wide: PredictCamera
    cross_right: PredictCamera
    rear_right: PredictCamera
    rear: PredictCamera
    rear_left: PredictCamera
    cross_left: PredictCamera
    front_tele: PredictCamera

    def row(self) -> dict[str, Any]:
        frames = _FRAMES[self.inference_type]
        videos = {view: getattr(self, view).video_path for view in VIEWS}
        return {**self.common(), "num_conditional_frames": frames, **({"input_videos": videos} if frames else {})}


class TransferSpec(Spec):
    """Of Transfer2.5: any cameras, at least one."""

    fps: Whole = Field(10, ge=1)
    num_conditional_frames: Given = 1
    save_combined_views: bool = True
    front_wide: TransferCamera | None = None
    cross_right: TransferCamera | None = None
    rear_right: TransferCamera | None = None
    rear: TransferCamera | None = None
    rear_left: TransferCamera | None = None
    cross_left: TransferCamera | None = None
    front_tele: TransferCamera | None = None

    @property
    def cameras(self) -> dict[str, TransferCamera]:
        return {view: getattr(self, view) for view in VIEWS if getattr(self, view) is not None}

    @model_validator(mode="after")
    def _check_cameras(self) -> TransferSpec:
        if not self.cameras:
            raise ValueError(f"expected at least one of the cameras {', '.join(VIEWS)}")
        lacking = [view for view, camera in self.cameras.items() if camera.input_path is None]
        if self.num_conditional_frames and lacking:
            raise ValueError(
                f"no `input_path` of {', '.join(lacking)}, which num_conditional_frames other than 0 needs"
            )
        own = {view: camera.num_conditional_frames_per_view for view, camera in self.cameras.items()}
        if None in own.values() and set(own.values()) != {None}:
            without = ", ".join(view for view, frames in own.items() if frames is None)
            raise ValueError(f"num_conditional_frames_per_view: found without that of {without}, expected all or none")
        if others := set(own.values()) - {None, self.num_conditional_frames}:
            raise ValueError(
                f"num_conditional_frames_per_view: found {', '.join(map(str, others))}, expected "
                f"num_conditional_frames, {self.num_conditional_frames}: all views of a clip start from as many here"
            )
        return self

    def row(self) -> dict[str, Any]:
        row = {**self.common(), "num_conditional_frames": self.num_conditional_frames, "views": list(self.cameras)}
        row["control_videos"] = {view: camera.control_path for view, camera in self.cameras.items()}
        row["control_weight"] = self.control_weight
        if self.num_conditional_frames:
            row["input_videos"] = {view: camera.input_path for view, camera in self.cameras.items()}
        return row


@dataclass(frozen=True)
class Found:
    """where: for messages. folder: URI that its paths start from. names_prompt: `prompt_path`, if there is one, is the
    file's own, not the command line's."""

    where: str
    folder: str
    spec: PredictSpec | TransferSpec
    names_prompt: bool = True


def read_specs(
    sources: Sequence[str], kind: type[PredictSpec] | type[TransferSpec], overrides: Mapping[str, Any]
) -> list[Found]:
    """The specs of files, with what the command line says instead. Raises ManifestError naming file, key and value."""
    found: list[Found] = []
    for source in sources:
        objects = objects_of(source, takes_yaml=kind is PredictSpec)
        for number, item in enumerate(objects):
            where = source if len(objects) == 1 else f"line {number + 1} of {source}"
            spec = _spec(item, kind, overrides, where)
            found.append(Found(where, parent_uri(source), spec, "prompt_path" not in overrides))
    names = Counter(one.spec.name for one in found)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise ManifestError(f"two specs have the name {twice[0]!r}: expected names that differ")
    return found


def _spec(
    item: Any, kind: type[PredictSpec] | type[TransferSpec], overrides: Mapping[str, Any], where: str
) -> PredictSpec | TransferSpec:
    """A caption of the command line takes the place of the spec's, in whichever form that has it."""
    if not isinstance(item, dict):
        raise ManifestError(f"{where}: found {type(item).__name__}, expected an object")
    said = {**item, **overrides}
    for name, other in (("prompt", "prompt_path"), ("prompt_path", "prompt")):
        if name in overrides and other not in overrides:
            said.pop(other, None)
    if len(said) > _MOST_KEYS:
        raise ManifestError(f"{where}: found an object of {len(said)} keys, expected those of a spec")
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        faults = "; ".join(key_fault(one, one["loc"], kind) for one in error.errors())
        raise ManifestError(f"{where}: {faults}") from None


def write_specs(found: Sequence[Found], out: str) -> None:
    """Their manifest."""
    drafts = []
    for one in found:
        row = one.spec.row()
        if (path := one.spec.prompt_path) is not None:
            read = captions_in if one.names_prompt else _captions_told
            row["prompt"] = read(path, one.folder, 1, one.where)
        for column in ("input_videos", "control_videos"):
            if column in row:
                row[column] = {v: reference(path, one.folder, out, one.where) for v, path in row[column].items()}
        drafts.append(Draft(one.where, with_prompt(row, one.folder, out, 1, one.where)))
    write(drafts, out, Notes())


def _captions_told(path: str, folder: str, count: int, where: str) -> str | list[str]:
    """Of a file that the command line names: it may lie anywhere."""
    return read_captions(absolute(path, folder, where), count)


def objects_of(source: str, takes_yaml: bool = True) -> list[Any]:
    """What a spec's file holds: one object, or one a line of a `.jsonl`. Raises ManifestError."""
    suffix = suffix_of(source)
    known = (".json", ".jsonl", *((".yaml", ".yml") if takes_yaml else ()))
    if suffix not in known:
        raise ManifestError(f"{source}: found suffix {suffix!r}, expected one of {', '.join(known)}")
    text = read_named_text(source, MAX_SPEC_BYTES)
    try:
        check_values(source, text, JSON_MARKS)
        if suffix == ".jsonl":
            objects = [_of_line(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        else:
            objects = [from_json(text) if suffix == ".json" else yaml.load(text, _EachOnce)]  # noqa: S506 - a SafeLoader
    except ManifestError as error:
        raise ManifestError(f"{source}: {error}") from None
    except json.JSONDecodeError as error:
        raise ManifestError(f"{source}: is no JSON: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ManifestError(f"{source}: {line}is no YAML of one spec: {error.problem}") from error
    except (ValueError, KeyError, AttributeError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise ManifestError(f"{source}: cannot be read ({type(error).__name__})") from error
    if not objects:
        raise ManifestError(f"{source}: found nothing, expected a spec a line")
    return objects


def _of_line(number: int, line: str) -> Any:
    try:
        return from_json(line)
    except json.JSONDecodeError as error:
        raise ManifestError(f"line {number}: is no JSON: {error.msg} at character {error.pos + 1}") from None
    except ManifestError as error:
        raise ManifestError(f"line {number}: {error}") from None
