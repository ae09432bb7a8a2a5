"""Where the local refiner of a gang stays and writes, and what it is asked with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_ray.clip.guardrail_rules import GuardrailRules, Guardrails
from cosmos_ray.clip.refiner_rules import PUBLISHED, RefinerRules
from cosmos_ray.config import GangConfig
from cosmos_ray.gang import local_refiner
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.memory import REFINER_BYTES, memory_plan
from cosmos_ray.models.text.qwen_vl import Answered
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Ask, Refining

BUNDLE = load_bundle("cosmos-predict2-2b-multiview")
NEEDED = memory_plan(BUNDLE, 4).total + REFINER_BYTES


def refining(**rules: Any) -> Refining:
    return Refining(RefinerRules(backend="local", **rules), "m", "do it")


@pytest.mark.parametrize(
    ("device", "asked", "memory", "place"),
    [
        ("cpu", None, 0, ("cpu", "cpu")),
        ("cpu", "gang", 0, ("cpu", "cpu")),
        ("cuda", None, NEEDED, ("cuda", "cuda")),
        ("cuda", None, NEEDED - 1, ("cpu", "cpu")),
        ("cuda", "gang", 1, ("cuda", "cuda")),
        ("cuda", "between", NEEDED, ("cpu", "cuda")),
        ("cuda", "cpu", NEEDED, ("cpu", "cpu")),
    ],
)
def test_it_stays_where_it_is_told_or_where_it_fits(
    device: str, asked: Any, memory: int, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside all that a clip of this gang's size needs there."""
    found: list[Any] = []
    monkeypatch.setattr(local_refiner, "answers_of", lambda *given: found.append(given))
    properties = type("Properties", (), {"total_memory": memory})
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: properties)
    told = refining(device=asked)
    spec = GangSpec(BUNDLE, 4, device, "reference", "out", 1, GangConfig(), refining=told)
    local_refiner.load_refiner(spec)
    assert found == [(told, place)]


@pytest.mark.parametrize(
    ("rules", "gigabytes", "place"),
    [
        ({}, 80, ("cpu", "cpu")),
        ({}, 141, ("cuda", "cuda")),
        ({"device": "cpu"}, 80, ("cuda", "cuda")),
        ({"enabled": False}, 80, ("cuda", "cuda")),
    ],
)
def test_guardrails_have_their_room_first(
    rules: dict[str, Any], gigabytes: int, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """55 GB of a gang of two, 19 of the refiner, 20 of the guardrails: nobody may run out of memory for a prompt."""
    monkeypatch.setattr(local_refiner, "answers_of", lambda _, found: found)
    card = type("Properties", (), {"total_memory": gigabytes * 10**9})
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    checked = Guardrails(GuardrailRules.model_validate({"enabled": True, **rules}))
    more: dict[str, Any] = {"refining": refining(), "guardrails": checked}
    spec = GangSpec(BUNDLE, 2, "cuda", "reference", "out", 1, GangConfig(), **more)
    assert local_refiner.load_refiner(spec) == place


@pytest.mark.parametrize(
    ("has_gpu", "asked", "place"),
    [
        (False, None, ("cpu", "cpu")),
        (True, None, ("cuda", "cuda")),
        (True, "gang", ("cuda", "cuda")),
        (True, "between", ("cpu", "cuda")),
        (True, "cpu", ("cpu", "cpu")),
        (False, "between", ("cpu", "cpu")),
    ],
)
def test_without_a_gang_it_takes_this_machines_gpu(
    has_gpu: bool, asked: Any, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(local_refiner, "answers_of", lambda *given: found.append(given))
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    local_refiner.answers_alone(refining(device=asked))
    assert found == [(refining(device=asked), place)]


class Model:
    def __init__(self, answer: Any) -> None:
        self.asked: list[Any] = []
        self._answer = answer

    def answer(self, *given: Any) -> Answered:
        self.asked.append(given)
        if isinstance(self._answer, Exception):
            raise self._answer
        return Answered(self._answer, 3)


def test_a_question_is_asked_with_all_that_the_job_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loaded = Model("Words."), list[Any]()
    monkeypatch.setattr(local_refiner.QwenVL, "load", lambda *given: loaded.append(given) or model)
    told = refining(model="/folder", max_tokens=77, temperature=0.5, timeout_s=11.0)
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    answer = local_refiner.answers_of(told, ("cpu", "cuda"))
    assert answer(Ask("a bus", frames)) == "Words."
    assert loaded == [(Path("/folder"), "cpu", "cuda")]
    assert model.asked == [("do it", "a bus", frames, 77, 0.5, 11.0)]


@pytest.mark.parametrize(("error", "empties"), [(ValueError("no"), 0), (torch.OutOfMemoryError("no"), 1)])
def test_whatever_goes_wrong_is_told_as_no_words(
    error: Exception, empties: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fault of the gang; and memory that ran out is given back."""
    emptied: list[None] = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: emptied.append(None))
    monkeypatch.setattr(local_refiner.QwenVL, "load", lambda *_: Model(error))
    answer = local_refiner.answers_of(refining(model="/folder"), ("cpu", "cpu"))
    with pytest.raises(NoWordsError, match=f"the local model failed: {type(error).__name__}: no") as raised:
        answer(Ask("a bus"))
    assert (raised.value.is_rows, raised.value.passes, len(emptied)) == (False, False, empties)


def test_the_published_one_is_brought_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Any] = []
    monkeypatch.setattr(local_refiner.hub, "fetch", lambda *given: fetched.append(given) or Path("here"))
    monkeypatch.setattr(local_refiner.QwenVL, "load", lambda folder, *_: fetched.append(folder))
    local_refiner.answers_of(refining(), ("cpu", "cpu"))
    (asked, kind), folder = fetched
    assert (f"hf://{asked.repo}@{asked.revision}", kind, folder) == (PUBLISHED, "text_encoder", Path("here"))
    assert local_refiner.folder_of("/mine") == Path("/mine")
