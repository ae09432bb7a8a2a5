"""Whether a process has ended: certain only on its own machine, in its own namespaces, by pid and start time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.named_process import strangely_named

from cosmos_ray.ledger.process import has_ended, process_start, this_process

_NAME = """
import json
from cosmos_ray.ledger.process import this_process
print(json.dumps(this_process().to_dict()), flush=True)
input()
"""


@pytest.fixture(scope="module")
def other() -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen([sys.executable, "-c", _NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, json.loads(process.stdout.readline())
    process.kill()
    process.wait()


def dead(other: dict[str, Any]) -> dict[str, Any]:
    """A process that had its pid before it."""
    return {**other, "start": str(int(other["start"]) - 1)}


def test_a_process_may_have_any_name() -> None:
    """A lease's pid may be another's by now."""
    here = this_process()
    assert here is not None
    with strangely_named() as pid:
        start = process_start(pid)
        assert int(start) >= int(process_start(os.getpid()))
        assert not has_ended({**here.to_dict(), "pid": pid, "start": start})
        assert has_ended({**here.to_dict(), "pid": pid, "start": str(int(start) - 1)})


def test_a_process_that_runs_has_not_ended(other: tuple[subprocess.Popen[str], dict[str, Any]]) -> None:
    assert not has_ended(other[1])
    here = this_process()
    assert here is not None
    assert here.pid == os.getpid()
    assert not has_ended(here.to_dict())


def test_one_whose_pid_another_has_now_has_ended(other: tuple[subprocess.Popen[str], dict[str, Any]]) -> None:
    assert has_ended(dead(other[1]))


@pytest.mark.parametrize("part", ["host", "boot", "space"])
def test_of_other_machines_boots_and_containers_nothing_is_known(
    other: tuple[subprocess.Popen[str], dict[str, Any]], part: str
) -> None:
    assert not has_ended({**dead(other[1]), part: "another"})
    assert not has_ended({name: value for name, value in dead(other[1]).items() if name != part})


@pytest.mark.parametrize(
    "changes", [{"pid": 0}, {"pid": -1}, {"pid": "7"}, {"pid": None}, {"pid": True}, {"pid": 2**70}, {"start": ""}]
)
def test_what_is_no_name_of_a_process_proves_nothing(
    other: tuple[subprocess.Popen[str], dict[str, Any]], changes: dict[str, Any]
) -> None:
    assert not has_ended({**dead(other[1]), **changes})
    assert not has_ended(None)
    assert not has_ended("a process")


def test_a_zombie_and_one_that_is_gone_have_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", _NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = json.loads(process.stdout.readline())
    process.kill()
    process.stdout.read()  # ends when the process does; nobody has waited for it
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(name), "a zombie"
    process.wait()
    assert has_ended(name)


@pytest.mark.parametrize("name", ["plain", "a) S 1 (b", "two words", ")"])
def test_a_process_may_call_itself_anything(name: str) -> None:
    """Its name stands in brackets before its start, and may have some of its own."""
    here = this_process()
    comm = Path("/proc/self/comm")
    usual = comm.read_text()
    try:
        comm.write_text(name)
        assert this_process() == here
    finally:
        comm.write_text(usual)
