"""`results`: the index and the failures as one DataFrame, and rows of it by a condition in SQL's words."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest
from support.outcomes import ROWS, clips, run_of, settle

from cosmos_ray import results
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.layout import FAILURES
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import open_run, read_run, row_defaults_of
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.derived import make
from cosmos_ray.output.index import write_index
from cosmos_ray.output.kept import keep
from cosmos_ray.output.where import filtered
from cosmos_ray.store.storage import Storage


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    """Two clips made and one failed; the index knows the first of them."""
    manifest = write_manifest(tmp_path / "m.parquet", [{**row, "status": "mine", "class": row["id"]} for row in ROWS])
    storage = Storage(str(tmp_path / "out"))
    run = run_of(manifest)
    open_run(storage, run)
    known = clips(manifest)
    settle(storage, known["a"])
    write_index(storage, open_manifest(manifest), row_defaults_of(run), Ledger(storage).state())
    settle(storage, known["e"])
    settle(storage, known["d.s001"], "oom")
    return storage


def test_every_settled_clip_has_a_row(output: Storage, tmp_path: Path) -> None:
    table = results(tmp_path / "out").set_index("id")
    assert dict(table["status"]) == {"a": "ok", "e": "ok", "d.s001": "failed"}
    assert table.loc["d.s001", "failure_class"] == "oom"
    assert table.loc["d.s001", "error"]
    assert table.loc["a", "manifest_status"] == "mine", "the manifest's own column is another"
    assert "seed" in table.columns


def test_a_failed_clip_has_its_rows_columns_under_the_names_that_the_index_has(output: Storage) -> None:
    """Both tables are older than the ledger here: the rows are those that the output has kept."""
    run = read_run(output)
    assert run is not None
    keep(output, open_manifest(run.manifest), run)
    table = results(output.uri).set_index("id")
    assert list(table.loc[["a", "d.s001", "e"], "prompt"]) == ["a street", "rain", "snow"]
    assert list(table.loc[["a", "d.s001"], "class"]) == ["a", "d"]
    assert list(table.loc[["a", "d.s001"], "manifest_status"]) == ["mine", "mine"]
    assert list(results(output.uri, where="status = 'failed' and prompt = 'rain'")["id"]) == ["d.s001"]


def test_a_failed_clip_has_its_rows_columns_though_its_table_alone_is_missing(output: Storage) -> None:
    """A job was killed between the two."""
    run = read_run(output)
    assert run is not None
    keep(output, open_manifest(run.manifest), run)
    make(output, run, Ledger(output).state())
    output.delete(FAILURES)
    assert results(output.uri).set_index("id").loc["d.s001", "prompt"] == "rain"


def test_a_clip_that_is_to_be_made_again_has_no_row(output: Storage) -> None:
    """Though the index that is there has one still."""
    Ledger(output).redo(["a"])
    assert sorted(results(output.uri)["id"]) == ["d.s001", "e"]


def test_a_condition_chooses_rows(output: Storage) -> None:
    assert list(results(output.uri, where="status = 'failed'")["id"]) == ["d.s001"]
    assert list(results(output.uri, where="status = 'ok' and seed is not null")["id"]) == ["a"]
    for where, word in (("colour = 3", "colour"), ("status =", "syntax")):
        with pytest.raises(UsageError, match=f"where '{where}': .*{word}"):
            results(output.uri, where=where)


@pytest.mark.parametrize("where", [0, False, [], b"status = 'ok'", 3.5], ids=repr)
def test_a_condition_is_a_text(output: Storage, where: object) -> None:
    with pytest.raises(UsageError, match=r"where: found .*, expected a condition as a text, or None"):
        results(output.uri, where=where)  # type: ignore[arg-type]


def test_a_condition_reads_no_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.parquet"
    pq.write_table(pa.table({"x": [1]}), secret)
    with pytest.raises(UsageError, match="secret"):
        filtered(pa.table({"id": ["a"]}), f"id in (select 'a' from '{secret}')")


def test_there_are_no_results_without_a_job(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run"):
        results(tmp_path)


def test_before_the_first_index_there_are_rows_too(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    storage = Storage(str(tmp_path / "out"))
    open_run(storage, run_of(manifest))
    assert list(results(storage.uri).columns)[:2] == ["id", "status"]
    settle(storage, clips(manifest)["a"])
    assert list(results(storage.uri)["id"]) == ["a"]
