"""A gang's processes: who is waited for, who is killed, and how a gang is told in words."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from cosmos_ray.gang import processes
from cosmos_ray.gang.processes import GangInfo, RankProcess, await_end
from cosmos_ray.ledger.process import process_start


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes no notice of being asked to end."""
    with subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; echo; read line"], stdin=-1, stdout=-1) as made:
        assert made.stdout
        made.stdout.readline()
        yield made
        made.kill()


def named(child: subprocess.Popen[bytes]) -> RankProcess:
    return RankProcess("node", child.pid, process_start(child.pid))


def test_one_that_ends_by_itself_is_waited_for_and_not_killed(child: subprocess.Popen[bytes]) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    started = named(child)
    looked: list[int] = []

    def start(pid: int) -> str:
        looked.append(pid)
        if len(looked) == 3:  # it has been waited for
            assert child.stdin
            os.kill(pid, signal.SIGCONT)
            child.stdin.close()
        return process_start(pid)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "process_start", start)
        await_end([started])
    assert len(looked) >= 3
    assert child.wait() == 1, "the shell found its input at an end"


def test_one_that_does_not_end_is_killed_when_patience_is_over(child: subprocess.Popen[bytes]) -> None:
    gone = subprocess.run(["true"], check=True)
    assert gone.returncode == 0
    await_end([RankProcess("node", 2**22 - 3, "1"), named(child)], patience_s=0.0)
    assert child.wait() == -signal.SIGKILL


def test_no_other_process_of_that_number_is_waited_for_or_killed(child: subprocess.Popen[bytes]) -> None:
    await_end([RankProcess("node", child.pid, "1")], patience_s=0.0)
    assert child.poll() is None


def test_one_that_outlasts_that_too_is_an_error(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_GONE_S", 0.1)
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    with pytest.raises(RuntimeError, match=rf"processes \[{child.pid}\] do not end"):
        await_end([named(child), RankProcess("node", child.pid, "1")], patience_s=0.05)
    assert set(killed) == {child.pid}


def test_a_gang_says_how_it_was_loaded() -> None:
    info = GangInfo("node", (), 12.34, {"imports": 2.0, "network": 7.06})
    assert info.how_loaded() == "loaded in 12.3 s (imports 2.0 s, network 7.1 s)"
    assert GangInfo("node", (), 1.0, {}, "FlashAttention-3").how_loaded() == "FlashAttention-3; loaded in 1.0 s ()"
