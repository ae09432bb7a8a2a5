"""What stores are told of objects, in the words of each of their libraries."""

from __future__ import annotations

import pytest

from cosmos_ray.store.content import typed

TYPES = {
    "report.html": "text/html; charset=utf-8", "report/0a.js": "text/javascript; charset=utf-8",
    "clip.json": "application/json", "previews/a/1.jpg": "image/jpeg", "a.png": "image/png", "a.mp4": "video/mp4",
}  # fmt: skip


@pytest.mark.parametrize("path", TYPES)
def test_what_a_page_leads_to_has_a_type(path: str) -> None:
    for scheme, name in (
        ("s3", "ContentType"),
        ("s3a", "ContentType"),
        ("gs", "content_type"),
        ("gcs", "content_type"),
    ):
        assert typed(scheme, path) == {name: TYPES[path]}
    assert typed("file", path) == {}


@pytest.mark.parametrize("path", ["index.parquet", "shard.tar", "mp4", "a.mp4/b", "a.safetensors"])
def test_other_files_have_none(path: str) -> None:
    for scheme in ("s3", "gs", "az", "file"):
        assert typed(scheme, path) == {}


def test_azure_has_settings_of_its_own() -> None:
    pytest.importorskip("azure.storage.blob")
    for scheme in ("az", "abfs", "abfss"):
        assert typed(scheme, "a.mp4")["content_settings"].content_type == "video/mp4"
