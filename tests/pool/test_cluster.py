"""What a job takes of the cluster that it finds: its device, how large a gang is; by what nodes say, without a Ray."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool import cluster

PUBLISHED = "cosmos-predict2-2b-multiview"


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(cluster.ray, "nodes", lambda: found)
    return found


def config(**settings: Any) -> GenerateConfig:
    return GenerateConfig.model_validate({"manifest": "m", "output": "o", **settings})


def test_a_gang_fits_every_node_that_has_gpus_and_lives(nodes: list[dict[str, Any]]) -> None:
    published = load_bundle(PUBLISHED)
    nodes += [node("head", CPU=8), node("a", CPU=64, GPU=8), node("b", GPU=4), node("dead", alive=False, GPU=1)]
    assert cluster._gang_size(published, "cuda") == 4
    assert cluster._gang_size(load_bundle("tiny"), "cpu") == 1
    assert cluster._amounts("GPU") == [8, 4]
    assert cluster.nodes_with("GPU", 4) == ["a", "b"]
    assert cluster.nodes_with("GPU", 5) == ["a"]
    assert cluster.nodes_with("CPU", 8) == ["head", "a"]
    nodes[:] = [node("odd", GPU=7)]
    assert cluster._gang_size(published, "cuda") == 4, "the largest that the network can be divided by"
    nodes[:] = [node("head", CPU=8), node("dead", alive=False, GPU=8)]
    with pytest.raises(UsageError, match="no node has a GPU: give --gang-size"):
        cluster._gang_size(published, "cuda")


def test_ranks_run_on_gpus_where_there_are_any_and_small_models_on_cpus_else(nodes: list[dict[str, Any]]) -> None:
    published, tiny = load_bundle(PUBLISHED), load_bundle("tiny")
    assert cluster._device(tiny, config()) == "cpu"
    with pytest.raises(UsageError, match=f"no GPU now and {PUBLISHED} is no model for CPUs: give --gang-size"):
        cluster._device(published, config())
    assert cluster._device(published, config(gang_size=8)) == "cuda", "nodes may come"
    assert cluster._device(published, config(device="cpu")) == "cpu"
    nodes += [node("a", CPU=64, GPU=8)]
    assert cluster._device(tiny, config()) == "cuda"
    assert cluster._device(tiny, config(device="cpu")) == "cpu"


def test_nodes_that_are_about_to_go_are_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    state = type("State", (), {"get_draining_nodes": staticmethod(lambda: {"a": 1_700_000_000_500, "b": 0})})
    monkeypatch.setattr(cluster.ray._private.state, "state", state)
    assert cluster.draining_nodes() == {"a": 1_700_000_000.5, "b": 0.0}


def test_a_head_is_asked_for_before_ray_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an address that is none of a machine's nobody is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            cluster._await_head(address)
    for address in ("auto", "local", "host:name", ":6379"):
        cluster._await_head(address)
    monkeypatch.setattr(cluster, "_HEAD_S", 0.0)
    monkeypatch.setattr(cluster.time, "sleep", lambda _: pytest.fail("there is no time left"))
    with pytest.raises(OSError, match=r"."):
        cluster._await_head(f"127.0.0.1:{port}")


def test_why_there_is_no_ray_depends_on_whose_it_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster._why_not(OSError("refused\nmore")).startswith(
        "the Ray cluster that RAY_ADDRESS names (10.0.0.1:6379) was not reached: OSError: refused. `ray status`"
    )
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", "/short")
    said = cluster._why_not(OSError("refused"))
    assert said.startswith("Ray did not start on this machine: OSError: refused. It needs room in /short (RAY_TMPDIR")
