"""An output that cannot be written is refused before anything starts: at once, in the store's words, no secret told."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import s3fs
from support.clients import fresh_clients

from cosmos_ray.errors import UsageError
from cosmos_ray.store import faults as store_faults
from cosmos_ray.store.storage import Storage, read_bytes


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is final: who would try it again fails here."""

    def sleep(seconds: float) -> None:
        raise AssertionError("it was about to be tried again")

    monkeypatch.setattr(store_faults, "time", SimpleNamespace(sleep=sleep))


def test_a_folder_that_can_be_written_passes_and_stays_empty(storage: Storage) -> None:
    storage.check_writable()
    assert list(storage.list("_cosmos_ray")) == []


_CHECK_AS_NOBODY = """
import os, sys
from cosmos_ray.errors import UsageError
from cosmos_ray.store.storage import Storage
storage = Storage(sys.argv[1])
list(storage.list("a"))  # imports the rest: nobody may not read a checkout in root's home
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    storage.check_writable()
except UsageError as error:
    print(error)
"""


def test_a_read_only_folder() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
        command = [sys.executable, "-c", _CHECK_AS_NOBODY, folder]
        said = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False).stdout
        Path(folder).chmod(stat.S_IRWXU)
    assert f"the output {folder} is not writable: PermissionError" in said


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="is not writable: NotADirectoryError"):
        Storage(str(tmp_path / "out")).check_writable()


def test_a_read_only_bucket_can_be_read_and_not_written(
    s3_bucket: str, request: pytest.FixtureRequest, s3: str
) -> None:
    """Its policy forbids writing, as one does for a bucket of inputs."""
    if "moto" in request.node.name:
        pytest.skip("moto does not enforce bucket policies")
    name = f"read-only-{uuid.uuid4().hex[:12]}"
    client = s3fs.S3FileSystem()
    client.mkdir(name)
    client.pipe_file(f"{name}/in/m.parquet", b"a manifest")
    rule = {"Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject"], "Resource": f"arn:aws:s3:::{name}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    client.call_s3("put_bucket_policy", Bucket=name, Policy=policy)
    with pytest.raises(UsageError, match=f"s3://{name}/out is not writable: PermissionError"):
        Storage(f"s3://{name}/out").check_writable()
    with pytest.raises(PermissionError):
        Storage(f"s3://{name}/out").write_if_absent("x", b"x")
    assert read_bytes(f"s3://{name}/in/m.parquet") == b"a manifest"


@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_a_bucket_that_is_not_there(scheme: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue({"s3": "s3_bucket", "az": "azure_bucket", "gs": "gcs_bucket"}[scheme])
    missing = Storage(f"{scheme}://no-such-bucket-here/out")
    with pytest.raises(UsageError, match=f"{scheme}://no-such-bucket-here/out is not writable: FileNotFoundError"):
        missing.check_writable()
    with pytest.raises(OSError, match="the bucket 'no-such-bucket-here' of"):
        read_bytes(missing.uri_of("in.mp4"))


@pytest.mark.parametrize("access", ["unknown", "known"])
def test_wrong_credentials_are_not_shown(
    s3: str, access: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """An unknown user, or a known one with another secret; neither secret is in the message."""
    if "moto" in request.node.name:
        pytest.skip("moto takes any credentials")
    right = os.environ["AWS_SECRET_ACCESS_KEY"]
    if access == "unknown":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHIS0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-the-user")
    with fresh_clients("s3"), pytest.raises(UsageError, match="is not writable: PermissionError") as caught:
        Storage(s3).check_writable()
    assert "wrong-secret" not in str(caught.value)
    assert right not in str(caught.value)


def test_wrong_credentials_of_azure(azure_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    wrong = base64.b64encode(b"a wrong key of the account").decode()
    parts = [part if not part.startswith("AccountKey=") else f"AccountKey={wrong}" for part in right.split(";")]
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", ";".join(parts))
    with fresh_clients("az"), pytest.raises(UsageError, match="is not writable: PermissionError") as caught:
        Storage(f"{azure_bucket}/out").check_writable()
    assert wrong not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("failed to authenticate") == 1


def test_no_credentials_of_azure(azure_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    with fresh_clients("az"), pytest.raises(UsageError, match=r"cannot be reached: .*account"):
        Storage(f"{azure_bucket}/out").check_writable()


def test_no_credentials(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a PermissionError like any other refusal."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with fresh_clients("s3"):
        with pytest.raises(UsageError, match="Unable to locate credentials"):
            Storage(s3).check_writable()
        with pytest.raises(PermissionError, match="Unable to locate credentials"):
            list(Storage(s3).list("a"))


def test_a_server_that_is_gone_is_an_os_error(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers (the lease's thread among them) catch OSError, not what some client library has of its own."""
    monkeypatch.setattr(store_faults, "_RETRY_DELAYS_S", ())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with fresh_clients("s3"), pytest.raises(OSError, match="EndpointConnectionError"):
        Storage(s3).read("x")


def test_google_s_client_leaves_it_to_us_to_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs each error that it raises with its traceback, fifty lines a try."""
    retry = pytest.importorskip("gcsfs.retry")

    async def at_once(_: float) -> None: ...

    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(sleep=at_once))
    monkeypatch.setattr(store_faults, "_RETRY_DELAYS_S", ())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with fresh_clients("gs"), pytest.raises(OSError, match="Cannot connect to host"):
        Storage("gs://bucket/out").read("x")
    assert not [record for record in caplog.records if record.name == "gcsfs" or record.exc_info]


def test_a_scheme_without_create_if_absent() -> None:
    for uri in ("http://host/out", "memory://out", "ftp://host/out"):
        with pytest.raises(UsageError, match="is not one of"):
            Storage(uri).exists("x")


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own takes root to mount")
def test_a_full_disk_is_not_writable_though_it_takes_an_empty_file(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        with contextlib.suppress(OSError):
            (tmp_path / "all").write_bytes(bytes(2 << 20))
        with pytest.raises(UsageError, match=r"not writable.*No space left on device: .*; make room there"):
            Storage(str(tmp_path / "out")).check_writable()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
