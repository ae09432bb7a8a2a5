"""Other objects of a folder, to ask whether one that may not be read is alone in that: those of its own folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cosmos_ray.store import storage
from cosmos_ray.store.storage import beside

KEYS = ("a.mp4", "drives/a.mp4", "drives/day/a.mp4", "drives/day/b.mp4", "drives/day/rear/c.mp4", "drives/night/a.mp4")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the store was asked, which has KEYS."""
    found: list[dict[str, Any]] = []

    def call_s3(operation: str, **given: Any) -> dict[str, Any]:
        found.append({"operation": operation, **given})
        keys = [key for key in KEYS if key.startswith(given["Prefix"])]
        return {"Contents": [{"Key": key} for key in keys[: given["MaxKeys"]]]} if keys else {}

    fs = SimpleNamespace(call_s3=call_s3)
    monkeypatch.setattr(storage, "filesystem_of", lambda uri: (fs, uri.partition("://")[2]))
    return found


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_others_lie_in_the_same_folder_and_are_not_the_object_itself(asked: list[dict[str, Any]], scheme: str) -> None:
    assert beside(f"{scheme}://bucket/drives/day/a.mp4", 3) == [
        f"{scheme}://bucket/{key}" for key in ("drives/day/b.mp4", "drives/day/rear/c.mp4")
    ]
    assert asked == [{"operation": "list_objects_v2", "Bucket": "bucket", "Prefix": "drives/day/", "MaxKeys": 3}]


def test_of_an_object_in_the_bucket_itself_all_others_may_be_asked(asked: list[dict[str, Any]]) -> None:
    assert beside("s3://bucket/a.mp4", 2) == ["s3://bucket/drives/a.mp4"]
    assert asked[0]["Prefix"] == ""


def test_a_store_that_cannot_be_asked_for_a_few_and_an_empty_folder_have_none(asked: list[dict[str, Any]]) -> None:
    assert beside("gs://bucket/drives/day/a.mp4", 3) == beside("/data/a.mp4", 3) == []
    assert asked == []
    assert beside("s3://bucket/nobody/a.mp4", 3) == []
