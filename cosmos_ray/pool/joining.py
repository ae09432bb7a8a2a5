"""Joining the cluster that RAY_ADDRESS names: whether a head is there and lets us in, before Ray asks it.

Ray itself would go on trying for minutes where nobody listens, and says of a wrong token only that it cannot connect.
"""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError

from cosmos_ray.errors import UsageError, first_line

#: A head may be about to start.
_HEAD_S = 20.0
#: What is no head: a dashboard, and Ray Client, whose drivers have no part of Ray's own to ask nodes with.
_SCHEME = re.compile(r"(https?|ray)://", re.IGNORECASE)


def be_let_in(address: str) -> None:
    """Returns where a head listens and takes our token, and of an address that is none of a machine's (`auto`).

    Raises UsageError of a dashboard's address or Ray Client's, OSError if nobody listens, AuthenticationError of a
    token that is not the cluster's.
    """
    if found := _SCHEME.match(address):
        kind = "Ray Client's address" if found[1].lower() == "ray" else "a dashboard's address"
        raise UsageError(
            f"RAY_ADDRESS: found {address}, {kind}, expected HOST:6379, the head's own, or `auto` on a node of the "
            "cluster; from elsewhere `ray job submit`, to the dashboard, whose address RAY_API_SERVER_ADDRESS has"
        )
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        _await_head(host, int(port))
        _show_token(address)


def _await_head(host: str, port: int) -> None:
    deadline = time.monotonic() + _HEAD_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), port), timeout=_HEAD_S).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _show_token(address: str) -> None:
    ensure_token_if_auth_enabled(create_token_if_missing=False)  # without one Ray's client would end the process
    GcsClient(address=address)


def why_not(address: str, error: Exception) -> str:
    """Why the cluster was not joined, and what to do."""
    if isinstance(error, AuthenticationError):
        return (
            f"the Ray cluster that RAY_ADDRESS names ({address}) lets in who has its token, and {_what_we_have()}. The "
            "head's is in its ~/.ray/auth_token; every shell needs RAY_AUTH_MODE=token and the same token, in "
            "~/.ray/auth_token or RAY_AUTH_TOKEN"
        )
    return (
        f"the Ray cluster that RAY_ADDRESS names ({address}) was not reached: {type(error).__name__}: "
        f"{first_line(error)}. `ray status` says whether it is up; without RAY_ADDRESS a job starts a Ray of its own "
        "on this machine"
    )


def _what_we_have() -> str:
    """Of a token, in the order in which Ray looks for one."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return "RAY_AUTH_MODE=token is not set here"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "the one in RAY_AUTH_TOKEN is another"
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    is_there = Path(path).expanduser().is_file()
    return f"the one in {path} is another" if is_there else f"there is none here ({path})"
