"""Where the inputs of rows may lie: nothing of the system's own, no way out of the manifest's folder through links."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import fsspec
import pytest

from cosmos_ray.store.reach import ANYWHERE, PlaceError, Reach
from cosmos_ray.store.regular import TooLargeError, read_regular

SYSTEM = ["/proc/self/environ", "/proc/cmdline", "/sys/kernel/notes", "/proc/self/mem"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "in").mkdir(parents=True)
    (tmp_path / "away").mkdir()
    for place in ("home/in/a.mp4", "away/a.mp4"):
        (tmp_path / place).write_bytes(b"a")
    os.symlink(tmp_path / "away", tmp_path / "home" / "folder")
    os.symlink(tmp_path / "away" / "a.mp4", tmp_path / "home" / "file.mp4")
    os.symlink("in/a.mp4", tmp_path / "home" / "inside.mp4")
    return tmp_path / "home"


@pytest.mark.parametrize("name", ["folder/a.mp4", "file.mp4", "in/../folder/a.mp4"])
def test_a_link_leads_out_of_the_manifests_folder_only_where_that_is_allowed(home: Path, name: str) -> None:
    away = home.parent / "away"
    with pytest.raises(PlaceError, match=r"a symbolic link leads out of it.*inputs\.allow"):
        Reach(str(home)).check(str(home / name))
    for allow in (str(away), str(away / "a.mp4"), str(home.parent)):
        assert Reach(str(home), (allow,)).check(str(home / name)) == str(away / "a.mp4")
    for allow in (str(home.parent / "awa"), "s3://bucket"):
        with pytest.raises(PlaceError):
            Reach(str(home), (allow,)).check(str(home / name))


def test_a_place_that_is_allowed_may_be_named_by_a_link_to_it(home: Path) -> None:
    os.symlink(home.parent / "away", home.parent / "data")
    reach = Reach(str(home), (str(home.parent / "data"),))
    for name in (home / "file.mp4", home.parent / "data" / "a.mp4"):
        assert reach.check(str(name)) == str(home.parent / "away" / "a.mp4")


def test_links_within_it_and_a_folder_that_is_one_itself_are_no_way_out(home: Path) -> None:
    assert Reach(str(home)).check(str(home / "inside.mp4")) == str(home / "in" / "a.mp4")
    os.symlink(home, home.parent / "same")
    assert Reach(str(home.parent / "same")).check(f"{home.parent}/same/in/a.mp4") == str(home / "in" / "a.mp4")


def test_other_local_files_may_be_named_until_a_setting_says_which(home: Path) -> None:
    away = home.parent / "away" / "a.mp4"
    assert Reach(str(home)).check(str(away)) == str(away)
    assert ANYWHERE.check(str(home / "file.mp4")) == str(away)
    for nothing_else in ((), (str(home.parent / "other"),)):
        with pytest.raises(PlaceError, match=r"below the manifest's folder or a place that inputs\.allow names"):
            Reach(str(home), nothing_else).check(str(away))
        assert Reach(str(home), nothing_else).check(str(home / "in" / "a.mp4"))


def test_what_may_be_read_of_stores_can_be_said_too() -> None:
    reach = Reach("s3://mine/set", ("gs://theirs/videos",))
    assert reach.check("s3://mine/set/a.mp4") == "s3://mine/set/a.mp4"
    assert reach.check("gs://theirs/videos/a.mp4")
    for uri in ("s3://mine/settings/a.mp4", "s3://other/a.mp4", "gs://theirs/a.mp4", "gs://theirs/videos2/a.mp4"):
        with pytest.raises(PlaceError, match=r"inputs\.allow"):
            reach.check(uri)
        assert Reach("s3://mine/set").check(uri) == uri


def test_an_account_of_its_own_is_the_environments_the_manifests_or_one_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_STORAGE_")]:
        monkeypatch.delenv(name)
    other = "abfs://c@other.dfs.core.windows.net/a.mp4"
    with pytest.raises(PlaceError, match="other is neither the environment's"):
        Reach("/data").check(other)
    assert Reach("abfs://d@other.dfs.core.windows.net/set").check(other) == other
    assert Reach("/data", ("abfs://c@other.dfs.core.windows.net",)).check(other) == other


@pytest.mark.parametrize("uri", [*SYSTEM, "/dev/zero", "/dev/null", "/dev/stdin", "/dev/fd/0"])
def test_nothing_of_the_systems_own_is_read_whoever_allows_it(uri: str) -> None:
    for reach in (ANYWHERE, Reach("/", ("/",))):
        with pytest.raises((PlaceError, FileNotFoundError)):
            reach.check(uri)


def test_a_link_to_the_systems_own_is_no_way_round(home: Path) -> None:
    os.symlink("/proc/self/environ", home / "a.pt")
    os.symlink("/dev/zero", home / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(PlaceError, match=r"the system's own|not a regular file"):
            Reach(str(home)).check(str(home / name))


def test_what_is_allowed_may_be_written_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec.config, "conf", {})
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    written = ("az://c/in/a.mp4", "abfs://c@mine.dfs.core.windows.net/in/a.mp4")
    for home, allow in (("az://c/in", ()), ("abfs://c@mine.dfs.core.windows.net/in", ()), ("", ("abfss://c/in",))):
        for uri in written:
            assert Reach(home, allow).check(uri) == uri
            with pytest.raises(PlaceError, match=r"a place that inputs\.allow names"):
                Reach(home, allow).check(uri.replace("/in/", "/out/"))
    assert Reach("", ("s3a://b",)).check("s3://b/a.mp4") == "s3://b/a.mp4"
    assert Reach("", ("abfs://mine.dfs.core.windows.net",)).check(written[0]) == written[0]


def test_pipes_sockets_and_devices_are_no_files(home: Path) -> None:
    os.mkfifo(home / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "s"))
        for name in ("pipe", "s"):
            with pytest.raises(PlaceError, match="not a regular file"):
                ANYWHERE.check(str(home / name))
            with pytest.raises(OSError):
                read_regular(home / name)
    with pytest.raises(OSError, match="not a regular file"):
        read_regular("/dev/zero")


@pytest.mark.parametrize("uri", ["http://h/a", "memory://a", "github://o:r@main/a", "reference://a", "sftp://u:p@h/a"])
def test_no_client_of_another_kind_is_made(uri: str) -> None:
    with pytest.raises(PlaceError, match="a scheme of"):
        ANYWHERE.check(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket/a", "s3://host:9000/a", "s3://bucket/a?endpoint_url=http://evil",
        "gs://bucket/a?token=anon&endpoint_url=x", "abfs://c@evil.com/a", "abfs://c@mine.dfs.core.windows.net/a?sig=x",
    ],
)  # fmt: skip
def test_a_uri_that_says_more_than_a_place_is_refused_whoever_has_kept_it(uri: str) -> None:
    """A sidecar, say: rows that say so do not come so far."""
    for reach in (ANYWHERE, Reach("s3://bucket"), Reach("", (uri,))):
        with pytest.raises(PlaceError, match="a URI that may be read, not one") as caught:
            reach.check(uri)
        assert "secret" not in str(caught.value)


def test_a_file_of_just_the_largest_size_is_read_and_a_disk_in_memory_is_a_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_regular(tmp_path / "a", 3) == b"abc"
    with pytest.raises(TooLargeError):
        read_regular(tmp_path / "a", 2)
    if os.access("/dev/shm", os.W_OK):
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            assert ANYWHERE.check(file.name) == file.name


def test_a_file_of_no_end_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(TooLargeError, match=f"a file of {2**40} bytes, expected at most 100"):
        read_regular(tmp_path / "hole", 100)
    assert read_regular("/proc/self/environ") == b"", "it says that it has no bytes"
