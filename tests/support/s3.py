"""A throw-away S3 server for tests: Ceph's gateway where it is installed, else moto's imitation of S3.

COSMOS_RAY_TEST_S3 says which: `ceph` (nothing else will do), `moto`, or `auto` (the default).
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.paths import TOOLS
from support.waiting import PATIENCE_S

TOOL = TOOLS / "s3-server"
_TRIES = 3
#: Stops the server and clears its folder ($1) when standard input ends: however this process does.
_WATCHDOG = 'cat >/dev/null; "$0" stop "$1" 2>/dev/null; rm -rf "$1"'


#: What clients of S3 ask for, of a bucket and of its objects.
_ACTIONS = {
    f"s3:{name}"
    for name in (
        "ListBucket", "GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload", "ListBucketMultipartUploads",
        "ListMultipartUploadParts", "GetObjectAcl", "PutObjectAcl", "GetObjectVersion", "DeleteObjectVersion",
        "ListBucketVersions", "GetBucketLocation", "GetBucketAcl", "PutBucketAcl", "GetBucketVersioning",
        "GetObjectTagging", "PutObjectTagging", "CreateBucket", "DeleteBucket", "GetBucketPolicy",
    )
}  # fmt: skip


@dataclass(frozen=True)
class S3Server:
    """A running server. kind: "ceph" or "moto"; environment: what S3 clients need to reach it (None: unset it)."""

    kind: str
    environment: dict[str, str | None]
    stop: Callable[[], None]

    def make_bucket(self) -> str:
        """URI of a new, empty bucket. The environment must be set."""
        import s3fs

        name = f"test-{uuid.uuid4().hex[:16]}"
        s3fs.S3FileSystem().mkdir(name)
        return f"s3://{name}"


def allow_only(uri: str, policy: str, inputs: str) -> None:
    """Nobody, its owner neither, may do more with a URI's bucket from now on than a policy says. policy: a JSON of
    statements that allow, of a bucket INPUTS, which is here the folder `inputs`, and of a bucket OUTPUTS, which is the
    whole bucket. moto takes what is denied here and does not heed it."""
    import s3fs

    name = uri.removeprefix("s3://").partition("/")[0]
    told = json.loads(policy)["Statement"]
    of_inputs = {one for each in told if "arn:aws:s3:::INPUTS/*" in each["Resource"] for one in each["Action"]}
    of_all = {one for each in told for one in each["Action"]}
    denied = [
        _denied(_ACTIONS - of_all, [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]),
        _denied(_ACTIONS - of_inputs - {"s3:ListBucket"}, [f"arn:aws:s3:::{name}/{inputs}/*"]),
    ]
    text = json.dumps({"Version": "2012-10-17", "Statement": denied})
    s3fs.S3FileSystem().call_s3("put_bucket_policy", Bucket=name, Policy=text)


def _denied(actions: set[str], resources: list[str]) -> dict[str, Any]:
    """Ceph of 2021 does not heed NotAction."""
    return {"Effect": "Deny", "Principal": "*", "Action": sorted(actions), "Resource": resources}


def expected_kind() -> str:
    """What `server` will start, as far as one can tell without starting it."""
    asked = os.environ.get("COSMOS_RAY_TEST_S3", "auto")
    if asked not in ("auto", "ceph", "moto"):
        raise ValueError(f"COSMOS_RAY_TEST_S3: found {asked!r}, expected ceph, moto or auto")
    if asked == "auto":
        return "ceph" if shutil.which("radosgw", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") else "moto"
    return asked


@functools.cache
def server() -> S3Server:
    """The session's server, started by the first call and stopped when the process ends."""
    kind = expected_kind()
    try:
        started = _start_ceph() if kind == "ceph" else _start_moto()
    except RuntimeError as error:
        if os.environ.get("COSMOS_RAY_TEST_S3") == "ceph":
            raise
        warnings.warn(f"tests run against moto, an imitation of S3: {error}", stacklevel=2)
        started = _start_moto()
    atexit.register(started.stop)
    return started


def _start_ceph() -> S3Server:
    """On other ports if its own turn out to be another's: then its parts wait for each other without an end."""
    for _ in range(_TRIES - 1):
        try:
            return _start_ceph_once()
        except RuntimeError as error:
            warnings.warn(f"another try: {error}", stacklevel=2)
    return _start_ceph_once()


def _start_ceph_once() -> S3Server:
    folder = tempfile.mkdtemp(prefix="cosmos-ray-s3-")
    watchdog = subprocess.Popen(
        ["bash", "-c", _WATCHDOG, TOOL, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )

    def stop() -> None:
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        watchdog.wait()

    command = [TOOL, "start", folder, str(_free_port())]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S / _TRIES, check=True)
    except subprocess.CalledProcessError as error:
        stop()
        raise RuntimeError(f"Ceph's gateway did not start: {error.stderr.strip()[-1000:]}") from None
    except subprocess.TimeoutExpired:
        stop()
        raise RuntimeError(f"Ceph's gateway had not started after {PATIENCE_S / _TRIES:.0f} s") from None
    lines = subprocess.run([TOOL, "env", folder], capture_output=True, text=True, check=True).stdout.splitlines()
    environment: dict[str, str | None] = {"AWS_SESSION_TOKEN": None, "AWS_PROFILE": None}
    for line in lines:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = value
    return S3Server("ceph", environment, stop)


def _free_port() -> int:
    """A port with a hundred free ones behind it, likely: the server's other parts listen there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(probe.getsockname()[1], 65_400)


@functools.cache
def imitation() -> S3Server:
    """moto's, beside the session's server: it has what Ceph has not."""
    started = _start_moto()
    atexit.register(started.stop)
    return started


def _start_moto() -> S3Server:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    environment: dict[str, str | None] = {
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SESSION_TOKEN": None,
        "AWS_PROFILE": None,
    }
    return S3Server("moto", environment, moto.stop)
