"""From rows to a manifest: names of columns, references, captions, and the file that is written."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.clip.family import TEXT2WORLD, VIDEO2WORLD
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError, UsageError
from cosmos_ray.foreign import shown_value
from cosmos_ray.manifest.builders.carried import array_of, carried_array
from cosmos_ray.manifest.builders.notes import Built, Notes
from cosmos_ray.manifest.builders.sources import read_captions, stem_of, suffix_of
from cosmos_ray.manifest.columns import check_schema, is_number, is_whole
from cosmos_ray.manifest.names import INPUTS
from cosmos_ray.manifest.rows import RowDefaults, check_id, clips_of_row, rows_of
from cosmos_ray.manifest.table import check_batch
from cosmos_ray.store.places import check_file_to_write, check_lasts
from cosmos_ray.store.reach import PlaceError, Reach
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import is_absolute, misread, normalise_uri, parent_uri, resolve_reference, scheme_of

EMBEDDING_SUFFIXES = (".pt", ".safetensors", ".npy", ".pkl")
PARAMETERS = (
    "num_conditional_frames",
    "views",
    "n_views",
    "negative_prompt",
    "guidance",
    "seed",
    "num_steps",
    "fps",
    "num_samples",
    "num_chunks",
    "chunk_overlap",
    "control_weight",
)
COLUMNS = ("id", "prompt", "prompt_embedding", *INPUTS, "control_videos", *PARAMETERS)
#: Names that other Cosmos releases use for our columns.
_ALIASES = {"name": "id", "input_path": "input_video", "prompt_path": "prompt"}
#: The most that any model takes; whether a row fits one model is for `plan` to say.
_DEFAULTS = RowDefaults(n_views=len(VIEWS), num_steps=1, guidance=0.0, negative_prompt="")
#: The same of models of one view, by whether a row has an input.
_OF_ONE_VIEW = {
    has_input: RowDefaults(n_views=1, num_steps=1, guidance=0.0, negative_prompt="", family=family.name)
    for has_input, family in ((True, VIDEO2WORLD), (False, TEXT2WORLD))
}


@dataclass(frozen=True)
class Draft:
    """A row to be written. where: its place, for messages. columns: what it says; None says nothing."""

    where: str
    columns: dict[str, Any]


def renamed(item: Any, where: str) -> dict[str, Any]:
    """The item with our names for its keys. `output_video`, or else `output_image`, names the id of an item without."""
    if not isinstance(item, dict):
        raise ManifestError(f"{where}: found {type(item).__name__}, expected an object")
    row = {key: value for key, value in item.items() if key not in _ALIASES}
    for alias, column in _ALIASES.items():
        if item.get(alias) is not None:
            if row.get(column) is not None:
                raise ManifestError(f"{where} has both `{column}` and `{alias}`, which mean the same")
            row[column] = item[alias]
    output = row.pop("output_video", None)
    if row.get("id") is None:
        row.pop("id", None)
        if output := output or row.pop("output_image", None):
            row["id"] = stem_of(str(output))
    return row


def absolute(path: Any, base: str, where: str) -> str:
    """The absolute URI of a path that a file in `base` names. On a local disk it may climb with `..`."""
    if not isinstance(path, str) or not path:
        raise ManifestError(f"{where}: found {path!r}, expected a path or URI")
    local = scheme_of(base) == "file" and scheme_of(path) == "file"
    try:
        if local and not is_absolute(path) and not misread(path):
            return normalise_uri(f"{base}/{path}")
        return resolve_reference(path, base)
    except ValueError as error:
        raise ManifestError(f"{where}: {path!r} is {error}") from None
    except UsageError as error:
        raise ManifestError(f"{where}: {error}") from None


def reference(path: Any, base: str, out: str, where: str) -> str:
    """How the manifest `out` names an input: relative to its own folder if the input lies below it, else absolute."""
    uri, folder = absolute(path, base, where), parent_uri(out)
    if uri.startswith(folder.rstrip("/") + "/"):
        return uri[len(folder.rstrip("/")) + 1 :]
    if scheme_of(uri) == "file" and scheme_of(folder) != "file":
        raise ManifestError(f"{where}: {uri} is a local file, which a manifest at {out} cannot name: upload it first "
                            "(`--base` says where to)")  # fmt: skip
    return uri


def references(top: str, base: str | None, out: str) -> Callable[[str, str], str]:
    """(URI of a file in the folder `top`, where) -> how the manifest `out` names it: in `base` instead, if that is
    given, where the same folder lies or will lie for the job."""

    def named(uri: str, where: str) -> str:
        moved = uri if base is None else f"{normalise_uri(base).rstrip('/')}{uri[len(top.rstrip('/')) :]}"
        return reference(moved, "", out, where)

    return named


def with_references(row: dict[str, Any], base: str, out: str, where: str) -> dict[str, Any]:
    """The row with all its inputs, and its embedding, as `out` names them; nested ones too."""

    def named(found: Any) -> Any:
        if isinstance(found, Mapping):
            return {camera: named(value) for camera, value in found.items()}
        if isinstance(found, list | tuple):
            return [named(value) for value in found]
        return None if found is None else reference(found, base, out, where)

    moved: dict[str, Any] = {}
    for name in (*INPUTS, "control_videos", "prompt_embedding"):
        try:
            moved |= {name: named(row[name])} if row.get(name) is not None else {}
        except RecursionError:
            raise ManifestError(f"{where}: `{name}` nests too deep to be read") from None
    return {**row, **moved}


def with_prompt(row: dict[str, Any], base: str, out: str, count: int, where: str) -> dict[str, Any]:
    """The row with its prompt read from a `.txt` (one line, or `count`), or moved to `prompt_embedding`."""
    prompt = row.get("prompt")
    if prompt is None and row.get("prompt_embedding") is not None:
        return row
    if isinstance(prompt, str) and prompt.endswith(".txt"):
        return row | {"prompt": captions_in(prompt, base, count, where)}
    if isinstance(prompt, str) and prompt.endswith(EMBEDDING_SUFFIXES):
        return {**row, "prompt": None, "prompt_embedding": reference(prompt, base, out, where)}
    if not isinstance(prompt, str) and not (isinstance(prompt, list) and all(isinstance(part, str) for part in prompt)):
        raise ManifestError(f"{where}: `prompt` is {prompt!r}, expected a string or a list of strings")
    return row


def captions_in(path: str, base: str, count: int, where: str) -> str | list[str]:
    """Captions of a file that a table or a spec in the folder `base` names, which a stranger may have written: a file
    called .txt, or one in that folder, since what stands in it becomes words that are kept and shown. Nothing of the
    system's own, and no account but the job's and that of `base`. Raises ManifestError."""
    uri = absolute(path, base, where)
    try:
        Reach("" if scheme_of(uri) == "file" else base).check(uri)
        if suffix_of(uri) != ".txt":
            _check_within(uri, base)
    except PlaceError as error:
        raise ManifestError(f"{where}: {path!r}: expected {error}") from None
    except OSError:
        pass  # who reads it says so
    return read_captions(uri, count)


def _check_within(uri: str, base: str) -> None:
    """Raises PlaceError, OSError."""
    try:
        Reach(base, allow=()).check(uri)
    except PlaceError:
        raise PlaceError(f"captions in a file called .txt, or in one below {base}") from None


def write(
    drafts: Sequence[Draft], out: str, notes: Notes, carried: pa.Table | None = None, is_one_view: bool = False
) -> Built:
    """Write the rows as Parquet; columns in the order of the manifest's documentation, then all others.

    carried: more columns of the same rows, as they are. is_one_view: they are for models of one view.

    Raises ManifestError, and writes nothing, for ids that are illegal or repeated, values of different types in a
    column of ours, and rows that no model would take.
    """
    _check_ids(drafts)
    _check_numbers(drafts)
    rows = [draft.columns for draft in drafts]
    if any(isinstance(row.get("prompt"), list) for row in rows):  # a column has one type: a list of one is a string
        rows = [{**row, "prompt": [row["prompt"]] if isinstance(row.get("prompt"), str) else row.get("prompt")}
                for row in rows]  # fmt: skip
    present = {key for row in rows for key, value in row.items() if value is not None}
    names = [name for name in COLUMNS if name in present] + sorted(present - set(COLUMNS))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        is_ours = name in COLUMNS
        columns[name] = (
            array_of(name, values) if is_ours else carried_array(name, values, lambda n: drafts[n].where, notes)
        )
    table = pa.table(columns)
    if carried is not None:
        for name in carried.column_names:
            table = table.append_column(name, carried.column(name))
    look = _check_rows_of_one_view if is_one_view else _check_rows
    look(table, [draft.where for draft in drafts], parent_uri(out))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    name = posixpath.basename(normalise_uri(out))
    check_lasts(parent_uri(out), "the manifest")
    check_file_to_write(normalise_uri(out), "the manifest")
    Storage(parent_uri(out)).write(name, buffer.getvalue())
    return notes.built(len(rows))


def _check_ids(drafts: Sequence[Draft]) -> None:
    seen: dict[str, int] = {}
    for index, draft in enumerate(drafts):
        try:
            row_id = check_id(draft.columns.get("id"))
        except ManifestError as error:
            raise ManifestError(f"{draft.where}: {error}") from None
        if row_id in seen:
            raise ManifestError(f"{drafts[seen[row_id]].where} and {draft.where} both have the id {row_id!r}")
        seen[row_id] = index


def _check_numbers(drafts: Sequence[Draft]) -> None:
    """JSON says numbers without quotes."""
    for draft in drafts:
        for name, found in draft.columns.items():
            if is_number(name) and isinstance(found, str | bool):
                expected = "an integer" if is_whole(name) else "a number"
                raise ManifestError(f"{draft.where}: `{name}` is {found!r}, expected {expected}")
            if is_number(name) and isinstance(found, int) and found.bit_length() > 63:
                raise ManifestError(f"{draft.where}: `{name}` is {shown_value(found)}, an integer beyond 64 bits")


def _check_rows(table: pa.Table, places: Sequence[str], base: str) -> None:
    """As the manifest's reader will look at them, so that what it would refuse is said with the place it came from."""
    check_schema(table.schema)
    first = 0
    for batch in table.to_batches():
        right = check_batch(batch, _DEFAULTS, base).right
        for number in (~right).nonzero()[0].tolist():
            _check_row(rows_of(batch.slice(number, 1))[0], _DEFAULTS, base, places[first + number])
        first += batch.num_rows


def _check_row(row: Mapping[str, Any], defaults: RowDefaults, base: str, where: str) -> None:
    for clip in clips_of_row(row, defaults, base)[:1]:
        if clip.error is not None:
            raise ManifestError(f"{where}: {clip.error}")


def _check_rows_of_one_view(table: pa.Table, places: Sequence[str], base: str) -> None:
    """The same of rows for models of one view: those that go on with an input, or those that have none."""
    check_schema(table.schema)
    for where, row in zip(places, rows_of(table), strict=True):
        defaults = _OF_ONE_VIEW[any(row.get(name) is not None for name in INPUTS)]
        _check_row(row, defaults, base, where)
