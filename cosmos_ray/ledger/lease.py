"""One owner of an output at a time.

Owners are numbered by epochs. `lease/<epoch>.json` is created only if absent, so an epoch has one owner; its sibling
`<epoch>.beat` is rewritten every few seconds. A newcomer watches the newest epoch for one lifetime by its own clock: a
beat that moves means a living owner (`LeaseHeld`), silence or a farewell means that the next epoch may be taken. Where
the owner was a process of the newcomer's own machine that has ended (`process.py`), there is nothing to watch. An owner
that was only asleep finds the next epoch there (`lost`, `check`) and stops before it commits.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cosmos_ray.errors import LeaseHeld, LeaseLost
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.process import has_ended, this_process
from cosmos_ray.store.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds between beats, and of silence after which an owner counts as dead."""

    beat_s: float = 5.0
    life_s: float = 15.0


_EPOCH = re.compile(r"\d{8}\.json")


def _epoch_path(epoch: int) -> str:
    return f"{LEASE}/{epoch:08d}.json"


def _beat_path(epoch: int) -> str:
    return f"{LEASE}/{epoch:08d}.beat"


def check_epoch(storage: Storage, epoch: int) -> None:
    """Raises LeaseLost if a later owner has taken over. One HEAD request, made before each commit."""
    if storage.exists(_epoch_path(epoch + 1)):
        raise LeaseLost(f"another job has taken over {storage.uri} (epoch {epoch + 1}); this one was epoch {epoch}")


def is_seen(storage: Storage, epoch: int) -> bool:
    """Whether the lease of that epoch, which its owner holds, is to be found from here."""
    return storage.exists(_epoch_path(epoch))


def _newest_epoch(storage: Storage) -> int:
    names = (path.rsplit("/", 1)[1] for path in storage.list(LEASE))
    return max((int(name[:8]) for name in names if _EPOCH.fullmatch(name)), default=0)


def _has_ended(storage: Storage, epoch: int) -> bool:
    """Was its owner a process of this machine that is no more?"""
    try:
        claim = json.loads(storage.read(_epoch_path(epoch)))
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(claim, dict) and has_ended(claim.get("process"))


def _read_beat(storage: Storage, epoch: int) -> dict[str, Any] | None:
    """None where there is none, or none of ours: a living owner replaces it with its next one."""
    try:
        beat = json.loads(storage.read(_beat_path(epoch)))
        is_ours = math.isfinite(beat["time"]) and isinstance(beat["owner"], str) and isinstance(beat["released"], bool)
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return beat if is_ours else None


@dataclass(frozen=True)
class Owner:
    """The newest owner of an output, from its last beat. age_s: since that beat, by the two machines' clocks.

    has_ended: it has not said farewell, and was a process of this machine that is no more.
    job: what the job says of itself (`GangPool.describe`), {} before its gangs are wanted.
    """

    name: str
    epoch: int
    released: bool
    age_s: float
    job: dict[str, Any]
    has_ended: bool = False


def read_owner(storage: Storage) -> Owner | None:
    """None if nobody has owned this output, or the newest owner has not beaten yet."""
    epoch = _newest_epoch(storage)
    beat = _read_beat(storage, epoch) if epoch else None
    if beat is None:
        return None
    age_s, released = max(0.0, time.time() - beat["time"]), beat["released"]
    has_ended = not released and _has_ended(storage, epoch)
    return Owner(beat["owner"], epoch, released, age_s, beat.get("job", {}), has_ended)


class Lease:
    """Ownership of an output, kept alive by a thread until `release`. Make one with `acquire`.

    describe: what goes into each beat besides, for `status` to read on other machines.
    """

    def __init__(
        self, storage: Storage, epoch: int, owner: str, times: LeaseTimes, on_lost: Callable[[], None]
    ) -> None:
        self.storage, self.epoch, self.owner, self.times = storage, epoch, owner, times
        self._on_lost = on_lost
        self._stop = threading.Event()
        self.lost = False
        self.describe: Callable[[], dict[str, Any]] = dict
        self._count = 0
        self._beat()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _beat(self, released: bool = False) -> None:
        self._count += 1
        beat = {
            "owner": self.owner,
            "count": self._count,
            "released": released,
            "time": time.time(),
            "job": self._described(),
        }
        self.storage.write(_beat_path(self.epoch), json.dumps(beat).encode())

    def _described(self) -> dict[str, Any]:
        try:
            return self.describe()
        except Exception:  # a job that cannot say what it does is alive all the same
            log.exception("what the job does could not be told")
            return {}

    def _keep(self) -> None:
        last_beat = time.monotonic()
        while not self._stop.wait(self.times.beat_s):
            try:
                check_epoch(self.storage, self.epoch)
                self._beat()
                last_beat = time.monotonic()
            except LeaseLost as error:
                return self._lose(str(error))
            except OSError as error:
                silent = time.monotonic() - last_beat
                log.warning("lease of %s: no beat for %.0f s: %s", self.storage.uri, silent, error)
        return None

    def _lose(self, why: str) -> None:
        log.error("%s", why)
        self.lost = True
        self._on_lost()

    def release(self) -> None:
        """Say farewell, so that the next job need not wait. If the store is out, it has to wait for one lifetime."""
        self._stop.set()
        self._thread.join()
        if self.lost:
            return
        try:
            self._beat(released=True)
        except OSError as error:  # why the job ends is more important
            log.warning("the lease of %s could not be released: %s", self.storage.uri, error)


def _own_name() -> str:
    """Unique, and telling a person where to look: the submission's id (if Ray runs this as a job), machine, pid."""
    ray_job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    submission = ray_job.get("metadata", {}).get("job_submission_id")
    parts = [submission, socket.gethostname(), str(os.getpid()), uuid.uuid4().hex[:12]]
    return "-".join(part for part in parts if part)


def acquire(
    storage: Storage,
    times: LeaseTimes = LeaseTimes(),
    on_lost: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = log.info,
) -> Lease:
    """Become the owner of `storage`. Waits up to one lifetime for a silent owner, not at all for one that was a process
    of this machine and has ended; raises LeaseHeld for a beating one.

    on_lost: called from the lease's thread if another owner takes over later.
    """
    owner, process = _own_name(), this_process()
    while True:
        newest = _newest_epoch(storage)
        if newest:
            _watch(storage, newest, times, say)
        said = {"owner": owner, "time": time.time(), "process": process and process.to_dict()}
        claim = json.dumps(said).encode()
        if storage.write_if_absent(_epoch_path(newest + 1), claim):
            return Lease(storage, newest + 1, owner, times, on_lost)
        # Another newcomer was quicker: it is the owner to watch now.


def check_no_living_owner(storage: Storage, times: LeaseTimes, say: Callable[[str], None]) -> None:
    """Raises LeaseHeld, as `acquire` does and after as long; the output stays whose it is."""
    if newest := _newest_epoch(storage):
        _watch(storage, newest, times, say)


def _watch(storage: Storage, epoch: int, times: LeaseTimes, say: Callable[[str], None]) -> None:
    """Return once the owner of `epoch` is known to be gone; raise LeaseHeld when it beats."""
    first = _read_beat(storage, epoch)
    if first and first["released"]:
        return
    name = first["owner"] if first else "an owner that has not beaten yet"
    if _has_ended(storage, epoch):
        say(f"{storage.uri} belonged to {name}, a process of this machine that has ended: taking over")
        return
    say(f"{storage.uri} belongs to {name}: watching it for up to {times.life_s:.0f} s")
    pause_s = min(1.0, times.life_s / 10)
    for _ in range(math.ceil(times.life_s / pause_s)):  # looks, not a clock: what was not looked at was not silent
        time.sleep(pause_s)
        now = _read_beat(storage, epoch)
        if now and now["released"]:
            return
        if now != first:
            raise LeaseHeld(f"{storage.uri} is owned by a living job ({now['owner'] if now else name})")
        if storage.exists(_epoch_path(epoch + 1)):
            raise LeaseHeld(f"{storage.uri} was just taken over by another job")
    say(f"{name} is silent: taking over")
