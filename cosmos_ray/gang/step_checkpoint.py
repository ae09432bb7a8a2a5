"""The clip in flight, stored every few steps, so that another gang, of any size, goes on with it.

    _cosmos_ray/steps/ID.<request hash>.safetensors     the whole sample (float32, not in shares), and its step

Rewritten as the clip goes on, removed when it is committed. A state that cannot be stored or read costs the steps
since, never the clip.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.numpy

from cosmos_ray.ledger.layout import STEPS
from cosmos_ray.store.storage import Storage

log = logging.getLogger(__name__)


#: What `ClipGenerator.pack_state` gives: named arrays, `step` among them.
PackedState = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class StepCheckpoint:
    """Where one clip's state is kept, and after how many steps it is written again."""

    path: str
    every: int


def checkpoint_of(clip_id: str, request_hash: str, every: int) -> StepCheckpoint:
    """The hash is of all that decides the latents, so a state is never taken for another request's."""
    return StepCheckpoint(f"{STEPS}/{clip_id}.{request_hash[:32]}.safetensors", every)


def read_state(storage: Storage, checkpoint: StepCheckpoint) -> PackedState | None:
    """None if there is none that can be used."""
    try:
        if not storage.exists(checkpoint.path):
            return None
        state = safetensors.numpy.load(storage.read(checkpoint.path))
    except (OSError, safetensors.SafetensorError) as error:
        log.warning("%s cannot be read, the clip begins anew: %s", checkpoint.path, error)
        return None
    return state if "step" in state else None


def remove_state(storage: Storage, checkpoint: StepCheckpoint) -> None:
    """Of a clip that is committed: that it cannot be removed makes nothing wrong, `status --clean` finds it."""
    try:
        storage.delete(checkpoint.path)
    except OSError as error:
        log.warning("%s cannot be removed: %s", checkpoint.path, error)


class Writer:
    """Stores states beside the work, one at a time: a step that comes too soon for the store is left out."""

    def __init__(self, storage: Storage, checkpoint: StepCheckpoint) -> None:
        self._storage, self._checkpoint = storage, checkpoint
        self._thread: threading.Thread | None = None

    def wants(self, step: int) -> bool:
        return step > 0 and step % self._checkpoint.every == 0

    def write(self, state: PackedState) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        data = safetensors.numpy.save(dict(state))
        self._thread = threading.Thread(target=self._store, args=(data,), name="step-checkpoint")
        self._thread.start()

    def _store(self, data: bytes) -> None:
        try:
            self._storage.write(self._checkpoint.path, data)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._checkpoint.path, error)

    def close(self) -> None:
        """Wait for what is being stored: nothing is written after the clip is committed."""
        if self._thread is not None:
            self._thread.join()
