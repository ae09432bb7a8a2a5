"""A process of a machine by a name that no other ever has, and whether it has provably ended.

A pid alone is given to others again, and counts in one pid namespace (container) only; so does a start time in one time
namespace. Boot id and namespaces are therefore parts of the name: where they are those of the process that asks, its
own `/proc` is the right one to look at. Whatever is not certain proves nothing.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Process:
    """host: the machine's name; boot: its boot id; space: pid and time namespace; start: in clock ticks since boot."""

    host: str
    boot: str
    space: str
    pid: int
    start: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def this_process() -> Process | None:
    """None where the system does not say (no Linux)."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        space = " ".join(os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "time"))
    except OSError:
        return None
    return Process(socket.gethostname(), boot, space, os.getpid(), process_start(os.getpid()))


def has_ended(named: object) -> bool:
    """Is the process of this name (`Process.to_dict`, as somebody has stored it) certain to be gone?

    A namespace that has the same number as one that is gone was made after that one's processes had ended.
    """
    here = this_process()
    if here is None or not isinstance(named, dict):
        return False
    found = {field.name: named.get(field.name) for field in fields(Process)}
    if any(found[part] != getattr(here, part) for part in ("host", "boot", "space")):
        return False
    pid, start = found["pid"], found["start"]
    if type(pid) is not int or pid <= 0 or not isinstance(start, str) or not start:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's: `/proc` may hide it
        return False
    return process_start(pid) != start


def process_start(pid: int) -> str:
    """Start time of a process in clock ticks since boot (proc(5), field 22); "" if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = text.rpartition(b")")[2].decode("ascii").split()  # before it the name, any bytes
    return "" if fields[0] in ("Z", "X") else fields[19]  # a zombie holds nothing any more
