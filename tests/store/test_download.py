"""A fetch that is given up ends: no thread, and no request, goes on with it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec.asyn
import pytest

from cosmos_ray.limits import TimeIsUp, in_this_limit, time_left, time_limit
from cosmos_ray.store.download import download, second_name
from cosmos_ray.store.faults import retrying


class SilentStore:
    """Takes a request and never answers it."""

    async_impl = True

    def __init__(self) -> None:
        self.loop = fsspec.asyn.get_loop()
        self.asked, self.ended = threading.Event(), threading.Event()

    async def _get_file(self, path: str, target: str) -> None:
        self.asked.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended.set()


def test_a_store_that_never_answers_is_not_waited_for_and_not_asked_on(tmp_path: Path) -> None:
    store, before = SilentStore(), threading.active_count()
    began = time.monotonic()
    with time_limit(0.2), pytest.raises(TimeIsUp, match="fetching it took too long"):
        retrying(lambda: download(store, "b/a.mp4", tmp_path / "a", "fetching it", 1), "fetching it")
    assert time.monotonic() - began < 15
    assert store.asked.is_set()
    assert store.ended.wait(300), "the request was given up too"
    assert threading.active_count() == before


def test_what_a_store_answers_is_passed_on(tmp_path: Path) -> None:
    async def get(path: str, target: str) -> None:
        if "none" in path:
            raise FileNotFoundError(path)
        Path(target).write_bytes(b"x")

    store: Any = SimpleNamespace(async_impl=True, loop=fsspec.asyn.get_loop(), _get_file=get)
    download(store, "b/a", tmp_path / "a", "fetching", 1)
    assert (tmp_path / "a").read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        download(store, "b/none", tmp_path / "b", "fetching", 1)
    with pytest.raises(OSError, match="the store sent 1 of 2 bytes"):
        download(store, "b/a", tmp_path / "c", "fetching", 2)
    download(store, "b/a", tmp_path / "c", "unpacked on its way", 0)


def test_a_limit_holds_in_the_threads_that_are_started_under_it() -> None:
    assert time_left(5, "x") == 5
    with time_limit(0.01), ThreadPoolExecutor(1) as pool:
        time.sleep(0.02)
        asked = in_this_limit(lambda what: time_left(5, what))
        with pytest.raises(TimeIsUp, match="reading took too long"):
            pool.submit(asked, "reading").result()
        assert pool.submit(time_left, 5, "another's").result() == 5
        with time_limit(100), pytest.raises(TimeIsUp), contextlib.nullcontext():
            time_left(5, "an inner limit is no longer one")
    assert time_left(5, "x") == 5


def test_a_local_file_gets_a_second_name_whatever_its_size(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(2**40)
    second_name(str(tmp_path / "hole"), tmp_path / "name")
    assert (tmp_path / "name").stat().st_size == 2**40
    assert (tmp_path / "name").is_symlink()
    with pytest.raises(FileNotFoundError):
        second_name(str(tmp_path / "none"), tmp_path / "name")
