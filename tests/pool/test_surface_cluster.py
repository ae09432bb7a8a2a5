"""What a job makes of a cluster's nodes and autoscaler, and of a Ray that cannot be had, as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import AuthenticationError
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import CosmosRayError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool import closed_ray, cluster, joining

NODES: dict[str, list[tuple[bool, dict[str, float]]]] = {
    "none": [], "a head": [(True, {"CPU": 4})], "one dead": [(False, {"GPU": 8}), (True, {"GPU": 4, "CPU": 16})],
    "two sizes": [(True, {"GPU": 4}), (True, {"GPU": 8}), (True, {"CPU": 2}), (True, {"GPU": 0.5})],
    "threes": [(True, {"GPU": 3}), (True, {"GPU": 6})],
}  # fmt: skip
MODELS = ("tiny", "fake", "cosmos-predict2-2b-multiview", "cosmos-predict2-0.6b-text2image")


def answer(ask: Any, *given: Any) -> str:
    try:
        return str(ask(*given))
    except CosmosRayError as error:
        return f"{type(error).__name__}: {error}"


def test_what_gangs_nodes_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for name, nodes in NODES.items():
        found = [{"NodeID": f"n{n}", "Alive": alive, "Resources": has} for n, (alive, has) in enumerate(nodes)]
        monkeypatch.setattr(cluster.ray, "nodes", lambda found=found: found)
        lines.append(f"== {name}: {cluster._amounts('GPU')} {[cluster.nodes_with('GPU', n) for n in (1, 4, 8)]}")
        for model in MODELS:
            bundle = load_bundle(model)
            for device in ("auto", "cpu", "cuda"):
                for size in (None, 2):
                    config = GenerateConfig(manifest="m", output="o", model=model, device=device, gang_size=size)
                    lines.append(f"{model} {device} {size}: {answer(cluster._device, bundle, config)}")
            sizes = [answer(cluster._gang_size, bundle, device) for device in ("cuda", "cpu")]
            lines.append(f"{model}: {sizes}")
    assert_as_it_was("pool/nodes.txt", masked("\n".join(lines)))


def test_what_is_said_of_an_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    def state(version: int = 1, **lists: Any) -> Any:
        names = (
            "infeasible_resource_requests",
            "pending_instance_requests",
            "pending_instances",
            "failed_instance_requests",
        )
        return SimpleNamespace(autoscaler_state_version=version, **{name: lists.get(name, []) for name in names})

    node = SimpleNamespace(ray_node_type_name="h100", count=2, reason="no capacity")
    lacks = [SimpleNamespace(resources_bundle={"GPU": 8.0})]
    states = {
        "none": state(0), "idle": state(), "cannot": state(infeasible_resource_requests=lacks),
        "starts": state(pending_instance_requests=[node]), "is starting": state(pending_instances=[node, node]),
        "failed": state(failed_instance_requests=[node], pending_instances=[node]),
    }  # fmt: skip
    monkeypatch.setattr(cluster.ray, "nodes", list)
    monkeypatch.setattr(cluster.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="a"))
    monkeypatch.setattr(cluster, "GcsClient", lambda address: SimpleNamespace(get_cluster_status=lambda timeout_s: b""))
    lines = []
    for name, one in states.items():
        reply = SimpleNamespace(ParseFromString=lambda data: None, autoscaling_state=one)
        monkeypatch.setattr(cluster, "GetClusterStatusReply", lambda reply=reply: reply)
        lines += [f"{name}, {amount}: {cluster.what_is_on_offer('GPU', amount)}" for amount in (4, 8)]
    assert_as_it_was("pool/autoscaler.txt", "\n".join(lines))


def test_why_there_is_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    monkeypatch.setenv("RAY_TMPDIR", "/room")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    errors = (OSError(28, "No space left"), RuntimeError("first\nsecond"), AuthenticationError("no"))
    for address in (None, "head:6379"):
        if address:
            monkeypatch.setenv("RAY_ADDRESS", address)
        else:
            monkeypatch.delenv("RAY_ADDRESS", raising=False)
        lines += [
            f"{address} {type(error).__name__}: {cluster._why_not(error)}" for error in errors[: 3 if address else 2]
        ]
    for settings in ({"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_TOKEN_PATH": "/none"}, {"RAY_AUTH_TOKEN": "t"}):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        lines.append(f"{settings}: {joining._what_we_have() if 'MODE' not in str(settings) else ''}")
    for address in ("http://h:8265", "ray://h:10001", "HTTPS://h", "RAY://h"):
        lines.append(answer(joining.be_let_in, address))
    lines.append(str(closed_ray.folder()))
    assert_as_it_was("pool/no_ray.txt", "\n".join(lines))
