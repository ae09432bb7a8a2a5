"""Guardrails in a whole job: a blocked prompt, a blocked video, a check that raises, and trying again."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import own_checks
from support.cluster import Cluster
from support.guardrail_weights import write_blocklist
from support.job_runs import SMALL, check_files, records, run_job, write_manifest

from cosmos_ray.cli.main import app
from cosmos_ray.cli.main import run as command
from cosmos_ray.pool.health import JobFailedError

pytestmark = [pytest.mark.ray, pytest.mark.long]


def test_blocked_rows_fail_in_their_class_and_their_words_are_nowhere(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (site := tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(own_checks.install(site))
    monkeypatch.setenv("PYTHONPATH", str(site))  # of the node's processes
    cluster.add_node(num_cpus=4)
    weights, out = tmp_path / "weights", tmp_path / "out"
    write_blocklist(weights)
    rows = [
        {"id": "good", "prompt": "a street", "seed": 1, **SMALL},
        {"id": "words", "prompt": "a quiet gronk, unmistakable", "seed": 1, **SMALL},
        {"id": "looks", "prompt": "[black] unmistakable", "seed": 1, **SMALL},
        {"id": "raises", "prompt": "raise something unmistakable", "seed": 1, **SMALL},
    ]
    settings = {"enabled": True, "checks": ["blocklist"], "weights": str(weights), "own": ["no-dragons", "no-red"]}
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    summary, said = run_job(manifest, out, guardrails=settings)
    assert (summary.ok, summary.failed) == (1, 3)
    found = records(out)
    check_files(out)
    errors = {clip_id: (one.failure_class, one.error) for clip_id, one in found.items() if one.status != "ok"}
    assert errors == {
        "words": ("guardrail", "blocked by the check `blocklist`: word list"),
        "looks": ("guardrail", "the check `no-red` raised ValueError: what it could not check is not published"),
        "raises": ("guardrail", "the check `no-dragons` raised RuntimeError: what it could not check is not published"),
    }
    assert "guardrails: blocklist, no-dragons, no-red" in said
    assert not [line for line in said if "unmistakable" in line or "faults in a row" in line]
    failures = {row["id"]: row["prompt"] for row in pq.read_table(out / "failures.parquet").to_pylist()}
    assert failures == {"words": None, "looks": None, "raises": None}
    shown = [path for path in out.rglob("*") if path.suffix in (".html", ".js", ".json")]
    assert not [path for path in shown if b"unmistakable" in path.read_bytes()]
    assert {path.parts[-3] for path in out.glob("clips/*/*/*")} == {"good"}
    index = pq.read_table(out / "index.parquet").to_pylist()[0]
    assert [one.split()[0] for one in index["guardrails"]] == ["blocklist", "no-dragons", "no-red"]

    monkeypatch.setattr(sys, "argv", ["cosmos-ray", "retry", str(out), "--class", "guardrail"])
    assert command(app) == 0
    assert capsys.readouterr().out == "3 clips will be made again\n  looks\n  raises\n  words\n"
    summary, _ = run_job(manifest, out, guardrails={**settings, "own": []})
    assert (summary.ok, summary.failed) == (3, 1), "what no check objects to any more is made"


def test_a_check_that_raises_on_every_row_stops_the_job_and_fails_none(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site := tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(own_checks.install(site))
    monkeypatch.setenv("PYTHONPATH", str(site))  # of the node's processes
    cluster.add_node(num_cpus=4)
    out = tmp_path / "out"
    rows = [{"id": f"row-{number}", "prompt": f"raise {number}", "seed": number, **SMALL} for number in range(6)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    settings = {"enabled": True, "provider": "none", "own": ["no-dragons"]}
    breaker = {"max_consecutive_faults": 4, "max_pause_s": 0.2}
    with pytest.raises(JobFailedError, match=r"4 faults in a row .* the check `no-dragons` raised RuntimeError"):
        run_job(manifest, out, guardrails=settings, breaker=breaker)
    assert records(out) == {}
    assert not list(out.glob("clips/*/*/*.mp4"))
    summary, _ = run_job(manifest, out, guardrails={**settings, "own": ["corner"], "enabled": False}, breaker=breaker)
    assert (summary.ok, summary.failed) == (6, 0), "the same command goes on, once the check is mended"
