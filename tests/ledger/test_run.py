"""What an output remembers of the job that began it, and which other jobs may go on with it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.outcomes import DEFAULTS, run_of

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.run import open_run, read_run, row_defaults_of
from cosmos_ray.store.storage import Storage


def test_a_run_comes_back_as_it_was_opened(manifest: str, output: Storage) -> None:
    assert read_run(output) is None
    open_run(output, run_of(manifest))
    assert read_run(output) == run_of(manifest)
    assert row_defaults_of(run_of(manifest)) == DEFAULTS


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"model_fingerprint": "0" * 64},
        {"numerics": "float32"},
        {"sampling": {**DEFAULTS.to_json(), "num_steps": 3}},
        {"approximations": {"guidance_interval": [0.0, 0.5]}},
        {"inputs": {"rate": "as_is"}},
        {"refiner": {"backend": "local"}},
        {"guardrails": {"face_blur": "1"}},
        {"manifest": "s3://elsewhere/m.parquet", "manifest_sha256": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_output_goes_on_only_with_the_settings_it_began_with(
    manifest: str, output: Storage, change: dict[str, Any]
) -> None:
    open_run(output, run_of(manifest))
    name = next(iter(change))
    with pytest.raises(UsageError, match=f"was made with other settings.* {name}: it has "):
        open_run(output, run_of(manifest, **change))
    assert read_run(output) == run_of(manifest)


@pytest.mark.parametrize(
    "change", [{"manifest": "s3://elsewhere/m.parquet"}, {"manifest_sha256": "0" * 64, "rows": 6, "clips": 9}]
)
def test_a_manifest_may_move_or_grow(manifest: str, output: Storage, change: dict[str, Any]) -> None:
    open_run(output, run_of(manifest))
    open_run(output, run_of(manifest, **change))
    assert read_run(output) == run_of(manifest, **change)


def test_a_manifest_that_has_grown_may_be_written_in_another_way(
    manifest: str, output: Storage, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    grown = {"manifest_sha256": "0" * 64, "rows": 6, "clips": 9}
    for manifests in ((manifest, f"{tmp_path}/link/m.parquet"), ("s3://b/m.parquet", "s3a://b/m.parquet")):
        other = Storage(output.uri_of(manifests[1][:2].strip("/")))
        open_run(other, run_of(manifests[0]))
        open_run(other, run_of(manifests[1], **grown))
        with pytest.raises(UsageError, match="manifest: it has"):
            open_run(other, run_of("s3://other/m.parquet"))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"rows": 3, "unknown": 4}', b"\xff"])
def test_a_run_file_that_is_not_ours(output: Storage, content: bytes) -> None:
    output.write("_cosmos_ray/run.json", content)
    with pytest.raises(UsageError, match="is not a run of this version"):
        read_run(output)


@pytest.mark.parametrize(
    ("key", "value"), [("manifest", ["a"]), ("clips", "many"), ("rows", None), ("removed", [1]), ("sampling", 3)]
)
def test_a_run_whose_values_are_of_other_types_is_told_by_its_keys(output: Storage, key: str, value: Any) -> None:
    facts = dataclasses.asdict(run_of("m.parquet")) | {key: value}
    output.write("_cosmos_ray/run.json", json.dumps(facts).encode())
    with pytest.raises(UsageError, match=rf"run\.json is not a run of this version: {key}$"):
        read_run(output)
    output.write("_cosmos_ray/run.json", b"[" * 100_000)
    with pytest.raises(UsageError, match="is not a run of this version"):
        read_run(output)
