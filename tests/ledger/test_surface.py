"""What the ledger does to its store, operation by operation, and what each state of a lease and a run leads to."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.compaction_scenes import make_small, record
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.errors import CosmosRayError
from cosmos_ray.ledger import lease as lease_module
from cosmos_ray.ledger import process as process_module
from cosmos_ray.ledger import tidy
from cosmos_ray.ledger.compaction import Compactor, compact, merge
from cosmos_ray.ledger.lease import LeaseTimes, acquire, check_epoch, is_seen, read_owner
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.process import this_process
from cosmos_ray.ledger.record import Record
from cosmos_ray.ledger.rows import bytes_a_clip
from cosmos_ray.ledger.run import Run, check_same, open_run, read_run
from cosmos_ray.store.storage import Storage


class Traced(Storage):
    """Keeps what it was asked for; names that are drawn have a word instead."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.asked: list[str] = []

    def _note(self, does: str, path: str, size: int | None = None) -> None:
        path = re.sub(r"-[0-9a-f]{32}", "-(drawn)", path)
        sized = size is not None and path.endswith(".json")
        self.asked.append(f"{does} {path} ({size} bytes)" if sized else f"{does} {path}")

    def read(self, path: str) -> bytes:
        self._note("read", path)
        return super().read(path)

    def read_many(self, paths: Any) -> dict[str, bytes]:
        wanted = list(paths)
        self._note("read many", ", ".join(wanted))
        return super().read_many(wanted)

    def write(self, path: str, data: bytes) -> None:
        self._note("write", path)
        super().write(path, data)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        created = super().write_if_absent(path, data)
        self._note("create" if created else "is there:", path)
        return created

    def delete(self, path: str) -> None:
        self._note("delete", path)
        super().delete(path)

    def stat(self, path: str) -> Any:
        self._note("look at", path)
        return super().stat(path)

    def list_files(self, folder: str = "") -> Sequence[str]:
        self._note("list files", folder)
        return super().list_files(folder)

    def list(self, prefix: str) -> Iterator[str]:
        self._note("list", prefix)
        return super().list(prefix)

    def remove_unfinished(self, older_than_s: float | None = None) -> Any:
        self._note("remove unfinished", str(older_than_s))
        return super().remove_unfinished(older_than_s)


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traced:
    make_small(monkeypatch)
    monkeypatch.setattr(tidy, "_READERS", 1)
    return Traced(str(tmp_path / "out"))


def test_every_operation_of_a_ledgers_life(traced: Traced) -> None:
    ledger, lines = Ledger(traced), []

    def step(words: str, value: Any = None) -> None:
        lines.append(f"== {words}: {value}")
        lines.extend(traced.asked)
        traced.asked.clear()

    step("an attempt", ledger.mark_attempt("a", 1, "mark"))
    step("the same again", ledger.mark_attempt("a", 1, "mark"))
    step("another's", ledger.mark_attempt("a", 1, "other"))
    step("committed", ledger.commit(record("a")).attempt)
    step("committed by a later attempt", ledger.commit(record("a", attempt=2)).attempt)
    step("a row's own fault", ledger.commit(record("b", "input", attempt=0)).attempt)
    step("unmarked", ledger.commit(record("c", "oom")).attempt)
    step("marked late", ledger.commit(record("d"), is_marked_late=True).attempt)
    step("found", getattr(ledger.find("a", 0), "attempt", None))
    step("not found", ledger.find("a", 1))
    step("records", sorted(one.id for one in ledger.records()))
    state = ledger.state()
    step("state", facts(state))
    step("moved", compact(traced, 3, state.contents))
    step("found in a part", getattr(ledger.find("a", 0), "attempt", None))
    step("committed after it was moved", ledger.commit(record("a", attempt=3)).attempt)
    step("retried", ledger.retry())
    step("retried, one class", ledger.retry(["oom"]))
    step("another class", ledger.retry(["model"]))
    step("redone", ledger.redo(["a", "d"]))
    step("state", facts(ledger.state()))
    step("a new generation", ledger.commit(record("a", generation=1, attempt=4)).attempt)
    for name in ("e", "f", "g", "h"):
        ledger.commit(record(name))
    step("four more")
    step("moved", compact(traced, 4, ledger.state().contents))
    ledger.commit(record("i"))
    step("too few to move", compact(traced, 4, ledger.state().contents))
    ledger.commit(record("j"))
    step("moved and merged", compact(traced, 5, ledger.state().contents))
    step("removed later", merge(traced, 5, now=4e9))
    step("state", facts(ledger.state()))
    step("bytes a clip", bytes_a_clip(traced, ledger.state()))
    traced.write("_cosmos_ray/ledger/00/x.0.json", b"damaged")
    step("a damaged one", facts(ledger.state()))
    assert_as_it_was("ledger/operations.txt", masked("\n".join(lines)))


def facts(state: Any) -> dict[str, Any]:
    newest = {
        name: (one.generation, one.ok, one.failure_class, one.attempt) for name, one in sorted(state.records.items())
    }
    names = [*newest, "nobody"]
    return {
        "newest": newest, "reopened": dict(sorted(state.reopened.items())), "settled": sorted(one for one,
        _ in state.settled()),
        "is_settled": [state.is_settled(one) for one in names], "generation": [state.generation(one) for one in names],
        "past": [state.past_attempts(one) for one in names], "made": int(np.sum(state.made_rows)),
        "tail": state.contents.tail.num_rows, "parts": len(state.contents.parts), "damaged": state.contents.damaged,
    }  # fmt: skip


def test_what_a_running_job_moves(traced: Traced) -> None:
    """A batch at a time, by the owner alone."""
    ledger = Ledger(traced)
    compactor = Compactor(traced, 1)
    for name in "abcde":
        compactor.add(ledger.commit(record(name)))
    compactor.close()
    moved = [
        one for one in traced.asked if ".parquet" in one or one.startswith(("delete", "look at _cosmos_ray/lease"))
    ]
    assert moved.count("write _cosmos_ray/ledger/00000001-(drawn).parquet") >= 1
    assert moved[0] == "look at _cosmos_ray/lease/00000002.json", "before anything is moved"
    assert facts(ledger.state())["made"] == 5


def test_what_is_left_over(traced: Traced) -> None:
    ledger, lines = Ledger(traced), []
    for path in ("clips/a/1/rear.mp4", "clips/a/2/rear.mp4", "clips/b/1/rear.mp4", "clips/c/1/rear.mp4",
    "clips/n/1/x.mp4",
                 "previews/a/1.mp4", "previews/a/2.mp4", "previews/b/1.jpg", "_cosmos_ray/attempts/a.1",
                 "_cosmos_ray/attempts/n.1",
                 "_cosmos_ray/steps/a.h.safetensors", "_cosmos_ray/steps/n.h.safetensors", "_cosmos_ray/probes/x",
                 "_cosmos_ray/reproduced/y", f"_cosmos_ray/kept/{'0' * 64}.parquet",
                 f"_cosmos_ray/kept/{'1' * 64}.parquet"):  # fmt: skip
        traced.write(path, b"123")
    open_run(traced, RUN)
    ledger.commit(record("a"))
    ledger.commit(record("b", "oom"))
    ledger.commit(record("c"))
    ledger.redo(["c"])
    ledger.commit(record("c", generation=1, attempt=2))
    lines.append(f"damaged: {sorted(tidy.damaged(traced))}")
    traced.asked.clear()
    lines.append(f"removed: {tidy.clean(traced)}")
    lines += sorted(traced.asked)  # it looks for the next ones while it removes
    for attempt in (1, 2):
        traced.write(f"clips/d/{attempt}/rear.mp4", b"1")
        traced.write(f"previews/d/{attempt}.mp4", b"1")
    for one in (record("d"), record("d", attempt=2)):
        traced.asked.clear()
        tidy.remove_other_attempts(traced, one, 1)
        lines += [f"== settled by attempt {one.attempt}", *traced.asked]
    lines += [str(sorted(tidy.files_of(one))) for one in (record("a"), record("b", "oom"))]
    assert_as_it_was("ledger/left_over.txt", masked("\n".join(lines), Path(traced.uri)))


class Beats(SimpleNamespace):
    """Time that passes when somebody sleeps; what happens then is told by the test."""

    def __init__(self, then: Any) -> None:
        super().__init__(slept=[], then=then)

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.then(len(self.slept))

    def time(self) -> float:
        return 5000.0

    def monotonic(self) -> float:
        return 100.0


def beat(count: int = 1, released: bool = False, **changes: Any) -> bytes:
    facts = {"owner": "them", "count": count, "released": released, "time": 4990.0, "job": {"gangs": {}}}
    return json.dumps({**facts, **changes}).encode()


#: What is there of the owner before: its claim, its beat, and what happens at the third look.
OWNERS: dict[str, tuple[bytes | None, bytes | None, bytes | None]] = {
    "nobody": (None, None, None), "gone": (b"{}", beat(released=True), None), "silent": (b"{}", beat(), None),
    "no beat": (b"{}", None, None), "damaged beat": (b"{}", b"x", None), "beats": (b"{}", beat(), beat(2)),
    "first beat": (b"{}", None, beat()), "says farewell": (b"{}", beat(), beat(2, released=True)),
    "damaged claim": (b"[", beat(), None), "no owner in it": (b"{}", beat(owner=3), None),
    "no time in it": (b"{}", beat(time="x"), None), "endless time": (b'{}', beat(time=float("inf")), None),
}  # fmt: skip


@pytest.mark.parametrize("life_s", [15.0, 2.0])
def test_who_may_take_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, life_s: float) -> None:
    lines = []
    monkeypatch.setattr(lease_module, "_own_name", lambda: "us")
    monkeypatch.setattr(lease_module, "this_process", lambda: None)
    for name, (claim, first, then) in OWNERS.items():
        storage, said = Storage(str(tmp_path / f"{name}{life_s}")), list[str]()
        for path, data in (("00000003.json", claim), ("00000003.beat", first)):
            if data is not None:
                storage.write(f"_cosmos_ray/lease/{path}", data)

        def happens(look: int, storage: Storage = storage, then: bytes | None = then) -> None:
            if look == 3 and then is not None:
                storage.write("_cosmos_ray/lease/00000003.beat", then)

        clock = Beats(happens)
        monkeypatch.setattr(lease_module, "time", clock)
        lines.append(f"== {name}: {owner_words(storage)}")
        try:
            lease = acquire(storage, LeaseTimes(1.0, life_s), say=said.append)
            lease.release()
            seen = is_seen(storage, lease.epoch), is_seen(storage, 9)
            lines.append(f"epoch {lease.epoch}, {owner_words(storage)}, {seen}")
            check_epoch(storage, lease.epoch)
        except CosmosRayError as error:
            lines.append(f"{type(error).__name__}: {error}")
        try:
            check_epoch(storage, 2)
        except CosmosRayError as error:
            lines.append(f"{type(error).__name__}: {error}")
        lines += [f"slept {len(clock.slept)} x {set(clock.slept) or ''}", *said]
    assert_as_it_was(f"ledger/lease_{life_s:g}.txt", masked("\n".join(lines), tmp_path))


def owner_words(storage: Storage) -> str:
    return str(read_owner(storage))


def test_which_processes_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    here = this_process()
    assert here is not None
    monkeypatch.setattr(process_module, "this_process", lambda: here)
    facts, lines = here.to_dict(), []
    for name, value in itertools.chain(
        ((name, "other") for name in facts), (("pid", n) for n in (0, -1, 2**22 + 5, 2**70, True, None, "1")),
        (("start", value) for value in ("", None, 1)),
    ):  # fmt: skip
        lines.append(f"{name} {value!r}: {process_module.has_ended({**facts, name: value})}")
    lines += [f"{named!r}: {process_module.has_ended(named)}" for named in (None, [], {}, "x")]
    lines.append(f"itself: {process_module.has_ended(facts)}; gone: {process_module.process_start(2**22 + 5)!r}")
    assert_as_it_was("ledger/processes.txt", "\n".join(lines))


RUN = Run("/d/m.parquet", "0" * 64, 3, 4, "tiny", "1" * 64, "reference", {"seed": 0}, {"ok": 1})


def test_which_jobs_may_go_on_with_an_output(tmp_path: Path) -> None:
    storage, lines = Storage(str(tmp_path)), []
    open_run(storage, RUN)
    lines += (tmp_path / "_cosmos_ray" / "run.json").read_text().splitlines()
    others: dict[str, Any] = {
        "manifest": "/e/m.parquet", "manifest_sha256": "2" * 64, "rows": 5, "clips": 6, "model": "fake",
        "model_fingerprint": "3" * 64, "numerics": "float32", "sampling": {"seed": 1}, "removed": {},
        "manifest_version": "v",
        "approximations": Approximations(solver="unipc").chosen, "inputs": {"fit": "pad"}, "refiner": {"a": 1},
        "guardrails": {"face_blur": "1"},
    }  # fmt: skip
    for changes in ({name: value} for name, value in others.items()):
        lines.append(f"{changes}: {said_of(storage, replace(RUN, **changes))}")
    lines.append(
        said_of(storage, replace(RUN, **{name: others[name] for name in ("manifest", "manifest_sha256", "model")}))
    )
    for text in ("", "[]", "{}", "{", json.dumps({"manifest": 1}), json.dumps({**vars(RUN), "rows": "x", "new": 1}),
                 json.dumps({**vars(RUN), "rows": "x"}), json.dumps({**vars(RUN),
                 "manifest": "s3://b/o/_cosmos_ray/manifest.parquet"})):  # fmt: skip
        (tmp_path / "_cosmos_ray" / "run.json").write_text(text)
        try:
            lines.append(str(read_run(storage)))
        except CosmosRayError as error:
            lines.append(str(error))
    assert_as_it_was("ledger/runs.txt", masked("\n".join(lines), tmp_path))


def said_of(storage: Storage, run: Run) -> str:
    try:
        check_same(storage, RUN, run)
    except CosmosRayError as error:
        return str(error)
    return "may go on"


def test_a_record_as_json() -> None:
    lines = [one.to_json().decode() for one in (record("a"), record("b", "oom", 3, 2))]
    for change in (
        {"status": "made"},
        {"finished": "yesterday"},
        {"files": None},
        {"class": "?"},
        {"scores": {"rear": {}}},
    ):
        text = json.dumps({**json.loads(lines[0]), **change}).encode()
        try:
            lines.append(f"{change}: {Record.from_json(text).failure_class}")
        except (ValueError, TypeError, KeyError) as error:
            lines.append(f"{change}: {type(error).__name__}: {error}")
    assert_as_it_was("ledger/record.txt", "\n".join(lines))


def test_parts_are_packed_and_no_lease_keeps_a_process(traced: Traced) -> None:
    """A million records are small; a process that ends without a word ends."""
    for name in "abc":
        Ledger(traced).commit(record(name))
    compact(traced, 1, Ledger(traced).state().contents)
    (path,) = [path for path in traced.list_files("_cosmos_ray/ledger") if path.endswith(".parquet")]
    column = pq.read_metadata(traced.uri_of(path)).row_group(0).column(0)
    assert column.compression == "ZSTD"
    lease = acquire(traced)
    assert lease._thread.daemon
    lease.release()
