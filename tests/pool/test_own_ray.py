"""What is left of a job's own Ray is killed: what has its mark, and what comes from that. Without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.waiting import wait_for

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


def sleeping(number: int, session: int) -> bool:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title, stat = (entry / "cmdline").read_bytes(), (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if title.endswith(f"\0{number}\0".encode()) and int(stat[3]) == session and stat[0] not in "ZX":
            return True
    return False


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
