"""Bad input, through a whole job with real files: records name column, found and expected; the others finish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bad_inputs import bad_inputs
from support.job_runs import SMALL, records, run_job, write_manifest

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import InputsConfig
from cosmos_ray.errors import ManifestError, UsageError
from cosmos_ray.job.inputs import look_at_inputs
from cosmos_ray.job.inspect import inspect_video
from cosmos_ray.job.plan import manifest_clips, row_defaults
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle

BUNDLE = load_bundle("fake")

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("one_node")]


def test_every_kind_of_bad_row_fails_alone_and_says_why(tmp_path: Path) -> None:
    rows, expected = bad_inputs(tmp_path)
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    summary, _ = run_job(manifest, tmp_path / "out", gang_size=1)
    found = records(tmp_path / "out")
    assert (summary.ok, summary.failed, summary.left) == (3, len(expected), 0)
    assert {clip for clip, one in found.items() if one.status == "ok"} == {"good", "good-too", "pictures"}
    for clip, (column, what, wanted) in expected.items():
        error = found[clip].error or ""
        assert found[clip].failure_class == "input", clip
        assert f"`{column}`" in error, (clip, error)
        assert what in error, (clip, error)
        assert wanted in error, (clip, error)
    assert not (tmp_path / "was-run").exists(), "a pickle from outside was run"
    for clip in manifest_clips(manifest, row_defaults(BUNDLE, SamplingConfig())):
        assert ours(planned(clip, manifest)) == ours(found[clip.id].error), "plan --inputs has the words of the job"
        is_in_reach = clip.id != "leads-out"  # of a manifest's folder, which inspect knows nothing of
        if (
            clip.id in expected
            and clip.error is None
            and clip.input_column == "input_video"
            and clip.inputs
            and is_in_reach
        ):
            told = inspect_video(clip.inputs[0], BUNDLE, InputsConfig(), clip.n_views, clip.num_conditional_frames)
            assert ours(told["error"]) == ours(found[clip.id].error), "and so has inspect"


def ours(error: str | None) -> str | None:
    """Without a decoder's words, which depend on the thread that meets the damage first."""
    return None if error is None else error.partition("damaged: ")[0]


def planned(clip: Clip, manifest: str) -> str | None:
    """What `plan --inputs all` says is wrong with a clip."""
    if clip.error is not None:
        return clip.error
    faults = look_at_inputs([clip], BUNDLE, InputsConfig(), manifest, None, open_manifest(manifest).home).faults
    return faults[0].examples[0][1] if faults else None


def test_what_is_doubtful_is_told_with_the_clip_and_refused_if_so_is_wished(tmp_path: Path) -> None:
    """30 frames a second, tall pixels: taken at the row's 10, and cropped."""
    tall = encode_mp4(np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8), 30)
    (tmp_path / "tall.mp4").write_bytes(tall)
    row = {"id": "a", "prompt": "x", "n_views": 1, "input_videos": ["tall.mp4"], "num_conditional_frames": 5}
    manifest = write_manifest(tmp_path / "m.parquet", [row])
    run_job(manifest, tmp_path / "out", gang_size=1)
    (record,) = records(tmp_path / "out").values()
    assert record.warnings == (
        "front_wide: 30 frames a second, taken at 10 (inputs.rate)",
        "front_wide: cropped by 43 % of its rows to fit 112x64 (inputs.fit)",
    )
    assert record.sidecar is not None
    sidecar = json.loads((tmp_path / "out" / record.sidecar.path).read_text())
    (told,) = sidecar["inputs"]
    assert (told["frames"], told["fps"], told["taken"]) == (24, 30.0, [11, 14, 17, 20, 23])
    assert told["facts"]["conversions"] == ["30 frames a second, taken at 10"]
    assert told["facts"]["matrix"] == {"value": "bt709", "is_tagged": True}
    summary, _ = run_job(manifest, tmp_path / "strict", gang_size=1, inputs={"strict": True})
    (refused,) = records(tmp_path / "strict").values()
    assert (summary.failed, refused.failure_class) == (1, "input")
    assert "inputs.strict is set: front_wide: 30 frames a second" in (refused.error or "")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}], "row 1: column `id`: found 'a'"),
        ([{"id": "../a", "prompt": "x"}], "row 0: column `id`: found '../a', expected"),
        ([{"id": "a", "prompt": "x", "seed": "seven"}], "column `seed`: found type string, expected an integer"),
        ([{"id": "a.s001", "prompt": "x"}, {"id": "a", "prompt": "x", "num_samples": 2}], "also asked for by row 0"),
    ],
)
def test_a_manifest_at_fault_is_refused_before_anything_starts(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ManifestError) as error:
        run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_edited_row_is_refused_or_made_again(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{**SMALL, "id": "a", "prompt": "x", "seed": 1}])
    run_job(manifest, tmp_path / "out", gang_size=1)
    write_manifest(tmp_path / "m.parquet", [{**SMALL, "id": "a", "prompt": "x", "seed": 2}])
    with pytest.raises(ManifestError, match="edited after their clips were made: 1 row "):
        run_job(manifest, tmp_path / "out", gang_size=1)
    summary, _ = run_job(manifest, tmp_path / "out", redo_changed=True, gang_size=1)
    assert (summary.ok, summary.failed) == (1, 0)


def test_another_model_may_not_go_on_with_an_output(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{**SMALL, "id": "a", "prompt": "x"}])
    run_job(manifest, tmp_path / "out", gang_size=1)
    with pytest.raises(UsageError, match=r"was made with other settings.*numerics"):
        run_job(manifest, tmp_path / "out", sampling={"numerics": "reference"})


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "x"}])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"the output .*/file/out cannot be read: NotADirectoryError"):
        run_job(manifest, tmp_path / "file" / "out")
