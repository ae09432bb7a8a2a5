"""The real generator's own part: what it loads where, what it hands to the sampler, and what it refuses."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models import fake as fake_module
from cosmos_ray.models import generator as generator_module
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.fake import Alone, FakeGenerator, parse_directives
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.load import load_generator
from cosmos_ray.models.noise import clip_noise
from cosmos_ray.models.sampler import SamplerState
from cosmos_ray.models.timing import timed

PARTS = {"network", "vae", "text encoder"}


def short(name: str = "tiny", **changes: Any) -> Bundle:
    return load_bundle(name).model_copy(update={"state_t": 2} | changes)


@pytest.fixture(scope="module")
def tiny() -> Generator:
    return Generator.load(short())


def request(**changes: Any) -> ClipRequest:
    plain = ClipRequest("clip", ("a red car",), "blurry", 1, 0, seed=1, guidance=3.0, num_steps=2)
    return replace(plain, **changes)


# --- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "device"), [("gang", "meta"), ("cpu", "cpu")])
def test_the_text_encoder_is_where_the_bundle_says(place: Any, device: str) -> None:
    """With the rest of the model, or on the CPU. The device stands for a GPU: it holds no numbers."""
    generator = Generator.load(short(text_encoder_device=place), device="meta")
    assert generator.text_encoder is not None
    assert generator.text_encoder.encoder.device.type == device
    assert (generator.network.device.type, generator.vae.device.type) == ("meta", "meta")


def test_only_the_first_rank_holds_the_text_encoder() -> None:
    """It is the largest part: 10 GB a rank in the published model."""
    seconds: dict[str, float] = {}
    generator = load_generator(short(), parallel=Alone(1, 2), seconds=seconds)  # type: ignore[arg-type]
    assert isinstance(generator, Generator)
    assert generator.text_encoder is None
    assert seconds.keys() == PARTS - {"text encoder"}
    with pytest.raises(UsageError, match="only rank 0 has the text encoder"):
        generator.embed(request())


def test_float32_is_float32_in_convolutions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's would round to 10 bits. The published numerics leave the setting as it is."""
    for own, numerics, allowed in (
        ("float32", "reference", True), ("reference", "float32", False), ("float32", None, False),
        ("reference", None, True),
    ):  # fmt: skip
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        Generator.load(short(numerics=own), numerics=numerics)  # type: ignore[arg-type]
        assert torch.backends.cudnn.allow_tf32 == allowed, (own, numerics)


def test_approximations_are_checked_before_anything_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    seconds: dict[str, float] = {}
    with pytest.raises(UsageError, match="fp8_exact_blocks: found 99"):
        Generator.load(short(), approximations=Approximations(attention="fp8", fp8_exact_blocks=(99,)), seconds=seconds)
    network = load_bundle("tiny").network.model_copy(update={"num_heads": 2, "model_channels": 24})
    with pytest.raises(UsageError, match="found heads of 12, expected a power of two"):
        Generator.load(short(network=network), approximations=Approximations(attention="fp8"), seconds=seconds)
    assert seconds == {}
    Generator.load(short())
    assert "attention fp8" not in caplog.text
    with caplog.at_level(logging.WARNING):
        Generator.load(short(), approximations=Approximations(attention="fp8"))
    assert "attention fp8 on a CPU" in caplog.text


def test_what_is_asked_for_reaches_the_generator_that_the_bundle_asks_for() -> None:
    approximations, seconds = Approximations(guidance_interval=(0.0, 0.5)), dict[str, float]()
    real = load_generator(short(), "cpu", None, "reference", approximations, seconds)
    assert isinstance(real, Generator)
    assert (real.bundle.numerics, real.approximations) == ("reference", approximations)
    assert seconds.keys() == PARTS
    assert all(part > 0 for part in seconds.values())
    fake = load_generator(short("fake"), "cpu", Alone(1, 2), "float32")  # type: ignore[arg-type]
    assert isinstance(fake, FakeGenerator)
    assert (fake.bundle.numerics, fake.parallel) == ("float32", Alone(1, 2))
    assert load_generator(short("fake"), numerics="reference").bundle.numerics == "reference"


def test_a_part_takes_the_time_between_its_begin_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 102.5, 110.0, 110.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    seconds = {"earlier": 1.0}
    with timed(seconds, "part"):
        assert "part" not in seconds
    assert seconds == {"earlier": 1.0, "part": 2.5}
    with timed(seconds, "part"):
        pass
    assert seconds["part"] == 3.0, "all of its times together"


# --- what the sampler is told ----------------------------------------------------------------------------------------


def test_the_model_has_its_own_clock(tiny: Generator) -> None:
    """`model_fps` is the bundle's: it stretches the positions in time."""
    other = replace(tiny, bundle=tiny.bundle.model_copy(update={"model_fps": 10.0}))
    assert (tiny.denoise(request()) - other.denoise(request())).abs().max() > 1e-3


def test_noise_that_was_drawn_ahead_is_the_noise_that_is_used(tiny: Generator) -> None:
    """Whatever seed it was drawn from: drawing it again would take half a second in which a gang's GPUs wait."""
    drawn = clip_noise(2, tiny.bundle, 1)
    assert torch.equal(tiny.denoise(request(seed=1, noise=drawn)), tiny.denoise(request(seed=2)))


def test_guidance_acts_where_the_approximations_say(tiny: Generator) -> None:
    nowhere = replace(tiny, approximations=Approximations(guidance_interval=(0.0, 0.0)))
    assert torch.equal(nowhere.denoise(request()), tiny.denoise(request(negative_prompt="")))


def test_an_empty_negative_prompt_is_none(tiny: Generator) -> None:
    text = tiny.embed(request(negative_prompt="")).text
    assert text is not None
    assert text.negative is None


def test_a_state_is_the_same_after_it_was_packed(tiny: Generator) -> None:
    """As numpy arrays of the whole clip; the state before the first step has no prediction."""
    states: list[SamplerState] = []
    tiny.denoise(request(), on_state=states.append)
    for state in states[0], states[2]:
        packed = tiny.pack_state(state)
        assert packed.keys() == {"step", "sample"} | ({"previous_x0"} if state.step else set())
        assert all(isinstance(array, np.ndarray) for array in packed.values())
        again = tiny.unpack_state(packed)
        assert again.step == state.step
        assert torch.equal(again.tensors["sample"], state.tensors["sample"])
        if state.tensors.get("previous_x0") is None:
            assert again.tensors.get("previous_x0") is None
        else:
            assert again.tensors.get("previous_x0") is not None
            assert torch.equal(again.tensors.get("previous_x0"), state.tensors.get("previous_x0"))
            assert not torch.equal(state.tensors["sample"], state.tensors.get("previous_x0"))


def test_a_state_goes_on_where_the_network_is() -> None:
    """Whatever device it was packed on; `meta` stands for a GPU."""
    generator = Generator.load(short(), device="meta")
    packed = {"step": np.array(1), "sample": np.zeros((1, 8, 64), np.float32), "previous_x0": np.zeros((1, 8, 64))}
    assert {one.device.type for one in generator.unpack_state(packed).tensors.values()} == {"meta"}


# --- text and frames -------------------------------------------------------------------------------------------------


def test_a_caption_that_is_cut_is_said_and_one_that_nobody_reads_is_not(tiny: Generator) -> None:
    """500 signs of a token each: with what Cosmos-Reason1 is told before them, too many; for T5, not."""
    for generator, is_cut in ((tiny, False), (Generator.load(short("tiny25")), True)):
        text = generator.embed(request(prompts=("~" * 500,), negative_prompt="")).text
        assert text is not None
        assert text.warnings == (("front_wide: caption cut: 544 tokens, of which the text encoder reads the first 512",)
                                 if is_cut else ())  # fmt: skip
    given = ClipText((np.ones((2, tiny.bundle.text_width), np.float32),), None)
    again = tiny.embed(request(prompts=("~ " * 600,), text=given)).text
    assert again is not None
    assert again.warnings == ()


def test_frames_of_a_clip_that_begins_with_none_are_not_looked_at(
    tiny: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.full((1, 1, tiny.bundle.height, tiny.bundle.width, 3), 9, np.uint8)
    monkeypatch.setattr(tiny.vae, "encode", lambda _: pytest.fail("encoded"))
    assert tiny._encode_conditioning(request(frames=frames)) is None


def test_frames_are_rounded_as_the_autoencoder_computes() -> None:
    """In bfloat16 as published, not before: 201 of 255 lies between two of its numbers."""
    generator = Generator.load(short(numerics="reference"))
    asked: list[torch.Tensor] = []
    encode = generator.vae.encode
    generator.vae.encode = lambda video: (asked.append(video), encode(video))[1]  # type: ignore[method-assign]
    generator._encode(np.full((1, 1, generator.bundle.height, generator.bundle.width, 3), 201, np.uint8), 1)
    assert {one.dtype for one in asked} == {torch.bfloat16}


# --- what is refused -------------------------------------------------------------------------------------------------


def embeddings(tiny: Generator, views: int) -> ClipText:
    return ClipText((np.ones((2, tiny.bundle.text_width), np.float32),) * views, None)


@pytest.mark.parametrize("views", [0, 2, 4])
def test_embeddings_are_one_a_view(tiny: Generator, views: int) -> None:
    with pytest.raises(RowError, match="`prompt_embedding`: found") as error:
        tiny.denoise(request(n_views=3, prompts=(), text=embeddings(tiny, views)))
    assert error.value.failure_class == "input"


@pytest.mark.parametrize("n_views", [0, -1, 8])
def test_a_clip_has_as_many_views_as_the_model_knows(tiny: Generator, n_views: int) -> None:
    with pytest.raises(RowError, match=f"`n_views`: found {n_views}, expected 1 to 7"):
        tiny.denoise(request(n_views=n_views))


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_frames_are_bytes(tiny: Generator, dtype: Any) -> None:
    """Floats in [0, 1] would be taken for nearly black."""
    frames = np.zeros((1, 1, tiny.bundle.height, tiny.bundle.width, 3), dtype)
    with pytest.raises(RowError, match=r"expected .?uint8 frames \[1, 1, 64, 112, 3\]"):
        tiny.denoise(request(num_conditional_frames=1, frames=frames))


# --- the fake one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "pauses"), [("a", [2.0] * 4), ("[seconds=6]", [1.5] * 4), ("[seconds=0]", [0.0] * 4)]
)
def test_the_fake_spreads_the_time_it_is_told_over_its_steps(
    monkeypatch: pytest.MonkeyPatch, prompt: str, pauses: list[float]
) -> None:
    """Three steps and the clean pass: a prompt says the time of all of them, the generator that of one."""
    slept: list[float] = []
    monkeypatch.setattr(fake_module, "time", SimpleNamespace(sleep=slept.append))  # other threads sleep as they did
    FakeGenerator(short("fake"), step_seconds=2.0).denoise(request(prompts=(prompt,), num_steps=3))
    assert slept == pauses


def test_the_fake_takes_up_other_settings_where_it_is_and_as_slow_as_it_is() -> None:
    other = short("fake", numerics="reference")
    again = FakeGenerator(short("fake"), Alone(1, 2), step_seconds=2.0).sampled_by(other, Approximations())
    assert (again.bundle, again.parallel, again.step_seconds) == (other, Alone(1, 2), 2.0)


def test_the_fakes_state_is_the_first_ranks_to_store() -> None:
    generators = [FakeGenerator(short("fake"), Alone(rank, 2)) for rank in range(2)]
    states: list[Any] = []
    generators[1].denoise(request(num_steps=3), on_state=states.append)
    packed = [generator.pack_state(states[2]) for generator in generators]
    assert (packed[0].keys(), packed[1]) == ({"step"}, {})
    assert generators[1].unpack_state(packed[0]) == states[2]


@pytest.mark.parametrize(
    ("fault", "rank"), [("die", 0), ("hang", 0), ("oom", 0), ("fail=oom", 0), ("nan", None), ("fail=model", None)]
)
def test_a_machines_fault_is_one_ranks_and_a_clips_fault_everyones(fault: str, rank: int | None) -> None:
    (found,) = parse_directives(f"a road [{fault}]").faults
    assert found.rank == rank
    (found,) = parse_directives(f"a road [{fault} rank=3]").faults
    assert found.rank == 3


def test_a_network_of_neighbourhoods_asks_for_its_package_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def missing(device: str) -> None:
        asked.append(device)
        raise UsageError("takes the package natten")

    plain = load_bundle("tiny-video2world")
    network = plain.network.model_copy(update={"natten": "A" * plain.network.num_blocks})
    monkeypatch.setattr(generator_module, "check_natten", missing)
    monkeypatch.setattr(generator_module, "load_network", lambda _: pytest.fail("loaded first"))
    with pytest.raises(UsageError, match="natten"):
        Generator.load(plain.model_copy(update={"network": network}), device="cpu")
    assert asked == ["cpu"]
