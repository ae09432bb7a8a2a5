"""A Ray of one's own on this machine is nobody else's to reach.

Ray binds to all interfaces unless it knows no other address than the loopback; its agents serve metrics to whoever
asks, and its session's folder may be written by everybody. None of this serves a job on one machine: here all of it is
closed. `COSMOS_RAY_DASHBOARD=1` asks for the dashboard and the metrics, which then listen as Ray has them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

from ray._private import ray_constants

_ASKED_FOR = "COSMOS_RAY_DASHBOARD"
#: Ray's name for "this machine's address is 127.0.0.1", which it has for other systems' firewalls.
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
#: So long logs of a job are of use.
_KEPT_S = 7 * 86400.0
#: Who says in each log whether a Ray that is started asks for a token.
_OF_TOKENS = logging.getLogger("ray._private.authentication")
_before: tuple[str | None, bool] | None = None


def close() -> dict[str, Any]:
    """Options of `ray.init` for a Ray that is to be started here and is to be closed; `reopen` when it has ended."""
    global _before
    if os.environ.get(_ASKED_FOR) == "1":
        return {"include_dashboard": True}
    _before = os.environ.get(_LOOPBACK), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_LOOPBACK] = "0"  # for the processes that are started
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this one, which has imported Ray
    _OF_TOKENS.setLevel(logging.ERROR)  # nobody else reaches it, with a token or without
    no_metrics = {"_system_config": {"enable_metrics_collection": False}}
    return {"include_dashboard": False, **no_metrics, "_temp_dir": folder()}


def reopen() -> None:
    """This process may join other clusters again. Nothing if nothing was closed."""
    global _before
    if _before is None:
        return
    was, ray_constants.ENABLE_RAY_CLUSTER = _before
    _before = None
    _OF_TOKENS.setLevel(logging.NOTSET)
    if was is None:
        os.environ.pop(_LOOPBACK, None)
    else:
        os.environ[_LOOPBACK] = was


def folder() -> str | None:
    """Where Ray keeps its sessions: logs, sockets, what functions and their arguments are. Ray opens its own folder to
    everybody with each process that starts, so it lies in one that only this user may enter. None: where RAY_TMPDIR
    says; whose that is, is the user's affair."""
    if "RAY_TMPDIR" in os.environ:
        return None
    # A short name, as Ray's own place has: those of sockets may have a hundred characters.
    closed = f"/tmp/cosmos-ray-{os.geteuid()}"  # noqa: S108 - whose it is, is looked at
    try:
        os.mkdir(closed, stat.S_IRWXU)
    except FileExistsError:
        found = os.lstat(closed)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            closed = tempfile.mkdtemp(prefix="cosmos-ray-", dir="/tmp")
    os.chmod(closed, stat.S_IRWXU)
    _sweep(Path(closed, "ray"))
    return f"{closed}/ray"


def _sweep(folder: Path) -> None:
    """Remove old sessions of Rays that have ended: Ray leaves them all, logs and what it spilled. One that lives writes
    into its logs every few seconds."""
    before = time.time() - _KEPT_S
    for session in folder.glob("session_2*"):
        with contextlib.suppress(OSError):
            if not session.is_symlink() and _last_written(session) < before:
                shutil.rmtree(session, ignore_errors=True)


def _last_written(session: Path) -> float:
    """Seconds since 1970."""
    logs = session / "logs"
    return max(one.lstat().st_mtime for one in (session, *(logs.iterdir() if logs.is_dir() else ())))
