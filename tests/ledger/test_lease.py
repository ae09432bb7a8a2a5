"""One owner of an output at a time: who may take it, who must wait, and who finds that it has lost it.

Owners that are killed or put to sleep are real processes. Each test runs on a local folder and on an S3 server.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.waiting import PATIENCE_S, wait_for

from cosmos_ray.errors import LeaseHeld, LeaseLost
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.lease import Lease, LeaseTimes, acquire, check_epoch, read_owner
from cosmos_ray.store.storage import Storage

#: To watch owners that are dead.
SHORT = LeaseTimes(beat_s=0.2, life_s=1.5)
#: A life so long that nobody is taken for dead, on the slowest machine.
PATIENT = LeaseTimes(beat_s=0.2, life_s=PATIENCE_S)

_OWNER = f"""
import sys
from cosmos_ray.errors import LeaseHeld, LeaseLost
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.lease import LeaseTimes, acquire, check_epoch
from cosmos_ray.store.storage import Storage

def say(*words):
    print(*words, flush=True)

storage = Storage(sys.argv[1])
storage.exists("warm-up")
say("ready")
sys.stdin.readline()
try:
    lease = acquire(storage, LeaseTimes({PATIENT.beat_s}, {PATIENT.life_s}), on_lost=lambda: say("on_lost"))
except LeaseHeld as error:
    say("held")
    sys.exit()
say("owner", lease.epoch)
for command in sys.stdin:
    if command == "release\\n":
        lease.release()
        say("released")
    else:
        try:
            check_epoch(storage, lease.epoch)
            say("still the owner")
        except LeaseLost:
            say("lost", lease.lost)
"""


class Job:
    """Another job, in a process of its own, that speaks a line at a time."""

    def __init__(self, storage: Storage) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWNER, storage.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self.hear() == "ready"

    def say(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line; fails if it has nothing to say for long."""
        return self._lines.get(timeout=PATIENCE_S)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.strip())

    def ask(self, line: str = "") -> str:
        self.say(line)
        return self.hear()


@pytest.fixture
def start_job(storage: Storage) -> Iterator[Callable[[], Job]]:
    """Starts jobs on `storage` that wait for a word before they try to own it."""
    jobs: list[Job] = []

    def start() -> Job:
        jobs.append(Job(storage))
        return jobs[-1]

    yield start
    for job in jobs:
        job.process.kill()
        job.process.wait()


def take(
    storage: Storage,
    on_lost: Callable[[], None] = lambda: None,
    times: LeaseTimes = PATIENT,
    say: Callable[[str], None] = lambda _: None,
) -> Lease:
    return acquire(storage, times, on_lost, say)


# --- taking ----------------------------------------------------------------------------------------------------------


def test_the_first_owner_takes_a_free_output_at_once(storage: Storage) -> None:
    said: list[str] = []
    lease = take(storage, say=said.append)
    assert not said, "it watched for somebody"
    assert lease.epoch == 1
    assert not lease.lost
    check_epoch(storage, lease.epoch)
    lease.release()


def test_a_beating_owner_is_not_disturbed(storage: Storage) -> None:
    lease = take(storage)
    with pytest.raises(LeaseHeld, match=f"{storage.uri} is owned by a living job \\({lease.owner}\\)"):
        take(storage)
    check_epoch(storage, lease.epoch)
    lease.release()
    assert not lease.lost


def test_a_released_output_is_taken_without_waiting(storage: Storage) -> None:
    """Every owner has an epoch of its own, one after the other."""
    said: list[str] = []
    for epoch in (1, 2, 3):
        lease = take(storage, say=said.append)
        assert lease.epoch == epoch
        lease.release()
    assert not said, "it watched for somebody"


def test_a_release_while_a_newcomer_watches_is_noticed(storage: Storage) -> None:
    """The owner is silent (it beats once a minute) until it says farewell."""
    quiet = acquire(storage, LeaseTimes(beat_s=PATIENCE_S, life_s=3 * PATIENCE_S))
    said: list[str] = []

    def farewell(line: str) -> None:
        said.append(line)
        quiet.release()

    lease = take(storage, times=LeaseTimes(beat_s=1.0, life_s=PATIENCE_S), say=farewell)
    assert [line for line in said if "watching it" in line] == said, "it waited for silence"
    assert lease.epoch == 2
    lease.release()


@pytest.mark.slow
def test_two_newcomers_to_a_free_output_make_one_owner(storage: Storage, start_job: Callable[[], Job]) -> None:
    jobs = [start_job(), start_job()]
    for job in jobs:
        job.say()
    assert sorted(job.hear() for job in jobs) == ["held", "owner 1"]


@pytest.mark.slow
def test_of_many_newcomers_to_a_dead_owners_output_one_takes_over(storage: Storage) -> None:
    """An owner that died before its first beat; eight jobs have found its epoch before one takes the next."""
    storage.write(f"{LEASE}/00000001.json", json.dumps({"owner": "died early", "time": 0}).encode())

    together = threading.Barrier(8, timeout=PATIENCE_S)
    often = LeaseTimes(beat_s=0.02, life_s=SHORT.life_s)  # that is ten looks: the new owner beats between two of them

    def attempt(_: int) -> Lease | None:
        said: list[str] = []

        def meet(line: str) -> None:
            said.append(line)
            if len(said) == 1:
                together.wait()

        try:
            return take(storage, times=often, say=meet)
        except LeaseHeld:
            return None

    with ThreadPoolExecutor(8) as pool:
        leases = [lease for lease in pool.map(attempt, range(8)) if lease is not None]
    assert [lease.epoch for lease in leases] == [2]
    leases[0].release()


def test_the_newest_epoch_is_the_largest_number_that_was_claimed(storage: Storage) -> None:
    """Not how many there are, and not one that has a beat alone."""
    storage.write(f"{LEASE}/00000007.json", b"{}")
    storage.write(f"{LEASE}/00000007.beat", json.dumps({"owner": "x", "released": True, "time": 0}).encode())
    storage.write(f"{LEASE}/00000009.beat", b"{}")
    found = read_owner(storage)
    assert found is not None
    assert (found.name, found.epoch, found.released, found.job) == ("x", 7, True, {})
    lease = take(storage)
    assert lease.epoch == 8
    lease.release()


def test_nobody_has_owned_an_empty_output(storage: Storage) -> None:
    assert read_owner(storage) is None
    storage.write(f"{LEASE}/00000000.beat", json.dumps({"owner": "x", "released": False, "time": 0}).encode())
    assert read_owner(storage) is None, "epochs begin with 1"
    storage.write(f"{LEASE}/00000001.json", b"{}")
    assert read_owner(storage) is None, "it has not beaten yet"


def test_an_owner_whose_clock_is_ahead_was_heard_of_just_now(storage: Storage) -> None:
    storage.write(f"{LEASE}/00000001.json", b"{}")
    beat = {"owner": "x", "released": False, "time": time.time() + 3600}
    storage.write(f"{LEASE}/00000001.beat", json.dumps(beat).encode())
    found = read_owner(storage)
    assert found is not None
    assert found.age_s == 0.0


def test_a_newcomer_that_is_overtaken_while_it_watches_leaves(storage: Storage) -> None:
    """Another has taken the next epoch: it is said at once, not after a lifetime."""
    storage.write(f"{LEASE}/00000001.json", b"{}")

    def overtake(_: str) -> None:
        storage.write(f"{LEASE}/00000002.json", b"{}")

    with pytest.raises(LeaseHeld, match="was just taken over by another job"):
        take(storage, times=SHORT, say=overtake)


@pytest.mark.parametrize("claim", [b"", b"{", b"[]", b'"x"', b'{"process": 3}'])
def test_a_claim_that_cannot_be_read_proves_no_death(tmp_path: Path, claim: bytes) -> None:
    """Its owner is watched, like any other."""
    storage = Storage(str(tmp_path))
    storage.write(f"{LEASE}/00000001.json", claim)
    said: list[str] = []
    lease = take(storage, times=LeaseTimes(PATIENCE_S, 0.2), say=said.append)
    assert ["watching it" in line for line in said] == [True, False]
    lease.release()


def test_who_lost_an_output_says_no_farewell(tmp_path: Path) -> None:
    """And a store that is out when he would say it does not hide why the job ends."""
    storage = Storage(str(tmp_path))
    lease = take(storage, times=LeaseTimes(PATIENCE_S, PATIENCE_S))
    before = storage.read(f"{LEASE}/00000001.beat")
    seen: list[bool] = []
    lease._on_lost = lambda: seen.append(lease.lost)
    lease._lose("another job has taken over")
    assert seen == [True], "whoever is called finds it lost"
    lease.release()
    assert storage.read(f"{LEASE}/00000001.beat") == before


def test_a_farewell_that_cannot_be_stored_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lease = take(Storage(str(tmp_path)), times=LeaseTimes(PATIENCE_S, PATIENCE_S))

    def fail(*_: object) -> None:
        raise PermissionError("the store is out")

    monkeypatch.setattr(Storage, "write", fail)
    lease.release()
    assert "could not be released: the store is out" in caplog.text


@pytest.mark.parametrize(
    ("config", "lead"), [(None, ""), ("{}", ""), ('{"metadata": {"job_submission_id": "raysubmit_7"}}', "raysubmit_7-")]
)
def test_an_owner_is_called_after_its_submission_machine_and_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None, lead: str
) -> None:
    """What `status` says on another machine: where to look. No two owners have one name."""
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if config is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", config)
    leases = [take(Storage(str(tmp_path / name))) for name in ("a", "b")]
    for lease in leases:
        lease.release()
        assert re.fullmatch(rf"{lead}{re.escape(socket.gethostname())}-{os.getpid()}-[0-9a-f]{{12}}", lease.owner)
    assert leases[0].owner != leases[1].owner


def test_the_times_that_pages_promise() -> None:
    assert LeaseTimes() == LeaseTimes(beat_s=5.0, life_s=15.0)


# --- taking over -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_owner_of_this_machine_is_succeeded_at_once(storage: Storage, start_job: Callable[[], Job]) -> None:
    """SIGKILL: no farewell, but its process is gone, and nobody watches for what cannot move any more."""
    job = start_job()
    assert job.ask() == "owner 1"
    job.process.send_signal(signal.SIGKILL)
    job.process.wait()
    said: list[str] = []
    lease = take(storage, say=said.append)
    assert [line for line in said if "a process of this machine that has ended" in line] == said
    assert lease.epoch == 2
    lease.release()


@pytest.mark.slow
def test_a_killed_owner_of_another_machine_is_succeeded_after_one_lifetime(
    storage: Storage, start_job: Callable[[], Job]
) -> None:
    """Watched for a lifetime, not less."""
    job = start_job()
    assert job.ask() == "owner 1"
    job.process.send_signal(signal.SIGKILL)
    job.process.wait()
    claim = json.loads(storage.read(f"{LEASE}/00000001.json"))
    claim["process"]["host"] = "another"
    storage.write(f"{LEASE}/00000001.json", json.dumps(claim).encode())
    began = time.monotonic()
    lease = take(storage, times=SHORT)
    assert time.monotonic() - began >= SHORT.life_s
    assert lease.epoch == 2
    lease.release()


@pytest.mark.slow
def test_an_owner_that_slept_through_its_succession_finds_itself_lost(
    storage: Storage, start_job: Callable[[], Job]
) -> None:
    """SIGSTOP, succession, SIGCONT: `on_lost` is called, and the check before a commit raises."""
    job = start_job()
    assert job.ask() == "owner 1"
    assert job.ask("check") == "still the owner"
    job.process.send_signal(signal.SIGSTOP)
    successor = take(storage, times=LeaseTimes(PATIENT.beat_s, SHORT.life_s))
    assert successor.epoch == 2
    job.process.send_signal(signal.SIGCONT)
    assert job.hear() == "on_lost"
    assert job.ask("check") == "lost True"
    # Its farewell, if it says one, does not touch the successor.
    assert job.ask("release") == "released"
    with pytest.raises(LeaseHeld):
        take(storage)
    assert not successor.lost
    successor.release()


def test_the_check_before_a_commit_needs_no_beat(storage: Storage) -> None:
    """An owner may wake between two beats: what counts is whether the next epoch is there."""
    sleepy = acquire(storage, LeaseTimes(beat_s=PATIENCE_S, life_s=3 * PATIENCE_S))
    check_epoch(storage, sleepy.epoch)
    storage.write(f"{LEASE}/00000002.json", b"{}")
    assert not sleepy.lost
    with pytest.raises(LeaseLost, match=r"epoch 2\); this one was epoch 1"):
        check_epoch(storage, sleepy.epoch)
    storage.write(f"{LEASE}/00000003.json", b"{}")
    with pytest.raises(LeaseLost):
        check_epoch(storage, sleepy.epoch)
    sleepy.release()


def test_a_store_that_is_gone_for_a_while_does_not_end_the_beats(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that beats outlives faults of the store, and beats again when they are over."""
    lost: list[bool] = []
    lease = take(storage, on_lost=lambda: lost.append(True))
    broken = threading.Event()
    broken.set()
    write = Storage.write

    def write_unless_broken(self: Storage, path: str, data: bytes) -> None:
        if broken.is_set():
            raise OSError("the store is gone")
        write(self, path, data)

    monkeypatch.setattr(Storage, "write", write_unless_broken)
    wait_for(lambda: "the store is gone" in caplog.text, "a beat that fails")
    broken.clear()
    before = storage.read(f"{LEASE}/00000001.beat")
    wait_for(lambda: storage.read(f"{LEASE}/00000001.beat") != before, "a beat that does not")
    assert not lease.lost
    assert not lost
    lease.release()
