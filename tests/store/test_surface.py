"""Every way to write a place, every answer of a store, every small rule of the room: what comes of each, as it was."""

from __future__ import annotations

import errno
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.errors import CosmosRayError
from cosmos_ray.store import accounts, faults, places, plain_yaml, uris
from cosmos_ray.store.content import typed
from cosmos_ray.store.faults import BucketMissingError, explain, explain_store, retrying, with_os_errors
from cosmos_ray.store.reach import Reach
from cosmos_ray.store.regular import TooLargeError, check_folder, read_object, read_regular
from cosmos_ray.store.storage import Storage, fetch_to_file, read_bytes, stat_of

URIS = (
    "a.mp4", "in/a.mp4", "in//a.mp4", "in/./a.mp4", "../a.mp4", "in/../../a", "/abs/a.mp4", "/abs/a/", "/", "", " ",
    "~/a",
    "~me/a", "file:/a b", "file:///a%20b", "file://localhost/a", "file://host/a", "file:///%ff", "FILE:///a", "C:\\a",
    "\\\\h\\a",
    "a\0b", "s3://b", "s3://b/", "s3://b/k", "S3://b/K/", "s3a://b/k", "s3:/b/k", "s3:b/k", "s3://",
    "s3://b/k?versionId=1",
    "s3://b/k?x=1", "s3://b/k?x", "s3://u:p@b/k", "s3://u@b/k", "s3://arn:aws:s3:r:1:accesspoint/x/k", "s3://b_/k",
    "s3://-b/k",
    "gs://b/k", "gcs://b/k", "az://c/k", "az://c@acc.blob.core.windows.net/k", "abfs://c@acc.dfs.core.windows.net/k",
    "abfss://c@own.dfs.core.windows.net/k", "az://acc.blob.core.windows.net/c/k", "az://acc.blob.core.windows.net",
    "az://c@host/k", "az://c:p@acc.dfs.core.windows.net/k", "az://$web/k", "http://h/k", "https:/h/k", "ftp://h/k",
    "x::y",
    "s3://b/x::y", "hf://o/m",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fsspec.config, "conf", {})
    (tmp_path / "here").mkdir()  # so that what climbs out of it is masked, too
    monkeypatch.chdir(tmp_path / "here")


def answer(ask: Callable[..., Any], *given: Any) -> str:
    try:
        return repr(ask(*given))
    except (ValueError, OSError, CosmosRayError, yaml.YAMLError) as error:
        said = re.sub(r"Is a directory: \d+", "Is a directory: (number)", " ".join(str(error).split()))
        return f"{type(error).__name__}: {said}"


def of_uris(module: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions of a module that take nothing but one URI or text."""
    for name, one in vars(module).items():
        if inspect.isfunction(one) and one.__module__ == module.__name__ and not name.startswith("_"):
            needed = [p for p in inspect.signature(one).parameters.values() if p.default is p.empty]
            if len(needed) == 1 and needed[0].annotation in ("str",):
                yield name, one


def grouped(name: str, answers: dict[str, str]) -> Iterator[str]:
    """What is answered alike stands together."""
    alike: dict[str, list[str]] = {}
    for uri, said in answers.items():
        alike.setdefault(said.replace(repr(uri), "IT"), []).append(repr(uri))
    yield f"== {name}"
    for said, given in alike.items():
        yield f"{' '.join(given)} -> {said}"


@pytest.mark.parametrize("module", [uris, places, accounts], ids=["uris", "places", "accounts"])
@pytest.mark.parametrize("environment", ["none", "own"])
def test_what_each_uri_is(module: Any, environment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if environment == "own":
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "Own")
        monkeypatch.setattr(fsspec.config, "conf", {"abfs": {"account_host": "host"}})
    lines = []
    for name, ask in of_uris(module):
        lines += grouped(name, {uri: answer(ask, uri) for uri in URIS})
    assert_as_it_was(
        f"store/{module.__name__.rpartition('.')[2]}_{environment}.txt", masked("\n".join(lines), tmp_path)
    )


def test_what_each_reference_becomes_beside_each_manifest(tmp_path: Path) -> None:
    lines = []
    for base in ("/data/set", "/", "s3://b/set", "az://c@acc.dfs.core.windows.net/set"):
        lines += grouped(base, {uri: answer(uris.resolve_reference, uri, base) for uri in URIS})
    assert_as_it_was("store/references.txt", masked("\n".join(lines), tmp_path))


def test_whose_account_each_uri_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    connection = "AccountName=own;BlobEndpoint=https://host/x;AccountKey=k"
    for name, value in (("AZURE_STORAGE_ACCOUNT_NAME", None), ("AZURE_STORAGE_ACCOUNT_NAME", "own"),
                        ("AZURE_STORAGE_CONNECTION_STRING", connection)):  # fmt: skip
        if value:
            monkeypatch.setenv(name, value)
        azure = [uri for uri in URIS if uri.partition("://")[0] in accounts.AZURE]
        for own in ((), ("az://d@acc.dfs.core.windows.net",)):
            found = {uri: answer(accounts.foreign_account, uri, own) for uri in azure}
            lines += grouped(f"{name} {value}, beside {own}", found)
        lines += grouped("connection", {uri: answer(accounts.check_connection, uri) for uri in azure})
        lines += grouped("one account", {uri: answer(accounts.are_of_one_account, uri, "az://d/x") for uri in azure})
        lines.append(f"own: {sorted(accounts.own_accounts())}")
    assert_as_it_was("store/whose.txt", "\n".join(lines))


def test_which_place_lies_in_which(tmp_path: Path) -> None:
    some = (
        "/data/set",
        "/data/set/x",
        "/data/settings",
        "/",
        "s3://b/set",
        "s3a://b/set/x",
        "gs://b/set",
        "s3://b",
        "az://c/x",
    )
    lines = [f"{one} in {other}: {answer(places.is_within, one, other)}" for one in some for other in some]
    assert_as_it_was("store/within.txt", masked("\n".join(lines), tmp_path))


def test_what_may_be_reached(tmp_path: Path) -> None:
    """By a row that names it, where settings allow nothing, everything, or some places."""
    for name in ("home", "allowed", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(b"x")
    (tmp_path / "home" / "link.mp4").symlink_to(tmp_path / "other" / "a.mp4")
    lines = []
    for allow in (None, (), (str(tmp_path / "allowed"),), ("s3://b/in",)):
        reach = Reach(str(tmp_path / "home"), allow)
        asked = [
            f"{tmp_path}/{name}" for name in ("home/a.mp4", "home/link.mp4", "allowed/a.mp4", "other/a.mp4", "none")
        ]
        asked += ["/proc/self/environ", "/dev/zero", "s3://b/in/a", "s3://b/other", "az://c@acc.dfs.core.windows.net/k"]
        for method in sorted(
            name for name, _ in inspect.getmembers(reach, inspect.ismethod) if not name.startswith("_")
        ):
            if len(inspect.signature(getattr(reach, method)).parameters) == 1:
                lines += grouped(f"{allow} {method}", {uri: answer(getattr(reach, method), uri) for uri in asked})
    assert_as_it_was("store/reach.txt", masked("\n".join(lines), tmp_path))


def library_error(name: str, module: str, **facts: Any) -> Exception:
    error = type(name, (Exception,), {"__module__": module})("first line\nsecond line")
    for fact, value in facts.items():
        setattr(error, fact, value)
    return error


def errors() -> Iterator[tuple[str, BaseException]]:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EINVAL,
    errno.EACCES,
                   errno.ENAMETOOLONG, errno.ECONNRESET, errno.ETIMEDOUT):  # fmt: skip
        name = errno.errorcode[number]
        yield name, OSError(number, "said")
        yield f"{name} of a file", OSError(number, "said", "/some/file")
    for status in (400, 401, 403, 404, 408, 409, 412, 416, 429, 500, 503):
        for where, fact in (("azure.core", "status_code"), ("gcsfs.retry", "code"), ("aiohttp.client", "status")):
            yield (
                f"{where} {status}",
                library_error("HttpError", where, **{fact: status if fact != "code" else str(status)}),
            )
    for name in (
        "NoCredentialsError",
        "PartialCredentialsError",
        "DefaultCredentialsError",
        "ParamValidationError",
        "Other",
    ):
        yield name, library_error(name, "botocore.exceptions")
    yield "not a store's", library_error("Other", "numpy.core", status=404)
    yield "Forbidden", OSError("Forbidden: https://x\nmore")
    yield "bucket", BucketMissingError("no bucket")
    yield "too large", TooLargeError(9, 5)
    yield "value", ValueError("a setting")
    for kind in (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, ConnectionError, TimeoutError):
        yield kind.__name__, kind("said")


def test_what_each_answer_of_a_store_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its class, errno and words, how often it is tried, and with which pauses."""
    slept: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", slept.append)
    monkeypatch.setattr(faults.random, "uniform", lambda low, high: low + high)
    lines = []
    for name, error in errors():
        calls: list[int] = []

        def operation(error: BaseException = error, calls: list[int] = calls) -> None:
            calls.append(1)
            raise error

        found = {}
        for ask in (with_os_errors, lambda operation: retrying(operation, "reading x")):
            try:
                ask(operation)
            except Exception as raised:  # noqa: BLE001 - which one is what is looked at
                found[f"{type(raised).__name__} {getattr(raised, 'errno', None)} {raised!s}"] = raised
        shown = [" ".join(one.split()) for one in found]
        (raised, *_) = found.values()
        lines.append(f"{name}: {shown}, {len(calls)} calls, pauses {[round(one, 2) for one in slept]}")
        lines.append(f"  {explain(raised)} | {explain_store(raised)}")
        slept.clear()
    assert_as_it_was("store/faults.txt", "\n".join(lines))


def test_what_operations_of_a_folder_give(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "out"))
    lines = []
    for method, *given in (
        ("read", "a"), ("exists", "a"), ("stat", "a"), ("list_files",), ("write", "a", b"12"), ("write", "in/b",
        b"345"),
        ("write_if_absent", "a", b"12"), ("write_if_absent", "a", b"34"), ("write_if_absent", "in/c", b"6"), ("read",
        "a"),
        ("exists", "in"), ("stat", "in"), ("list_files",), ("list_files", "in"), ("list_files", "none"),
        ("read_many", ["a", "in/b", "none"]), ("read_many", []), ("read", "../x"), ("read", "/x"), ("read", "in//b"),
        ("read", ""), ("write", "in/./x", b""), ("delete", "a"), ("delete", "a"), ("delete_folder", "in"),
        ("delete_folder", "in"), ("list_files",), ("uri_of", "x"), ("check_writable",), ("answers", 1.0),
    ):  # fmt: skip
        said = answer(getattr(storage, method), *given)
        listed = sorted(storage.list("in")) if (tmp_path / "out" / "in").is_dir() else []
        lines.append(f"{method} {given}: {said.partition(', version')[0]}; in: {listed}")
    (tmp_path / "out" / ".tmp-1").write_bytes(b"123")
    lines += [str(storage.list_files()), str(storage.remove_unfinished(60)), str(storage.remove_unfinished())]
    (tmp_path / "five").write_bytes(b"12345")
    uri = str(tmp_path / "five")
    for given in (
        (uri,),
        (uri, 1),
        (uri, 1, 3),
        (uri, None, None, 4),
        (uri, None, None, 5),
        (str(tmp_path),),
        (f"{uri}x",),
    ):
        lines.append(f"read_bytes {given[1:]}: {answer(read_bytes, *given)}")
    for given in (
        (uri, tmp_path / "t"),
        (uri, tmp_path / "t", 4),
        (uri, tmp_path / "t", 5),
        (str(tmp_path), tmp_path / "t"),
    ):
        lines.append(f"fetch_to_file {given[2:]}: {answer(fetch_to_file, *given).partition(', version')[0]}")
    lines += [
        f"stat_of: {answer(stat_of, place).partition(', version')[0]}" for place in (uri, str(tmp_path), f"{uri}x")
    ]
    assert_as_it_was("store/operations.txt", masked("\n".join(lines), tmp_path))


def test_what_small_files_give(tmp_path: Path) -> None:
    lines = []
    for name, content in (
        ("object", b'{"a": 1}'),
        ("list", b"[1]"),
        ("none", b""),
        ("deep", b"[" * 100_000),
        ("text", b"x"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        found = answer(read_object, path), answer(read_object, path, 3), answer(read_regular, path, 1)[:80]
        lines.append(f"{name}: {found}")
    lines.append(answer(check_folder, tmp_path))
    with open(tmp_path / "words.txt", "wb") as file:
        file.truncate(2**26 + 1)
    lines += [answer(check_folder, tmp_path), answer(read_regular, tmp_path), answer(read_regular, "/dev/null")]
    assert_as_it_was("store/small_files.txt", masked("\n".join(lines), tmp_path))


TEXTS = ("1", "01", "1.5", "1e3", "1_000", "0x10", "yes", "no", "on", "true", "False", "null", "~", "12:30",
         "2031-01-01",
         "[a, 1]",
         "{a: 1, a: 2}", "a: !!python/object:os.system x", "&a [*a]", "'1'", "+1", "-0", ".5", ".inf", "a: 1\nb",
         "")  # fmt: skip


def test_what_yaml_says() -> None:
    lines = list[str]()
    lines += grouped("settings", {text: answer(plain_yaml.load_yaml, text) for text in TEXTS})
    lines += grouped(
        "specs", {text: answer(yaml.load, text, plain_yaml.DecimalLoader).partition(" in ")[0] for text in TEXTS}
    )
    assert_as_it_was("store/yaml.txt", "\n".join(lines))


def test_what_a_store_is_told_of_each_kind_of_file() -> None:
    names = ("a.html", "a.js", "a.json", "a.jpg", "a.png", "a.mp4", "a.parquet", "a", "a.MP4", "d.mp4/x")
    lines = [
        f"{scheme} {name}: {typed(scheme, name)}" for scheme in ("file", "s3", "s3a", "gs", "gcs") for name in names
    ]
    lines += [f"az {name}: {typed('az', name).get('content_settings', {})}" for name in ("a", "a.mp4")]
    assert_as_it_was("store/types.txt", "\n".join(lines))


def test_places_that_are_given_in_python() -> None:
    given = ("a", Path("/b"), b"c", 3, None, Path)
    assert_as_it_was("store/given.txt", "\n".join(f"{one!r}: {answer(uris.path_text, 'output', one)}" for one in given))
