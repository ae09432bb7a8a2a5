"""A node that has not mounted the manifest's folder makes no row fail: the gang ends there, and its node is avoided."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_ray.errors import RowError
from cosmos_ray.gang.inputs import Source, fetch_inputs, input_size
from cosmos_ray.gang.verdict import GangBrokenError


def fetched(folder: Path, uri: str, source: Source) -> None:
    fetch_inputs("input_video", [uri], folder, source)


def asked(folder: Path, uri: str, source: Source) -> None:
    input_size("input_video", uri, source)


WAYS = pytest.mark.parametrize("look", [fetched, asked])
Look = Callable[[Path, str, Source], None]


@WAYS
@pytest.mark.parametrize("place", ["absent", "empty"])
@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_where_nothing_of_the_folder_is_no_row_is_to_blame(tmp_path: Path, look: Look, place: str, form: str) -> None:
    """A mount's own folder is empty without it."""
    data = tmp_path / "data"
    if place == "empty":
        data.mkdir()
    source = Source(form.format(data / "m.parquet"))
    with pytest.raises(GangBrokenError, match=rf"this node \(.+\) lacks the folder of the manifest, {data}") as raised:
        look(tmp_path, form.format(data / "clips" / "a.mp4"), source)
    assert raised.value.failure_class == "storage"


@WAYS
def test_a_missing_input_is_its_rows_where_the_folder_is_here(tmp_path: Path, look: Look) -> None:
    """Also if somebody has removed the manifest meanwhile."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "m.parquet").write_bytes(b"")
    source = Source(str(data / "m.parquet"))
    with pytest.raises(RowError, match="a file that exists"):
        look(tmp_path, str(data / "a.mp4"), source)
    (data / "m.parquet").rename(data / "older.parquet")
    with pytest.raises(RowError, match="a file that exists"):
        look(tmp_path, str(data / "a.mp4"), source)


@WAYS
@pytest.mark.parametrize("witness", ["", "s3://bucket/m.parquet", "/nowhere/of/the/driver/m.parquet"])
def test_of_an_input_elsewhere_the_manifest_tells_nothing(tmp_path: Path, look: Look, witness: str) -> None:
    with pytest.raises(RowError, match="a file that exists"):
        look(tmp_path, str(tmp_path / "none.mp4"), Source(witness))
