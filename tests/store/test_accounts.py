"""Whose account a URI leads to: credentials of the environment go to accounts that the environment names."""

from __future__ import annotations

import fsspec
import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.store.accounts import account_of, check_connection, foreign_account, wrong_form
from cosmos_ray.store.storage import Storage, filesystem_of
from cosmos_ray.store.uris import normalise_uri, resolve_reference

MINE = "abfs://c@mine.dfs.core.windows.net/a.mp4"
OTHER = "abfs://c@other.blob.core.windows.net/a.mp4"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCOUNT_NAME", "CONNECTION_STRING", "SAS_TOKEN", "ACCOUNT_KEY"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setattr(fsspec.config, "conf", {})


def test_an_account_is_the_jobs_own_if_the_environment_or_the_user_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert foreign_account("az://c/a.mp4") is None, "no account but the environment's"
    assert foreign_account("s3://bucket/a.mp4") is None
    assert foreign_account(OTHER) == "other"
    assert foreign_account(OTHER, own=[OTHER.replace("blob", "dfs").replace("a.mp4", "m.parquet")]) is None
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "Mine")
    assert foreign_account(MINE) is None
    assert foreign_account(OTHER) == "other"
    assert foreign_account("abfss://other.dfs.core.windows.net/c/a.mp4") == "other"
    assert foreign_account("AZ://c@OTHER.DFS.core.windows.net/a.mp4") == "other"
    monkeypatch.setattr(fsspec.config, "conf", {"abfs": {"account_name": "other"}})
    assert foreign_account(OTHER) is None


def test_a_connection_string_is_one_accounts_and_no_uri_changes_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients take it and do not look at the URI's account: the same container of another account would be read."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=mine;AccountKey=a==;EndpointSuffix=x")
    assert foreign_account(MINE) is None
    assert foreign_account(OTHER, own=[OTHER]) == "other"
    check_connection(MINE)
    with pytest.raises(ValueError, match="its account is other"):
        check_connection(OTHER)
    with pytest.raises(UsageError, match="its account is other, and AZURE_STORAGE_CONNECTION_STRING is another"):
        filesystem_of(OTHER)


def test_a_connection_string_of_fsspecs_own_settings_is_the_one_that_clients_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=a==")
    monkeypatch.setattr(fsspec.config, "conf", {"abfs": {"connection_string": "AccountName=mine;AccountKey=a=="}})
    assert (foreign_account(MINE), foreign_account(OTHER)) == (None, "other")


def test_an_emulators_endpoint_is_a_host_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = "AccountName=dev;AccountKey=a==;BlobEndpoint=http://127.0.0.1:10000/dev"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    assert wrong_form("az://c@127.0.0.1/a") is None
    assert foreign_account("az://c@127.0.0.1/a") is None
    assert foreign_account(OTHER) == "other"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket/a.mp4", "s3://key@bucket/a.mp4", "s3://host:9000/a.mp4", "s3://bu%63ket/a.mp4",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/theirs/a.mp4",
        "s3://bucket/a.mp4?endpoint_url=http://evil", "gs://bucket/a.mp4?endpoint_url=x&token=anon",
        "gs://user:pass@bucket/a.mp4", "gs://evil.com:443/a.mp4", "s3://bucket?endpoint_url=http://evil/a.mp4",
        "abfs://c@mine.dfs.core.windows.net/a.mp4?sv=1&sig=x", "abfs://c:pw@mine.dfs.core.windows.net/a.mp4",
        "abfs://c@evil.com/a.mp4", "abfs://c@mine.blob.core.windows.net.evil.com/a.mp4", "az://@mine/a.mp4",
        "abfs://c@evil.com%2f.blob.core.windows.net/a.mp4", "abfs://c@d@mine.dfs.core.windows.net/a.mp4",
        "abfs://c@mine.dfs.core.windows.net:444/a.mp4", "az://c@169.254.169.254/a.mp4", "abfs://evil.com/a.mp4",
    ],
)  # fmt: skip
def test_what_a_row_may_not_say_of_where_something_lies(uri: str) -> None:
    with pytest.raises(ValueError):
        resolve_reference(uri, "/data")
    with pytest.raises(ValueError):
        resolve_reference(uri, "s3://bucket/set")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a.mp4?versionId=3sL4kqtJlcpXroDTDmJ", "gs://my_bucket.example.com/a#1.mp4", "az://$web/a.mp4",
        "s3://bucket/what?.mp4", "abfss://c@mine.dfs.core.windows.net/a@b.mp4", "abfs://mine.dfs.core.windows.net/c/a",
        "s3://bucket/weather=rain/a.mp4",
    ],
)  # fmt: skip
def test_what_a_row_may_say(uri: str) -> None:
    assert resolve_reference(uri, "/data") == uri


@pytest.mark.parametrize(
    "uri",
    ["s3://key:secret@bucket/out", "s3://bucket/out?token=secret", "gs://bucket?token=secret", "az://c:pw@mine/out"],
)
def test_credentials_in_the_users_own_uris_are_refused_and_not_repeated(uri: str) -> None:
    for take in (normalise_uri, Storage, filesystem_of):
        with pytest.raises(UsageError, match="they come from the environment") as caught:
            take(uri)
        assert "secret" not in str(caught.value)
        assert "pw@" not in str(caught.value)


def test_the_users_own_uris_may_lead_anywhere_else() -> None:
    for uri in (OTHER, "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/mine/x", "s3://bucket/x=1/part-?.parquet"):
        assert normalise_uri(uri) == uri


def test_no_other_host_is_a_folder_of_this_one() -> None:
    with pytest.raises(ValueError, match="where a host stands"):
        resolve_reference("file://host/etc/passwd", "/data")
    with pytest.raises(UsageError, match="where a host stands"):
        normalise_uri("file://host/etc/passwd")


def test_what_is_no_store_has_no_account() -> None:
    assert account_of("/data/a@b") is None
    assert account_of("az://c/a") is None
