"""`plan` says without `--inputs` which rows name an account that is not the job's own: nobody is asked for that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.job_runs import write_manifest

from cosmos_ray.cli.job import plan
from cosmos_ray.config import GenerateConfig
from cosmos_ray.job.plan import plan_for
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.models.bundle.bundle import load_bundle

ROWS = [
    {"id": "own", "prompt": ["a"], "input_video": "abfs://c@mine.dfs.core.windows.net/a.mp4"},
    {"id": "other", "prompt": ["a"], "input_video": "abfs://c@other.dfs.core.windows.net/a.mp4"},
    {"id": "cameras", "prompt": ["a"], "n_views": 2, "input_videos": ["a.mp4", "az://c@other.blob.core.windows.net/b.mp4"]},
    {"id": "text", "prompt_embedding": "abfss://c@other.dfs.core.windows.net/a.pt"},
    {"id": "pictures", "prompt": ["a"], "n_views": 1,
     "input_frames": {"front_wide": ["abfs://c@other.dfs.core.windows.net/a.png"]}},
    {"id": "bucket", "prompt": ["a"], "input_video": "s3://bucket/a.mp4"},
]  # fmt: skip
REFUSED = ["other", "cameras", "text", "pictures"]


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("CONNECTION_STRING", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    return write_manifest(tmp_path / "m.parquet", ROWS)


def errors(manifest: str, allow: list[str] | None = None) -> dict[str, str]:
    config = GenerateConfig.model_validate(
        {"manifest": manifest, "output": "out", "model": "fake", "inputs": {"allow": allow}}
    )
    found = plan_for(config, load_bundle("fake"), LedgerState.empty())
    assert found.invalid == len(found.invalid_examples)
    return dict(found.invalid_examples)


def test_a_row_that_names_another_account_is_told(manifest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = errors(manifest)
    assert list(found) == REFUSED
    assert all("an account of the job's own: other is neither" in words for words in found.values())
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    assert list(errors(manifest)) == ["own"]


def test_a_place_that_the_user_names_is_the_jobs_own(manifest: str) -> None:
    forms = ("abfs://c@other.dfs", "abfss://c@other.dfs", "az://c@other.blob")
    assert not set(REFUSED) & set(errors(manifest, [f"{form}.core.windows.net" for form in forms]))


def test_a_list_of_clips_says_the_same(manifest: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan(manifest=manifest, model="fake", as_list=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines if line["error"]] == REFUSED
