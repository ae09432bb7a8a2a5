"""The command line: what is wrong is said in one line, and the exit code is one of the contract's.

0 done; 1 the job failed; 2 bad arguments, manifest or model; 3 more rows failed than allowed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.job_runs import write_manifest

from cosmos_ray.cli import main as cli
from cosmos_ray.config import SamplingConfig
from cosmos_ray.job.plan import manifest_clips, row_defaults
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.run import Run, open_run
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cosmos_ray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process."""

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["cosmos-ray", *map(str, arguments)])
        capsys.readouterr()
        code = cli.run(cli.app)
        return Answer(code, *capsys.readouterr())

    return run


def in_a_process(*arguments: str | Path) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "cosmos_ray", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    rows = [
        {"id": "a", "prompt": "a street"},
        {"id": "b", "prompt": None},
        {"id": "c", "prompt": "p", "num_samples": 2},
    ]
    return write_manifest(tmp_path / "m.parquet", rows)


@pytest.fixture
def output(tmp_path: Path, manifest: str) -> Path:
    """A job with the fake model that made `a` and found `b` faulty."""
    bundle = load_bundle("fake")
    defaults = row_defaults(bundle, SamplingConfig())
    storage = Storage(str(tmp_path / "out"))
    open_run(storage, Run(manifest, "h", 3, 4, "fake", bundle.fingerprint, bundle.numerics, asdict(defaults)))
    for clip in list(manifest_clips(manifest, defaults))[:2]:
        faulty = clip.error is not None
        Ledger(storage).commit(
            Record(
                id=clip.id,
                generation=0,
                status="failed" if faulty else "ok",
                failure_class="input" if faulty else None,
                attempt=1,
                error=clip.error,
                row_hash=clip.row_hash,
                epoch=1,
                files=() if faulty else (FileEntry("front_wide", "clips/a/1/front_wide.mp4", 40_000_000, "h"),),
                sidecar=None if faulty else FileEntry("", "clips/a/1/clip.json", 2_000_000, "h"),
            )
        )
    return tmp_path / "out"


def assert_one_line(answer: Answer, code: int, *parts: str) -> None:
    """This exit code, nothing on standard output, and one line on standard error that has these parts."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.startswith("cosmos-ray: ")
    assert answer.err.count("\n") == 1, answer.err
    for part in parts:
        assert part in answer.err


# --- what is refused, before anything is begun -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "gang.sizes=3"], ["gang.sizes: Extra inputs are not permitted"]),
        (["--set", "gang_size"], ["--set gang_size: expected key=value"]),
        (["--model", "no-such-model"], ["no-such-model", "tiny", "cosmos-predict2-2b-multiview"]),
        (["--max-failed", "half"], ["max_failed", "expected a count or a fraction, found 'half'"]),
        (["--max-failed", "1.5"], ["max_failed", "found '1.5'"]),
        (["--gang-size", "3"], ["3", "1, 2, 4, 8"]),
        (["--gang-size", "0"], ["gang_size: Input should be greater than or equal to 1"]),
        (["--gangs", "3:1"], ["gangs", "MIN <= MAX", "'3:1'"]),
        (["--limit", "0"], ["limit: "]),
        (["--config", "/nowhere/job.yaml"], ["--config /nowhere/job.yaml", "No such file"]),
    ],
    ids=lambda value: "".join(value[:2]) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_generate_refuses_bad_settings(
    cosmos_ray: Any, manifest: str, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    model = [] if "--model" in arguments else ["--model", "tiny"]
    answer = cosmos_ray("generate", "--manifest", manifest, "--output", tmp_path / "new", *model, *arguments)
    assert_one_line(answer, 2, *parts)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["generate", "plan"])
@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([{"id": "a", "prompt": "p"}, {"id": "a", "prompt": "p"}], "row 1: column `id`: found 'a'"),
        ([{"id": "../a", "prompt": "p"}], "row 0: column `id`: found '../a', expected"),
        ([{"id": 7, "prompt": "p"}], "column `id`: found type int64, expected string"),
        ([{"id": "a"}], "neither a column `prompt` nor a column `prompt_embedding`"),
        ([{"id": "a", "prompt": "p", "seed": "one"}], "column `seed`: found type string, expected an integer"),
    ],
    ids=["repeated", "illegal", "mistyped", "no-prompt", "seed"],
)
def test_an_unusable_manifest(
    cosmos_ray: Any, tmp_path: Path, command: str, rows: list[dict[str, Any]], part: str
) -> None:
    manifest = write_manifest(tmp_path / "bad.parquet", rows)
    answer = cosmos_ray(command, "--manifest", manifest, "--output", tmp_path / "new", "--model", "fake")
    assert_one_line(answer, 2, part)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["generate", "plan"])
def test_a_manifest_that_is_not_there(cosmos_ray: Any, tmp_path: Path, command: str) -> None:
    answer = cosmos_ray(command, "--manifest", tmp_path / "no.parquet", "--output", tmp_path / "new", "--model", "fake")
    assert_one_line(answer, 2, f"there is no manifest at {tmp_path}/no.parquet")


def test_an_edited_row_is_refused_with_the_way_out(cosmos_ray: Any, tmp_path: Path, output: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "another street"}])
    answer = cosmos_ray("generate", "--manifest", manifest, "--output", output, "--model", "fake")
    assert_one_line(answer, 2, "1 rows were edited", "(a)", "--redo-changed")


def test_an_output_of_other_settings_is_refused(cosmos_ray: Any, manifest: str, output: Path) -> None:
    other = ("--model", "fake", "--set", "sampling.numerics=reference")
    answer = cosmos_ray("generate", "--manifest", manifest, "--output", output, *other)
    assert_one_line(answer, 2, "was made with other settings; use another output", "numerics: it has 'float32'")


@pytest.mark.parametrize("manifest_uri", ["http://host/m.parquet", "simplecache::s3://bucket/m.parquet"])
def test_a_manifest_by_a_way_that_is_not_taken(cosmos_ray: Any, manifest_uri: str) -> None:
    assert_one_line(cosmos_ray("plan", "--manifest", manifest_uri, "--model", "fake"), 2, manifest_uri)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--manifest", "m", "--output", "o", "--colour", "red"],
        ["generate", "--manifest", "m"],
        ["generate", "--manifest", "m", "--output", "o", "--limit", "few"],
        ["no-such-command"],
        ["status"],
    ],
    ids=["unknown-flag", "missing-flag", "not-a-number", "unknown-command", "missing-argument"],
)
def test_arguments_that_make_no_command(cosmos_ray: Any, arguments: list[str]) -> None:
    answer = cosmos_ray(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    assert answer.err


# --- plan, status, retry ---------------------------------------------------------------------------------------------


def test_plan_of_a_new_job(cosmos_ray: Any, manifest: str) -> None:
    answer = cosmos_ray("plan", "--manifest", manifest, "--model", "fake")
    assert answer.code == 0
    assert "3 rows ask for 4 clips: 0 done, 0 failed, 4 left" in answer.out
    assert "  b: column `prompt`: found None" in answer.out


def test_plan_as_json(cosmos_ray: Any, manifest: str, output: Path) -> None:
    answer = cosmos_ray("plan", "--manifest", manifest, "--output", output, "--model", "fake", "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    counts = {name: found[name] for name in ("rows", "clips", "invalid", "done", "failed", "left", "changed")}
    assert counts == {"rows": 3, "clips": 4, "invalid": 1, "done": 1, "failed": 1, "left": 2, "changed": []}
    assert found["bytes_left"] == 2 * 42_000_000
    answer = cosmos_ray("plan", "--manifest", manifest, "--output", output, "--model", "fake")
    assert "about 0.1 GB are left to write, 42.0 MB a clip as so far" in answer.out


def test_plan_tells_what_is_left_costs(cosmos_ray: Any, manifest: str) -> None:
    """For the model whose times were measured, without its files."""
    words = ("plan", "--manifest", manifest, "--model", "cosmos-predict2-2b-multiview", "--gpu", "h200")
    answer = cosmos_ray(*words, "--price", "3.5", "--gangs", "2")
    assert answer.code == 0
    assert re.search(r"gang of 2: \d+m\d\ds a clip, [\d.]+ clips a GPU-hour, [\d.]+ GPU-hours, [\d.]+ USD", answer.out)
    found = json.loads(cosmos_ray(*words, "--json").out)
    assert found["gpu"] == "h200"
    assert [one["gang_size"] for one in found["estimates"]] == [1, 2, 4, 8]
    assert sum(group["clips"] for group in found["work"]) == found["left"] - found["invalid"]


def test_plan_takes_a_job_s_settings(cosmos_ray: Any, manifest: str, tmp_path: Path) -> None:
    words = ("plan", "--manifest", manifest, "--model", "cosmos-predict2-2b-multiview", "--json")
    (tmp_path / "job.yaml").write_text("sampling: {num_steps: 17, attention: fp8}\n")

    def gang_of_one(*settings: str) -> float:
        answer = cosmos_ray(*words, *settings)
        assert (answer.code, answer.err) == (0, "")
        seconds: float = json.loads(answer.out)["estimates"][0]["clip_seconds"]
        return seconds

    half = gang_of_one("--set", "sampling.num_steps=17")
    assert half < 0.6 * gang_of_one()
    assert gang_of_one("--config", str(tmp_path / "job.yaml")) < 0.95 * half
    assert gang_of_one("--config", str(tmp_path / "job.yaml"), "--set", "sampling.attention=exact") == half
    assert_one_line(cosmos_ray(*words, "--set", "sampling.steps=17"), 2, "sampling.steps")
    blocks = ("--set", "sampling.attention=fp8", "--set", "sampling.fp8_exact_blocks=[28]")
    assert_one_line(cosmos_ray(*words, *blocks), 2, "sampling.fp8_exact_blocks: found 28")


def test_status_for_people(cosmos_ray: Any, output: Path) -> None:
    answer = cosmos_ray("status", output)
    assert answer.code == 0
    assert "1 ok, 1 failed (1 input), 2 left" in answer.out


def test_status_as_json(cosmos_ray: Any, output: Path) -> None:
    found = json.loads(cosmos_ray("status", output, "--json").out)
    assert {"ok": 1, "failed": 1, "left": 2, "clips": 4, "failed_by_class": {"input": 1}}.items() <= found.items()


def test_status_of_each_record(cosmos_ray: Any, output: Path) -> None:
    answer = cosmos_ray("status", output, "--records")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert sorted((line["id"], line["status"], line["class"]) for line in lines) == [
        ("a", "ok", None),
        ("b", "failed", "input"),
    ]
    assert all(list(line) == ["id", "generation", "status", "class", "attempt", "error"] for line in lines)


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["status", "--records"], ["retry"], ["report"]])
def test_there_is_nothing_to_say_of_an_output_that_is_not_there(
    cosmos_ray: Any, tmp_path: Path, command: list[str]
) -> None:
    assert_one_line(cosmos_ray(*command, tmp_path / "none"), 2, f"there is no run at {tmp_path}/none")
    assert not (tmp_path / "none").exists()


def test_retry_says_what_is_eligible_again(cosmos_ray: Any, output: Path) -> None:
    assert "0 clips are eligible again" in cosmos_ray("retry", output, "--class", "oom").out
    answer = cosmos_ray("retry", output, "--class", "oom", "--class", "input")
    assert (answer.code, answer.out) == (0, "1 clips are eligible again\n  b\n")
    assert json.loads(cosmos_ray("status", output, "--json").out)["left"] == 3


def test_retry_of_an_unknown_class(cosmos_ray: Any, output: Path) -> None:
    assert_one_line(cosmos_ray("retry", output, "--class", "bogus"), 2, "--class bogus: expected one of input, model")


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny", "fake"])
def test_a_model_that_needs_no_download_is_fine(cosmos_ray: Any, model: str) -> None:
    answer = cosmos_ray("model", "check", model)
    assert answer.code == 0
    assert answer.out.startswith(f"{model}: 7 views x 29 frames, ")


def test_a_model_that_is_not_known(cosmos_ray: Any) -> None:
    assert_one_line(cosmos_ray("model", "check", "no-such-model"), 2, "no-such-model")


def test_a_model_whose_files_are_not_there(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    answer = cosmos_ray("model", "check", "cosmos-predict2-2b-multiview")
    assert answer.code == 2
    assert "not available offline" in answer.out


# --- as it is run ----------------------------------------------------------------------------------------------------


def test_faults_of_the_store_are_one_line_and_exit_code_1(s3: str, tmp_path: Path) -> None:
    """No traceback, and no secret."""
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "wrong-secret-of-the-user"}
    if os.environ["AWS_ACCESS_KEY_ID"] == "anybody":
        pytest.skip("moto takes any credentials")
    done = subprocess.run(
        [sys.executable, "-m", "cosmos_ray", "status", s3], env=environment, capture_output=True, text=True, check=False
    )
    assert_one_line(Answer(done.returncode, done.stdout, done.stderr), 1, "PermissionError", "403")
    assert "wrong-secret" not in done.stderr


@pytest.mark.slow
def test_the_module_is_a_command(manifest: str, output: Path, tmp_path: Path) -> None:
    """Exit codes reach the shell; results go to standard output and complaints to standard error."""
    fine = in_a_process("plan", "--manifest", manifest, "--model", "fake", "--json")
    assert (fine.code, json.loads(fine.out)["clips"], fine.err) == (0, 4, "")
    assert in_a_process("status", output, "--json").code == 0
    missing = ("plan", "--manifest", tmp_path / "no.parquet", "--model", "fake")
    assert_one_line(in_a_process(*missing), 2, "there is no manifest")
    assert_one_line(in_a_process("status", tmp_path / "none"), 2, "there is no run")
    unknown = in_a_process("plan", "--manifest", manifest, "--colour")
    assert (unknown.code, unknown.out) == (2, "")
    assert "--colour" in unknown.err
    assert "generate" in in_a_process("--help").out
