"""The clip in flight, stored every few steps: what can be gone on from, and that nothing of it can harm the clip."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from support.waiting import PATIENCE_S

from cosmos_ray.gang.step_checkpoint import Writer, checkpoint_of, read_state, remove_state
from cosmos_ray.store.storage import Storage

CHECKPOINT = checkpoint_of("a.s001", "0123456789abcdef" * 4, every=5)
STATE = {"step": np.array(10), "sample": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


class Down(Storage):
    """A store that is out."""

    def read(self, path: str) -> bytes:
        raise OSError("no answer")

    def write(self, path: str, data: bytes) -> None:
        raise OSError("no answer")

    def delete(self, path: str) -> None:
        raise OSError("no answer")


def test_a_state_has_the_name_that_release_0_1_gave_it() -> None:
    """Of the clip and of all that decides its latents: another request never goes on from it."""
    found = checkpoint_of("a.s001", "0123456789abcdef" * 4, every=5)
    assert found.path == "_cosmos_ray/steps/a.s001.0123456789abcdef0123456789abcdef.safetensors"
    assert found.every == 5


def test_what_was_stored_is_gone_on_from(output: Storage) -> None:
    assert read_state(output, CHECKPOINT) is None
    writer = Writer(output, CHECKPOINT)
    writer.write(STATE)
    writer.close()
    found = read_state(output, CHECKPOINT)
    assert found is not None
    assert found.keys() == STATE.keys()
    for name, array in STATE.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    remove_state(output, CHECKPOINT)
    assert list(output.list("_cosmos_ray")) == []
    remove_state(output, CHECKPOINT)


@pytest.mark.parametrize("data", [b"", b"no state", b"\xff" * 64], ids=["empty", "text", "damaged"])
def test_a_state_that_cannot_be_read_costs_its_steps_and_not_the_clip(
    output: Storage, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    output.write(CHECKPOINT.path, data)
    assert read_state(output, CHECKPOINT) is None
    assert f"{CHECKPOINT.path} cannot be read, the clip begins anew: " in caplog.text


def test_a_state_without_its_step_is_none(output: Storage) -> None:
    writer = Writer(output, CHECKPOINT)
    writer.write({"sample": STATE["sample"]})
    writer.close()
    assert read_state(output, CHECKPOINT) is None


def test_a_store_that_is_out_costs_steps_and_not_the_clip(output: Storage, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(output, CHECKPOINT)
    writer.write(STATE)
    writer.close()
    caplog.set_level(logging.WARNING)
    down = Down(output.uri)
    assert read_state(down, CHECKPOINT) is None
    remove_state(down, CHECKPOINT)
    writer = Writer(down, CHECKPOINT)
    writer.write(STATE)
    writer.close()
    assert caplog.messages == [
        f"{CHECKPOINT.path} cannot be read, the clip begins anew: no answer",
        f"{CHECKPOINT.path} cannot be removed: no answer",
        f"{CHECKPOINT.path} cannot be written: no answer",
    ]


def test_every_so_many_steps_are_wanted_and_never_the_beginning(output: Storage) -> None:
    writer = Writer(output, CHECKPOINT)
    assert [step for step in range(17) if writer.wants(step)] == [5, 10, 15]
    writer.close()
    assert [step for step in range(3) if Writer(output, checkpoint_of("a", "h", every=1)).wants(step)] == [1, 2]


def test_a_step_that_comes_too_soon_for_the_store_is_left_out_and_the_end_waits(output: Storage) -> None:
    """Nothing is written after `close`: the clip's commit removes what was."""
    may_write = threading.Event()
    written: list[bytes] = []

    class Slow(Storage):
        def write(self, path: str, data: bytes) -> None:
            assert may_write.wait(PATIENCE_S)
            written.append(data)

    writer = Writer(Slow(output.uri), CHECKPOINT)
    for step in (5, 10, 15):
        writer.write({**STATE, "step": np.array(step)})
    threading.Timer(0.1, may_write.set).start()
    writer.close()
    assert len(written) == 1
    writer.write({**STATE, "step": np.array(20)})
    writer.close()
    assert len(written) == 2
    assert written[0] != written[1]
