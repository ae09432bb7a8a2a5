"""What a rank is told reaches the model, the guardrails and the files, each where it belongs. No Ray, no model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.guardrail_rules import CheckFacts, GuardrailRules, Guardrails
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang import rank as rank_module
from cosmos_ray.gang.rank import Rank, _given
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import StepCheckpoint
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.guardrails.guard import Guard
from cosmos_ray.refine.asks import Refining

CHOSEN = Approximations(guidance_interval=(0.0, 0.5))
CHECKED = Guardrails(GuardrailRules(enabled=True), (CheckFacts("a", "1", True, True),))
TINY = load_bundle("tiny")


class Model:
    """Remembers what it is told; its latents have names."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @property
    def bundle(self) -> str:
        return "the model's own"

    def unpack_state(self, packed: Any) -> str:
        return f"unpacked {int(packed['step'])}"

    def pack_state(self, state: Any) -> dict[str, Any]:
        return {"step": np.array(state.step)}

    def denoise(self, request: Any, resume: Any, on_state: Any) -> str:
        self.told.append(("denoise", request.id, resume))
        for step in (3, 4, 5):
            on_state(SimpleNamespace(step=step))
        return "latents"

    def collect(self, latents: Any, views: Any) -> dict[str, Any]:
        self.told.append(("collect", latents, views))
        return {views[1]: "collected"}

    def decode(self, collected: Any, overlap: int) -> dict[str, np.ndarray]:
        self.told.append(("decode", collected, overlap))
        return {name: np.full(self.shape, 9, np.uint8) for name in collected}

    shape: tuple[int, ...] = (29, 64, 112, 3)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What loading tells others, in the place of all that it loads."""
    calls: list[Any] = []
    named = SimpleNamespace(get_actor_name=lambda: "gang-0001-rank0")
    monkeypatch.setattr(rank_module.ray, "get_runtime_context", lambda: named)
    monkeypatch.setattr(rank_module, "log_as", calls.append)
    monkeypatch.setattr(rank_module, "check_ffmpeg", lambda: None)
    monkeypatch.setattr(rank_module, "_NEXT_CLIP_S", 0.0)
    monkeypatch.setattr(Rank, "_join", lambda *_: "the gang")
    monkeypatch.setattr("cosmos_ray.models.load.load_generator", lambda *given: calls.append(given) or Model())
    monkeypatch.setattr(
        "cosmos_ray.gang.local_refiner.load_refiner", lambda spec: calls.append(spec) or "refined {}".format
    )
    monkeypatch.setattr(
        "cosmos_ray.models.guardrails.checks.checks_of", lambda *given: calls.append(given) or ["checks"]
    )
    monkeypatch.setattr(rank_module, "load_guard", lambda *given: calls.append(given) or Guard((), ()))
    return calls


def spec_of(tmp_path: Path, **changes: Any) -> GangSpec:
    given = {"approximations": CHOSEN, "device": "cpu", **changes}
    return GangSpec(
        bundle=given.pop("bundle", TINY), gang_size=9, numerics="float32", output=str(tmp_path), epoch=1,
        settings=GangConfig(), **given,
    )  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("backend", ["none", "local"])
def test_a_model_is_loaded_as_the_gangs_spec_says(tmp_path: Path, told: list[Any], rank: int, backend: Any) -> None:
    spec = spec_of(tmp_path, refining=Refining(RefinerRules(backend=backend)))
    made = Rank(rank, 9)
    seconds = made.load(spec, 1234)
    assert told[:2] == ["gang-0001-rank0", (TINY, "cpu", "the gang", "float32", CHOSEN, seconds)]
    refines = rank == 0 and backend == "local"
    assert told[2:] == ([spec] if refines else [])
    assert seconds.keys() == {"device and group"} | ({"refiner"} if refines else set())
    if refines:
        assert made.refine("a bus") == "refined a bus"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rank", "device", "where", "bundle", "expected"),
    [
        (0, "cuda", "gang", TINY, ("cuda", True, True)),
        (0, "cuda", "cpu", TINY, ("cpu", True, True)),
        (0, "cpu", "gang", TINY, ("cpu", True, True)),
        (0, "cuda", "gang", load_bundle("fake"), ("cpu", True, True)),
        (6, "cuda", "gang", TINY, ("cuda", False, True)),
        (7, "cuda", "gang", TINY, ("cuda", False, False)),
        (1, "cuda", "gang", load_bundle("tiny-text2world"), ("cuda", False, True)),
        (2, "cuda", "gang", load_bundle("tiny-text2world"), ("cuda", False, False)),
        (1, "cuda", "gang", load_bundle("tiny-video2world"), ("cuda", False, False)),
    ],
)
def test_captions_are_the_first_ranks_to_check_and_views_those_of_ranks_that_have_some(
    tmp_path: Path, told: list[Any], rank: int, device: str, where: Any, bundle: Any, expected: tuple[Any, ...]
) -> None:
    rules = GuardrailRules(enabled=True, device=where)
    guardrails = Guardrails(rules, CHECKED.checks)
    made = Rank(rank, 9)
    made._guarded(spec_of(tmp_path, device=device, bundle=bundle, guardrails=guardrails))
    assert told == [(rules, bundle.recipe), (guardrails, ["checks"], *expected)]
    assert isinstance(made._guarded(spec_of(tmp_path, bundle=bundle)), Guard)
    assert len(told) == 2, "without checks there is nothing to load"


def test_another_job_has_its_own_checks_where_they_differ(tmp_path: Path, told: list[Any]) -> None:
    made = Rank(0, 1)
    made.load(spec_of(tmp_path, guardrails=CHECKED), 0)
    sampled: list[Any] = []
    made._generator = SimpleNamespace(sampled_by=lambda *given: sampled.append(given) or made._generator)  # type: ignore[assignment]
    loaded = len(told)
    other = spec_of(tmp_path, guardrails=CHECKED, approximations=Approximations(solver="unipc"))
    made.take_up(other)
    assert (sampled, len(told), made._spec) == ([(TINY, other.approximations)], loaded, other)
    made.take_up(spec_of(tmp_path, guardrails=Guardrails(CHECKED.rules, (CheckFacts("a", "2", True, True),))))
    assert len(told) == loaded + 2


def asked(**changes: Any) -> ClipRequest:
    frames = np.zeros((2, 5, 64, 112, 3), np.uint8)
    frames[1] = 200
    plain = {"num_conditional_frames": 5, "frames": frames, "num_chunks": 1, "chosen_views": ("rear", "front_wide")}
    return ClipRequest("a", ("x",), "", 2, seed=0, guidance=1.0, num_steps=2, **(plain | changes))


def test_a_clip_goes_through_a_rank_with_all_that_it_is(tmp_path: Path, told: list[Any]) -> None:
    """Gone on with, stored on its way, collected by its views' names, decoded with its overlap, written, looked at."""
    made, model = Rank(0, 1), Model()
    made.load(spec_of(tmp_path), 0)
    made._generator = model  # type: ignore[assignment]
    stored: list[Any] = []
    made._states = SimpleNamespace(  # type: ignore[assignment]
        write=lambda checkpoint, packed: stored.append((checkpoint.path, int(packed["step"]))),
        denoised=lambda checkpoint: stored.append(checkpoint.path),
    )
    report = made.denoise(asked(chunk_overlap=3), StepCheckpoint("steps/a", 2), {"step": np.array(3)})
    assert (report.first_step, report.peak_memory_bytes, made.step()) == (3, 0, 5)
    assert stored == [("steps/a", 4), "steps/a"], "every second step; and denoised"
    (place := tmp_path / "place").mkdir()
    published = made.publish("a", str(place), "clips/a/7", 10)
    assert model.told == [
        ("denoise", "a", "unpacked 3"),
        ("collect", "latents", ("rear", "front_wide")),
        ("decode", {"front_wide": "collected"}, 3),
    ]
    (file,) = published.files
    data = (place / "front_wide.mp4").read_bytes()
    assert (file.view, file.path, file.size, file.sha256) == (
        "front_wide", "clips/a/7/front_wide.mp4", len(data), hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    assert list(published.looked) == ["front_wide"]
    psnr = published.looked["front_wide"].scores.given_psnr_db  # type: ignore[attr-defined]
    assert psnr is not None
    assert psnr < 5, "against the frames that this view was given: nearly white, and it is nearly black"
    assert published.blurred == {}


def test_frames_of_another_shape_than_the_clips_are_a_fault_of_the_model(tmp_path: Path, told: list[Any]) -> None:
    made, model = Rank(0, 1), Model()
    made.load(spec_of(tmp_path, bundle=load_bundle("tiny-video2world")), 0)
    made._generator = model  # type: ignore[assignment]
    for chunks, shape, is_right in (
        (1, (29, 64, 112, 3), True),
        (3, (29, 64, 112, 3), False),
        (3, (77, 64, 112, 3), True),
    ):
        model.shape = shape
        made.denoise(asked(num_chunks=chunks))
        if is_right:
            made.publish("a", str(tmp_path), "clips/a/1", 10)
        else:
            with pytest.raises(RowError, match=r"view front_wide: decoded frames \(29.*expected \(77") as caught:
                made.publish("a", str(tmp_path), "clips/a/1", 10)
            assert caught.value.failure_class == "model"


def test_given_frames_are_those_of_the_view_by_its_place_in_the_request() -> None:
    request = asked()
    assert request.frames is not None
    found = _given(request, ["front_wide"])
    assert list(found) == ["front_wide"]
    assert np.array_equal(found["front_wide"], request.frames[1])
    assert _given(asked(frames=None, num_conditional_frames=0), ["rear"]) == {}


def test_a_spare_imports_what_it_will_need_and_others_what_they_begin_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[Any] = []
    monkeypatch.setattr(rank_module, "import_network", lambda: imported.append("network"))
    monkeypatch.setattr(rank_module, "import_others", lambda encoder: imported.append(encoder))
    flow = spec_of(tmp_path, bundle=load_bundle("tiny25"))
    for rank, spec, spare, expected in (
        (0, flow, False, ["network"]),
        (0, flow, True, ["network", "reason1"]),
        (0, spec_of(tmp_path), True, ["network", "t5"]),
        (1, flow, True, ["network", None]),
        (0, spec_of(tmp_path, bundle=load_bundle("fake")), True, []),
    ):
        imported.clear()
        seconds = Rank(rank, 2).prepare(spec, is_spare=spare)
        assert imported == expected
        assert bool(seconds) == bool(expected)


def test_kernels_are_told_of_the_model_that_is_loaded(
    tmp_path: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr("cosmos_ray.models.network.kernels.kernels_of", lambda *given: found.append(given) or "words")
    made = Rank(0, 1)
    made.load(spec_of(tmp_path), 0)
    assert made.kernels() == "words"
    assert found == [("the model's own", "cpu", CHOSEN)]
    made.load(spec_of(tmp_path, bundle=load_bundle("fake")), 0)
    assert made.kernels() == ""
