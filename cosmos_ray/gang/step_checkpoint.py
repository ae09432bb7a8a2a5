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

    def wants(self, step: int) -> bool:
        return step > 0 and step % self.every == 0


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
    """Stores states beside the work, one at a time: a step that comes too soon for the store is left out.

    Nothing waits for it: a store that is out, or slow, would hold the gang. What is stored when its clip is denoised
    already is removed again by whoever stored it.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._writing, self._is_wanted = "", False

    @property
    def is_idle(self) -> bool:
        """Nothing is being stored."""
        return self._thread is None or not self._thread.is_alive()

    def write(self, checkpoint: StepCheckpoint, state: PackedState) -> None:
        """Begin to store a state; left out while the one before is still being stored."""
        if not self.is_idle:
            return
        self._writing, self._is_wanted = checkpoint.path, True
        data = safetensors.numpy.save(dict(state))
        self._thread = threading.Thread(
            target=self._store, args=(checkpoint, data), name="step-checkpoint", daemon=True
        )
        self._thread.start()

    def denoised(self, checkpoint: StepCheckpoint) -> None:
        """Its clip needs no state any more."""
        with self._lock:
            if self._writing == checkpoint.path:
                self._is_wanted = False

    def _store(self, checkpoint: StepCheckpoint, data: bytes) -> None:
        try:
            self._storage.write(checkpoint.path, data)
        except OSError as error:
            log.warning("%s cannot be written: %s", checkpoint.path, error)
        with self._lock:
            is_wanted, self._writing = self._is_wanted, ""
        if not is_wanted:
            remove_state(self._storage, checkpoint)
