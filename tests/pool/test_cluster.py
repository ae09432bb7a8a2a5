"""What a job takes of the cluster that it finds: its device, how large a gang is; by what nodes say, without a Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

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
    nodes += [node("head", CPU=8), node("a", CPU=64, GPU=8), node("b", GPU=4), node("dead", alive=False, CPU=64, GPU=8)]
    assert cluster._gang_size(published, "cuda") == 4
    assert cluster._gang_size(load_bundle("tiny"), "cpu") == 1
    assert cluster._amounts("GPU") == [8, 4]
    assert cluster.nodes_with("GPU", 4) == ["a", "b"]
    assert cluster.nodes_with("GPU", 5) == ["a"]
    assert cluster.nodes_with("CPU", 8) == ["head", "a"]
    nodes[:] = [node("a", GPU=8), node("dead", alive=False, GPU=2)]
    assert cluster._gang_size(published, "cuda") == 8, "one that is gone is left out"
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


def test_why_there_is_no_ray_depends_on_whose_it_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster._why_not(OSError("refused\nmore")).startswith(
        "the Ray cluster that RAY_ADDRESS names (10.0.0.1:6379) was not reached: OSError: refused. `ray status`"
    )
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", "/short")
    said = cluster._why_not(OSError("refused"))
    assert said.startswith("Ray did not start on this machine: OSError: refused. It needs room in /short (RAY_TMPDIR")


def test_what_the_autoscaler_makes_of_a_demand_is_said_to_who_waits(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thing once; that it cannot help, alone."""
    reply = GetClusterStatusReply()
    asked: list[Any] = []

    class Client:
        def __init__(self, address: str) -> None:
            asked.append(address)

        def get_cluster_status(self, timeout_s: float) -> bytes:
            assert timeout_s == 10
            return bytes(reply.SerializeToString())

    monkeypatch.setattr(cluster, "GcsClient", Client)
    context = SimpleNamespace(gcs_address="10.0.0.1:6379")
    monkeypatch.setattr(cluster.ray, "get_runtime_context", lambda: context)
    nodes += [node("a", GPU=8), node("b", GPU=4), node("head", CPU=8)]
    said = "the cluster's nodes have 8, 4 in all; "
    assert cluster.what_is_on_offer("GPU", 8) == f"{said}no autoscaler (v2) reports to it"
    assert asked == ["10.0.0.1:6379"]
    state = reply.autoscaling_state
    state.autoscaler_state_version = 1
    assert cluster.what_is_on_offer("GPU", 8) == f"{said}its autoscaler starts none at the moment"
    state.pending_instance_requests.add(ray_node_type_name="h100", count=2)
    for _ in range(2):
        state.pending_instances.add(ray_node_type_name="h100")
    state.failed_instance_requests.add(ray_node_type_name="h200", reason="no quota")
    told = "its autoscaler starts 2 x h100, h100 is starting, h200 could not be started: no quota"
    assert cluster.what_is_on_offer("GPU", 8) == said + told
    state.infeasible_resource_requests.add(resources_bundle={"GPU": 4, "CPU": 8})
    assert cluster.what_is_on_offer("GPU", 8) == said + told
    nodes.clear()
    assert cluster.what_is_on_offer("GPU", 4) == (
        "the cluster's nodes have none in all; its autoscaler cannot start a node with so many, or no more of them"
    )


@pytest.mark.parametrize("is_own", [True, False], ids=["started here", "joined"])
def test_a_job_waits_for_no_gpus_on_a_ray_that_it_has_started_itself(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, is_own: bool
) -> None:
    """To a cluster nodes may come; to a Ray of this machine alone none do, and the job would wait for an hour."""
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(cluster.own_ray, "is_there", lambda: is_own)
    nodes += [node("here", CPU=8, GPU=2)]
    published = load_bundle(PUBLISHED)
    with cluster.connect(published, config(gang_size=2)) as found:
        assert found == ("cuda", 2)
    with cluster.connect(published, config(gang_size=4, device="cpu")) as found:
        assert found == ("cpu", 4)
    if not is_own:
        with cluster.connect(published, config(gang_size=4)) as found:
            assert found == ("cuda", 4)
        return
    ways = {"2 GPUs, expected 4": "a smaller --gang-size, RAY_ADDRESS", "0 GPUs, expected 4": "RAY_ADDRESS"}
    for said, way in ways.items():
        nodes[:] = [node("here", CPU=8, GPU=int(said[0]))]
        refused = f"this machine has {said} for a gang: {way} of a cluster"
        with pytest.raises(UsageError, match=refused), cluster.connect(published, config(gang_size=4)):
            pytest.fail("it would wait")
    with pytest.raises(UsageError, match="0 GPUs, expected 1"), cluster.connect(published, config()):
        pytest.fail("no gang size makes it run here")


@pytest.mark.parametrize("is_there", [True, False], ids=["joined before", "joined or started here"])
def test_a_job_leaves_the_ray_that_it_has_joined_or_started_and_no_other(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Also if it fails; it says whether it was done."""
    events: list[Any] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: is_there)
    monkeypatch.setattr(cluster, "_initialise", lambda _: events.append("in"))
    monkeypatch.setattr(cluster, "_leave", events.append)
    nodes += [node("a", GPU=8)]
    published = load_bundle(PUBLISHED)
    with cluster.connect(published, config()) as found:
        assert found == ("cuda", 8)
    with cluster.connect(published, config(gang_size=2, device="cpu")) as found:
        assert found == ("cpu", 2)
    with pytest.raises(RuntimeError), cluster.connect(published, config()):
        raise RuntimeError
    nodes.clear()
    with pytest.raises(UsageError), cluster.connect(published, config()):
        pytest.fail("there is no GPU")
    assert events == ([] if is_there else ["in", True, "in", True, "in", False, "in", False])


@pytest.mark.parametrize(
    ("gang_size", "gangs", "cores", "expected"), [(None, "1", 2, 2), (4, "1:3", 2, 12), (2, "2", 64, 64)]
)
def test_a_ray_of_its_own_has_a_core_for_each_rank_that_there_may_be(
    monkeypatch: pytest.MonkeyPatch, gang_size: int | None, gangs: str, cores: int, expected: int
) -> None:
    """However few the machine has: they share them, and no gang waits for ever. With RAY_ADDRESS nothing is started."""
    started: list[dict[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.ray, "init", lambda **options: started.append(options))
    monkeypatch.setattr(cluster.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(cluster.own_ray, "mark", lambda: started.append({"marked": True}))
    monkeypatch.setattr(cluster.closed_ray, "close", lambda: {"closed": True})
    cluster._start_or_join(config(gang_size=gang_size, gangs=gangs))
    quiet = {"log_to_driver": False, "logging_level": 30}
    assert started == [{"marked": True}, {"address": "local", "num_cpus": expected, "closed": True, **quiet}]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(cluster.joining, "be_let_in", lambda address: started.append({"asked": address}))
    cluster._start_or_join(config(gang_size=gang_size, gangs=gangs))
    assert started[2:] == [{"asked": "10.0.0.1:6379"}, quiet]
