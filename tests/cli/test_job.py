"""`generate` and `plan`: what they refuse before anything is begun, and what a plan tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.clients import fresh_clients
from support.command_line import assert_one_line
from support.job_runs import write_manifest

from cosmos_ray.cli.job import Gpu
from cosmos_ray.job.clips import _progress
from cosmos_ray.job.cost import MEASURED
from cosmos_ray.job.inputs import InputsLook
from cosmos_ray.ledger.record import Record


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "gang.sizes=3"], ["gang.sizes: there is no such setting"]),
        (["--set", "gang_size"], ["--set gang_size: expected key=value"]),
        (["--model", "no-such-model"], ["no-such-model", "tiny", "cosmos-predict2-2b-multiview"]),
        (["--max-failed", "half"], ["max_failed", "expected a count or a fraction, found 'half'"]),
        (["--max-failed", "1.5"], ["max_failed", "found '1.5'"]),
        (["--gang-size", "3"], ["3", "1, 2, 4, 8"]),
        (["--gang-size", "0"], ["gang_size: found 0, expected at least 1"]),
        (["--gangs", "3:1"], ["gangs", "MIN <= MAX", "'3:1'"]),
        (["--limit", "0"], ["limit: "]),
        (["--model", "tiny-text2image-distilled", "--set", "sampling.num_steps=7"], ["found 7, expected 1 to 4"]),
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
    assert_one_line(answer, 2, "edited", "(a)", "--redo-changed")


def test_an_output_of_other_settings_is_refused(cosmos_ray: Any, manifest: str, output: Path) -> None:
    other = ("--model", "fake", "--set", "sampling.numerics=reference")
    answer = cosmos_ray("generate", "--manifest", manifest, "--output", output, *other)
    assert_one_line(answer, 2, "was made with other settings; use another output", "numerics: it has 'float32'")


@pytest.mark.parametrize("manifest_uri", ["http://host/m.parquet", "simplecache::s3://bucket/m.parquet"])
def test_a_manifest_by_a_way_that_is_not_taken(cosmos_ray: Any, manifest_uri: str) -> None:
    assert_one_line(cosmos_ray("plan", "--manifest", manifest_uri, "--model", "fake"), 2, manifest_uri)


def test_plan_of_a_new_job(cosmos_ray: Any, manifest: str) -> None:
    answer = cosmos_ray("plan", "--manifest", manifest, "--model", "fake")
    assert answer.code == 0
    assert "3 rows, 4 clips: 0 done, 0 failed, 4 left" in answer.out
    assert "  b: column `prompt`: found None" in answer.out


def test_plan_as_json(cosmos_ray: Any, manifest: str, output: Path) -> None:
    answer = cosmos_ray("plan", "--manifest", manifest, "--output", output, "--model", "fake", "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    counts = {name: found[name] for name in ("rows", "clips", "invalid", "done", "failed", "left", "changed")}
    assert counts == {"rows": 3, "clips": 4, "invalid": 1, "done": 1, "failed": 1, "left": 2, "changed": []}
    assert found["bytes_left"] == 2 * 42_000_000
    answer = cosmos_ray("plan", "--manifest", manifest, "--output", output, "--model", "fake")
    assert "about 84.0 MB are left to write, 42.0 MB a clip as so far" in answer.out


def test_a_list_of_clips_is_refused_where_the_job_would_be(cosmos_ray: Any, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p"}] * 2)
    assert_one_line(cosmos_ray("plan", "--manifest", manifest, "--model", "fake", "--list"), 2, "found 'a'")


@pytest.mark.parametrize("beside", ["--inputs", "--json"])
def test_a_list_of_clips_is_nothing_else(cosmos_ray: Any, manifest: str, beside: str) -> None:
    answer = cosmos_ray("plan", "--manifest", manifest, "--model", "fake", "--list", beside)
    assert_one_line(answer, 2, "--list prints clips and nothing else")


def test_a_plan_takes_the_words_of_its_job(cosmos_ray: Any, tmp_path: Path) -> None:
    """`plan` in the place of `generate`: of that gang size alone, with as many gangs as there will be at most."""
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": name, "prompt": "p"} for name in "abcde"])
    answer = cosmos_ray("plan", "--manifest", manifest, "--output", "new", "--gang-size", "8", "--gangs", "1:4")
    assert "(4 gangs at once)" in answer.out
    assert [line.split(":")[0] for line in answer.out.splitlines() if "a clip," in line] == ["  gang of 8"]
    assert "a spare waits in its node's memory" in answer.out
    assert "done in 4m" in answer.out, "two clips of 2m06s: five clips are two for one of four gangs"
    (tmp_path / "job.yaml").write_text("gang_size: 3\n")
    refused = cosmos_ray("plan", "--manifest", manifest, "--config", tmp_path / "job.yaml")
    assert_one_line(refused, 2, "gang size 3 does not fit", "sizes that fit: 1, 2, 4, 8, 16")


def test_a_plan_of_rows_that_all_have_faults_says_nothing_of_cost(cosmos_ray: Any, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": None}])
    told = cosmos_ray("plan", "--manifest", manifest, "--model", "cosmos-predict2-2b-multiview").out
    assert "1 clip will fail for what its row says" in told
    assert "GPU time" not in told, "the network is one that was timed, and there is no clip for it"


def test_a_plan_says_that_it_knows_no_cost(cosmos_ray: Any, manifest: str) -> None:
    told = cosmos_ray("plan", "--manifest", manifest, "--model", "tiny").out
    assert "GPU time: nothing like the network of tiny was measured" in told


def test_what_is_doubtful_in_a_row_is_told_once(cosmos_ray: Any, tmp_path: Path) -> None:
    """By the plan, and by the look at the inputs where there is one."""
    rows = [{"id": "a", "prompt": "car " * 600}, {"id": "b", "prompt": "p", "input_video": "x.mp4"}]
    manifest = write_manifest(tmp_path / "m.parquet", [{**row, "num_conditional_frames": 0} for row in rows])
    for flags in ((), ("--inputs",)):
        told = cosmos_ray("plan", "--manifest", manifest, "--model", "tiny", *flags).out
        assert (told.count("and cut") + told.count("caption cut"), told.count("the input is not used")) == (1, 1), told


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


def test_plan_can_be_told_for_every_gpu_that_was_timed() -> None:
    assert [gpu.value for gpu in Gpu] == sorted(MEASURED)


@pytest.mark.parametrize(
    ("words", "taken"), [((), 100), (("all",), None), (("1",), 1), (("--gpu", "h200"), 100)], ids=str
)
def test_inputs_are_looked_at_with_a_number_with_all_or_with_nothing_behind(
    cosmos_ray: Any, manifest: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], taken: int | None
) -> None:
    asked: list[Any] = []
    found = InputsLook(0, 0, 0, 0, (), ())
    monkeypatch.setattr("cosmos_ray.job.inputs.look_at_inputs", lambda *of: asked.append(of[4]) or found)
    assert cosmos_ray("plan", "--manifest", manifest, "--model", "fake", "--json", "--inputs", *words).code == 0
    assert asked == [taken]


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


@pytest.mark.parametrize(
    ("suffix", "builder"), [("csv", "from-table"), ("jsonl", "from-table"), ("json", "from-batch-json")]
)
@pytest.mark.parametrize("in_folder", [False, True], ids=["file", "folder"])
def test_another_kind_of_file_is_told_its_builder(
    cosmos_ray: Any, tmp_path: Path, suffix: str, builder: str, in_folder: bool
) -> None:
    file = tmp_path / "rows" / f"m.{suffix}"
    file.parent.mkdir()
    file.write_text("id,prompt\na,a street\n")
    answer = cosmos_ray("plan", "--manifest", file.parent if in_folder else file, "--model", "fake")
    assert_one_line(answer, 2, f"`cosmos-ray manifest {builder} {file} --out m.parquet`")


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with fresh_clients("s3", "az"):
        yield


@pytest.mark.usefixtures("no_credentials")
def test_a_store_that_refuses_points_at_its_variables(cosmos_ray: Any, manifest: str) -> None:
    """Whether it is the manifest's, the output's or that of a job to look at."""
    page = "docs/jobs.md has the variables that stores read"
    assert_one_line(cosmos_ray("plan", "--manifest", "s3://bucket/m.parquet", "--model", "fake"), 2, page)
    words = ("plan", "--manifest", manifest, "--model", "fake", "--output")
    assert_one_line(cosmos_ray(*words, "s3://bucket/out"), 1, page)
    assert_one_line(cosmos_ray("status", "az://bucket/out"), 2, page)
    assert page not in cosmos_ray("plan", "--manifest", "/no/m.parquet", "--model", "fake").err


@pytest.mark.parametrize(
    ("limit", "line"), [(None, "[8/10] a: "), (2, "[1/2] a: "), (3, "[8/10] a: "), (50, "[8/10] a: ")], ids=str
)
def test_progress_counts_to_the_limit_if_there_is_one_that_bites(limit: int | None, line: str) -> None:
    said: list[str] = []
    plan: Any = SimpleNamespace(clips=10, done=5, failed=2, left=3, work=())
    _progress(limit, plan, said.append).count(Record("a", 0, "ok", None, 1, None, "h", 1))
    assert said[0].startswith(line)
