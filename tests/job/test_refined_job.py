"""Refined prompts in a whole job: each step by itself is in `tests/refine` and `tests/gang/test_refined_words.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from random_qwen_vl import write_tiny
from support.chat_server import MODEL, Answer, ChatServer, chat_server, refines, refused, said
from support.job_runs import SMALL, check_files, records, run_job, write_manifest

from cosmos_ray.refine.endpoint import KEY

SECRET = "sk-very-secret-7f3a"
REFINED = ("a bus Seen in fine detail.",)


def of(server: ChatServer, **more: Any) -> dict[str, Any]:
    return {"backend": "endpoint", "url": server.url, "model": MODEL, "attempts": 2, "patience_s": 20.0, **more}


def speechless(body: dict[str, Any]) -> Answer:
    """About one prompt it says nothing."""
    return said("\x1b[2J") if "unspeakable" in str(body["messages"][-1]) else refines(body)


def sidecars(output: Path) -> dict[str, dict[str, Any]]:
    return {path.parts[-3]: json.loads(path.read_text()) for path in output.glob("clips/*/*/clip.json")}


@pytest.mark.ray
@pytest.mark.usefixtures("one_node")
def test_clips_are_made_of_refined_words_and_say_so_everywhere(tmp_path: Path) -> None:
    rows = [{"id": "one", "prompt": "a bus", **SMALL}, {"id": "none", "prompt": "unspeakable", **SMALL}]
    output = tmp_path / "out"
    with chat_server(speechless) as server:
        manifest = write_manifest(tmp_path / "m.parquet", rows)
        summary, said_by_job = run_job(manifest, output, gang_size=1, refiner=of(server))
    assert (summary.ok, summary.failed) == (2, 0)
    check_files(output)
    words = {"one": REFINED, "none": ()}
    found = records(output)
    assert {name: record.refined_prompts for name, record in found.items()} == words
    assert [found[name].warnings[:1] for name in words] == [
        (),
        ("prompt not refined: the model's answer cannot be used: found nothing, expected a caption",),
    ]
    assert [line for line in said_by_job if "prompt not refined" in line]
    assert f"refiner: {MODEL} at {server.url}" in said_by_job
    of_clips = sidecars(output)
    assert {name: tuple(one["refined_prompts"]) for name, one in of_clips.items()} == words
    assert of_clips["one"]["clip"]["prompts"] == ["a bus"]
    assert (of_clips["one"]["refiner"]["model"], of_clips["none"]["refiner"]["how"]) == (MODEL, "own")
    index = pq.read_table(output / "index.parquet").to_pylist()
    assert {row["id"]: (row["prompt"], tuple(row["refined_prompts"])) for row in index} == {
        row["id"]: (row["prompt"], words[str(row["id"])]) for row in rows
    }
    assert REFINED[0] in "".join(path.read_text() for path in output.glob("report/*.js"))


def run(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cosmos_ray", command, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.ray
def test_a_model_s_clips_of_refined_words_are_gone_on_with_and_made_again_of_the_same_and_tell_no_secret(
    tmp_path: Path,
) -> None:
    rows = [
        {"id": "one", "prompt": "a bus", "seed": 1, "num_steps": 2, **SMALL},
        {"id": "none", "prompt": "unspeakable", "num_steps": 2, **SMALL},
    ]
    later = {"id": "later", "prompt": "a bus", "seed": 3, "num_steps": 2, **SMALL}
    output, told = tmp_path / "out", ""

    def answer(body: dict[str, Any]) -> Answer:
        return said(f"The key is {SECRET}.") if "unspeakable" in str(body["messages"][-1]) else refines(body)

    with chat_server(answer) as server:
        job = ["--manifest", write_manifest(tmp_path / "m.parquet", rows), "--output", str(output), "--model", "tiny",
               "--gang-size", "1", "--set", "device=cpu"]  # fmt: skip
        for name, value in of(server).items():
            job += ["--set", f"refiner.{name}={value}"]
        first = run("generate", *job, **{KEY: SECRET})
        assert first.returncode == 0, first.stderr
        assert server.keys[0] == f"Bearer {SECRET}"
        asked = len(server.asked)
        write_manifest(tmp_path / "m.parquet", [*rows, later])
        second = run("generate", *job, **{KEY: SECRET})
        assert second.returncode == 0, second.stderr
        assert {name: one.refined_prompts for name, one in records(output).items()} == {
            "one": REFINED, "later": REFINED, "none": (),
        }  # fmt: skip
        server.answer = lambda _: refused(500)
        again = run("reproduce", str(output), "one", "--set", "device=cpu")
        assert again.returncode == 0, again.stderr
        assert again.stdout.count("the same bytes") == 2
        assert len(server.asked) == asked
    told = "".join(one.stdout + one.stderr for one in (first, second, again))
    everything = [told.encode(), *(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())]
    assert not [one for one in everything if SECRET.encode() in one]


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.usefixtures("one_node")
def test_a_gangs_own_model_answers_while_it_makes_clips(tmp_path: Path) -> None:
    """A small random one: whatever it writes is a caption, or the row keeps its own; the job is well either way."""
    folder = write_tiny(tmp_path / "vl")
    rows = [{"id": f"r{number}", "prompt": f"bus {number}", **SMALL} for number in range(3)]
    rules = {"backend": "local", "model": str(folder), "max_tokens": 24}
    output, manifest = tmp_path / "out", write_manifest(tmp_path / "m.parquet", rows)
    summary, _ = run_job(manifest, output, gang_size=1, refiner=rules)
    assert (summary.ok, summary.failed) == (3, 0)
    for sidecar in sidecars(output).values():
        refiner = sidecar["refiner"]
        assert refiner["model"].startswith("vl@")
        assert "the local model failed" not in refiner["fault"]
        assert (refiner["how"] == "own") == bool(refiner["fault"])
