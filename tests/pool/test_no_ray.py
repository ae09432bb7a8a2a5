"""A Ray that does not come up: one line with what to do, and nothing of it left."""

from __future__ import annotations

import gc
import socket

import pytest

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool import cluster
from cosmos_ray.pool.health import JobFailedError

CONFIG = GenerateConfig(manifest="m.parquet", output="out", model="fake", device="cpu", gang_size=2)


def connect() -> None:
    with cluster.connect(load_bundle("fake"), CONFIG):
        pass


def test_a_folder_that_ray_cannot_write_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/x")
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    with pytest.raises(JobFailedError, match=r"^Ray did not start on this machine: NotADirectoryError: .*RAY_TMPDIR"):
        connect()


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"  # bound, but nobody listens
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(cluster.joining, "_HEAD_S", 0.1)
        monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
        with pytest.raises(
            JobFailedError, match=rf"RAY_ADDRESS names \({address}\) was not reached: Conn.*`ray status`"
        ):
            connect()


def test_a_dashboards_address_is_refused_as_an_argument_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match=r"^RAY_ADDRESS: found http://127\.0\.0\.1:8265, a dashboard's address"):
        connect()


def test_what_ray_makes_of_a_signal_while_it_starts_is_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    from cosmos_ray.signals import Interrupted

    def start(config: GenerateConfig) -> None:
        raise SystemExit(15)

    monkeypatch.setattr(cluster, "_start_or_join", start)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    with pytest.raises(Interrupted, match=r"^stopped by SIGTERM$"):
        connect()


@pytest.mark.parametrize(
    ("is_our_own", "reason", "asked"),
    [(True, "", True), (True, "stopped by SIGTERM", False), (False, "stopped by SIGTERM", True)],
    ids=["it has ended", "told to stop", "told to stop, on a cluster"],
)
def test_after_a_signal_a_ray_of_ones_own_is_killed_and_not_asked(
    monkeypatch: pytest.MonkeyPatch, is_our_own: bool, reason: str, asked: bool
) -> None:
    """Its raylet may have got the signal too, and Ray ends a process at once that asks a dead one."""
    done: list[str] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: done.append("asked"))
    monkeypatch.setattr(cluster, "_start_or_join", lambda config: None)
    monkeypatch.setattr(cluster.own_ray, "is_there", lambda: is_our_own)
    monkeypatch.setattr(cluster.own_ray, "end_what_is_left", lambda: done.append("killed"))
    monkeypatch.setattr(cluster.signals, "reason", lambda: reason)
    connect()
    assert done == (["asked", "killed"] if asked else ["killed"])


def test_no_garbage_is_looked_for_while_ray_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the thread that writes the index meanwhile: references to Ray's objects would be freed into half a Ray."""
    seen: list[bool] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: seen.append(gc.isenabled()))
    monkeypatch.setattr(cluster, "_start_or_join", lambda config: None)
    connect()
    assert seen == [False]
    assert gc.isenabled()
    gc.disable()  # as a program that imports this package may have it
    try:
        connect()
        assert not gc.isenabled()
    finally:
        gc.enable()
