"""The manifest's rows in the output: all of them, without secrets, and there at any moment that a run is known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.compaction_scenes import CrashError, WatchedStorage, crash_at
from support.job_runs import write_manifest
from support.outcomes import ROWS, begin, clips, run_of, settle

from cosmos_ray.ledger.layout import KEPT, kept_path
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import open_run, read_run
from cosmos_ray.ledger.tidy import clean
from cosmos_ray.manifest.files import open_manifest, version_of
from cosmos_ray.output.derived import make
from cosmos_ray.output.kept import kept, manifest_now, take_up
from cosmos_ray.output.references import without_secrets
from cosmos_ray.store.storage import Storage


def rows_of(manifest: Any) -> list[dict[str, Any]]:
    return [row for _, batch in manifest.batches() for row in batch.to_pylist()]


def test_all_rows_of_all_files_are_kept_with_their_columns(tmp_path: Path, output: Storage) -> None:
    """Those that the names of folders give, too."""
    for weather, first in (("rain", 0), ("snow", 5)):
        folder = tmp_path / "parts" / f"weather={weather}"
        folder.mkdir(parents=True)
        table = pa.table({
            "id": [f"r{first + row}" for row in range(5)], "prompt": ["p"] * 5, "pose": [{"x": 1.5}] * 5,
            "taken": pa.array([1] * 5, pa.timestamp("us", "UTC")),
        })  # fmt: skip
        pq.write_table(table, folder / "m.parquet", row_group_size=2)
    manifest = str(tmp_path / "parts")
    run = begin(output, manifest)
    copy, first_hand = kept(output, run), open_manifest(manifest)
    assert copy is not None
    assert copy.schema.equals(first_hand.schema)
    assert rows_of(copy) == rows_of(first_hand)
    assert [row["weather"] for row in rows_of(copy)] == ["rain"] * 5 + ["snow"] * 5


def test_secrets_of_references_are_not_kept_and_all_else_is(tmp_path: Path, output: Storage) -> None:
    """In every kind of column of ours that names files; what is only carried is the user's."""
    plain = [
        "s3://b/a#1.mp4",
        "abfs://c@acct.dfs.core.windows.net/a.mp4",
        "s3://b/dir@2/a b.mp4",
        "a?b.mp4",
        "ü%20.mp4",
    ]
    secret = [
        "s3://k:PLANTED@b/a.mp4",
        "https://h/a.mp4?X-Sig=PLANTED",
        "a.mp4?sig=PLANTED",
        "s3://b/a%3fsig%3dPLANTED",
    ]
    rows = [
        {"id": f"r{n}", "prompt": "who?=a@b:c", "input_video": uri, "input_videos": [uri, None],
         "input_frames": {"rear": [uri]}, "prompt_embedding": uri, "link": uri}
        for n, uri in enumerate([*plain, *secret])
    ]  # fmt: skip
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    copy = kept(output, begin(output, manifest))
    assert copy is not None
    found = rows_of(copy)
    assert found[: len(plain)] == rows[: len(plain)]
    for row, given in zip(found[len(plain) :], rows[len(plain) :], strict=True):
        assert row["link"] == given["link"]
        assert row["prompt"] == given["prompt"]
        assert "PLANTED" not in str({**row, "link": None})
        assert "…" in row["input_videos"][0]


def test_secrets_in_maps_of_cameras_are_not_kept() -> None:
    """As Parquet of other writers has them; views that name themselves stay."""
    uris = pa.array(
        [[("rear", "s3://b/a.mp4"), ("front_wide", "s3://k:PLANTED@b/a.mp4")]], pa.map_(pa.string(), pa.string())
    )
    lists = pa.array([[("rear", ["a.png?sig=PLANTED", "b.png"])]], pa.map_(pa.string(), pa.list_(pa.string())))
    batch = without_secrets(pa.RecordBatch.from_arrays([uris, lists], names=["input_videos", "input_frames"]))
    assert "PLANTED" not in str(batch.to_pylist())
    (videos,), (frames,) = batch.column(0).to_pylist(), batch.column(1).to_pylist()
    assert [name for name, _ in videos] == ["rear", "front_wide"]
    assert (videos[0][1], frames[0][1][1]) == ("s3://b/a.mp4", "b.png")


def test_a_run_that_is_known_has_its_rows_whenever_somebody_dies(tmp_path: Path) -> None:
    """And what is left over goes: by the next that takes a manifest up, or by `status --clean`."""
    first = write_manifest(tmp_path / "m1.parquet", ROWS)
    second = write_manifest(tmp_path / "m2.parquet", ROWS[:2])
    for step in itertools.count():
        output = Storage(str(tmp_path / str(step)))
        begin(output, first)
        newer = run_of(first, manifest_sha256=open_manifest(second).sha256())
        try:
            take_up(WatchedStorage(output.uri, crash_at(step)), open_manifest(second), newer)
        except CrashError:
            crashed = True
        else:
            crashed = False
        known = read_run(output)
        assert known is not None
        copy = kept(output, known)
        assert copy is not None
        assert copy.rows == (2 if known.manifest_sha256 == newer.manifest_sha256 else 5)
        clean(output)
        assert list(output.list(KEPT)) == [kept_path(known.manifest_sha256)]
        if not crashed:
            break
    assert step > 3


def test_the_copy_before_the_last_stays_for_whoever_reads_it(tmp_path: Path, output: Storage) -> None:
    """A report that began before the manifest was edited can end."""
    hashes = []
    for number in range(4):
        rows = [{**row, "colour": number} for row in ROWS]
        hashes.append(begin(output, write_manifest(tmp_path / "m.parquet", rows)).manifest_sha256)
    assert set(output.list(KEPT)) == {kept_path(one) for one in hashes[-2:]}


@pytest.mark.parametrize("left", [0, 50, -1])
def test_rows_that_were_copied_half_are_kept_anew_by_who_has_the_manifest(
    tmp_path: Path, output: Storage, left: int
) -> None:
    """An output that was moved, and the move cut off: no job went on with it, the manifest at hand or not."""
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    run = begin(output, manifest)
    path = kept_path(run.manifest_sha256)
    whole = output.read(path)
    output.write(path, whole[:left])
    take_up(output, open_manifest(manifest), run)
    again = kept(output, run)
    assert again is not None
    assert rows_of(again) == rows_of(open_manifest(manifest))


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.long)])
def test_a_job_edits_the_manifest_while_a_report_reads_the_rows(tmp_path: Path, stride: int) -> None:
    """At any moment: the report ends with what holds then."""
    first = write_manifest(tmp_path / "m.parquet", [{**row, "colour": "red"} for row in ROWS])
    second = [{**row, "colour": "blue"} for row in ROWS]
    for step in itertools.count(0, stride):
        output = Storage(str(tmp_path / str(step)))
        manifest = write_manifest(tmp_path / "m.parquet", [{**row, "colour": "red"} for row in ROWS])
        run = begin(output, manifest)
        settle(output, clips(first)["a"])
        reached = []

        def job(number: int, step: int = step, output: Storage = output, reached: list[int] = reached) -> None:
            if number == step:
                reached.append(begin(output, write_manifest(tmp_path / "m.parquet", second)))
                make(output, reached[0], Ledger(output).state())

        made = make(WatchedStorage(output.uri, job), run, Ledger(output).state())
        table = pq.read_table(output.uri_of("index.parquet"))
        assert (table["colour"].to_pylist(), made.outrun) == (["blue"] if reached else ["red"], ())
        if not reached:
            break
    assert step > 10


def test_how_the_manifest_is_now(tmp_path: Path, output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    run = begin(output, manifest)
    with monkeypatch.context() as patch:
        patch.setattr("cosmos_ray.output.kept.open_manifest", None)  # it is not read
        assert manifest_now(run, manifest) == "as it was"
    write_manifest(tmp_path / "m.parquet", ROWS)
    assert version_of(manifest) != run.manifest_version
    assert manifest_now(run, manifest) == "as it was", "written again, with the same in it"
    assert manifest_now(replace(run, manifest_version=""), manifest) == "as it was", "of an earlier release"
    write_manifest(tmp_path / "m.parquet", ROWS[:1])
    assert manifest_now(run, manifest) == "changed"
    Path(manifest).write_bytes(b"no table")
    assert manifest_now(run, manifest) == "gone"
    Path(manifest).unlink()
    assert (manifest_now(run, manifest), version_of(manifest)) == ("gone", "")


def test_a_file_that_is_added_to_a_folder_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write_manifest(tmp_path / "parts" / "1.parquet", ROWS[:1])
    before = version_of(str(tmp_path / "parts"))
    write_manifest(tmp_path / "parts" / "2.parquet", ROWS[1:2])
    assert before != version_of(str(tmp_path / "parts")) != ""


def test_a_manifest_in_the_output_is_where_the_output_is(tmp_path: Path, output: Storage) -> None:
    """A table that a job was given moves with it."""
    output.write("_cosmos_ray/manifest.parquet", Path(write_manifest(tmp_path / "m.parquet", ROWS)).read_bytes())
    open_run(output, run_of(output.uri_of("_cosmos_ray/manifest.parquet")))
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = Storage(str(tmp_path / "moved"))
    run = read_run(moved)
    assert run is not None
    assert run.manifest == moved.uri_of("_cosmos_ray/manifest.parquet")
