"""Tables that are no plain Parquet, and folders of clips, and how each becomes a manifest: by what they are called.

Delta Lake, Iceberg and Hudi keep their rows in Parquet files, too, but also those that were deleted or written again
since: only their logs say which count. Taken for a folder of Parquet files, such a table has rows that nobody wants.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Any

from cosmos_ray.errors import ManifestError

#: Which command makes a manifest of a file, by its ending.
_BUILDERS = {
    **dict.fromkeys((".csv", ".tsv", ".jsonl", ".ndjson"), "from-table"),
    ".json": "from-batch-json",
}
#: What makes a table of another kind one that is read.
WAYS_OUT = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as `CSV UTF-8` for `manifest from-table`"),
    **dict.fromkeys((".gz", ".zip", ".zst", ".bz2", ".xz"), "unpack it first"),
    **dict.fromkeys((".feather", ".arrow", ".ipc"), "`pandas.read_feather(FILE).to_parquet(OUT)` makes Parquet of it"),
    ".orc": "`pandas.read_orc(FILE).to_parquet(OUT)` makes Parquet of it",
    ".avro": "`polars.read_avro(FILE).write_parquet(OUT)` makes Parquet of it",
}
#: Files that may hold rows: where they lie in a manifest's folder, and are not read, that is said.
ROWS = (*_BUILDERS, ".orc", ".avro", ".arrow", ".feather", ".xlsx", ".parquet.gz")
#: Files of clips: in a folder that is given for a manifest, they are what it was to be made of.
CLIP_FILES = (".mp4", ".mov", ".m4v", ".jpg", ".jpeg", ".png")
_PLAIN = "write its rows as plain Parquet"
_LAKES = {
    "_delta_log": ("Delta Lake", f"{_PLAIN} (DuckDB: `COPY (FROM delta_scan('URI')) TO 'manifest.parquet'`)"),
    ".hoodie": ("Hudi", f"{_PLAIN} (Spark: `spark.read.format('hudi').load(URI).write.parquet(OUT)`)"),
    "metadata": ("Iceberg", f"{_PLAIN} (DuckDB: `COPY (FROM iceberg_scan('URI')) TO 'manifest.parquet'`)"),
}
_ICEBERG = re.compile(r"metadata/(v\d+|\d{5}-[0-9a-f-]+)(\.gz)?\.metadata\.json$")


def way_out_of(uri: str) -> str:
    """How the file becomes a manifest, judged by its ending; "" for one that nobody takes for another table."""
    suffix = posixpath.splitext(uri)[1].lower()
    if builder := _BUILDERS.get(suffix):
        return f"`cosmos-ray manifest {builder} {uri} --out m.parquet` makes one"
    return WAYS_OUT.get(suffix, "")


def way_out_of_folder(uri: str, found: Iterable[str]) -> str:
    """How a folder without Parquet files becomes a manifest: one of clips; "" for any other. found: files in it."""
    if any(file.lower().endswith(CLIP_FILES) for file in found):
        return f"`cosmos-ray manifest from-folder {uri} --out m.parquet` makes a manifest of clips"
    return ""


def check_no_lake(fs: Any, top: str, names: Iterable[str]) -> None:
    """Raises ManifestError for the folder of a table with a log, and for files of one.

    top: the path that the manifest's files lie in, in the filesystem `fs`. names: of all that was found there,
    relative to it, or nothing where some files alone were asked for.
    """
    for name in names:
        log = name.partition("/")[0]
        if log in ("_delta_log", ".hoodie") or _ICEBERG.match(name):
            _refuse(log, top)
    home = top
    while "=" in posixpath.basename(home) or posixpath.basename(home) == "data":
        home = posixpath.dirname(home)
    if names and home == top:
        return
    for log in ("_delta_log", ".hoodie"):
        if fs.exists(f"{home}/{log}"):
            _refuse(log, home)
    if any(map(_ICEBERG.search, fs.glob(f"{home}/metadata/*.metadata.json"))):
        _refuse("metadata", home)


def _refuse(log: str, home: str) -> None:
    kind, way = _LAKES[log]
    raise ManifestError(f"{home} is a table of {kind}, whose folder `{log}` says which of its files count: {way}")
