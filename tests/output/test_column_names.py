"""Any set of a manifest's columns gives an index and failures that every reader of Parquet reads, each by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, clips, settle

from cosmos_ray.errors import ManifestError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.column_names import beside
from cosmos_ray.output.index import ADDED_TO_FAILURES, added, write_tables
from cosmos_ray.store.storage import Storage

ADDED = added(DEFAULTS.recipe)
OURS = [name for name in dict.fromkeys((*ADDED.names, *ADDED_TO_FAILURES.names)) if name not in ("id", "seed")]
READERS = ["__filename", "__fragment_index", "__batch_index", "__last_in_fragment", "__index_level_0__"]
ENGINES = ["rowid", "filename", "file_row_number", "file_index", "row_nr", "index", "level_0", "select", "nan", "null"]
ODD = [
    "",
    " ",
    ".",
    "a.b",
    "a.b.list.element",
    'a"b',
    "a'b",
    "a`b",
    "\n",
    "\x00",
    "é",
    "e\u0301",
    "İ",
    "ß",
    "SS",
    "💥",
    "-1",
]
CASES: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.title,
    "manifest_{}".format,
    "manifest_manifest_{}".format,
    " {}".format,
]
one_name = st.one_of(
    st.builds(lambda name, case: case(name), st.sampled_from([*OURS, *READERS]), st.sampled_from(CASES)),
    st.sampled_from([*ODD, *ENGINES]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


def read_by_all(path: Path) -> dict[str, tuple[int, int]]:
    """Rows and columns, as each reader has them."""
    found: dict[str, Any] = {
        "pyarrow": pq.read_table(path),
        "pyarrow's scanner": ds.dataset(path).to_table(),
        "pandas": pd.read_parquet(path),
        "polars": pl.read_parquet(path),
        "duckdb": duckdb.read_parquet(str(path)).to_arrow_table(),
    }
    return {name: tuple(one.shape) for name, one in found.items()}


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, LedgerState]:
    """`a` was made, `b` has failed."""
    folder = tmp_path_factory.mktemp("settled")
    output = Storage(str(folder / "out"))
    known = clips(write_manifest(folder / "m.parquet", [{"id": "a", "prompt": "p"}, {"id": "b", "prompt": "p"}]))
    settle(output, known["a"])
    settle(output, known["b"], "oom")
    return output, Ledger(output).state()


def check(settled: tuple[Storage, LedgerState], names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        columns = {"id": ["a", "b"], "prompt": ["p", "p"], **{name: [f"a {name!r}", f"b {name!r}"] for name in names}}
        pq.write_table(pa.table(columns), Path(folder, "m.parquet"))
        try:
            manifest = open_manifest(str(Path(folder, "m.parquet")))
        except ManifestError:
            assume(False)  # a name that nearly is one of ours
        write_tables(Path(folder), settled[0], manifest, DEFAULTS, settled[1])
        for name, clip_id, ours in (("index.parquet", "a", ADDED), ("failures.parquet", "b", ADDED_TO_FAILURES)):
            path = Path(folder, name)
            width = len(ours) + len(names) + 1  # `prompt`
            assert set(read_by_all(path).values()) == {(1, width)}, read_by_all(path)
            [row] = pq.read_table(path).to_pylist()
            assert row["id"] == clip_id
            for given_name, kept in zip(names, beside(names, [*ours.names, "prompt"]), strict=True):
                assert row[kept] == f"{clip_id} {given_name!r}"


@settings(max_examples=15)
@given(st.lists(one_name, min_size=1, max_size=6, unique=True).filter(lambda names: not {"id", "prompt"} & set(names)))
@example(["seconds", "manifest_seconds"])
@example(["Seconds", "manifest_seconds", "MANIFEST_SECONDS", "manifest_Seconds"])
@example(["weather", "Weather"])
@example(["__filename", "__fragment_index", "__batch_index", "__last_in_fragment"])
def test_any_columns_give_tables_that_all_readers_read(settled: tuple[Storage, LedgerState], names: list[str]) -> None:
    check(settled, names)


def test_a_name_that_is_free_stays() -> None:
    """And one that is taken moves to the first that is not, in the order of the columns."""
    assert beside(["weather", "Weather", "manifest_id"], ["id"]) == ["weather", "Weather", "manifest_id"]
    assert beside(["seed", "manifest_seed"], ["seed"]) == ["manifest_manifest_seed", "manifest_seed"]
    assert beside(["manifest_seed", "SEED", "seed"], ["seed"]) == [
        "manifest_seed", "manifest_manifest_SEED", "manifest_manifest_manifest_seed",
    ]  # fmt: skip
