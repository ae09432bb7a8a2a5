"""What is left of a job's own Ray is killed: what has its mark, and what comes from that; also after a late signal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.named_process import strangely_named
from support.signal_scene import session
from support.waiting import PATIENCE_S, wait_for

from cosmos_ray.pool import own_ray

#: A program that marks itself as a Ray of its own, starts a process that has lost its environment, and an orphan of it.
_DRIVER = """
import os, subprocess, sys
from cosmos_ray.pool.own_ray import end_what_is_left, mark
other = subprocess.Popen(["sleep", "600"])
mark()
raylet = subprocess.Popen(["sh", "-c", "env -i sleep 602 & sleep 603"])
parent = subprocess.Popen(["bash", "-c", "env -i bash -c 'exec -a ray::DashboardAgent sleep 604' & sleep 0.1"])
parent.wait()
input()
end_what_is_left()
print("ended", other.poll(), flush=True)
input()
other.kill()
"""


#: A job that is done, whose own Ray's processes are being ended.
_ENDS = """
import sys, time
from cosmos_ray import signals
signals.hear()
from ray._private.node import Node
from cosmos_ray.config import GenerateConfig
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool.cluster import connect
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.stop import Stop

def slowly(*_, **__):
    print("ends", flush=True)
    time.sleep(600)

Node.kill_all_processes = slowly
settings = GenerateConfig(manifest="m", output="o", model="fake", device="cpu", gang_size=1)
try:
    with Stop().heeds_signals(lambda: None), connect(load_bundle("fake"), settings):
        pass
except JobFailedError as error:
    signals.complain(str(error))
    signals.leave(1)
"""


def sleeping(number: int, session: int) -> bool:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title, stat = (entry / "cmdline").read_bytes(), (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if title.endswith(f"\0{number}\0".encode()) and int(stat[3]) == session and stat[0] not in "ZX":
            return True
    return False


def test_processes_of_any_name_are_looked_at_and_left_alone() -> None:
    """One of anybody's on the machine, whose name is no text."""
    with strangely_named() as pid:
        assert pid not in list(own_ray._ours(b"A_MARK=of nobody"))


def test_what_is_left_of_a_jobs_own_ray_ends_and_nothing_else() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stdin is not None
    assert driver.stdout is not None
    try:
        wait_for(lambda: all(sleeping(number, driver.pid) for number in (600, 602, 603, 604)), "all to sleep")
        driver.stdin.write("\n")
        driver.stdin.flush()
        assert driver.stdout.readline() == "ended None\n"
        wait_for(lambda: not any(sleeping(number, driver.pid) for number in (602, 603, 604)), "them to end")
        assert sleeping(600, driver.pid), "what was started before is no part of it"
    finally:
        driver.communicate("\n")


def test_a_signal_to_a_jobs_group_does_not_reach_its_own_ray() -> None:
    """What Ray starts meanwhile has a group of its own, what it starts afterwards has not."""
    from ray._private import services

    from cosmos_ray.pool.own_ray import in_groups_of_their_own

    with in_groups_of_their_own():
        agent = services.ConsolePopen(["sleep", "600"], preexec_fn=lambda: None)
    other = services.ConsolePopen(["sleep", "600"])
    try:
        assert os.getpgid(agent.pid) == agent.pid
        assert os.getpgid(other.pid) == os.getpgid(0)
    finally:
        for process in (agent, other):
            process.kill()
            process.wait()


@pytest.mark.ray
def test_a_signal_while_rays_processes_are_ended_is_heard_and_leaves_nothing() -> None:
    """Ray has put the system's own answer to SIGTERM back by then."""
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    driver = subprocess.Popen(
        [sys.executable, "-c", _ENDS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=alone,
        start_new_session=True,
    )
    try:
        assert driver.stdout is not None
        assert any(line == "ends\n" for line in driver.stdout), driver.communicate()
        driver.send_signal(signal.SIGTERM)
        _, said = driver.communicate(timeout=PATIENCE_S)
        assert driver.returncode == 1, said
        assert "cosmos-ray: stopped by SIGTERM; the same command goes on from here" in said
        wait_for(lambda: not session(driver.pid), "the processes of its Ray to be gone")
    finally:
        for pid in session(driver.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_what_comes_while_others_are_killed_is_killed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One may start another meanwhile; and it is not looked for without end."""
    rounds, killed = iter([[11, 12], [13], []]), list[int]()
    monkeypatch.setattr(own_ray, "_adopt_orphans", lambda yes: None)
    monkeypatch.setattr(own_ray.os, "kill", lambda pid, number: killed.append(pid))
    monkeypatch.setattr(own_ray, "_ours", lambda wanted: next(rounds))
    own_ray.mark()
    own_ray.end_what_is_left()
    assert (killed, next(rounds, None), own_ray.is_there()) == ([11, 12, 13], None, False)
    monkeypatch.setattr(own_ray, "_ours", lambda wanted: [14])
    own_ray.mark()
    own_ray.end_what_is_left()
    assert killed[3:] == [14] * 5


def test_what_comes_from_a_marked_process_is_ours_however_far_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has lost its environment; and of what this process has adopted, Ray's own alone."""
    me = os.getpid()
    processes = [
        (me, 1, "S", b"A=1", b"python"),
        (900001, me, "S", b"A=1\0MARK=x", b"raylet"),
        (900002, 900001, "S", b"", b"agent"),
        (900003, 900002, "S", b"", b"sleep"),
        (900004, me, "S", b"MARK=xy", b"another job's"),
        (900005, 900004, "S", b"", b"sleep"),
        (900006, me, "S", b"", b"ray::Agent"),
        (900007, 900001, "Z", b"MARK=x", b"dead"),
    ]
    for pid, parent, state, environment, title in processes:
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a (b) c) {state} {parent} 1 1")
        (folder / "environ").write_bytes(environment + b"\0")
        (folder / "cmdline").write_bytes(title + b"\0")
    monkeypatch.setattr(own_ray, "Path", lambda _: tmp_path)
    assert sorted(own_ray._ours(b"MARK=x")) == [900001, 900002, 900003, 900006]
