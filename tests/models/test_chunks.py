"""A clip's chunks as one run: what is told of steps and states, and where a run goes on."""

from __future__ import annotations

import pytest
import torch
from support.published_video import chunk_inputs, joined

from cosmos_ray.models.chunks import DONE, Chunks
from cosmos_ray.models.sampler import SamplerState


def latents(value: float) -> torch.Tensor:
    return torch.full((2, 3, 4), value)


def test_steps_and_states_are_counted_through() -> None:
    steps: list[tuple[int, int]] = []
    states: list[SamplerState] = []
    chunks = Chunks(3, 2, lambda *at: steps.append(at), states.append, None)
    assert chunks.take_resume() is None
    for number in range(2):
        chunks.on_state(SamplerState(1, {"sample": latents(9)}))
        for done in (1, 2, 3):
            chunks.on_step(done, 3)
        chunks.add(latents(number))
    assert steps == [(done, 6) for done in range(1, 7)]
    assert [(state.step, sorted(state.tensors)) for state in states] == [(1, ["sample"]), (4, [DONE, "sample"])]
    assert torch.equal(states[1].tensors[DONE], latents(0))
    assert torch.equal(chunks.together(), torch.cat([latents(0), latents(1)], dim=-1))


@pytest.mark.parametrize("step", range(9))
def test_a_run_goes_on_in_the_middle_of_its_chunk_with_those_before_it(step: int) -> None:
    done = step // 3
    whole = {DONE: torch.cat([latents(number) for number in range(done)], dim=-1)} if done else {}
    before = SamplerState(step, {"sample": latents(9), **whole})
    chunks = Chunks(3, 3, None, None, before)
    assert [float(one[0, 0, 0]) for one in chunks.done_VlP] == list(range(done))
    assert all(one.shape == (2, 3, 4) for one in chunks.done_VlP)
    resume = chunks.take_resume()
    assert resume is not None
    assert (resume.step, sorted(resume.tensors)) == (step % 3, ["sample"])
    assert chunks.take_resume() is None, "the chunks after it begin at their beginning"
    assert (DONE in before.tensors) == bool(done), "the state that was given stays as it was"


def test_each_chunk_begins_with_the_last_frames_of_the_one_before() -> None:
    """Five frames a chunk, two of them shared: each chunk's frames are brighter by a level than those of the last."""
    asked: list[tuple[int, list[int], int]] = []

    def make(number: int, begins_VFHWC: torch.Tensor, given: int) -> torch.Tensor:
        asked.append((number, begins_VFHWC[0, :, 0, 0, 0].tolist(), given))
        frames_F = (torch.arange(5.0) + 10 * number + 100.5) / 255
        return frames_F[None, None, :, None, None].expand(1, 3, 5, 2, 2)

    first = torch.full((1, 5, 2, 2, 3), 7, dtype=torch.uint8)
    videos = list(chunk_inputs(first, 1, 3, 2, make))
    assert asked == [(0, [7] * 5, 1), (1, [103, 104, 0, 0, 0], 2), (2, [113, 114, 0, 0, 0], 2)]
    whole = (joined(videos, 2)[0, 0, :, 0, 0] * 255).round(decimals=1)
    assert whole.tolist() == [100.5, 101.5, 102.5, 103.5, 104.5, 112.5, 113.5, 114.5, 122.5, 123.5, 124.5]
