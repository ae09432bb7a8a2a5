"""What a model cannot do is said of its rows by every plan, in the words of the failed row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.job_runs import write_manifest

from cosmos_ray.clip.family import PREDICT25, PREDICT25_2025_10, TRANSFER25, Family
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import GenerateConfig, InputsConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang.prepare import prepare
from cosmos_ray.job.inputs import look_at_inputs
from cosmos_ray.job.listed import clip_line
from cosmos_ray.job.plan import manifest_clips, plan_for, row_defaults
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle

FAKE = load_bundle("fake")


STEERED = {"control_videos": ["a.mp4"]}


def of_family(family: Family) -> Bundle:
    return FAKE.model_copy(update={"family": family.name})


@pytest.mark.parametrize(
    ("family", "columns", "words"),
    [
        (None, {"num_chunks": 2}, "column `num_chunks`: found 2, expected 1, because model `fake`"),
        (None, {"control_videos": ["a.mp4"]}, "has no control branch"),
        (PREDICT25_2025_10, {"negative_prompt": "rain", "num_chunks": 2}, "weighs the caption against no text at all"),
        (PREDICT25_2025_10, {"negative_prompt": "rain"}, "weighs the caption against no text at all"),
        (TRANSFER25, {}, "column `control_videos`: found None, expected a video a camera"),
        (PREDICT25, {"num_chunks": 2}, None),
        (PREDICT25, {"num_chunks": 2, "chunk_overlap": 1}, None),
        (
            PREDICT25,
            {"num_chunks": 2, "chunk_overlap": 2},
            "`chunk_overlap`: found 2, expected 1, or null: later chunks",
        ),
        (
            TRANSFER25,
            {"num_chunks": 2, "chunk_overlap": 29, **STEERED},
            "`chunk_overlap`: found 29, expected 1 to 28: a",
        ),
    ],
)
def test_every_plan_has_the_words_of_the_failed_row(
    tmp_path: Path, family: Family | None, columns: dict[str, Any], words: str | None
) -> None:
    bundle = FAKE if family is None else of_family(family)
    row = {"id": "a", "prompt": "a road", "n_views": 1, **columns}
    manifest = write_manifest(tmp_path / "m.parquet", [row, {"id": "b", "prompt": "x"}])
    clip = next(iter(manifest_clips(manifest, row_defaults(bundle, SamplingConfig()))))
    look = look_at_inputs([clip], bundle, InputsConfig(), manifest, 0)
    plan = plan_for(
        GenerateConfig(manifest=manifest, output=str(tmp_path / "o"), model="fake"), bundle, LedgerState.empty()
    )
    if words is None:
        assert (clip_line(clip, bundle)["error"], look.faults, plan.invalid) == (None, (), 0)
        return
    with pytest.raises(RowError) as failed:
        prepare(clip, bundle, 1)
    said = str(failed.value)
    assert words in said
    assert clip_line(clip, bundle)["error"] == said
    assert [fault.examples for fault in look.faults] == [(("a", said),)]
    assert dict(plan.invalid_examples)["a"] == said
    assert plan.invalid == (2 if family is TRANSFER25 else 1), "the other row has no control video either"


def test_a_clip_is_listed_with_all_that_it_is_made_of_and_no_secret(tmp_path: Path) -> None:
    """Each key what it says; pictures a list a view."""
    clip = Clip(
        "r1.2",
        "r1",
        prompts=("p", "q"),
        seed=3,
        guidance=4.5,
        num_steps=6,
        num_conditional_frames=1,
        n_views=2,
        views=("rear", "front_wide"),
        inputs=("https://ann:hunter2@host/a.mp4?sig=hunter2", "/b.mp4"),
        warnings=("dark",),
    )
    found = clip_line(clip, FAKE)
    assert "hunter2" not in str(found)
    first, second = found.pop("inputs")
    assert "host/a.mp4" in first
    assert second == "/b.mp4"
    assert found == {
        "id": "r1.2",
        "row": "r1",
        "seed": 3,
        "guidance": 4.5,
        "num_steps": 6,
        "num_conditional_frames": 1,
        "views": ["rear", "front_wide"],
        "prompts": ["p", "q"],
        "warnings": ["dark"],
        "error": None,
    }
    pictures = replace(clip, inputs=(), frames=(("/1.png", "/2.png"), ("/3.png", "s3://a:hunter2@b/4.png")))
    (one, other) = clip_line(pictures, FAKE)["inputs"]
    assert (one, other[0]) == (["/1.png", "/2.png"], "/3.png")
    assert "hunter2" not in other[1]
    assert clip_line(replace(clip, error="no prompt"), FAKE)["error"] == "no prompt"
