"""What faults of a gang mean: of its ranks, the fault of a row or the end of the gang; of a disk, which is full."""

from __future__ import annotations

import errno
import pickle
import socket

import pytest

from cosmos_ray.errors import Fault, RowError
from cosmos_ray.gang.verdict import GangBrokenError, storage_fault, verdict

NAN = RowError("the latents are NaN", "model")
OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})


def broken(found: BaseException) -> tuple[str, str]:
    assert isinstance(found, GangBrokenError)
    return found.failure_class, str(found)


def test_a_fault_that_every_rank_reports_alike_is_the_rows() -> None:
    for method in ("denoise", "embed", "publish"):
        assert verdict(method, [NAN, RowError("the latents are NaN", "model")], ranks=2) is NAN


@pytest.mark.parametrize(
    "faults",
    [[NAN], [NAN, RowError("other", "model")], [NAN, ValueError("the latents are NaN")]],
    ids=["one of two", "other words", "another kind"],
)
def test_one_that_the_ranks_do_not_share_has_left_them_out_of_step(faults: list) -> None:
    found = verdict("denoise", faults, ranks=2)
    assert broken(found) == ("model", "denoise: RowError: the latents are NaN")


@pytest.mark.parametrize("method", ["embed", "publish"])
def test_where_ranks_do_not_meet_nobody_is_out_of_step(method: str) -> None:
    for error in (NAN, OSError("no answer"), ValueError("a bug")):
        assert verdict(method, [error], ranks=2) is error


def test_a_rank_without_memory_ends_the_gang_wherever_it_is() -> None:
    for method in ("embed", "publish", "denoise", "load"):
        for error in (MemoryError("20 GiB"), OutOfMemoryError("20 GiB\nand a table")):
            assert broken(verdict(method, [error, error], ranks=2)) == (
                "oom",
                f"{method}: {type(error).__name__}: 20 GiB",
            )


def test_any_other_fault_while_ranks_meet_ends_the_gang() -> None:
    error = ValueError("a bug\nand a traceback")
    assert broken(verdict("denoise", [error, error], ranks=2)) == ("internal", "denoise: ValueError: a bug")


def test_that_the_gang_is_broken_is_heard_whichever_rank_says_so() -> None:
    gone = GangBrokenError("timeout", "a rank hangs")
    assert verdict("denoise", [NAN, None, gone], ranks=3) is gone
    assert verdict("embed", [gone, NAN], ranks=2) is gone


def test_why_a_gang_broke_crosses_processes() -> None:
    arrived = pickle.loads(pickle.dumps(GangBrokenError("oom", "load: a rank ran out of memory")))
    assert (type(arrived), arrived.failure_class, str(arrived)) == (
        GangBrokenError,
        "oom",
        "load: a rank ran out of memory",
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_node(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/small")
    fault = storage_fault(OSError(number, "no room"))
    assert fault.failure_class == "storage"
    assert fault.message.startswith(
        f"OSError: [Errno {number}] no room; a disk of this node ({socket.gethostname()}) is"
    )
    assert "that of /small (TMPDIR" in fault.message
    assert "COSMOS_RAY_CACHE" in fault.message


def test_of_anything_else_its_words_are_enough() -> None:
    assert storage_fault(PermissionError("Forbidden")) == Fault("storage", "PermissionError: Forbidden")
    assert storage_fault(OSError(errno.EIO, "bad disk")) == Fault("storage", "OSError: [Errno 5] bad disk")
