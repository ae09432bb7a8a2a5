"""How far a host runs ahead of its GPU."""

from __future__ import annotations

from collections import deque

import torch

#: Blocks of the network. At 720p one takes a GPU a second, and a gang of 8 a tenth: time enough to launch the next one.
_BLOCKS_AHEAD = 2


class LaunchedAhead:
    """Keeps the host two blocks ahead of the GPU, where CUDA's queue would let it go on for a thousand kernels.

    That many are half an evaluation of the whole network, and what else the GPU is to do, as decoding the views of
    another clip, is queued behind them: a quarter of a minute for each view on a gang of one. Nothing on a CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._ends: deque[torch.cuda.Event] = deque()

    def one_more(self) -> None:
        """A block has been launched."""
        if not self._on_gpu:
            return
        end = torch.cuda.Event(blocking=True)  # without a core that spins
        end.record()
        self._ends.append(end)
        if len(self._ends) > _BLOCKS_AHEAD:
            self._ends.popleft().synchronize()
