"""A relative path of a submitted job means a folder that Ray removes: it is refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.store.places import check_lasts
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri

UNPACKED = "session_2026-11-28_00-00-00_000000_1/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef"


@pytest.fixture
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the driver of a submitted job runs; Ray names its session by a link as well."""
    folder = tmp_path / "ray" / UNPACKED
    folder.mkdir(parents=True)
    (tmp_path / "ray" / "session_latest").symlink_to(folder.parents[2])
    monkeypatch.chdir(folder)
    return folder


def test_a_relative_output_of_a_submitted_job_is_refused(working_dir: Path) -> None:
    for uri in ("out", "./a/../out", ".", f"{working_dir}/out", f"file://{working_dir}/out"):
        with pytest.raises(UsageError, match=r"the output /.* would lie in the copy of the working directory that Ray"):
            check_lasts(normalise_uri(uri), "the output")
        with pytest.raises(UsageError, match="give the URI of an object store, or the absolute path"):
            Storage(uri).check_writable()
    assert list(working_dir.iterdir()) == [], "nothing was written to find it out"


def test_a_link_to_it_is_no_way_round(working_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(working_dir)
    through_session = tmp_path / "ray/session_latest" / Path(UNPACKED).relative_to(Path(UNPACKED).parts[0])
    assert through_session.samefile(working_dir)
    for folder in (tmp_path / "data", through_session):
        with pytest.raises(UsageError, match="would lie in the copy"):
            check_lasts(str(folder / "out"), "the output")


def test_every_other_place_is_all_right(working_dir: Path, tmp_path: Path) -> None:
    for uri in (
        str(tmp_path / "out"),
        "s3://bucket/runtime_resources/working_dir_files/x",
        str(working_dir.parents[2]),
    ):
        check_lasts(normalise_uri(uri), "the output")
    Storage(str(tmp_path / "out")).check_writable()
