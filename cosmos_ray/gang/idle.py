"""How long a rank's GPU waits between the last kernel of one clip and the first one of the next."""

from __future__ import annotations

import time
from typing import Any


class IdleClock:
    """Told by the denoising thread when a clip's work ends and when the next one's begins.

    On a GPU the marks are events in that thread's stream, so what is measured is the GPU's time and not the host's:
    what the host does while kernels are still queued costs nothing. Elsewhere they are times of the host.
    """

    def __init__(self, device: str) -> None:
        self._on_gpu = device == "cuda"
        self._ended = self._mark()
        self._began: Any = None

    def work_begins(self) -> None:
        """The next thing to be launched is a clip's. Only the first call since `work_ends` counts."""
        if self._began is None:
            self._began = self._mark()

    def work_ends(self) -> float:
        """All of a clip's work is launched. Returns the seconds between the clip before (or the loading) and this one;
        waits for the GPU."""
        ended = self._mark()
        before, began = self._ended, self._began or ended
        self._ended, self._began = ended, None
        if not self._on_gpu:
            return float(began - before)
        ended.synchronize()
        return float(before.elapsed_time(began)) / 1000

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.monotonic()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
