"""Columns that nearly have a name of ours are errors; all others are carried, and said once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.job_runs import write_manifest

from cosmos_ray.errors import ManifestError
from cosmos_ray.job.plan import carried_line, make_plan
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.columns import COLUMNS, is_number
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.names import _NUMBERS, OURS, near_column
from cosmos_ray.manifest.rows import RowDefaults

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")

NEAR = {
    "num_steps": "steps num_step NumSteps numSteps num-steps num_inference_steps sampling_steps num_setps nsteps "
    "n_steps num_inference_step sampler_steps",
    "negative_prompt": "negativ_prompt negative_promt Negative_Prompt neg_prompt n_prompt negitve_prompt "
    "negative_prompts negativeprompt negative negative_text_prompt",
    "num_conditional_frames": "num_frames num_conditional_frame num_conditionl_frames num_condtional_frame n_frames "
    "num_input_frames num_latent_conditional_frames condition_frames",
    "prompt": "Prompt prompts PROMPT promt promtp",
    "prompt_embedding": "prompt_embeddings prompt_embeding prompt_embeds t5_embedding",
    "input_video": "video input_path video_path inputvideo input_vidoe Input_Video video_file video_urls",
    "input_videos": "inputvideos input-videos",
    "input_frames": "input_frame input_images image_paths",
    "guidance": "guidance_scale cfg_scale guidence Guidance cfg",
    "n_views": "n_view nviews num_views num_cameras",
    "views": "view Views camera cameras camera_names veiws",
    "seed": "Seed seeds sede sed random_seed rand_seed",
    "fps": "FPS Fps frame_rate framerate target_fps",
    "num_samples": "num_sample n_samples samples num_smaples samples_per_prompt",
    "control_weight": "control_strength",
    "num_chunks": "n_chunks num_chunk",
    "chunk_overlap": "overlap_frames chunks_overlap chunkOverlap",
    "id": "ID Id",
}
NOT_NEAR = """weather time_of_day scene name video_id frame_idx prompt_id seed_source city source_fps input_video_id
    video_fps gps speed ego_speed text_id split town lighting road_type country dataset source license timestamp sensor
    scene_token sample_token camera_model rig vehicle driver notes rating tags negative_examples sha256 width height
    duration num_stops num_lanes index idx prompt2 prompt_2 guide step lat lon heading label caption_model date hour ip
    original_prompt original_seed prompt_source frames_total views_total uuid clip_id key fog is_night num_cars path url
    file quality score camera_id n_pedestrians id_source window start end created_at Wetter ort 天气 _x 7"""


def test_every_column_of_ours_is_known_by_name() -> None:
    assert set(OURS) == set(COLUMNS)
    assert {name for name in COLUMNS if is_number(name)} == _NUMBERS


@pytest.mark.parametrize(("ours", "name"), [(ours, name) for ours, names in NEAR.items() for name in names.split()])
def test_a_column_that_is_nearly_ours_names_ours(ours: str, name: str) -> None:
    assert near_column(name, {"id", "prompt", name}) == ours


@pytest.mark.parametrize("name", ["", *NOT_NEAR.split()])
def test_a_column_that_means_something_else_is_carried(name: str) -> None:
    assert near_column(name, {"id", "prompt", name}) is None


@pytest.mark.parametrize("name", COLUMNS)
def test_ours_are_ours(name: str) -> None:
    assert near_column(name, COLUMNS) is None


def test_another_tools_name_beside_ours_is_only_carried() -> None:
    """Whoever gives `num_steps` knows it; a misspelt name beside the right one stays an error."""
    assert near_column("steps", {"id", "prompt", "num_steps", "steps"}) is None
    assert near_column("num_frames", {"id", "prompt", "num_conditional_frames", "num_frames"}) is None
    assert near_column("video", {"id", "prompt", "input_videos", "video"}) is None
    assert near_column("caption", {"id", "prompt_embedding", "caption"}) is None
    assert near_column("num_step", {"id", "prompt", "num_steps", "num_step"}) == "num_steps"


def test_a_number_is_no_video_under_another_name() -> None:
    assert near_column("frames", {"frames"}, holds_numbers=True) is None
    assert near_column("frames", {"frames"}) == "input_frames"
    assert near_column("steps", {"steps"}, holds_numbers=True) == "num_steps"


def test_a_manifest_with_such_columns_is_refused_with_all_of_them(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "p", "steps": 4, "negativ_prompt": "bad", "weather": "rain"}
    with pytest.raises(ManifestError) as caught:
        open_manifest(write_manifest(tmp_path / "m.parquet", [row]))
    for part in ("column 'steps': found no use for it, expected `num_steps`", "'negativ_prompt': found no use for it"):
        assert part in str(caught.value)
    assert "weather" not in str(caught.value)


def test_a_missing_id_names_what_may_be_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=re.escape("column 'name': found no use for it, expected `id`")):
        open_manifest(write_manifest(tmp_path / "m.parquet", [{"name": "a", "prompt": "p"}]))


def test_control_characters_of_a_name_are_not_printed(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=re.escape(r"column '\x1bsteps': found no use")):
        open_manifest(write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p", "\x1bsteps": 3}]))


def test_what_is_carried_is_said(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "p", "weather": "rain", "town\x07": "Ulm"}
    plan = make_plan(write_manifest(tmp_path / "m.parquet", [row]), DEFAULTS, LedgerState.empty())
    assert plan.carried == ("weather", "town\x07")
    assert carried_line(plan.carried) == r"carried into the index, and used for nothing else: 'weather', 'town\x07'"
