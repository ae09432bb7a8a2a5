"""A clip that is made is not made again: it waits on the node's disk, and publishing is tried again. Without Ray."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.attempts import begin_attempt
from support.waiting import wait_for

from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.errors import LeaseLost
from cosmos_ray.gang import delivery as delivery_module
from cosmos_ray.gang import waiting as waiting_module
from cosmos_ray.gang.commit import Made, clip_folder
from cosmos_ray.gang.delivery import Delivery, StoreOutError
from cosmos_ray.gang.prepare import Prepared
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.layout import ATTEMPTS, LEASE
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage

CLIP = Clip("a", "a", ("A street.",), n_views=2, row_hash="r" * 64)
STEPS = ("mp4", "clip.json", "ledger")


class Outage(Storage):
    """Fails what is asked for at one step, while it is out."""

    def __init__(self, uri: str, step: str = "") -> None:
        super().__init__(uri)
        self.step, self.is_out, self.refused = step, True, 0
        self.written: list[str] = []
        self.met: set[str] = set()

    def _meet(self, path: str, doing: str = "") -> None:
        if self.is_out and self.step in (doing or path):
            self.refused += 1
            self.met.add(path.split("/")[1])
            raise OSError("503 SlowDown")

    def answers(self, timeout_s: float) -> bool:
        return True  # as where one step alone is refused

    def write(self, path: str, data: bytes) -> None:
        self._meet(path)
        super().write(path, data)
        self.written.append(path)

    def exists(self, path: str) -> bool:
        if self.step == "attempts":
            self._meet(path)
        return super().exists(path)

    def stat(self, path: str) -> Any:
        if path.endswith(".mp4") and self.step == "verify":
            self._meet(path, "verify")
        return super().stat(path)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        self._meet(path)
        return super().write_if_absent(path, data)


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's disk."""
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(waiting_module, "AGAIN_S", 0.01)
    return tmp_path / "cache/waiting"


def spec_of(storage: Storage, **changes: Any) -> GangSpec:
    spec = GangSpec(load_bundle("fake"), 2, "cpu", "reference", storage.uri, 1, GangConfig())
    return replace(spec, **changes)


async def make(delivery: Delivery, spec: GangSpec, attempt: int = 1, clip: Clip = CLIP, mark: str = "") -> Record:
    """What leader and ranks do with a clip that is denoised."""
    place = await delivery.place(clip, attempt)
    files = []
    for view in VIEWS[: clip.n_views]:
        data = f"{view} of attempt {attempt}".encode()
        (Path(place) / f"{view}.mp4").write_bytes(data)
        path = f"{clip_folder(clip, attempt)}/{view}.mp4"
        files.append(FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest()))
    request = ClipRequest(clip.id, clip.prompts, clip.negative_prompt, clip.n_views, 0, 0, 7.0, 35)
    made = Made(
        clip, attempt, Prepared(request, ()), "gang-0001", "node", "2026-01-01", 0, {"denoise": 2.0}, tuple(files)
    )
    return await delivery.made(place, made, mark)


def test_an_output_that_is_written_in_another_way_has_the_same_room(tmp_path: Path, node: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    place = waiting_module.WaitingRoom(str(tmp_path / "out")).place(CLIP, 1)
    assert waiting_module.WaitingRoom(f"{tmp_path}/link/out").place(CLIP, 1) == place
    far = [waiting_module.WaitingRoom(f"{scheme}://b/out").place(CLIP, 1) for scheme in ("s3", "s3a")]
    assert far[0] == far[1] != place


@pytest.mark.parametrize("step", [*STEPS, "verify"])
def test_a_store_that_is_out_for_a_while_costs_no_clip(tmp_path: Path, node: Path, step: str) -> None:
    storage = Outage(str(tmp_path / "out"), step)
    spec = spec_of(storage)

    async def job() -> Record:
        delivery = Delivery(storage, spec)
        clip = asyncio.create_task(make(delivery, spec))
        assert await delivery.waiting(0) == 1
        await asyncio.to_thread(wait_for, lambda: storage.refused, "the store to refuse it")
        assert not list(Ledger(Storage(storage.uri)).records())
        storage.is_out = False
        assert await delivery.waiting(1) == 0
        return await clip

    record = asyncio.run(job())
    assert (record.attempt, record.status) == (1, "ok")
    assert {"denoise", "put"} <= record.seconds.keys()
    assert record.sidecar is not None
    assert hashlib.sha256(storage.read(record.sidecar.path)).hexdigest() == record.sidecar.sha256
    assert list(Ledger(storage).records()) == [record]
    assert storage.read("clips/a/1/front_wide.mp4") == b"front_wide of attempt 1"
    assert not [path for path in node.rglob("*") if path.is_file()], "it is kept though it is stored"


@pytest.mark.parametrize("step", ["cross_right", "verify", "clip.json", "ledger"])
def test_what_a_try_has_stored_is_not_stored_again_by_the_next(tmp_path: Path, step: str) -> None:
    """Whatever was refused, and however often; unless somebody has taken it away meanwhile, or cut it."""
    storage = Outage(str(tmp_path / "out"), step)
    spec = spec_of(storage, patience_s=60.0)

    async def job(harm: str) -> Record:
        storage.is_out = True
        clip = asyncio.create_task(make(Delivery(storage, spec), spec, clip=replace(CLIP, id=harm)))
        before = storage.refused
        while storage.refused < before + 5:
            await asyncio.sleep(0.01)
        video = tmp_path / f"out/clips/{harm}/1/front_wide.mp4"
        video.unlink() if harm == "gone" else video.write_bytes(b"front") if harm == "cut" else None
        storage.is_out = False
        return await clip

    record = asyncio.run(job("a"))
    assert sorted(path for path in storage.written if path.endswith(".mp4")) == sorted(one.path for one in record.files)
    for harm in ("gone", "cut"):
        asyncio.run(job(harm))
        assert storage.read(f"clips/{harm}/1/front_wide.mp4") == b"front_wide of attempt 1"


def leave_behind(storage: Outage, spec: GangSpec, mark: str = "") -> None:
    """A gang whose driver dies while a clip of its waits."""

    async def job() -> None:
        with pytest.raises(StoreOutError, match="503"):
            await make(Delivery(storage, replace(spec, patience_s=0.0)), spec, mark=mark)

    asyncio.run(job())


def test_a_store_that_is_slow_is_not_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is with one that does not take a clip; one that takes it may take its time."""

    class Slow(Storage):
        def write(self, path: str, data: bytes) -> None:
            time.sleep(0.2)
            super().write(path, data)

    monkeypatch.setattr(delivery_module, "_WAITS_S", 0.01)
    storage = Slow(str(tmp_path / "out"))
    spec = spec_of(storage, patience_s=0.05)
    record = asyncio.run(make(Delivery(storage, spec), spec))
    assert list(Ledger(storage).records()) == [record]


def test_what_waits_when_a_driver_dies_is_committed_by_the_next(tmp_path: Path, node: Path) -> None:
    """As the attempt that made it, under the next one's lease."""
    storage = Outage(str(tmp_path / "out"))
    leave_behind(storage, spec_of(storage))
    storage.is_out = False
    record = asyncio.run(Delivery(storage, spec_of(storage, epoch=2)).found(CLIP))
    assert record is not None
    assert (record.attempt, record.epoch) == (1, 2)
    assert list(Ledger(storage).records()) == [record]
    assert storage.read("clips/a/1/cross_right.mp4") == b"cross_right of attempt 1"
    assert asyncio.run(Delivery(storage, spec_of(storage, epoch=2)).found(CLIP)) is None


@pytest.mark.parametrize(
    ("clip", "changes"),
    [
        (replace(CLIP, row_hash="e" * 64), {}),
        (replace(CLIP, generation=1), {}),
        (replace(CLIP, id="a.1"), {}),
        (CLIP, {"numerics": "float32"}),
    ],
    ids=["the row was edited", "it is made anew", "another clip", "another model"],
)
def test_what_is_asked_for_now_is_not_what_waits(tmp_path: Path, clip: Clip, changes: dict[str, Any]) -> None:
    storage = Outage(str(tmp_path / "out"))
    leave_behind(storage, spec_of(storage))
    storage.is_out = False
    assert asyncio.run(Delivery(storage, spec_of(storage, epoch=2, **changes)).found(clip)) is None
    assert not list(Ledger(storage).records())


def test_clips_whose_ids_begin_alike_find_each_its_own(tmp_path: Path) -> None:
    """An id may have dots, and numbers behind them, as folders have behind the id."""
    storage = Outage(str(tmp_path / "out"))
    spec = spec_of(storage)
    clips = [replace(CLIP, id=one) for one in ("a", "a.b", "a.1", "a.0.1", "a.0.1.1")]

    async def leave() -> None:
        delivery = Delivery(storage, replace(spec, patience_s=0.0))
        for clip in clips:
            with pytest.raises(StoreOutError):
                await make(delivery, spec, clip=clip)

    asyncio.run(leave())
    storage.is_out = False
    found = [asyncio.run(Delivery(storage, spec_of(storage, epoch=2)).found(clip)) for clip in clips]
    assert [record and record.id for record in found] == [clip.id for clip in clips]


def test_a_clip_that_could_not_be_stored_waits_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gang whose every place is taken by such clips would be given none."""
    monkeypatch.setattr(delivery_module, "_WAITS_S", 0.01)
    storage = Outage(str(tmp_path / "out"))
    spec = spec_of(storage, patience_s=0.1)

    async def job() -> list[int]:
        delivery = Delivery(storage, spec)
        clip = asyncio.create_task(make(delivery, spec))
        counts = [await delivery.waiting(0)]
        with pytest.raises(StoreOutError):
            await clip
        return [*counts, await delivery.waiting(known=-1)]

    assert asyncio.run(job()) == [1, 0]


@pytest.mark.parametrize("harm", ["cut", "gone", "no facts", "facts that are none"])
def test_what_is_not_whole_counts_for_nothing(tmp_path: Path, node: Path, harm: str) -> None:
    """The machine went down before its disk had all."""
    storage = Outage(str(tmp_path / "out"))
    leave_behind(storage, spec_of(storage))
    storage.is_out = False
    (video,) = node.rglob("front_wide.mp4")
    (facts,) = node.rglob("clip.json")
    if harm == "cut":
        video.write_bytes(b"front")
    elif harm == "gone":
        video.unlink()
    elif harm == "no facts":
        facts.unlink()
    else:
        facts.write_text('{"record": 1')
    assert asyncio.run(Delivery(storage, spec_of(storage, epoch=2)).found(CLIP)) is None
    assert not list(Ledger(storage).records())
    assert not list(node.rglob("front_wide.mp4"))


def test_a_driver_that_dies_when_its_clip_is_committed_leaves_it_as_it_is(tmp_path: Path) -> None:
    """The next one finds it on the disk once more, and its sidecar would say other seconds."""
    storage = Outage(str(tmp_path / "out"), "attempts")
    leave_behind(storage, spec_of(storage))
    (committed,) = Ledger(Storage(storage.uri)).records()
    storage.is_out, written = False, len(storage.written)
    assert asyncio.run(Delivery(storage, spec_of(storage, epoch=2)).found(CLIP)) == committed
    assert committed.sidecar is not None
    assert hashlib.sha256(storage.read(committed.sidecar.path)).hexdigest() == committed.sidecar.sha256
    assert len(storage.written) == written


def test_a_clip_has_one_outcome_though_two_deliver_it(tmp_path: Path) -> None:
    """The driver before was not dead but slept, and another attempt was committed meanwhile."""
    storage = Outage(str(tmp_path / "out"))
    leave_behind(storage, spec_of(storage))
    storage.is_out = False
    first = Record("a", 0, "ok", None, 2, None, CLIP.row_hash, 2)
    Ledger(storage).commit(first)
    assert asyncio.run(Delivery(storage, spec_of(storage, epoch=2)).found(CLIP)) == first
    assert list(Ledger(storage).records()) == [first]


def test_who_lost_the_output_delivers_nothing(tmp_path: Path) -> None:
    storage = Outage(str(tmp_path / "out"))
    storage.is_out = False
    storage.write(f"{LEASE}/00000002.json", b"the next owner")
    with pytest.raises(LeaseLost):
        asyncio.run(make(Delivery(storage, spec_of(storage)), spec_of(storage)))
    assert not list(Ledger(storage).records())


def test_a_whole_lane_of_clips_may_wait(tmp_path: Path) -> None:
    """None of them holds a thread that another one's fetching or the bound's last clip would need."""
    storage = Outage(str(tmp_path / "out"))
    spec = spec_of(storage, settings=GangConfig(clips_waiting=20))
    clips = [replace(CLIP, id=f"c{number}") for number in range(20 + spec.settings.clips_in_flight)]

    async def job() -> list[Record]:
        delivery = Delivery(storage, spec)
        made = [asyncio.create_task(make(delivery, spec, clip=clip)) for clip in clips]
        known = 0
        while known < len(clips):
            known = await delivery.waiting(known)
        await asyncio.to_thread(wait_for, lambda: storage.met >= {clip.id for clip in clips}, "each to be tried")
        threading.Timer(0.0, lambda: setattr(storage, "is_out", False)).start()
        return list(await asyncio.gather(*made))

    assert {record.id for record in asyncio.run(job())} == {clip.id for clip in clips}
    wait_for(lambda: len(list(Ledger(storage).records())) == len(clips), "all of them")


def test_what_nobody_asks_for_in_a_week_is_removed_by_the_next_gang(tmp_path: Path, node: Path) -> None:
    storage = Outage(str(tmp_path / "out"))
    leave_behind(storage, spec_of(storage))
    (waits,) = node.glob("*/*")
    six_days, eight_days = (time.time() - days * 86400 for days in (6, 8))

    async def gang() -> None:
        Delivery(storage, spec_of(storage))

    os.utime(waits, (six_days, six_days))
    asyncio.run(gang())
    assert waits.exists()
    os.utime(waits, (eight_days, eight_days))
    asyncio.run(gang())
    assert not waits.exists()


def attempts(storage: Storage) -> dict[str, str]:
    return {path.rsplit("/", 1)[1]: storage.read(path).decode() for path in storage.list(ATTEMPTS)}


def test_an_attempt_that_began_without_a_mark_is_marked_before_anything_is_stored(tmp_path: Path) -> None:
    storage = Outage(str(tmp_path / "out"), "mp4")
    spec = spec_of(storage)

    async def job() -> Record:
        delivery = Delivery(storage, spec)
        clip = asyncio.create_task(make(delivery, spec, mark="1/gang-0001/x"))
        await delivery.waiting(0)
        assert attempts(storage) == {"a.1": "1/gang-0001/x"}
        assert not list(Storage(storage.uri).list("clips"))
        storage.is_out = False
        return await clip

    assert asyncio.run(job()).attempt == 1
    assert attempts(storage) == {"a.1": "1/gang-0001/x"}, "one attempt, marked once"


def test_two_attempts_of_one_number_do_not_write_over_each_other(tmp_path: Path) -> None:
    """The one without a mark takes the next that is free, in its files, sidecar and record."""
    storage = Outage(str(tmp_path / "out"))
    storage.is_out = False
    storage.write("_cosmos_ray/attempts/a.1", b"another's")
    storage.write("clips/a/1/front_wide.mp4", b"another's")
    record = asyncio.run(make(Delivery(storage, spec_of(storage)), spec_of(storage), mark="1/gang-0001/x"))
    assert record.attempt == 2
    assert [one.path for one in record.files] == ["clips/a/2/front_wide.mp4", "clips/a/2/cross_right.mp4"]
    assert storage.read("clips/a/1/front_wide.mp4") == b"another's"
    assert storage.read("clips/a/2/front_wide.mp4") == b"front_wide of attempt 1"
    sidecar = json.loads(storage.read("clips/a/2/clip.json"))
    assert (sidecar["attempt"], [one["path"] for one in sidecar["files"]]) == (2, [one.path for one in record.files])
    assert attempts(storage) == {"a.1": "another's", "a.2": "1/gang-0001/x"}


def test_a_clip_that_waits_without_a_mark_is_marked_by_the_next_driver(tmp_path: Path) -> None:
    """Who has taken the same number for an attempt of its own meanwhile, and keeps it."""
    storage = Outage(str(tmp_path / "out"))
    leave_behind(storage, spec_of(storage), mark="1/gang-0001/x")
    storage.is_out = False
    assert begin_attempt(Ledger(storage), "a", 0, "2/gang-0001") == 1
    record = asyncio.run(Delivery(storage, spec_of(storage, epoch=2)).found(CLIP))
    assert record is not None
    assert record.attempt == 2
    assert attempts(storage)["a.2"] == "1/gang-0001/x"


def test_who_lost_the_output_marks_nothing(tmp_path: Path) -> None:
    storage = Outage(str(tmp_path / "out"))
    storage.is_out = False
    storage.write(f"{LEASE}/00000002.json", b"the next owner")
    with pytest.raises(LeaseLost):
        asyncio.run(make(Delivery(storage, spec_of(storage)), spec_of(storage), mark="1/gang-0001/x"))
    assert attempts(storage) == {}
