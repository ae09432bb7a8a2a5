"""`--base`, of every builder: where relative paths start from, or where a folder lies for the job."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import put, read
from typer.main import get_command

from cosmos_ray.cli.main import app
from cosmos_ray.manifest.builders.by_camera import from_rds_hq
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.folder import from_folder

BASE = "s3://drives/fleet"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "m.parquet"


def test_every_builder_has_it() -> None:
    builders = get_command(app).commands["manifest"].commands  # type: ignore[attr-defined]
    assert len(builders) == 8
    for name, command in builders.items():
        if name == "refine":
            continue  # it takes a manifest, whose references go on to name what they named
        assert "--base" in {option for parameter in command.params for option in parameter.opts}, name


def test_a_folder_is_named_where_it_lies_for_the_job(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "up" / "a" / "front_wide.mp4")
    put(tmp_path / "up" / "b" / "rear" / "1.jpg")
    put(tmp_path / "up" / "c.mp4")
    put(tmp_path / "up" / "b" / "params.json", {"views": ["rear"]})
    from_folder(str(tmp_path / "up"), str(out), captions=captions_of("A street."), base=f"{BASE}/")
    rows = {row["id"]: row for row in read(out)}
    assert rows["a"]["input_videos"]["front_wide"] == f"{BASE}/a/front_wide.mp4"
    assert rows["b"]["input_frames"]["rear"] == [f"{BASE}/b/rear/1.jpg"]
    assert rows["c"]["input_video"] == f"{BASE}/c.mp4"


@pytest.mark.parametrize("build", [from_folder, from_rds_hq])
def test_so_is_a_folder_a_camera(tmp_path: Path, out: Path, build: type) -> None:
    put(tmp_path / "up" / "videos" / "camera_rear_tele_30fov" / "u_0.mp4")
    build(str(tmp_path / "up"), str(out), captions=captions_of("A street."), base=BASE)
    assert read(out)[0]["input_videos"] == {"rear": f"{BASE}/videos/camera_rear_tele_30fov/u_0.mp4"}
