"""A node whose ffmpeg is missing or too old makes no clip, and no row of a job is to blame for that."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from support.cluster import head_of_its_own
from support.job_runs import SMALL, assert_no_actors_left, records, run_job, write_manifest

from cosmos_ray.clip import ffmpeg as tool
from cosmos_ray.errors import UsageError
from cosmos_ray.gang.rank import Rank
from cosmos_ray.pool.health import JobFailedError


def test_a_rank_asks_its_machine_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it raises is a fault of its gang, which is never up (`test_no_row_of_a_job_fails...`)."""
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"ffmpeg cannot be started: .*/none"):
        Rank(0, 1).load(None, 0)  # type: ignore[arg-type]


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize("kind", ["missing", "old"])
def test_no_row_of_a_job_fails_for_the_ffmpeg_of_a_node(kind: str, tmp_path: Path) -> None:
    binary = tmp_path / "ffmpeg"
    if kind == "old":
        real = tool.ffmpeg_path()
        binary.write_text(f'#!/bin/sh\nfor last; do :; done\ncase "$last" in -version) echo ffmpeg version 4.4.2;; '
                          f'*) exec {real} "$@";; esac\n')  # fmt: skip
        binary.chmod(0o755)
    manifest = write_manifest(tmp_path / "m.parquet", [{**SMALL, "id": "a", "prompt": "a road"}])
    said = {"missing": "ffmpeg cannot be started", "old": "ffmpeg is too old"}[kind]
    with head_of_its_own(4, {"IMAGEIO_FFMPEG_EXE": str(binary)}) as address:
        ray.init(address=address, logging_level="ERROR")
        with pytest.raises(JobFailedError, match=said):
            run_job(manifest, tmp_path / "out", gang_size=1, breaker={"max_consecutive_faults": 2, "max_pause_s": 0.1})
        assert records(tmp_path / "out") == {}, "the next run makes it"
        assert_no_actors_left()
