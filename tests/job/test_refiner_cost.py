"""What a plan says of refining: how many questions, of whom, and what they take."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.job_runs import write_manifest

from cosmos_ray.cli.main import app, run
from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.config import GenerateConfig
from cosmos_ray.job.check import check
from cosmos_ray.job.cost import ClipGroup, estimates
from cosmos_ray.job.job import _opening
from cosmos_ray.job.refiner_cost import outrun_line, refiner_cost
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.memory import REFINER_BYTES

GROUPS = [ClipGroup(7, 35, True, 1, 10), ClipGroup(2, 35, True, 0, 3)]
URL = "http://127.0.0.1:1/v1"


def test_a_caption_is_a_question_or_each_cameras_is() -> None:
    one = refiner_cost(GROUPS, RefinerRules(backend="endpoint", url=URL))
    each = refiner_cost(GROUPS, RefinerRules(backend="endpoint", url=URL, captions="each", model="m"))
    assert one is not None
    assert each is not None
    assert (one.questions, one.model, one.seconds, one.gpu_bytes) == (13, URL, None, 0)
    assert (each.questions, each.model) == (76, "m")
    assert refiner_cost(GROUPS, NOT_REFINED) is None


def test_the_local_model_takes_seconds_and_memory() -> None:
    found = refiner_cost(GROUPS, RefinerRules(backend="local"))
    assert found is not None
    assert found.line() == (
        "refiner: at most 13 questions to hf://nvidia/Cosmos-Reason1-7B@8fe96c1fa10db9e666b6fa6a87fea57dd9635649, "
        "while the clips before are made: about 4 s each on the gang's first GPU (19 GB of it), a minute beside a clip "
        "there, which goes first, 72 s on processors (modelled)"
    )
    own = refiner_cost(GROUPS, RefinerRules(backend="local", model="/mine"))
    assert own is not None
    assert (own.model, own.seconds) == ("/mine", found.seconds)
    assert found.gpu_bytes == REFINER_BYTES
    on_cpus = refiner_cost(GROUPS, RefinerRules(backend="local", device="cpu"))
    assert on_cpus is not None
    assert on_cpus.gpu_bytes == 0
    assert on_cpus.line().endswith("while the clips before are made: about 72 s each on processors (modelled)")


SEVEN, PUBLISHED = [ClipGroup(7, 35, True, 1, 10)], "cosmos-predict2-2b-multiview"


def warned(gang_size: int, groups: list[ClipGroup] = SEVEN, **settings: Any) -> str | None:
    costs = estimates(groups, load_bundle(PUBLISHED), "h100", gang_size=gang_size)
    return outrun_line(groups, RefinerRules.model_validate({"backend": "local", "captions": "each"} | settings), costs)


def test_gangs_that_would_wait_for_words_are_warned_of_with_ways_out() -> None:
    said = warned(8) or ""
    seconds = estimates(SEVEN, load_bundle(PUBLISHED), "h100", gang_size=8)[0].clip_seconds
    assert "7 questions a clip take a gang's own model about 420 s beside the clip before" in said
    assert f"which is made sooner in gangs of 8 ({seconds:.0f} s)" in said
    for way in ("refiner.backend=endpoint", "cosmos-ray manifest refine", "refiner.captions=one"):
        assert way in said
    assert "about 500 s" in (warned(8, device="cpu") or "")


def test_nobody_is_warned_where_words_are_there_in_time() -> None:
    assert warned(1) is None, "a clip of a single GPU takes longer than seven questions"
    assert warned(8, captions="one") is None
    assert warned(8, backend="endpoint", url=URL) is None
    assert warned(8, backend="none") is None
    assert outrun_line([], RefinerRules(backend="local"), []) is None
    few = warned(8, [ClipGroup(7, 1, False, 1, 10)], captions="one")
    assert few is not None
    assert "1 question a clip" in few
    assert "captions=one" not in few


def test_a_job_is_told_before_it_takes_a_gpu(tmp_path: Path) -> None:
    job, plan = check(
        GenerateConfig.model_validate(
            {
                "manifest": write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "x"}]),
                "output": str(tmp_path / "o"),
                "model": "fake",
            }
        ),
        lambda _: None,
    )
    refiner = RefinerRules(backend="local", captions="each")
    config = job.config.model_copy(update={"refiner": refiner, "gang_size": 8})
    job, plan = (
        dataclasses.replace(job, bundle=load_bundle(PUBLISHED), config=config),
        dataclasses.replace(plan, work=tuple(SEVEN)),
    )
    assert warned(8) in _opening(job, plan)


def test_plan_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}])
    words = ["cosmos-ray", "plan", "--manifest", manifest, "--model", "fake"]
    refined = ["--set", "refiner.backend=endpoint", "--set", f"refiner.url={URL}"]
    monkeypatch.setattr("sys.argv", [*words, *refined])
    assert run(app) == 0
    assert f"refiner: at most 2 questions to {URL}" in capsys.readouterr().out
    for more, questions in ((refined, 2), ([], None)):
        monkeypatch.setattr("sys.argv", [*words, *more, "--json"])
        assert run(app) == 0
        said = json.loads(capsys.readouterr().out)["refiner"]
        assert (said and said["questions"]) == questions
