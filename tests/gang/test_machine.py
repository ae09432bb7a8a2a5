"""What a rank finds on its machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cosmos_ray.gang import machine
from cosmos_ray.gang.machine import cores_of_gang, peak_memory, wait_for_free_memory


@pytest.mark.parametrize(
    ("gpus", "size", "cores"), [(8, 2, 8.0), (8, 8, 32.0), (0, 4, 32.0), (2, 4, 32.0), (4, 1, 8.0)]
)
def test_a_gang_has_the_part_of_its_nodes_cores_that_it_has_of_its_gpus(
    gpus: int, size: int, cores: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this node, whatever others have; all of them where it does not say how many it has."""
    nodes = [
        {"NodeID": "there", "Resources": {"GPU": 99}},
        {"NodeID": "here", "Resources": {"GPU": gpus} if gpus else {}},
    ]
    monkeypatch.setattr(machine.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    monkeypatch.setattr(machine.ray, "nodes", lambda: nodes)
    monkeypatch.setattr("os.cpu_count", lambda: 32)
    assert cores_of_gang("GPU", size) == cores


class Gpu:
    """Whose memory comes back as it was scripted: bytes free of 1000, at each look; the last for ever."""

    def __init__(self, *free: int) -> None:
        self.free = list(free)
        self.looks = 0

    def mem_get_info(self) -> tuple[int, int]:
        self.looks += 1
        return self.free.pop(0) if len(self.free) > 1 else self.free[0], 1000


def test_a_gpu_is_waited_for_until_nine_tenths_of_it_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    gpu = Gpu(100, 900, 901)
    monkeypatch.setattr(torch.cuda, "mem_get_info", gpu.mem_get_info)
    wait_for_free_memory()
    assert gpu.looks == 3
    monkeypatch.setattr(machine, "_MEMORY_WAIT_S", 0.01)
    monkeypatch.setattr(torch.cuda, "mem_get_info", Gpu(30).mem_get_info)
    with pytest.raises(RuntimeError, match="GPU memory is still in use after 0 s: 30 of 1000 bytes free"):
        wait_for_free_memory()


def test_peak_memory_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 77)
    assert (peak_memory("cuda"), peak_memory("cpu")) == (77, 0)
