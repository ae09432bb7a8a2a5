"""A manifest may be a file, a folder or a pattern, and may grow and shrink between runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest

from cosmos_ray.errors import ManifestError
from cosmos_ray.job.plan import Plan, make_plan, manifest_clips, survey, unread_line
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.run import Run, open_run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest import files
from cosmos_ray.manifest.files import open_manifest, version_of
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.output.index import write_index
from cosmos_ray.output.kept import keep
from cosmos_ray.output.status import read_status
from cosmos_ray.store.storage import Storage

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")


def put(storage: Storage, path: str, *rows: dict[str, Any], tmp: Path) -> None:
    """A Parquet file of these rows, each with a prompt."""
    (tmp / "staging").mkdir(exist_ok=True)
    staged = write_manifest(tmp / "staging" / "m.parquet", [{"prompt": "a street", **row} for row in rows])
    storage.write(path, Path(staged).read_bytes())


def plan_of(uri: str, output: Storage | None = None) -> Plan:
    state = Ledger(output).state() if output else LedgerState.empty()
    return make_plan(uri, DEFAULTS, state)


def settle(output: Storage, clip_id: str, row_hash: str, failure: Any = None) -> None:
    files = () if failure else (FileEntry("rear", f"clips/{clip_id}/1/rear.mp4", 1, "s"),)
    status: Any = "failed" if failure else "ok"
    Ledger(output).commit(
        Record(clip_id, 0, status, failure, 0, None, row_hash, 1, finished="2026-01-01T00:00:00+00:00", files=files)
    )


def test_a_folder_and_a_pattern_name_their_files_in_order(storage: Storage, tmp_path: Path) -> None:
    """On a local disk and on S3; what begins with `_` or `.` and what is no Parquet is not data."""
    put(storage, "m/b.parquet", {"id": "b", "input_video": "b.mp4"}, tmp=tmp_path)
    put(storage, "m/a.parquet", {"id": "a", "input_video": "a.mp4"}, tmp=tmp_path)
    put(storage, "m/day=2/c.parquet", {"id": "c", "input_video": "c.mp4"}, tmp=tmp_path)
    storage.write("m/_SUCCESS", b"")
    storage.write("m/_temporary/d.parquet", b"torn")
    storage.write("m/.hidden.parquet", b"torn")
    storage.write("m/notes.txt", b"no rows")
    found = {clip.id: clip.inputs for clip in manifest_clips(storage.uri_of("m"), DEFAULTS)}
    assert list(found) == ["a", "b", "c"]
    assert found["c"] == (storage.uri_of("m/day=2/c.mp4"),), "relative to the folder of the row's own file"
    assert found["a"] == (storage.uri_of("m/a.mp4"),)
    assert [clip.id for clip in manifest_clips(storage.uri_of("m/*.parquet"), DEFAULTS)] == ["a", "b"]
    assert [clip.id for clip in manifest_clips(storage.uri_of("m/**/c.parquet"), DEFAULTS)] == ["c"]
    assert plan_of(f"{storage.uri}/m/").clips == 3


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m[1].parquet", [{"id": "a", "prompt": "p"}])
    assert plan_of(manifest).clips == 1


@pytest.mark.parametrize(("uri", "kind"), [("m", "folder"), ("m/*.parquet", "pattern"), ("none/*", "pattern")])
def test_a_folder_or_pattern_without_files(storage: Storage, uri: str, kind: str) -> None:
    storage.write("m/notes.txt", b"")
    with pytest.raises(
        ManifestError, match=re.escape(f"there is no .parquet file in the {kind} {storage.uri_of(uri)}")
    ):
        open_manifest(storage.uri_of(uri))


@pytest.mark.parametrize("other", ["clips/a/params.json", "clips/a/rear.PNG"])
def test_a_folder_of_clips_is_told_what_makes_a_manifest_of_it(storage: Storage, other: str) -> None:
    """Not of a clip's settings, which are JSON, as other manifests are."""
    for name in ("clips/a/front_wide.mp4", other):
        storage.write(name, b"")
    uri = storage.uri_of("clips")
    way = f"there is no .parquet file in the folder {uri}; `cosmos-ray manifest from-folder {uri} --out m.parquet`"
    with pytest.raises(ManifestError, match=re.escape(way)):
        open_manifest(uri)


def test_a_file_that_is_damaged_or_mistyped_is_named(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "m"))
    put(storage, "1.parquet", {"id": "a"}, tmp=tmp_path)
    storage.write("2.parquet", b"PAR1 and no more")
    with pytest.raises(ManifestError, match=r"m/2\.parquet cannot be read as Parquet"):
        plan_of(storage.uri)
    put(storage, "2.parquet", {"id": 3}, tmp=tmp_path)
    with pytest.raises(ManifestError, match=r"2\.parquet: the manifest cannot be used: column `id`: found type int64"):
        plan_of(storage.uri)


def test_ids_repeated_across_files_are_found(tmp_path: Path) -> None:
    """Also by the samples of another file's row, and the message names both files and rows."""
    storage = Storage(str(tmp_path / "m"))
    put(storage, "1.parquet", {"id": "a", "num_samples": 1}, {"id": "b", "num_samples": 2}, tmp=tmp_path)
    put(storage, "2.parquet", {"id": "c", "num_samples": 1}, {"id": "a", "num_samples": 1}, tmp=tmp_path)
    with pytest.raises(ManifestError) as caught:
        plan_of(storage.uri)
    assert str(caught.value) == (
        "2.parquet: row 1: column `id`: found 'a', which is also asked for by 1.parquet: row 0; "
        "expected ids that differ"
    )
    put(storage, "2.parquet", {"id": "c", "num_samples": 1}, {"id": "b.s001", "num_samples": 1}, tmp=tmp_path)
    with pytest.raises(ManifestError, match=r"2\.parquet: row 1: .* 'b\.s001', .* asked for by 1\.parquet: row 1;"):
        plan_of(storage.uri)


def test_an_illegal_id_is_said_with_its_file_and_row(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "m"))
    put(storage, "1.parquet", {"id": "a"}, tmp=tmp_path)
    put(storage, "2.parquet", {"id": "b"}, {"id": "no/id"}, tmp=tmp_path)
    with pytest.raises(ManifestError, match=r"2\.parquet: row 1: column `id`: found 'no/id'"):
        plan_of(storage.uri)


def test_rows_that_repeat_an_id_are_refused_even_if_their_clips_differ(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p", "num_samples": 2}, {"id": "a", "prompt": "p", "num_samples": 1}]
    with pytest.raises(ManifestError, match="row 1: column `id`: found 'a', which is also asked for by row 0"):
        plan_of(write_manifest(tmp_path / "m.parquet", rows))


def test_rows_are_found_in_batches_and_row_groups(tmp_path: Path) -> None:
    """Numbers of rows count over the whole file; work is named by row group, a bit a row."""
    ids = [f"c{number:05d}" for number in range(20_000)]
    pq.write_table(pa.table({"id": ids, "prompt": ["p"] * 20_000}), tmp_path / "m.parquet", row_group_size=9_000)
    manifest = str(tmp_path / "m.parquet")
    output = Storage(str(tmp_path / "out"))
    hashes = {clip.id: clip.row_hash for clip in manifest_clips(manifest, DEFAULTS)}
    for number in (0, 8191, 8192, 8999, 9000, 19_999):
        settle(output, ids[number], hashes[ids[number]])
    found = survey(open_manifest(manifest), DEFAULTS, Ledger(output).state())
    assert (found.plan.rows, found.plan.done, found.plan.left) == (20_000, 6, 19_994)
    left = [np.unpackbits(np.frombuffer(one.left, np.uint8)) for one in found.work]
    assert [one.number for one in found.work] == [0, 1, 2]
    bits = np.concatenate([left[0][:9000], left[1][:9000], left[2][:2000]])
    assert np.flatnonzero(bits == 0).tolist() == [0, 8191, 8192, 8999, 9000, 19_999]
    ids[19_000] = ids[17]
    pq.write_table(pa.table({"id": ids, "prompt": ["p"] * 20_000}), tmp_path / "m.parquet", row_group_size=9_000)
    with pytest.raises(
        ManifestError, match="row 19000: column `id`: found 'c00017', which is also asked for by row 17;"
    ):
        plan_of(manifest)


def test_a_manifest_that_grows_and_shrinks(tmp_path: Path) -> None:
    """New rows are work. Clips whose rows are gone stay, are counted for themselves, and are in no other count."""
    storage, output = Storage(str(tmp_path / "m")), Storage(str(tmp_path / "out"))
    put(storage, "1.parquet", {"id": "a"}, {"id": "b"}, tmp=tmp_path)
    put(storage, "2.parquet", {"id": "c"}, {"id": "d"}, tmp=tmp_path)
    for clip in manifest_clips(storage.uri, DEFAULTS):
        settle(output, clip.id, clip.row_hash, "input" if clip.id in "bd" else None)
    assert plan_of(storage.uri, output).left == 0
    put(storage, "3.parquet", {"id": "e"}, tmp=tmp_path)
    grown = plan_of(storage.uri, output)
    assert (grown.rows, grown.done, grown.failed, grown.left, grown.removed) == (5, 2, 2, 1, {})
    storage.delete("2.parquet")
    shrunk = plan_of(storage.uri, output)
    assert (shrunk.rows, shrunk.done, shrunk.failed, shrunk.left) == (3, 1, 1, 1)
    assert shrunk.removed == {"input": 1, "ok": 1}

    run = Run(storage.uri, "0", 3, 3, "fake", "f", "float32", {}, shrunk.removed)
    open_run(output, run)
    status = read_status(output.uri)[0]
    assert (status.clips, status.ok, status.failed, status.left, status.removed) == (3, 1, 1, 1, 2)
    assert status.failed_by_class == {"input": 1}
    open_run(output, replace(run, removed={}))
    assert read_status(output.uri)[0].removed == 0
    assert write_index(output, open_manifest(storage.uri), DEFAULTS, Ledger(output).state()) == 1


def test_the_hash_of_a_folder_changes_with_its_files(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "m"))
    put(storage, "1.parquet", {"id": "a"}, tmp=tmp_path)
    one = open_manifest(storage.uri).sha256()
    assert one == open_manifest(storage.uri).sha256()
    put(storage, "2.parquet", {"id": "b"}, tmp=tmp_path)
    two = open_manifest(storage.uri).sha256()
    put(storage, "2.parquet", {"id": "c"}, tmp=tmp_path)
    assert len({one, two, open_manifest(storage.uri).sha256()}) == 3


def test_parquet_by_another_ending_is_read_and_other_tables_are_said(storage: Storage, tmp_path: Path) -> None:
    """Rows of a file that nobody recognised would be missing from the output, and nothing would say so."""
    for row, name in enumerate(("a.parquet", "b.PARQUET", "c.pq", "part-0.snappy.parquet")):
        put(storage, f"m/{name}", {"id": f"r{row}"}, tmp=tmp_path)
    storage.write("m/notes.txt", b"no rows")
    assert plan_of(storage.uri_of("m")).unread == ()
    for name in ("e.csv", "deep/f.JSONL", "_g.csv", "h.parquet.gz"):
        storage.write(f"m/{name}", b"id,prompt\n")
    plan = plan_of(storage.uri_of("m"))
    assert (plan.rows, plan.unread) == (4, ("deep/f.JSONL", "e.csv", "h.parquet.gz"))
    assert plan_of(storage.uri_of("m/*.pq")).unread == ()
    assert unread_line(plan.unread * 2) == (
        "in the manifest's folder, and not read for they are no Parquet: 6 files "
        "('deep/f.JSONL', 'e.csv', 'h.parquet.gz', ...)"
    )
    assert unread_line(plan.unread).endswith("3 files ('deep/f.JSONL', 'e.csv', 'h.parquet.gz')")


def rewritten(path: Path, rows: int, prompt: str, group: int) -> None:
    """As a tool does that writes a manifest anew; at another moment than before."""
    table = {"id": [f"r{n}" for n in range(rows)], "prompt": [f"{prompt} {n}" for n in range(rows)]}
    pq.write_table(pa.table(table), path, row_group_size=group)


@pytest.mark.parametrize(("rows", "group"), [(4, 2), (6, 6), (4, 4)], ids=["same-shape", "more", "one-group"])
def test_a_manifest_that_is_written_while_it_is_read_is_refused_and_never_mixed(
    tmp_path: Path, rows: int, group: int
) -> None:
    """Rows of the new one would be made by the plan of the old one, and kept under its hash."""
    path, output = tmp_path / "m.parquet", Storage(str(tmp_path / "out"))
    rewritten(path, 4, "old", 2)
    manifest = open_manifest(str(path))
    read = manifest.batches()
    next(read)
    rewritten(path, rows, "new", group)
    for use in (lambda: next(read), manifest.sha256, lambda: survey(manifest, DEFAULTS, LedgerState.empty())):
        with pytest.raises(ManifestError, match="written while it was read"):
            use()
    with pytest.raises(ManifestError, match="written while it was read"):
        keep(output, manifest, Run(str(path), "0", 4, 4, "fake", "f", "float32", {}))
    assert not (tmp_path / "out").exists()
    assert sum(batch.num_rows for _, batch in open_manifest(str(path)).batches()) == rows


def test_a_link_to_a_manifest_is_as_new_as_what_it_leads_to(tmp_path: Path) -> None:
    rewritten(tmp_path / "day-1.parquet", 4, "old", 4)
    link = tmp_path / "latest.parquet"
    link.symlink_to("day-1.parquet")
    before, manifest = version_of(str(link)), open_manifest(str(link))
    rewritten(tmp_path / "day-1.parquet", 4, "new", 4)
    assert version_of(str(link)) != before
    with pytest.raises(ManifestError, match="written while it was read"):
        list(manifest.batches())


def test_what_is_written_while_it_is_opened_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are counted by the footer from before."""
    path, footer_of = tmp_path / "m.parquet", files.footer_of
    pq.write_table(pa.table({"id": ["a"], "prompt": ["p"]}), path)

    def written_behind(uri: str) -> pq.FileMetaData:
        found = footer_of(uri)
        pq.write_table(pa.table({"id": ["a", "b"], "prompt": ["p", "q"]}), path)
        return found

    monkeypatch.setattr(files, "footer_of", written_behind)
    manifest = open_manifest(str(path))
    with pytest.raises(ManifestError, match="was written while it was read"):
        list(manifest.batches())
