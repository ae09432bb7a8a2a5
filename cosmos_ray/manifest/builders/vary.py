"""Many rows of each: every combination of chosen values, put into the caption, and of seeds.

An id says how its row came about (`drive-7.weather-rain.seed-3`), whatever else is chosen: a value or a seed that is
added later adds rows, and leaves all others as they are.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import posixpath
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.errors import ManifestError
from cosmos_ray.foreign import shown_value
from cosmos_ray.manifest.builders.notes import Built, Notes
from cosmos_ray.manifest.builders.writing import with_references
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.names import INPUTS, OURS, near_column
from cosmos_ray.manifest.rows import MAX_SEED, check_id, rows_of
from cosmos_ray.scratch import scratch
from cosmos_ray.store.places import check_file_to_write, check_lasts
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri, parent_uri
from cosmos_ray.words import counted

_REFERENCES = (*INPUTS, "control_videos", "prompt_embedding")
_ROWS_A_BATCH = 1024
#: Most combinations of one row.
_MOST = 1_000_000
#: Digits of a seed, with some zeros before it.
_DIGITS = 40


@dataclass(frozen=True)
class Variations:
    """sets: values by name, in the order of names. template: of captions, with `{prompt}` and the names of sets; ""
    leaves them as they are. seeds: () leaves each row's own."""

    sets: Mapping[str, tuple[str, ...]]
    template: str
    seeds: tuple[int, ...] = ()

    def combinations(self) -> list[tuple[str, dict[str, str], int | None]]:
        """(what is added to the id, values by name, seed)."""
        found = []
        for values in itertools.product(*self.sets.values()):
            chosen = dict(zip(self.sets, values, strict=True))
            suffix = "".join(f".{_slug(name)}-{_slug(value)}" for name, value in chosen.items())
            for seed in self.seeds or (None,):
                found.append((suffix if seed is None else f"{suffix}.seed-{seed}", chosen, seed))
        return found


def variations_of(sets: Sequence[str] = (), template: str | None = None, seeds: str | None = None) -> Variations:
    """What `--set NAME=VALUE,VALUE`, `--template` and `--seeds 0:5,17` say. Raises ManifestError."""
    chosen = dict(_set(text) for text in sets)
    if len(chosen) < len(sets):
        raise ManifestError(f"--set: found {', '.join(sets)}, expected each name once")
    if not chosen and seeds is None:
        raise ManifestError("found neither --set nor --seeds, expected what to vary")
    _check_template(template, chosen)
    found = Variations(dict(sorted(chosen.items())), template or "", _seeds(seeds) if seeds is not None else ())
    count = math.prod(map(len, chosen.values())) * max(len(found.seeds), 1)
    if count > _MOST:
        raise ManifestError(f"found {count:,} combinations, expected at most {_MOST:,} of each row")
    return found


def vary(source: str, out: str, variations: Variations, base: str | None = None) -> Built:
    """Write a manifest of all combinations for every row of another; the other columns, and the order, stay.

    The chosen values become columns. Captions of a list are templated each, but for empty ones. A few thousand rows are
    in memory at a time, and all ids. base: folder that relative references start from (each file's own by default).

    Raises ManifestError for a row without a caption that a template could be put round, for ids that are repeated or
    become too long, and for a name that is a column already.
    """
    manifest, notes = open_manifest(source), Notes()
    if taken := sorted(set(variations.sets) & set(manifest.schema.names)):
        raise ManifestError(f"--set: the manifest has a column `{taken[0]}` already, expected another name")
    for name in variations.sets:
        if (near := near_column(name, manifest.schema.names)) is not None and near not in manifest.schema.names:
            raise ManifestError(f"--set: found {name!r}, which is nearly `{near}`, expected another name")
    manifest.check_not_read(out)
    names = list(manifest.schema.names)
    if variations.template and "prompt" not in names:
        raise ManifestError(f"{source} has no column `prompt` that a template could be put round")
    if variations.seeds and "seed" not in names:
        names.append("seed")
    combinations = variations.combinations()
    rows, seen = 0, set[str]()
    with scratch() as folder:
        path = folder / "manifest.parquet"
        writer = None
        for file, batch in manifest.batches(_ROWS_A_BATCH):
            _check_new(batch, seen)
            start = normalise_uri(base) if base else file.base
            table = _varied(start, batch, names, combinations, variations, out)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            rows += table.num_rows
        if writer is not None:
            writer.close()
        check_lasts(parent_uri(out), "the manifest")
        check_file_to_write(normalise_uri(out), "the manifest")
        Storage(parent_uri(out)).write_file(posixpath.basename(normalise_uri(out)), path)
    counts = {name: len(values) for name, values in variations.sets.items()}
    if variations.seeds:
        counts["seeds"] = len(variations.seeds)
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    notes.remarks.append(f"{len(combinations)} of each of {counted(rows // len(combinations), 'row')}: {listed}")
    return notes.built(rows)


def _check_new(batch: pa.RecordBatch, seen: set[str]) -> None:
    for row_id in batch.column("id").to_pylist():
        if row_id in seen:
            raise ManifestError(f"two rows have the id {row_id!r}, expected ids that differ")
        seen.add(row_id)


def _varied(
    base: str,
    batch: pa.RecordBatch,
    names: Sequence[str],
    combinations: Sequence[tuple[str, dict[str, str], int | None]],
    variations: Variations,
    out: str,
) -> pa.Table:
    """All rows of the batch, each `combinations` times, in the columns `names` and those of the sets."""
    rows = rows_of(batch)
    sources = pa.array(np.repeat(np.arange(len(rows)), len(combinations)))
    columns: dict[str, pa.Array] = {}
    kinds = {field.name: field.type for field in batch.schema}
    moved = [with_references(row, base, out, f"row {row['id']!r}") for row in rows]
    ids = [_varied_id(check_id(row["id"]), suffix) for row in rows for suffix, _, _ in combinations]
    for name in names:
        if name == "id":
            columns[name] = pa.array(ids, pa.string())
        elif name == "seed" and variations.seeds:
            columns[name] = pa.array([seed for _ in rows for _, _, seed in combinations], pa.int64())
        elif name == "prompt" and variations.template:
            prompts = [_prompt(row, variations.template, values) for row in rows for _, values, _ in combinations]
            columns[name] = pa.array(prompts, kinds[name])
        elif name in _REFERENCES:
            columns[name] = pa.array([row.get(name) for row in moved], kinds[name]).take(sources)
        else:
            columns[name] = batch.column(name).take(sources)
    for name in variations.sets:
        columns[name] = pa.array([values[name] for _ in rows for _, values, _ in combinations], pa.string())
    return pa.table(columns)


def _varied_id(row_id: str, suffix: str) -> str:
    try:
        return check_id(row_id + suffix)
    except ManifestError as error:
        raise ManifestError(f"row {row_id!r} would become {row_id + suffix!r}: {error}") from None


def _prompt(row: Mapping[str, Any], template: str, values: Mapping[str, str]) -> Any:
    found = row.get("prompt")
    if found is None:
        raise ManifestError(f"row {row['id']!r} has no `prompt` that {template!r} could be put round")
    if isinstance(found, str):
        return template.format(prompt=found, **values)
    return [text and template.format(prompt=text, **values) for text in found]


def _set(text: str) -> tuple[str, tuple[str, ...]]:
    name, equals, listed = (part.strip() for part in text.partition("="))
    values = _json_texts(listed) if listed.startswith("[") else [value.strip() for value in listed.split(",")]
    _check_unicode("--set", text, *values)
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name) or not all(values):
        raise ManifestError(f"--set: found {text!r}, expected NAME=VALUE,VALUE (or a JSON list of texts with commas)")
    if name in OURS:
        raise ManifestError(f"--set: found {name!r}, which is a column of the manifest's own, expected another name")
    if len({_slug(value).lower() for value in values}) < len(values):
        raise ManifestError(f"--set: found {text!r}, expected values that differ in their letters and digits")
    return name, tuple(values)


def _check_unicode(flag: str, *texts: str) -> None:
    """Raises ManifestError for bytes that are no UTF-8, as a command line may have, and for halves of pairs in JSON."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise ManifestError(f"{flag}: found {texts[0]!r}, expected a text in UTF-8") from None


def _json_texts(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return [""]
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else [""]


def _check_template(template: str | None, sets: Mapping[str, tuple[str, ...]]) -> None:
    _check_unicode("--template", template or "")
    try:
        parts = list(string.Formatter().parse(template or ""))
    except ValueError as error:
        raise ManifestError(f"--template: found {template!r}, which is no template: {error}") from None
    known = ("prompt", *sets)
    for _, name, form, conversion in parts:
        if name is not None and (name not in known or form or conversion):
            wrong = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ManifestError(f"--template: found {{{wrong}}}, expected {', '.join(f'{{{one}}}' for one in known)}")
    used = {name for _, name, _, _ in parts}
    if unused := sorted(set(sets) - used):
        found = "found none" if template is None else f"{template!r} does not use {{{unused[0]}}}"
        raise ManifestError(
            f"--template: {found}, so that all values of {unused[0]} would make the same clip; expected one such as "
            f"'{{prompt}} {{{unused[0]}}}.'"
        )


def _seeds(text: str) -> tuple[int, ...]:
    """`0:5` is 0 to 4."""
    seeds: list[int] = []
    for part in text.split(","):
        first, colon, end = part.strip().partition(":")
        if not first.isdecimal() or (colon and not end.isdecimal()):
            raise ManifestError(f"--seeds: found {text!r}, expected numbers and ranges, such as 0:5,17")
        if max(len(first), len(end)) > _DIGITS:
            raise ManifestError(f"--seeds: found {shown_value(text)}, expected numbers from 0 to {MAX_SEED}")
        found = range(int(first), int(end)) if colon else [int(first)]
        if found and found[-1] - found[0] + len(seeds) >= _MOST:
            raise ManifestError(f"--seeds: found {text!r}, expected at most {_MOST:,} seeds")
        seeds += found
    if not seeds or max(seeds) > MAX_SEED or len(set(seeds)) < len(seeds):
        raise ManifestError(f"--seeds: found {text!r}, expected one or more from 0 to {MAX_SEED}, each once")
    return tuple(seeds)


def _slug(value: str) -> str:
    """What an id may have of a text; where that loses letters, or all, a hash stands for them. -5 keeps its sign."""
    found = re.sub(r"[^A-Za-z0-9]+", "-", value).strip("-")
    if re.fullmatch(r"-\d[\d.]*", value):
        return f"-{found}"
    lost = any(letter.isalnum() and not letter.isascii() for letter in value)
    return "-".join(filter(None, (found, hashlib.sha256(value.encode()).hexdigest()[:8] if lost or not found else "")))
