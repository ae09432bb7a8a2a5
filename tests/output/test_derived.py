"""Files made from an output: of which state they are, whoever is killed or writes beside, and made again when stale."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.compaction_scenes import CrashError, WatchedStorage, crash_at
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, begin, clips, settle

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.output import derived
from cosmos_ray.output.derived import DERIVED, make, make_if_stale, stale, with_stale
from cosmos_ray.output.index import write_index
from cosmos_ray.output.report.files import names_in
from cosmos_ray.output.status import Status
from cosmos_ray.store.storage import Storage

#: Of the operations: some of them in `make test`, all of them in `make chaos`.
STRIDES = pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.long)])


def of_now(output: Storage, run: Run) -> list[str]:
    """Those that are stale."""
    return stale(output, run, Ledger(output).state())


def ids(output: Storage, name: str = "index.parquet") -> list[str]:
    return pq.read_table(pa.BufferReader(output.read(name)))["id"].to_pylist()


def check_page(output: Storage, expected: list[str]) -> None:
    """All rows of the page lie beside it."""
    text = "".join(output.read(f"report/{name}").decode() for name in names_in(output))
    assert all(json.dumps(clip_id) in text for clip_id in expected)


def test_what_was_made_is_stale_from_the_next_record_on(manifest: str, output: Storage) -> None:
    run, known, said = begin(output, manifest), clips(manifest), list[str]()
    assert of_now(output, run) == list(DERIVED), "they are not there"
    settle(output, known["a"])
    assert make(output, run, Ledger(output).state()).rows == 1
    assert of_now(output, run) == []
    make_if_stale(output, run, Ledger(output).state(), said.append)
    assert said == []
    settle(output, known["e"])
    settle(output, known["c"], "input", error="no prompt")
    assert of_now(output, run) == list(DERIVED)
    make_if_stale(output, run, Ledger(output).state(), said.append)
    assert said == [
        "not of what the ledger and the manifest say now: index.parquet, failures.parquet, report.html: made again"
    ]
    assert (ids(output), ids(output, "failures.parquet")) == (["a", "e"], ["c"])
    check_page(output, ["a", "e", "c"])
    assert of_now(output, run) == []


@pytest.mark.parametrize("name", DERIVED)
def test_one_that_is_missing_or_damaged_is_stale(manifest: str, output: Storage, name: str) -> None:
    run = begin(output, manifest)
    settle(output, clips(manifest)["a"])
    make(output, run, Ledger(output).state())
    whole = output.read(name)
    for left in (b"", b"PAR1", whole[:60], whole[-100:-8] + b"\xff\xff\xff\x7fPAR1", b"\xff" * 3000):
        output.write(name, left)
        assert of_now(output, run) == [name], left[:20]
    output.delete(name)
    assert of_now(output, run) == [name]
    make_if_stale(output, run, Ledger(output).state(), lambda _: None)
    assert of_now(output, run) == []


def test_a_page_whose_rows_are_gone_is_stale(manifest: str, output: Storage) -> None:
    """Another one that wrote a page at the same time may have removed them."""
    run = begin(output, manifest)
    settle(output, clips(manifest)["a"])
    make(output, run, Ledger(output).state())
    output.delete(f"report/{min(names_in(output))}")
    assert of_now(output, run) == ["report.html"]
    make_if_stale(output, run, Ledger(output).state(), lambda _: None)
    check_page(output, ["a"])


def test_the_mark_of_a_table_of_many_columns_is_found(tmp_path: Path, output: Storage) -> None:
    """Its footer is longer than what is read at first."""
    row = {"id": "a", "prompt": "p", **{f"column {number} {'x' * 60}": number for number in range(400)}}
    manifest = write_manifest(tmp_path / "wide.parquet", [row])
    run = begin(output, manifest)
    settle(output, clips(manifest)["a"])
    make(output, run, Ledger(output).state())
    assert pq.read_metadata(output.uri_of("index.parquet")).serialized_size > derived._FOOTER
    assert of_now(output, run) == []


@STRIDES
def test_a_crash_at_any_operation_leaves_old_files_or_new_ones(manifest: str, tmp_path: Path, stride: int) -> None:
    """Each is whole, says what it is of, and whoever comes next makes those again that are old."""
    first, known = Storage(str(tmp_path / "first")), clips(manifest)
    run = begin(first, manifest)
    settle(first, known["a"])
    make(first, run, Ledger(first).state())
    settle(first, known["b.s001"])
    settle(first, known["c"], "input")
    for step in itertools.count(0, stride):
        output = Storage(str(tmp_path / str(step)))
        shutil.copytree(first.uri, output.uri)
        try:
            make(WatchedStorage(output.uri, crash_at(step)), run, Ledger(output).state())
        except CrashError:
            crashed = True
        else:
            crashed = False
        old = of_now(output, run)
        assert ids(output) == (["a"] if "index.parquet" in old else ["a", "b.s001"])
        assert ids(output, "failures.parquet") == ([] if "failures.parquet" in old else ["c"])
        check_page(output, ["a"] if "report.html" in old else ["a", "b.s001", "c"])
        make_if_stale(output, run, Ledger(output).state(), lambda _: None)
        assert (ids(output), ids(output, "failures.parquet"), of_now(output, run)) == (["a", "b.s001"], ["c"], [])
        check_page(output, ["a", "b.s001", "c"])
        if not crashed:
            break
    assert step > 10


@STRIDES
def test_of_two_that_write_at_once_the_newest_state_stays(manifest: str, tmp_path: Path, stride: int) -> None:
    """Another one is at each moment of the first one quick enough to do all of it."""
    for step in itertools.count(0, stride):
        output = Storage(str(tmp_path / str(step)))
        run, known = begin(output, manifest), clips(manifest)
        settle(output, known["a"])
        reached: list[int] = []
        another = _another(output, run, lambda number, step=step: number == step, reached, known["e"])
        made = make(WatchedStorage(output.uri, another), run, Ledger(output).state())
        assert (ids(output), of_now(output, run), made.outrun) == ((["a", "e"] if reached else ["a"]), [], ())
        check_page(output, ids(output))
        if not reached:
            break
    assert step > 10


def _another(
    output: Storage, run: Run, is_moment: Callable[[int], bool], reached: list[int], clip: Clip
) -> Callable[[int], None]:
    """What a second process does at that moment."""

    def at_once(number: int) -> None:
        if is_moment(number):
            reached.append(number)
            settle(output, clip)
            make(output, run, Ledger(output).state())

    return at_once


def test_a_ledger_that_goes_on_is_not_chased(manifest: str, output: Storage) -> None:
    run, known, said = begin(output, manifest), iter(clips(manifest).values()), list[str]()

    def commit(number: int) -> None:
        if number % 20 == 0 and (clip := next(known, None)):
            settle(output, clip)

    made = make(WatchedStorage(output.uri, commit), run, Ledger(output).state())
    assert made.outrun == DERIVED
    assert made.rows == len(ids(output)) >= 2, "made again some times"
    assert made.state.settled_table.num_rows == made.rows, "what the files are of, and not what has come since"
    derived.say_outrun(made, said.append)
    assert said[0].startswith("the ledger went on meanwhile: index.parquet, failures.parquet, report.html are of a ")


def test_what_cannot_be_made_again_is_not_said_to_be(manifest: str, output: Storage) -> None:
    run, said = begin(output, manifest), list[str]()
    settle(output, clips(manifest)["a"])
    output.delete_folder("_cosmos_ray/kept")
    with pytest.raises(UsageError, match="kept no copy"):
        make_if_stale(output, run, Ledger(output).state(), said.append)
    assert said == []


def test_an_output_of_a_release_that_kept_no_rows_says_what_to_do(manifest: str, output: Storage) -> None:
    run = begin(output, manifest)
    for path in list(output.list("_cosmos_ray/kept")):
        output.delete(path)
    with pytest.raises(UsageError, match=f"cosmos-ray report {output.uri} --manifest URI"):
        make(output, run, Ledger(output).state())


def test_files_of_a_release_without_marks_are_stale(manifest: str, output: Storage) -> None:
    run = begin(output, manifest)
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    assert "index.parquet" in of_now(output, run)


@pytest.mark.slow
def test_it_is_the_same_on_an_object_store(s3: str, manifest: str) -> None:
    output = Storage(f"{s3}/out")
    run, known = begin(output, manifest), clips(manifest)
    settle(output, known["a"])
    assert of_now(output, run) == list(DERIVED)
    make(output, run, Ledger(output).state())
    assert of_now(output, run) == []
    settle(output, known["e"])
    assert of_now(output, run) == list(DERIVED)


@pytest.mark.parametrize(
    ("manifest", "output", "is_looked_at"),
    [
        ("/m.parquet", "s3://b/out", True),
        ("s3://other/m.parquet", "s3://b/out", True),
        ("gs://b/m.parquet", "s3://b/out", False),
        ("s3://b/m.parquet", "/out", False),
    ],
)
def test_a_status_asks_no_other_store_than_the_outputs_for_the_manifest(
    monkeypatch: pytest.MonkeyPatch, manifest: str, output: str, is_looked_at: bool
) -> None:
    """A disk is always asked."""
    monkeypatch.setattr(derived, "Storage", lambda uri: SimpleNamespace(uri=uri))
    monkeypatch.setattr(derived, "stale", lambda *_: ["index.parquet"])
    monkeypatch.setattr(derived, "manifest_now", lambda *_: "changed")
    status = Status(output, "fake", 1, 1, 0, {}, 0, None, None)
    run = Run(manifest, "h", 1, 1, "fake", "f", "reference", {})
    found = with_stale(status, run, LedgerState.empty())
    assert (found.manifest_changed, found.stale) == (is_looked_at, ("index.parquet",))
