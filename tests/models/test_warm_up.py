"""What loading does in an order of its own: the network first, the rest beside it, and a short run in between."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.thread_ranks import run_threads
from support.waiting import PATIENCE_S

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.errors import UsageError
from cosmos_ray.models import parts, warm_up
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.network.dit import MultiviewDiT
from cosmos_ray.models.parallel import ContextParallel

UNIPC = Approximations(solver="unipc", schedule="karras9", attention="fp8")


def short(name: str) -> Bundle:
    return load_bundle(name).model_copy(update={"state_t": 2})


@pytest.mark.parametrize(
    ("name", "approximations"), [("tiny", EXACT), ("tiny", UNIPC), ("tiny25", EXACT), ("tiny-transfer25", EXACT)]
)
def test_the_short_run_takes_the_whole_way_of_a_guided_step(
    name: str, approximations: Approximations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every rank of a gang: all blocks, both texts, and the exchange; in 8 bits where clips will be."""
    bundle = short(name).solved_by(approximations)
    network, _ = parts.load_network(bundle)
    calls: list[tuple[int, int, frozenset[int]]] = []
    controls: list[tuple[int, ...]] = []
    forward = MultiviewDiT.forward_tokens

    def seen(self: MultiviewDiT, x: Any, mask: Any, times: Any, texts: Any, share: Any, **more: Any) -> Any:
        calls.append((x.shape[1], len(texts), more["fp8_blocks"]))
        controls.extend([tuple(more["control_BVlP"].shape)] if "control_BVlP" in more else [])
        return forward(self, x, mask, times, texts, share, **more)

    monkeypatch.setattr(MultiviewDiT, "forward_tokens", seen)
    run_threads(2, lambda parallel: warm_up.short_run(network, bundle, parallel, approximations))
    passes = bundle.recipe.passes(1)
    assert len(calls) == 2 * passes
    assert {(views, texts) for views, texts, _ in calls} == {(1, 2)}
    assert any(blocks for *_, blocks in calls) == (approximations.attention == "fp8")
    half = bundle.tokens_per_view // 2
    assert set(controls) == ({(1, 1, half, 64)} if bundle.recipe.has_control else set()), "what it follows, too"


def test_a_cpu_is_not_warmed_up() -> None:
    seconds: dict[str, float] = {}
    bundle = short("tiny")
    network, _ = parts.load_network(bundle)
    warm_up.warm_up(network, bundle, ContextParallel(), EXACT, seconds)
    assert seconds == {}


def test_the_network_does_not_wait_for_what_is_read_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The autoencoder comes only after the network has been used."""
    was_used = threading.Event()
    load_vae = parts.load_vae

    def late(bundle: Bundle) -> Any:
        assert was_used.wait(PATIENCE_S)
        return load_vae(bundle)

    monkeypatch.setattr(parts, "load_vae", late)
    seconds: dict[str, float] = {}
    network, vae, text_encoder = parts.load_parts(short("tiny"), "cpu", True, seconds, lambda _: was_used.set())
    assert vae.device == network.device
    assert text_encoder is not None
    assert seconds.keys() == {"network", "vae", "text encoder"}


@pytest.mark.parametrize("name", ["tiny", "tiny25"])
def test_a_fault_of_any_part_ends_the_loading(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the network, for whose layer Predict2.5's text encoder waits."""
    for part in ("network", "vae", "text_encoder"):
        with monkeypatch.context() as broken:

            def fails(*_: Any, part: str = part) -> Any:
                raise UsageError(f"the {part} is not there")

            broken.setattr(parts, f"load_{part}", fails)
            with pytest.raises(UsageError, match=f"the {part} is not there"):
                parts.load_parts(short(name), "cpu", True, {})
