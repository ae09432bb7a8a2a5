"""What Ray says of a process that died is one line of a job's log, and whatever else it says stays."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from ray._private import worker

from cosmos_ray.pool import ray_words

#: As Ray 2.60 says it.
SAID = (
    "A worker died or was killed while executing a task by an unexpected system error. To troubleshoot the problem, "
    "check the logs for the dead worker. Lease ID: 0400 Worker ID: 9226 Node ID: a14e Worker IP address: 127.0.0.1 "
    "Worker port: 39091 Worker PID: 1011 Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits "
    "with a connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM "
    "killer due to high memory usage, (2) ray stop --force was called. If the process was killed by the kernel OOM "
    "killer, consider enabling resource isolation."
)
LINE = "Ray: process 1011 died (SYSTEM_ERROR): Worker unexpectedly exits with a connection error code 2. End of file."


def test_a_death_is_one_line_and_anything_else_is_printed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    printed: list[Any] = []
    monkeypatch.setattr(worker, "print_to_stdstream", lambda data, ignore_prefix: printed.append(data["lines"]))
    ray_words.shorten()
    ray_words.shorten()  # a second job of this process
    with caplog.at_level(logging.INFO):
        for lines in ([SAID], ["The node has no room."], [SAID, "and more"], []):
            worker.print_to_stdstream({"lines": lines, "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert printed == [["The node has no room."], [SAID, "and more"], []]
    assert [record.getMessage() for record in caplog.records] == [LINE]


def test_a_ray_that_prints_in_another_way_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(worker, "print_to_stdstream")
    ray_words.shorten()
    assert not hasattr(worker, "print_to_stdstream")


def test_why_it_died_is_kept() -> None:
    killed = SAID.replace("Worker unexpectedly exits with a connection error code 2. End of file.", "Out of memory.")
    assert ray_words.one_line(killed) == "Ray: process 1011 died (SYSTEM_ERROR): Out of memory."
    assert ray_words.one_line("(autoscaler) A worker died") is None


def test_of_an_actor_that_could_not_be_made_it_says_what_was_raised() -> None:
    """As Ray 2.60 says it; of any other error the first line."""
    said = (
        "The actor died because of an error raised in its creation task, \x1b[36mray::GangLeader.__init__()\x1b[39m "
        "(pid=1, ip=10.0.0.1, actor_id=14b1, repr=<...TemporaryActor object at 0x7f41>)\n"
        "  At least one of the input arguments for this task could not be computed:\n"
        "ray.exceptions.RaySystemError: System error: No module named 'nothing'\n"
        "ModuleNotFoundError: No module named 'nothing'\n"
    )
    assert ray_words.why(RuntimeError(said)) == "ModuleNotFoundError: No module named 'nothing'"
    assert ray_words.why(RuntimeError("first\nlast")) == "first"
    assert ray_words.why(RuntimeError()) == "RuntimeError"
