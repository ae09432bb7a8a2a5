"""What nothing refers to any more is removed, what records refer to is kept, and spoilt files are found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cosmos_ray.cli.main import app
from cosmos_ray.errors import LeaseLost, UsageError
from cosmos_ray.ledger import tidy
from cosmos_ray.ledger.layout import REPRODUCED, RETRIES, RUN
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record, record_path
from cosmos_ray.ledger.run import Run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.ledger.tidy import clean, damaged, files_of, remove_other_attempts
from cosmos_ray.store.storage import Storage


def commit(storage: Storage, clip_id: str, attempt: int, generation: int = 0, status: str = "ok") -> Record:
    """A clip with two videos and a sidecar, as a gang leaves it."""
    import hashlib

    def store(name: str, view: str) -> FileEntry:
        data = f"{clip_id} {attempt} {name}".encode()
        path = f"clips/{clip_id}/{attempt}/{name}"
        storage.write(path, data)
        return FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest())

    ok = status == "ok"
    files = tuple(store(f"{view}.mp4", view) for view in ("rear", "front_wide")) if ok else ()
    sidecar = store("clip.json", "") if ok else None
    failure_class, error = (None, None) if ok else ("gang", "it died")
    record = Record(
        clip_id, generation, "ok" if ok else "failed", failure_class, attempt, error, "hash", 1,
        files=files, sidecar=sidecar,
    )  # fmt: skip
    storage.write(f"_cosmos_ray/attempts/{clip_id}.{attempt}", b"gang")
    return Ledger(storage).commit(record)


def everything(storage: Storage) -> set[str]:
    return {*storage.list("clips"), *storage.list("_cosmos_ray")}


def test_of_a_settled_clip_only_the_recorded_attempt_stays(storage: Storage) -> None:
    storage.write("clips/a/1/rear.mp4", b"cut off")
    storage.write("clips/ab/1/rear.mp4", b"another clip, whose name begins the same")
    record = commit(storage, "a", attempt=2)
    remove_other_attempts(storage, record, epoch=1)
    assert set(storage.list("clips")) == files_of(record) | {"clips/ab/1/rear.mp4"}


def test_a_clip_that_failed_keeps_nothing(storage: Storage) -> None:
    storage.write("clips/a/1/rear.mp4", b"cut off")
    remove_other_attempts(storage, commit(storage, "a", attempt=3, status="failed"), epoch=1)
    assert list(storage.list("clips")) == []


def test_clean_keeps_what_was_committed_while_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a gang of the owner before: it had looked at the lease in the moment before that was taken over."""
    storage, late = Storage(str(tmp_path)), list[Record]()
    commit(storage, "a", attempt=1)
    storage.write("clips/late/1/rear.mp4", b"of an attempt that was cut off")
    read = Ledger.state

    def state(ledger: Ledger) -> LedgerState:
        found = read(ledger)
        late.append(commit(storage, "late", attempt=2))
        return found

    monkeypatch.setattr(Ledger, "state", state)
    assert clean(storage).objects == 2, "what was cut off, and the mark of a clip that is done"
    assert files_of(late[0]) < set(storage.list("clips"))


def test_clean_removes_what_no_newest_record_refers_to(storage: Storage) -> None:
    kept = [commit(storage, "a", attempt=1), commit(storage, "b", attempt=2, generation=1)]
    commit(storage, "c", attempt=1, status="failed")
    old = commit(storage, "b", attempt=1)
    storage.write("clips/a/3/rear.mp4", b"of an attempt that was cut off")
    storage.write("clips/never/1/rear.mp4", b"of a clip without a record")
    storage.write("_cosmos_ray/attempts/never.1", b"it is still to be made")
    storage.write("_cosmos_ray/probes/x", b"")
    storage.write(RUN, b"{}")
    removed = clean(storage)
    expected = {path for record in kept for path in files_of(record)} | {RUN, "_cosmos_ray/attempts/never.1"}
    ledger = {record_path(*key) for key in (("a", 0), ("b", 0), ("b", 1), ("c", 0))}
    assert everything(storage) == expected | ledger
    assert removed.objects == len(files_of(old)) + 2 + 4 + 1
    assert removed.size > 0
    assert clean(storage).objects == 0


def test_clean_tells_clips_and_attempts_apart_whose_names_begin_the_same(storage: Storage) -> None:
    """Attempt 1 from attempt 10, `a` from `ab` and `a.1`, and an id's dots from those of a mark's or a step's name."""
    kept = [commit(storage, name, attempt=1) for name in ("a", "a.1", "ab")]
    left = ["clips/a/10/rear.mp4", "clips/a.1/11/rear.mp4", "clips/a-b/1/rear.mp4"]
    left += [f"_cosmos_ray/steps/{name}.{'0' * 32}.safetensors" for name in ("a", "a.1")]
    left += ["_cosmos_ray/attempts/a.2", "_cosmos_ray/attempts/a.1.12"]
    stays = [f"_cosmos_ray/steps/{name}.{'0' * 32}.safetensors" for name in ("b", "a.2", "a.1.1")]
    stays += ["_cosmos_ray/attempts/b.1", "_cosmos_ray/attempts/a.2.1"]
    for path in left + stays:
        storage.write(path, b"x")
    clean(storage)
    ledger = {record_path(record.id, 0) for record in kept}
    assert everything(storage) == {path for record in kept for path in files_of(record)} | set(stays) | ledger


def test_of_a_clip_that_failed_clean_keeps_no_file_of_the_attempt_that_failed(storage: Storage) -> None:
    """Its videos were stored before it failed: nothing refers to them."""
    record = commit(storage, "a", attempt=2, status="failed")
    for attempt in (1, 2):
        storage.write(f"clips/a/{attempt}/rear.mp4", b"no clip's")
    clean(storage)
    assert everything(storage) == {record_path(record.id, 0)}


def test_who_lost_the_output_removes_nothing(tmp_path: Path) -> None:
    """Another owner's attempt may be the one that counts."""
    storage = Storage(str(tmp_path))
    record = commit(storage, "a", attempt=2)
    storage.write("clips/a/1/rear.mp4", b"of the next owner")
    storage.write("_cosmos_ray/lease/00000002.json", b"{}")
    with pytest.raises(LeaseLost):
        remove_other_attempts(storage, record, epoch=1)
    assert storage.exists("clips/a/1/rear.mp4")
    remove_other_attempts(storage, record, epoch=2)
    assert not storage.exists("clips/a/1/rear.mp4")


def test_a_store_that_is_out_leaves_files_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(str(tmp_path))
    record = commit(storage, "a", attempt=2)
    storage.write("clips/a/1/rear.mp4", b"cut off")

    def is_out(path: str) -> None:
        raise OSError("503")

    monkeypatch.setattr(storage, "delete", is_out)
    remove_other_attempts(storage, record, epoch=1)
    assert "a: files of other attempts are left: 503" in caplog.text


def test_clean_removes_files_that_were_not_put_in_place(tmp_path: Path) -> None:
    """What a writer leaves that is killed in the middle."""
    storage = Storage(str(tmp_path))
    record = commit(storage, "a", attempt=1)
    (tmp_path / "clips" / "a" / "1" / ".tmp-0123").write_bytes(b"half")
    assert set(storage.list("clips")) == files_of(record)
    assert clean(storage).objects == 2, "and the mark of the attempt"
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_files_that_are_not_as_recorded_are_found(storage: Storage, harm: str) -> None:
    whole, spoilt = commit(storage, "a", attempt=1), commit(storage, "b", attempt=1)
    path = spoilt.files[1].path
    data = storage.read(path)
    if harm == "gone":
        storage.delete(path)
    else:
        storage.write(path, data[:-1] if harm == "cut" else data[:-1] + b"?")
    ((clip_id, fault),) = damaged(storage)
    assert clip_id == "b" != whole.id
    assert path in fault


@pytest.mark.parametrize("batch", [1, 2, 512])
def test_every_file_of_every_clip_is_looked_at_the_sidecar_too(
    tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some clips at a time; not of clips that failed or that are opened again already."""
    monkeypatch.setattr(tidy, "_BATCH", batch)
    storage = Storage(str(tmp_path))
    records = [commit(storage, f"c{number}", attempt=1) for number in range(5)]
    commit(storage, "failed", attempt=1, status="failed")
    spoilt = [records[0].files[0].path, records[3].files[1].path, records[4].sidecar.path]  # type: ignore[union-attr]
    for path in spoilt:
        storage.write(path, b"?")
    found = list(damaged(storage))
    named = dict(zip(("c0", "c3", "c4"), spoilt, strict=True))
    assert {name: fault.partition(":")[0] for name, fault in found} == named
    assert len(found) == 3
    Ledger(storage).redo(["c0", "c4"])
    assert [name for name, _ in damaged(storage)] == ["c3"]


def test_a_damaged_record_is_no_outcome(storage: Storage) -> None:
    """The clip is made again, under the next generation, since records are never replaced."""
    commit(storage, "a", attempt=1)
    commit(storage, "b", attempt=1)
    storage.write(record_path("a", 0), b'{"id": "a", "gener')
    state = Ledger(storage).state()
    assert not state.is_settled("a")
    assert state.generation("a") == 1
    assert state.is_settled("b")
    commit(storage, "a", attempt=2, generation=1)
    assert Ledger(storage).state().is_settled("a")


def run_of(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path))
    run = Run("m.parquet", "0", 2, 2, "fake", "0", "float32", {})
    storage.write(RUN, json.dumps(run.__dict__).encode())
    return storage


def test_a_reproduction_that_was_killed_is_left_over(tmp_path: Path) -> None:
    storage = run_of(tmp_path)
    kept = commit(storage, "a", attempt=1)
    storage.write(f"{REPRODUCED}/a.0123/output/clips/a/1/rear.mp4", b"again")
    clean(storage)
    assert not (tmp_path / REPRODUCED).exists(), "its empty folders too"
    assert storage.exists(kept.files[0].path)


def test_retry_damaged_opens_their_next_generation(tmp_path: Path) -> None:
    storage = run_of(tmp_path)
    commit(storage, "a", attempt=1)
    spoilt = commit(storage, "b", attempt=1)
    storage.write(spoilt.files[0].path, b"")
    answer = CliRunner().invoke(app, ["retry", str(tmp_path), "--damaged"])
    assert answer.exit_code == 0
    assert "1 clip will be made again\n  b\n" in answer.stdout
    assert Ledger(storage).state().generation("b") == 1


def test_status_clean_refuses_while_a_job_is_alive(tmp_path: Path) -> None:
    storage = run_of(tmp_path)
    storage.write("clips/a/1/rear.mp4", b"being written")
    lease = acquire(storage, LeaseTimes(0.2, 2.0))
    command = [sys.executable, "-m", "cosmos_ray", "status", str(tmp_path), "--clean"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "is owned by a living job" in refused.stderr
    assert storage.exists("clips/a/1/rear.mp4")
    lease.release()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "removed 1 object that nothing refers to, 13 bytes" in done.stderr
    assert not storage.exists("clips/a/1/rear.mp4")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attempt", "one"), ("attempt", 10**30), ("epoch", float("nan")), ("generation", 7), ("id", "b"), ("id", None),
        ("status", "perhaps"), ("finished", "soon"), ("finished", 3), ("error", {"a": 1}), ("scores", [1]),
        ("seconds", "long"), ("files", [{"path": 3}]), ("sidecar", [1]), ("tries", {"a": 1}), ("error", "\ud800"),
    ],
)  # fmt: skip
def test_so_is_one_that_is_whole_and_says_what_no_record_of_ours_does(storage: Storage, key: str, value: Any) -> None:
    commit(storage, "a", attempt=1)
    commit(storage, "b", attempt=1)
    facts = json.loads(storage.read(record_path("a", 0)))
    storage.write(record_path("a", 0), json.dumps(facts | {key: value}).encode())
    state = Ledger(storage).state()
    assert (state.is_settled("a"), state.generation("a"), state.is_settled("b")) == (False, 1, True)
    storage.write(record_path("a", 0), b"[" * 100_000)
    assert not Ledger(storage).state().is_settled("a")


@pytest.mark.parametrize("data", [b"", b"[1]", b'{"generations": [1]}', b'{"generations": {"a": "1"}}', b"[" * 100_000])
def test_a_retry_that_cannot_be_read_is_named(storage: Storage, data: bytes) -> None:
    commit(storage, "a", attempt=1)
    Ledger(storage).redo(["a"])
    storage.write(f"{RETRIES}/000000.json", data)
    with pytest.raises(UsageError, match=r"retries/000000\.json does not say which clips were to be made again"):
        Ledger(storage).state()
