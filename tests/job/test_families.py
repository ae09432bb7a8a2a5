"""What a job knows of families by asking their recipes: what clips cost, what they read, whole jobs of the tiny one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.job_runs import FAST, check_files, records, write_manifest
from support.videos import numbered, write

from cosmos_ray.clip.approximations import EXACT
from cosmos_ray.clip.family import PREDICT25, PREDICT25_2025_10
from cosmos_ray.clip.frames import inspect_video
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import GenerateConfig
from cosmos_ray.job.cost import ClipGroup, clip_seconds, estimates, exact_calls
from cosmos_ray.job.inputs import references_of
from cosmos_ray.job.job import generate
from cosmos_ray.job.plan import plan_for, row_defaults
from cosmos_ray.job.reproduce import reproduce
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage

GROUP = ClipGroup(n_views=7, num_steps=35, guided=True, num_conditional_frames=0, clips=1)
PREDICT2, PREDICT, TRANSFER = (
    load_bundle(f"cosmos-{name}-2b-multiview") for name in ("predict2", "predict2.5", "transfer2.5")
)


def test_calls_are_those_of_the_familys_passes() -> None:
    assert exact_calls(GROUP, EXACT, PREDICT25) == 70
    unguided = replace(GROUP, guided=False)
    assert exact_calls(unguided, EXACT, PREDICT25) == 35
    assert exact_calls(unguided, EXACT, PREDICT25_2025_10) == 70, "guided without a negative prompt"


def test_clips_of_other_families_are_modelled_and_say_so() -> None:
    two, five, steered = (clip_seconds(GROUP, bundle, "h100", 1) for bundle in (PREDICT2, PREDICT, TRANSFER))
    more_s = 70 / 72 * (45 / 44) ** 2 * 1.05
    assert five / two == pytest.approx(more_s, rel=0.01), "a fortieth more tokens, two calls fewer, less to save"
    assert steered / five == pytest.approx((1 + 4 / 28) * 1.04 / 1.05, rel=0.01)
    assert [one.is_measured for one in estimates([GROUP], PREDICT2, "h100")][:2] == [True, True]
    assert not any(one.is_measured for one in estimates([GROUP], PREDICT, "h100"))


def test_a_picture_that_comes_first_costs_its_own_passes_and_texts() -> None:
    """36 under two texts, also without a negative prompt; of a distilled model four under the caption alone."""
    names = ("video2world", "text2world", "text2world-distilled4")
    video, plain, distilled = (load_bundle(f"cosmos-predict2-2b-{name}") for name in names)
    for group in (replace(GROUP, n_views=1), replace(GROUP, n_views=1, guided=False)):
        video_s, plain_s, distilled_s = (clip_seconds(group, one, "h100", 1) for one in (video, plain, distilled))
        assert 0 < plain_s - video_s < video_s / 20
        assert (distilled_s - video_s) / (plain_s - video_s) == pytest.approx(4 / 72)


@pytest.mark.parametrize("gang_size", [1, 4])
def test_every_frame_of_a_control_video_is_encoded(gang_size: int) -> None:
    """As much as is decoded; of a clip of n steps the rest is n times a step."""
    for bundle, encoded in ((PREDICT, 0), (TRANSFER, 1)):
        one_s, two_s = (clip_seconds(replace(GROUP, num_steps=n), bundle, "h100", gang_size) for n in (1, 2))
        views = -(-7 // gang_size)
        assert 2 * one_s - two_s == pytest.approx(0.93 * 720 / 704 * views * (1 + encoded))


def test_rows_get_the_familys_rate_and_guidance() -> None:
    found = [row_defaults(bundle, SamplingConfig()) for bundle in (PREDICT2, PREDICT, TRANSFER)]
    assert [(one.fps, one.guidance) for one in found] == [(10, 7.0), (30, 3.0), (10, 3.0)]


def test_what_a_clip_reads_is_known_before_it_is_made() -> None:
    clip = Clip("a", "a", n_views=1, num_conditional_frames=1, frames=(("1.png", "2.png"),))
    assert list(references_of(clip)) == [("input_frames", "2.png")]
    assert list(references_of(clip, PREDICT25)) == [("input_frames", "1.png")]
    steered = Clip("a", "a", n_views=1, controls=("c.mp4",))
    assert list(references_of(steered)) == [("control_videos", "c.mp4")], "also of a clip from text"


def test_a_plan_counts_chunks_and_knows_who_is_guided(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p", "num_chunks": 3}, {"id": "b", "prompt": "p", "num_chunks": None}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    state = Ledger(Storage(str(tmp_path / "out"))).state()
    plans = {
        name: plan_for(
            GenerateConfig(manifest=manifest, output=str(tmp_path / "out"), model=name), load_bundle(name), state
        )
        for name in ("cosmos-predict2.5-2b-multiview", "cosmos-predict2.5-2b-multiview-2025-10")
    }
    current, october = plans.values()
    assert sum(group.clips for group in current.work) == 4
    bundle = load_bundle("cosmos-predict2.5-2b-multiview")
    assert (
        current.longest == bundle.recipe.frames(bundle.num_frames, 3, bundle.recipe.overlap(0)) > 2 * bundle.num_frames
    )
    assert (current.unguided, october.unguided) == (0, 0), "October's negative prompt is empty, and it is guided"


def test_the_longest_clip_of_a_plan_overlaps_as_its_row_says(tmp_path: Path) -> None:
    """The memory of guardrails is reckoned from it."""
    rows = [{"id": "a", "prompt": "p", "num_chunks": 3, "chunk_overlap": 9, "control_videos": ["map.mp4"] * 7}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    bundle = load_bundle("cosmos-transfer2.5-2b-multiview")
    config = GenerateConfig(manifest=manifest, output=str(tmp_path / "out"), model=bundle.name)
    found = plan_for(config, bundle, Ledger(Storage(config.output)).state())
    assert found.longest == bundle.recipe.frames(bundle.num_frames, 3, 9)
    assert found.longest < bundle.recipe.frames(bundle.num_frames, 3, bundle.recipe.overlap(0))


@pytest.mark.ray
@pytest.mark.long
def test_a_whole_job_of_the_tiny_model_and_one_of_its_clips_again(tmp_path: Path) -> None:
    """With steps stored on the way. Its short siblings: `tests/models/test_predict25.py`."""
    videos = [str(write(tmp_path / f"{n}.mp4", numbered(30, first=n), fps=30)) for n in range(2)]
    row = {"id": "a", "prompt": "A street.", "n_views": 2, "num_steps": 2, "input_videos": videos, "num_chunks": 2}
    config = GenerateConfig.model_validate(
        {"manifest": write_manifest(tmp_path / "m.parquet", [row]), "output": str(tmp_path / "out"), "model": "tiny25",
         "device": "cpu", "gang_size": 2, "gang": {"step_checkpoint": 1}, **FAST}
    )  # fmt: skip
    assert generate(config, print).exit_code == 0
    check_files(config.output)
    record = records(config.output)["a"]
    found = [inspect_video(Path(config.output, entry.path)) for entry in record.files]
    assert {(info.frames, info.fps) for info in found} == {(57, 30.0)}
    assert [one.same_bytes for one in reproduce(config.output, "a", print)] == [True, True]
