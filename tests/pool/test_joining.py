"""Joining the cluster that RAY_ADDRESS names: a head that is there, its token, and what is said where one is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import AuthenticationError

from cosmos_ray.errors import UsageError
from cosmos_ray.pool import joining


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The heads that were shown a token, in order."""
    heads: list[str] = []
    monkeypatch.setattr(joining, "_show_token", heads.append)
    return heads


def test_a_head_is_asked_for_before_ray_is(port: int, shown: list[str]) -> None:
    """Of an address that is none of a machine's nobody is asked."""
    for address in (f"127.0.0.1:{port}", "auto", "local", "host:name", ":6379"):
        joining.be_let_in(address)
    assert shown == [f"127.0.0.1:{port}"]


def test_a_head_of_ipv6_is_asked_for_without_brackets(monkeypatch: pytest.MonkeyPatch, shown: list[str]) -> None:
    asked: list[Any] = []
    answer = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(joining.socket, "create_connection", lambda place, timeout: asked.append(place) or answer)
    joining.be_let_in("[::1]:6379")
    assert (asked, shown) == ([("::1", 6379)], ["[::1]:6379"])


def test_where_nobody_listens_nobody_is_shown_a_token(monkeypatch: pytest.MonkeyPatch, shown: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(joining, "_HEAD_S", 0.0)
        monkeypatch.setattr(joining.time, "sleep", lambda _: pytest.fail("there is no time left"))
        with pytest.raises(OSError, match=r"."):
            joining.be_let_in(f"127.0.0.1:{probe.getsockname()[1]}")
    assert shown == []


@pytest.mark.parametrize(
    ("address", "is_of"),
    [
        ("http://10.0.0.1:8265", "a dashboard's"),
        ("HTTPS://ray.example", "a dashboard's"),
        ("ray://10.0.0.1:10001", "Ray Client's"),
        ("RAY://head:10001", "Ray Client's"),
    ],
)
def test_only_a_head_is_joined(address: str, is_of: str, shown: list[str]) -> None:
    """A job that a Ray Client drives would end in the middle, in words of Ray's."""
    said = rf"RAY_ADDRESS: found {address}, {is_of} address, expected HOST:6379, .*RAY_API_SERVER_ADDRESS"
    with pytest.raises(UsageError, match=said):
        joining.be_let_in(address)
    assert shown == []


def test_the_head_is_shown_the_token_that_is_here(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """In that order: Ray's client ends a process that has none."""
    events: list[Any] = []
    monkeypatch.setattr(joining, "ensure_token_if_auth_enabled", lambda **options: events.append(options))
    monkeypatch.setattr(joining, "GcsClient", lambda address: events.append(address))
    joining.be_let_in(f"127.0.0.1:{port}")
    assert events == [{"create_token_if_missing": False}, f"127.0.0.1:{port}"]


@pytest.mark.parametrize(
    ("mode", "token", "path", "kept", "said"),
    [
        (None, None, None, True, "RAY_AUTH_MODE=token is not set here"),
        ("disabled", "a", None, True, "RAY_AUTH_MODE=token is not set here"),
        ("token", None, None, False, "there is none here (~/.ray/auth_token)"),
        ("token", None, "/nowhere/token", True, "there is none here (/nowhere/token)"),
        ("Token", None, None, True, "the one in ~/.ray/auth_token is another"),
        ("token", "a", "/nowhere/token", True, "the one in RAY_AUTH_TOKEN is another"),
    ],
)
def test_what_is_wrong_with_the_token_is_said(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: str | None,
    token: str | None,
    path: str | None,
    kept: bool,
    said: str,
) -> None:
    """And not the token."""
    given = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token and "f00d" * 16, "RAY_AUTH_TOKEN_PATH": path}
    for name, value in given.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if kept:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("beef" * 16)
    why = joining.why_not("10.0.0.1:6379", AuthenticationError("RPC error: InvalidAuthToken"))
    assert why.startswith(
        f"the Ray cluster that RAY_ADDRESS names (10.0.0.1:6379) lets in who has its token, and {said}. The head's is"
    )
    assert "f00d" not in why
    assert "beef" not in why


def test_any_other_fault_is_one_of_reaching_it() -> None:
    why = joining.why_not("10.0.0.1:6379", OSError("refused\nmore"))
    assert why.startswith("the Ray cluster that RAY_ADDRESS names (10.0.0.1:6379) was not reached: OSError: refused. `")
