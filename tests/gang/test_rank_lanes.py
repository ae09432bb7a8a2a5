"""What a rank's lanes do to each other, called as its threads call them; Ray's part is in `tests/pool/test_pool.py`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.waiting import PATIENCE_S

from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.gang import rank as rank_module
from cosmos_ray.gang.rank import Rank
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import StepCheckpoint
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.fake import FakeGenerator, FakeLatents, FakeState
from cosmos_ray.store.storage import Storage


class Watched(FakeGenerator):
    """Notes what happens. The clip `second` ends only when the first has been decoded."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.happened: list[str] = []
        self._decoded = threading.Event()

    def denoise(self, request: ClipRequest, *, on_state: Callable[[FakeState], None], **more: Any) -> FakeLatents:  # type: ignore[override]
        def noted(state: FakeState) -> None:
            if state.step == 0:
                self.happened.append(f"{request.id} begins")
            on_state(state)

        latents = super().denoise(request, on_state=noted, **more)
        assert request.id != "second" or self._decoded.wait(PATIENCE_S)
        return latents

    def decode(self, latents: Any, overlap: int = 1) -> Any:
        self.happened.append("decoding")
        self._decoded.set()
        return super().decode(latents)


@pytest.fixture
def rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rank:
    named = SimpleNamespace(get_actor_name=lambda: "gang-0001-rank0")
    monkeypatch.setattr(rank_module.ray, "get_runtime_context", lambda: named)
    monkeypatch.setattr(rank_module, "log_as", lambda name: None)
    bundle = load_bundle("fake")
    monkeypatch.setattr("cosmos_ray.models.load.load_generator", lambda *_: Watched(bundle))
    made = Rank(0, 1)
    made.load(GangSpec(bundle, 1, "cpu", "reference", str(tmp_path), 1, GangConfig()), 0)
    return made


def request(clip_id: str) -> ClipRequest:
    return ClipRequest(clip_id, ("a street",), "", len(VIEWS), 0, seed=0, guidance=0.0, num_steps=2)


def test_each_call_has_a_lane_that_there_is_and_none_keeps_the_others_of_its_own_waiting() -> None:
    """Of a lane that is not declared Ray would know nothing until the call, on the job's GPUs."""
    lanes = {
        name: getattr(method, "__ray_concurrency_group__", "")
        for name, method in vars(Rank).items()
        if callable(method) and not name.startswith("_")
    }
    in_order = dict.fromkeys(("process", "prepare", "open_store", "load", "take_up", "kernels"), "")
    assert lanes == in_order | {
        "check_captions": "text", "embed": "text", "refine": "refine", "denoise": "denoise", "publish": "publish",
        "watch": "watch", "step": "watch", "traffic": "watch",
    }  # fmt: skip
    threads = {one: 1 for one in lanes.values() if one} | {"watch": 2}  # `watch` never returns
    assert rank_module.rank_actor._default_options["concurrency_groups"] == threads


def test_a_clip_is_decoded_once_the_next_one_has_begun(
    rank: Rank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rank_module, "_NEXT_CLIP_S", PATIENCE_S)
    rank.denoise(request("first"))
    with ThreadPoolExecutor(1) as publish_lane:
        publishing = publish_lane.submit(rank.publish, "first", str(tmp_path), "clips/first", 10)
        time.sleep(0.2)  # in which it would be decoded
        rank.denoise(request("second"))
        entries = publishing.result().files
    assert rank._generator.happened == ["first begins", "second begins", "decoding"]
    assert len(entries) == len(VIEWS)


def test_a_clip_that_none_follows_is_decoded_all_the_same(
    rank: Rank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rank_module, "_NEXT_CLIP_S", 0.05)
    rank.denoise(request("first"))
    published = rank.publish("first", str(tmp_path), "clips/first", 10)
    assert len(published.files) == len(VIEWS)
    assert list(published.looked) == list(VIEWS)
    assert set(published.seconds) == {"decode", "encode", "checks"}


def test_a_clip_in_flight_is_stored_in_the_output_of_the_job_that_it_is_of(
    rank: Rank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A gang that another job takes up: a state in the first one's output would be left there, and never found."""
    stored: list[tuple[str, str]] = []

    def writer(storage: Storage) -> SimpleNamespace:
        return SimpleNamespace(
            write=lambda checkpoint, state: stored.append((storage.uri, checkpoint.path)), denoised=lambda _: None
        )

    monkeypatch.setattr(rank_module, "Writer", writer)
    second = Storage(str(tmp_path / "second"))
    rank.take_up(GangSpec(load_bundle("fake"), 1, "cpu", "reference", second.uri, 1, GangConfig()))
    rank.denoise(request("clip"), StepCheckpoint("_cosmos_ray/steps/clip.hash.safetensors", 1))
    assert set(stored) == {(second.uri, "_cosmos_ray/steps/clip.hash.safetensors")}
