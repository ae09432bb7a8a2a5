"""How a rank joins its gang and what it leaves to others on its node. No Ray, no GPU."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.gang import rank as rank_module
from cosmos_ray.gang.rank import Rank
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.fake import Alone
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.store.traffic import Traffic, count, take

TINY = load_bundle("tiny")


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """threads: that torch may take; groups: that were joined; stores: that were opened; waited: for GPU memory."""
    found: dict[str, Any] = {"threads": [], "groups": [], "stores": [], "waited": 0}

    def waited() -> None:
        found["waited"] += 1

    monkeypatch.setattr(torch, "set_num_threads", found["threads"].append)
    monkeypatch.setattr(dist, "init_process_group", lambda *given, **named: found["groups"].append((given, named)))
    monkeypatch.setattr(dist, "group", SimpleNamespace(WORLD="the group"))
    monkeypatch.setattr(dist, "TCPStore", lambda *given, **named: found["stores"].append((given, named)) or "a store")
    monkeypatch.setattr(rank_module, "wait_for_free_memory", waited)
    monkeypatch.setattr(rank_module, "cores_of_gang", lambda resource, size: {"CPU": 12.0, "GPU": 10.0}[resource])
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    return found


def spec(bundle: Bundle = TINY, device: str = "cpu", size: int = 4) -> GangSpec:
    return GangSpec(bundle, size, device, "float32", "out", 1, GangConfig())


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "nccl")])
@pytest.mark.parametrize("rank", [0, 3])
def test_a_rank_joins_the_group_that_its_gangs_first_rank_has_opened(
    happened: dict[str, Any], device: str, backend: str, rank: int
) -> None:
    made = Rank(rank, 4)
    if rank == 0:
        assert made._store is None
        made._store = "its own store"
    parallel = made._join(spec(device=device), 4321)
    assert isinstance(parallel, ContextParallel)
    assert (parallel.rank, parallel.world_size, parallel.group) == (rank, 4, "the group")
    assert happened["stores"] == ([] if rank == 0 else [(("127.0.0.1", 4321, 4), {"is_master": False})])
    store = "its own store" if rank == 0 else "a store"
    assert happened["groups"] == [((backend,), {"store": store, "rank": rank, "world_size": 4})]
    assert happened["waited"] == (device == "cuda")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo", "a host's own name need not resolve"


def test_who_has_said_by_which_interface_ranks_meet_is_heard(
    happened: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    Rank(1, 4)._join(spec(), 4321)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"


@pytest.mark.parametrize(
    ("rank", "device", "encoder", "size", "threads"),
    [
        (0, "cpu", "gang", 4, [3]),  # the gang's cores, shared by its ranks
        (2, "cpu", "gang", 4, [3]),
        (0, "cpu", "cpu", 4, [3]),
        (0, "cpu", "gang", 1, [12]),
        (0, "cpu", "gang", 40, [1]),
        (0, "cuda", "cpu", 4, [5]),  # half of them, for the text encoder that is there
        (1, "cuda", "cpu", 4, []),
        (0, "cuda", "gang", 4, []),
    ],
)
def test_a_rank_takes_its_part_of_the_gangs_cores(
    happened: dict[str, Any], rank: int, device: str, encoder: Any, size: int, threads: list[int]
) -> None:
    bundle = TINY.model_copy(update={"text_encoder_device": encoder})
    parallel = Rank(rank, size)._join(spec(bundle, device, size), 4321)
    assert happened["threads"] == threads
    if size == 1:
        assert (parallel.rank, parallel.world_size, parallel.group) == (0, 1, None)
        assert happened["groups"] == []


def test_ranks_of_the_fake_generator_join_nothing(happened: dict[str, Any]) -> None:
    parallel = Rank(2, 4)._join(spec(load_bundle("fake"), "cuda"), 0)
    assert isinstance(parallel, Alone)
    assert (parallel.rank, parallel.world_size) == (2, 4)
    assert happened == {"threads": [], "groups": [], "stores": [], "waited": 0}


def test_the_first_rank_opens_a_store_for_all_on_a_port_that_is_free() -> None:
    first, other = Rank(0, 2), Rank(0, 2)
    ports = {first.open_store(), other.open_store()}
    assert len(ports) == 2
    assert min(ports) > 0
    assert first._store.port in ports
    joined = dist.TCPStore("127.0.0.1", first._store.port, 2, is_master=False)
    joined.set("said", "by the second")
    assert first._store.get("said") == b"by the second"


def test_what_a_rank_is_asked_for_beside_clips(tmp_path: Path) -> None:
    made: Any = Rank(0, 1)
    made._generator = SimpleNamespace(embed=lambda request: SimpleNamespace(text=f"text of {request.id}"))
    assert made.embed(ClipRequest("a", ("x",), "", 1, 0, 0, 0.0, 1)) == "text of a"
    take()
    count(read=3)
    assert made.traffic() == Traffic(read=3)
    assert made.traffic() == Traffic()
    pid, start = made.process()
    assert pid == os.getpid()
    assert start
