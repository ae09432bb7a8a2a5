"""The clip in flight, stored every few steps: what can be gone on from, and that nothing of it can harm the clip."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from support.waiting import PATIENCE_S, wait_for

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


def end(writer: Writer) -> None:
    """Once nothing is being stored any more."""
    wait_for(lambda: writer.is_idle, "the state to be stored")


def test_what_was_stored_is_gone_on_from(output: Storage) -> None:
    assert read_state(output, CHECKPOINT) is None
    writer = Writer(output)
    writer.write(CHECKPOINT, STATE)
    end(writer)
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
    writer = Writer(output)
    writer.write(CHECKPOINT, {"sample": STATE["sample"]})
    end(writer)
    assert read_state(output, CHECKPOINT) is None


def test_a_store_that_is_out_costs_steps_and_not_the_clip(output: Storage, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(output)
    writer.write(CHECKPOINT, STATE)
    end(writer)
    caplog.set_level(logging.WARNING)
    down = Down(output.uri)
    assert read_state(down, CHECKPOINT) is None
    remove_state(down, CHECKPOINT)
    writer = Writer(down)
    writer.write(CHECKPOINT, STATE)
    end(writer)
    assert caplog.messages == [
        f"{CHECKPOINT.path} cannot be read, the clip begins anew: no answer",
        f"{CHECKPOINT.path} cannot be removed: no answer",
        f"{CHECKPOINT.path} cannot be written: no answer",
    ]


def test_every_so_many_steps_are_wanted_and_never_the_beginning() -> None:
    assert [step for step in range(17) if CHECKPOINT.wants(step)] == [5, 10, 15]
    assert [step for step in range(3) if checkpoint_of("a", "h", every=1).wants(step)] == [1, 2]


class Slow(Storage):
    """A store that answers when it is told to."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.answers_now, self.written = threading.Event(), list[str]()

    def write(self, path: str, data: bytes) -> None:
        assert self.answers_now.wait(PATIENCE_S)
        super().write(path, data)
        self.written.append(path)


def test_a_step_that_comes_too_soon_for_the_store_is_left_out(output: Storage) -> None:
    store = Slow(output.uri)
    writer = Writer(store)
    for step in (5, 10, 15):
        writer.write(CHECKPOINT, {**STATE, "step": np.array(step)})
    store.answers_now.set()
    end(writer)
    found = read_state(output, CHECKPOINT)
    assert found is not None
    assert (store.written, int(found["step"])) == ([CHECKPOINT.path], 5)
    writer.write(CHECKPOINT, {**STATE, "step": np.array(20)})
    end(writer)
    found = read_state(output, CHECKPOINT)
    assert found is not None
    assert int(found["step"]) == 20


def test_a_store_that_is_out_holds_no_gang_and_what_comes_late_does_not_stay(output: Storage) -> None:
    """Its clip is denoised, stored and committed, and the next one is being denoised, when the store answers."""
    store, following = Slow(output.uri), checkpoint_of("b", "h" * 64, every=5)
    writer = Writer(store)
    writer.write(CHECKPOINT, STATE)
    writer.denoised(CHECKPOINT)
    remove_state(output, CHECKPOINT)
    writer.write(following, STATE)
    assert not writer.is_idle
    store.answers_now.set()
    end(writer)
    assert (store.written, list(output.list("_cosmos_ray"))) == ([CHECKPOINT.path], [])
    writer.write(following, STATE)
    end(writer)
    writer.denoised(CHECKPOINT)
    assert list(output.list("_cosmos_ray")) == [following.path]


def test_a_state_that_is_being_stored_outlives_the_end_of_other_clips(output: Storage) -> None:
    """Of its own clip's end alone it is told: another one, whose state came too soon, ends meanwhile."""
    store = Slow(output.uri)
    writer = Writer(store)
    writer.write(CHECKPOINT, STATE)
    writer.denoised(checkpoint_of("b", "h" * 64, every=5))
    store.answers_now.set()
    end(writer)
    assert list(output.list("_cosmos_ray")) == [CHECKPOINT.path]
