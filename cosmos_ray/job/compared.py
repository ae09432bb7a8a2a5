"""The settings that `cosmos-ray compare` takes: files as `--config` takes them, each of which becomes an output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_ray.config import GenerateConfig, settings_in, validated
from cosmos_ray.errors import UsageError
from cosmos_ray.words import counted

#: What settings may differ in; everything else is of the whole comparison.
MAY_DIFFER = ("model", "dit", "picture_dit", "ema", "resolution", "sampling", "text_encoder", "gang_size")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: What lies beside the outputs: the comparison's own page and a report of several outputs.
_TAKEN = ("compare", "report")
_FLAG = "--settings"


@dataclass(frozen=True)
class Setting:
    """name: of its output's folder. given: what its file says."""

    name: str
    config: GenerateConfig
    given: Mapping[str, Any]


def read_settings(common: Mapping[str, Any], files: Sequence[Path]) -> list[Setting]:
    """One a file, in their order. common: what is said for all of them; `output` is the folder of their outputs.

    Raises UsageError naming file and setting: for fewer than two files, for names that cannot be told apart or name no
    folder, and for a file that says something of the whole comparison.
    """
    shared = validated(common)
    if len(files) < 2:
        raise UsageError(f"{_FLAG}: found {counted(len(files), 'file')}, expected two or more to compare")
    found: dict[str, Setting] = {}
    for file in files:
        name = _name_of(file)
        if (other := found.get(name.casefold())) is not None:
            raise UsageError(
                f"{_FLAG} {file}: found the name {name!r} twice ({other.name!r}), expected files of different names: "
                "each names the folder of its clips"
            )
        found[name.casefold()] = _setting(common, shared, file, name)
    return list(found.values())


def _name_of(file: Path) -> str:
    name = file.name.removesuffix(file.suffix) if file.suffix in (".yaml", ".yml") else file.name
    if not _NAME.fullmatch(name) or name.casefold() in _TAKEN:
        raise UsageError(
            f"{_FLAG} {file}: the file's name becomes a folder's: found {name!r}, expected {_NAME.pattern}, and not "
            f"{' or '.join(_TAKEN)}"
        )
    return name


def _setting(common: Mapping[str, Any], shared: GenerateConfig, file: Path, name: str) -> Setting:
    given = settings_in(file, _FLAG)
    try:
        config = validated(_merged(common, given))
    except UsageError as error:
        raise UsageError(f"{_FLAG} {file}: {error}") from None
    for field in GenerateConfig.model_fields:
        if field not in MAY_DIFFER and (here := getattr(config, field)) != (of_all := getattr(shared, field)):
            raise UsageError(
                f"{_FLAG} {file}: {field} is of the whole comparison: found {here!r}, expected {of_all!r} as it is for "
                f"all, or nothing (--config, --set and flags say it); settings may differ in {', '.join(MAY_DIFFER)}"
            )
    return Setting(name, config.model_copy(update={"output": f"{shared.output.rstrip('/')}/{name}"}), given)


def _merged(common: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Group by group: a file that says one thing of a group leaves the rest of it as it is for all."""
    merged = {**common, **given}
    for name, value in given.items():
        if isinstance(value, Mapping) and isinstance(common.get(name), Mapping):
            merged[name] = {**common[name], **value}
    return merged
