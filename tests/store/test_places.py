"""Which place a URI is; and a relative path of a submitted job, a folder that Ray removes: it is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.store.places import check_file_to_write, check_lasts, is_within, place_of
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri

UNPACKED = "session_2026-11-28_00-00-00_000000_1/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef"


@pytest.fixture
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the driver of a submitted job runs; Ray names its session by a link as well."""
    folder = tmp_path / "ray" / UNPACKED
    folder.mkdir(parents=True)
    (tmp_path / "ray" / "session_latest").symlink_to(folder.parents[2])
    monkeypatch.chdir(folder)
    return folder


def test_a_relative_output_of_a_submitted_job_is_refused(working_dir: Path) -> None:
    for uri in ("out", "./a/../out", ".", f"{working_dir}/out", f"file://{working_dir}/out"):
        with pytest.raises(UsageError, match=r"the output /.* would lie in the copy of the working directory that Ray"):
            check_lasts(normalise_uri(uri), "the output")
        with pytest.raises(UsageError, match="give the URI of an object store, or the absolute path"):
            Storage(uri).check_writable()
    assert list(working_dir.iterdir()) == [], "nothing was written to find it out"


def test_a_link_to_it_is_no_way_round(working_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(working_dir)
    through_session = tmp_path / "ray/session_latest" / Path(UNPACKED).relative_to(Path(UNPACKED).parts[0])
    assert through_session.samefile(working_dir)
    for folder in (tmp_path / "data", through_session):
        with pytest.raises(UsageError, match="would lie in the copy"):
            check_lasts(str(folder / "out"), "the output")


def test_every_other_place_is_all_right(working_dir: Path, tmp_path: Path) -> None:
    for uri in (
        str(tmp_path / "out"),
        "s3://bucket/runtime_resources/working_dir_files/x",
        str(working_dir.parents[2]),
    ):
        check_lasts(normalise_uri(uri), "the output")
    Storage(str(tmp_path / "out")).check_writable()


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's is `mine`."""
    monkeypatch.setattr(fsspec.config, "conf", {})
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")


@pytest.mark.parametrize(
    "spellings",
    [
        ("/data/a", "/data/./a/", "/data/b/../a", "file:///data/a", "file:/data/a", "FILE://localhost/data/%61"),
        ("s3://b/a", "s3a://b/a", "S3://b/a/"),
        ("gs://b/a", "gcs://b/a"),
        (
            "az://c/a", "abfs://c/a", "abfss://c/a/", "abfs://c@mine.dfs.core.windows.net/a",
            "abfss://c@MINE.blob.core.windows.net/a", "abfs://mine.dfs.core.windows.net/c/a",
        ),
        (
            "az://c@other.dfs.core.windows.net/a", "abfs://c@other.blob.core.windows.net/a",
            "abfss://other.dfs.core.windows.net/c/a",
        ),
        ("az://c", "abfs://c@mine.dfs.core.windows.net", "abfs://mine.dfs.core.windows.net/c/"),
    ],
    ids=lambda spellings: spellings[0],
)  # fmt: skip
def test_a_place_is_one_however_it_is_written(spellings: tuple[str, ...], account: None) -> None:
    assert {place_of(uri) for uri in spellings} == {place_of(spellings[0])}
    assert place_of(place_of(spellings[0])) == place_of(spellings[0]), "itself one of its URIs"
    for uri in spellings:
        assert is_within(f"{uri.rstrip('/')}/x", spellings[0])
        assert is_within(uri, spellings[0])
        assert not is_within(f"{uri.rstrip('/')}b/x", spellings[0])


def test_other_places_stay_other_ones(account: None) -> None:
    uris = (
        "/c/a", "s3://c/a", "gs://c/a", "az://c/a", "az://c@other.dfs.core.windows.net/a", "az://c/a/b", "s3://C/a",
        "az://d@other.dfs.core.windows.net/a",
    )  # fmt: skip
    assert len({place_of(uri) for uri in uris}) == len(uris)


def test_a_link_is_the_place_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    assert place_of(str(tmp_path / "link/a")) == place_of(str(tmp_path / "data/a"))
    assert is_within(str(tmp_path / "link/a"), str(tmp_path / "data"))


def test_two_accounts_of_the_environment_are_two_places(account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the two a URI without one means is its client's to say."""
    monkeypatch.setattr(fsspec.config, "conf", {"abfs": {"account_name": "other"}})
    assert place_of("az://c/a") != place_of("az://c@mine.dfs.core.windows.net/a")


def test_an_emulators_host_is_the_environments_account(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = "AccountName=dev;AccountKey=a==;BlobEndpoint=http://127.0.0.1:10000/dev"
    monkeypatch.setattr(fsspec.config, "conf", {})
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    assert place_of("az://c@127.0.0.1/a") == place_of("abfs://c@dev.dfs.core.windows.net/a") == "az://c/a"


def test_a_whole_account_holds_all_of_its_containers(account: None) -> None:
    for folder in ("abfs://mine.dfs.core.windows.net", "az://mine.blob.core.windows.net/"):
        assert is_within("az://c/a", folder)
        assert is_within("abfs://c@mine.dfs.core.windows.net/a", folder)
        assert not is_within("abfs://c@other.dfs.core.windows.net/a", folder)
        assert not is_within("s3://c/a", folder)
    assert not is_within("az://c/a", "abfs://other.dfs.core.windows.net")


def test_what_is_written_is_a_file_and_replaces_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to("/dev/null")
    for name in ("pipe", "stdout"):
        with pytest.raises(
            UsageError, match=f"the manifest .*/{name} is a pipe, a device or a socket, expected the path"
        ):
            check_file_to_write(str(tmp_path / name), "the manifest")
    with pytest.raises(UsageError, match="is a folder, expected the path of a file to write"):
        check_file_to_write(str(tmp_path), "the manifest")
    (tmp_path / "there").touch()
    for place in (str(tmp_path / "there"), str(tmp_path / "new"), "s3://b/dev/null"):
        check_file_to_write(place, "the manifest")
