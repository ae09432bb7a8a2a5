"""Rows beside the page: whole, in order, and there for as long as somebody may read the page that names them."""

from __future__ import annotations

import json

import pytest

from cosmos_ray.output.report import files
from cosmos_ray.output.report.files import names_in, remove_others, write_rows
from cosmos_ray.output.report.listing import Listing
from cosmos_ray.store.storage import Storage


def listing(rows: int, **changed: int) -> Listing:
    return Listing(
        "clips", (("id", "text"), ("n", "number")), [[f"c{i}", changed.get(f"c{i}", i)] for i in range(rows)], 9
    )


def read(output: Storage, name: str) -> list[list[object]]:
    said = output.read(f"report/{name}").decode()
    assert said.startswith(f'rowsOf("{name}", ')
    rows: list[list[object]] = json.loads(said.removeprefix(f'rowsOf("{name}", ').removesuffix(");\n"))
    return rows


def test_all_rows_are_in_files_of_a_few(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS", 2)
    names = write_rows(output, listing(5))
    assert [read(output, name) for name in names] == [[["c0", 0], ["c1", 1]], [["c2", 2], ["c3", 3]], [["c4", 4]]]


def test_a_page_has_its_rows_where_none_of_its_files_is_gone(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS", 2)
    names = write_rows(output, listing(5))
    page = " ".join(names).encode()
    assert files.has_rows(output, page)
    assert files.has_rows(output, b"a page without rows")
    output.delete(f"report/{names[1]}")
    assert not files.has_rows(output, page)


def test_what_has_not_changed_is_not_written_again(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS", 2)
    before = write_rows(output, listing(5))
    written: list[str] = []
    monkeypatch.setattr(Storage, "write", lambda _, path, __: written.append(path))
    after = write_rows(output, listing(5, c3=9))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert written == [f"report/{after[1]}"]


def test_files_of_the_page_that_is_read_stay(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS", 2)
    assert names_in(output) == set()
    first = write_rows(output, listing(1))
    output.write("report.html", json.dumps(first).encode())
    before = names_in(output)
    assert before == set(first)
    second = write_rows(output, listing(2))
    remove_others(output, before.union(second))
    assert set(output.list("report")) == {f"report/{name}" for name in (*first, *second)}
    remove_others(output, second)
    assert set(output.list("report")) == {f"report/{second[0]}"}
