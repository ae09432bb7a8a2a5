"""`cosmos-ray manifest`: rows to standard output, what is doubtful to standard error, what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import clips, put

from cosmos_ray.cli.main import app, run


@pytest.fixture
def manifest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A table to build from, and the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "rows.csv", "id,prompt,CAM_A,CAM_B,tag\na,x,a.mp4,b.mp4,t\n")
    put(tmp_path / "clips" / "one" / "front_wide.mp4")
    put(tmp_path / "clips" / "one" / "notes.md")
    return tmp_path / "m.parquet"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["cosmos-ray", "manifest", *arguments])
    return run(app)


def test_warnings_and_remarks_are_no_results(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cameras = "cam_a=front_wide,cam_b=rear"
    assert command(monkeypatch, "from-table", "rows.csv", "--out", "m.parquet", "--cameras", cameras) == 0
    answer = capsys.readouterr()
    assert answer.out == "m.parquet: 1 row\n"
    assert answer.err == "columns that are carried into the index as they are: tag\n"
    assert command(monkeypatch, "from-folder", "clips", "--out", "m.parquet", "--prompt", "x", "--fps", "5") == 0
    answer = capsys.readouterr()
    assert answer.err == "warning: files and folders that no clip uses: 1: one/notes.md\n"
    (clip,) = clips(manifest)
    assert (clip.prompts, clip.fps, clip.cameras) == (("x",), 5, ("front_wide",))
    assert command(monkeypatch, "vary", "--in", "m.parquet", "--out", "v.parquet", "--seeds", "0:2") == 0
    assert capsys.readouterr().out == "v.parquet: 2 rows\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["from-table", "rows.csv", "--views", "rear", "--n-views", "2"], "--views and --n-views: found both"),
        (["from-table", "rows.csv", "--n-views", "8"], "--n-views: `n_views` is 8, expected 1 to 7"),
        (["from-table", "rows.csv", "--cameras", "kitti"], "--cameras: found 'kitti', expected one of argoverse2, "),
        (["from-folder", "clips", "--views", "front"], "--views: found 'front', expected names of front_wide, "),
        (["from-nuscenes", ".", "--prompt", "x", "--caption-from", "scene"], "--prompt and --caption-from: found both"),
        (["from-rds-hq", "clips"], "holds no clips"),
        (
            ["vary", "--in", "rows.csv", "--seeds", "0:2"],
            "rows.csv is no Parquet file; `cosmos-ray manifest from-table ",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    assert command(monkeypatch, *arguments, "--out", "m.parquet") == 2
    answer = capsys.readouterr()
    assert (answer.out, answer.err.count("\n")) == ("", 1)
    assert complaint in answer.err
    assert not manifest.exists()
