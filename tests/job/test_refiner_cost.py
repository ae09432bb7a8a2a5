"""What a plan says of refining: how many questions, of whom, and what they take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.job_runs import write_manifest

from cosmos_ray.cli.main import app, run
from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.job.cost import ClipGroup
from cosmos_ray.job.refiner_cost import refiner_cost
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
