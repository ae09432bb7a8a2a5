"""Captions that are given beside the clips: one text for all, or a file that has one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.cells import cell
from cosmos_ray.manifest.builders.notes import Notes
from cosmos_ray.manifest.builders.rig import Rig, by_camera
from cosmos_ray.manifest.builders.sources import read_json, suffix_of
from cosmos_ray.manifest.builders.table_files import read_records
from cosmos_ray.store.places import place_of
from cosmos_ray.words import counted


@dataclass
class Captions:
    """text: for every clip that has none of its own. by_id: a string, a list, or an object of cameras, a clip.
    unused: columns of the file that are not read."""

    text: str | None = None
    by_id: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    unused: tuple[str, ...] = ()
    _used: set[str] = field(default_factory=set)

    def of(self, clip_id: str, own: Any, views: tuple[str, ...], rig: Rig, where: str, lacking: str = "caption") -> Any:
        """The clip's caption, or list of captions. own: what lies beside the clip, None for nothing. lacking: what.

        Raises ManifestError if there is none, or two.
        """
        if (told := self.by_id.get(clip_id)) is not None:
            self._used.add(clip_id)
            if own is not None:
                raise ManifestError(f"{where} has a caption of its own and one in {self.source}, expected one of them")
            return _in_view_order(told, views, rig, f"{clip_id!r} of {self.source}")
        if own is None and self.text is None:
            raise ManifestError(
                f"{where} has no {lacking}: `--prompt` gives all clips one, `--prompts FILE` each its own"
            )
        return self.text if own is None else own

    def is_file(self, uri: str) -> bool:
        """Whether they come from this file, which may lie among the clips."""
        return bool(self.source) and place_of(self.source) == place_of(uri)

    def warn_unused(self, notes: Notes) -> None:
        for column in self.unused:
            notes.warn(f"columns of {self.source} that are not read", f"`{column}`")
        for clip_id in self.by_id:
            if clip_id not in self._used:
                notes.warn(f"captions of {self.source} without a clip", repr(clip_id))


def captions_of(prompt: str | None = None, prompts: str | None = None) -> Captions:
    """prompts: a JSON object {id: caption}, or a table (CSV, JSONL, Parquet) with the columns `id` and `prompt`; a
    caption is a text, a list of one a view, or (JSON) an object of texts by camera."""
    if prompts is None:
        return Captions(prompt)
    if suffix_of(prompts) != ".json":
        records = list(read_records(prompts))
        rows = [{**row, "id": cell("id", row.get("id"), prompts)} for row in records]
        if not all(isinstance(row.get("id"), str) and row.get("prompt") is not None for row in rows):
            instead = _columns(records)
            raise ManifestError(
                f"--prompts: {prompts}: found {instead}, expected the columns `id` and `prompt`, filled in every row"
            )
        by_id = {row["id"]: row["prompt"] for row in rows}
        if len(by_id) < len(rows):
            ids = counted(len(by_id), "id")
            raise ManifestError(f"--prompts: {prompts}: found {ids} in {counted(len(rows), 'row')}, expected each once")
        others = tuple(name for name in (rows or [{}])[0] if name not in ("id", "prompt"))
        return Captions(prompt, by_id, prompts, others)
    found = read_json(prompts)
    if not isinstance(found, dict):
        raise ManifestError(f"--prompts: {prompts}: found {type(found).__name__}, expected an object of captions by id")
    return Captions(prompt, found, prompts)


def _columns(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "no rows"
    if lacking := [name for name in ("id", "prompt") if name not in rows[0]]:
        others = ", ".join(f"`{name}`" for name in rows[0] if name not in ("id", "prompt"))
        return f"no column {' and no column '.join(f'`{name}`' for name in lacking)} beside {others or 'the other'}"
    return "rows without one of them"


def by_view(captions: Mapping[str, str], views: tuple[str, ...]) -> str | list[str]:
    """Captions by view in the form that a row takes: the first view's alone is a string, else a list, "" for a view
    without one."""
    if tuple(captions) == views[:1]:
        return captions[views[0]]
    return [captions.get(view, "") for view in views]


def _in_view_order(told: Any, views: tuple[str, ...], rig: Rig, where: str) -> Any:
    if isinstance(told, str) or (isinstance(told, list) and len(told) in (1, len(views))):
        return told
    if not isinstance(told, Mapping):
        raise ManifestError(f"{where}: found {told!r}, expected a caption, {len(views)} of them, or one by camera")
    named = by_camera(told, rig, where)
    if surplus := sorted(view for view in named if view not in views):
        raise ManifestError(f"{where}: found a caption of {', '.join(surplus)}, expected {', '.join(views)}")
    return by_view({view: named[view] for view in views if view in named}, views)
