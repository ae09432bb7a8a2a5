"""A comparison, from outputs with real videos: its table, its summary and its page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.compared import FAILED, HOSTILE, LEFT, SETTINGS, write_outputs

from cosmos_ray.clip.likeness import likeness, psnr_db
from cosmos_ray.output.compare import distance
from cosmos_ray.output.compare.build import write_comparison
from cosmos_ray.output.compare.gather import Compared
from cosmos_ray.store.storage import Storage


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Compared], list[str]]:
    folder = tmp_path_factory.mktemp("compared")
    settings, ids = write_outputs(folder)
    write_comparison(Storage(str(folder / "judged")), settings, ids, lambda _: None, price=3.0)
    return folder / "judged", settings, ids


def rows_of(judged: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["setting"], row["id"]): row for row in pq.read_table(judged / "compare.parquet").to_pylist()}


def test_the_table_has_a_row_a_clip_and_setting(made: tuple[Path, list[Compared], list[str]]) -> None:
    judged, _, ids = made
    rows = rows_of(judged)
    assert set(rows) == {(name, clip_id) for name in SETTINGS for clip_id in ids}
    first, near, far = (rows[name, "drive-2"] for name in SETTINGS)
    assert (first["psnr_db"], first["ssim"], first["agreement_change"]) == (None, None, None)
    assert (near["seconds"], near["gpu_hours"], near["is_first_of_gang"]) == (5.0, 5.0 * 2 / 3600, False)
    assert near["psnr_db"] > far["psnr_db"] + 5
    assert near["ssim"] > far["ssim"]
    assert (near["agreement"], near["agreement_change"]) == (pytest.approx(0.47), pytest.approx(-0.03))
    files = [judged / f"s{place}" / "clips/drive-2/1/front_wide.mp4" for place in (0, 2)]
    of_view = likeness(*files)
    assert far["views"][0] == {"view": "front_wide", "psnr_db": psnr_db([of_view.mean_square]), "ssim": of_view.ssim}
    assert (judged / far["folder"] / "front_wide.mp4").is_file()


def test_what_failed_or_is_left_under_a_setting_is_said(made: tuple[Path, list[Compared], list[str]]) -> None:
    judged, _, _ = made
    rows = rows_of(judged)
    last = list(SETTINGS)[-1]
    failed, left = rows[last, FAILED], rows[last, LEFT]
    assert (failed["status"], failed["class"], failed["psnr_db"]) == ("failed", "model", None)
    assert failed["error"] == f"{HOSTILE} is not finite"
    assert (left["status"], left["not_compared"]) == ("left", "not made under both settings")
    facts = json.loads((judged / "compare.json").read_text())
    exact, near, far = facts["settings"]
    assert facts["compared_with"] == "exact"
    assert (far["ok"], far["failed"], far["left"]) == (3, 1, 1)
    assert far["not_compared"] == {"not made under both settings": 2}
    assert far["settings"] == {"sampling": {"num_steps": 10}}
    # The first clip of the gang takes twice as long in each, and counts in none.
    assert (exact["seconds"]["mean"], near["seconds"]["mean"], far["seconds"]["mean"]) == (10.0, 5.0, 2.5)
    assert (exact["cost"], near["saving"], far["saving"]) == (1.0, 0.5, 0.75)
    assert near["usd"] == pytest.approx(3.0 * 5.0 * 2 / 3600)
    assert exact["psnr_db"] is None


def test_the_page_shows_the_table_and_runs_nothing_of_strangers(made: tuple[Path, list[Compared], list[str]]) -> None:
    judged, _, _ = made
    page = (judged / "compare.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'nonce-")
    assert "unsafe" not in policy[1]
    assert HOSTILE not in page
    assert "far & <b>" not in page
    assert "far &amp; &lt;b&gt;" in page
    for words in ("50 %", "75 %", "1 failed", "1 left", "sampling.num_steps: 15", "USD a clip", "GPU-hours a clip"):
        assert words in page, words
    (rows,) = (judged / "compare").iterdir()
    assert rows.name in page
    assert "<script" not in rows.read_text()


def test_a_distance_that_is_known_is_not_measured_again(
    made: tuple[Path, list[Compared], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is by the files' hashes: a clip that was made again is."""
    judged, settings, ids = made
    copy = tmp_path / "judged"
    shutil.copytree(judged, copy)
    asked: list[Path] = []
    monkeypatch.setattr(distance, "likeness", lambda *files: asked.append(files[0]) or likeness(*files))
    moved = [Compared(one.name, one.output.replace(str(judged), str(copy)), one.given) for one in settings]
    write_comparison(Storage(str(copy)), moved, ids, lambda _: None)
    assert asked == []
    assert {key: row["psnr_db"] for key, row in rows_of(copy).items()} == {
        key: row["psnr_db"] for key, row in rows_of(judged).items()
    }
    (copy / "compare.parquet").write_bytes(b"no table")
    write_comparison(Storage(str(copy)), moved, ids, lambda _: None)
    assert len(asked) == 2 * (5 + 3)
    strange = [row | {"views": None} for row in pq.read_table(copy / "compare.parquet").to_pylist()]
    pq.write_table(pa.Table.from_pylist(strange), copy / "compare.parquet")
    write_comparison(Storage(str(copy)), moved, ids, lambda _: None)
    assert len(asked) == 4 * (5 + 3)


def test_a_file_that_is_gone_is_said_and_ends_nothing(
    made: tuple[Path, list[Compared], list[str]], tmp_path: Path
) -> None:
    judged, settings, ids = made
    copy = tmp_path / "judged"
    shutil.copytree(judged, copy, ignore=shutil.ignore_patterns("compare.parquet"))
    (copy / "s1/clips/drive-2/1/front_wide.mp4").unlink()
    (copy / "s1/clips/drive-0/1/front_wide.mp4").write_bytes(b"no video")
    moved = [Compared(one.name, one.output.replace(str(judged), str(copy)), one.given) for one in settings[:2]]
    write_comparison(Storage(str(copy)), moved, ids, lambda _: None)
    rows = rows_of(copy)
    for clip_id in ("drive-0", "drive-2"):
        assert rows["near", clip_id]["not_compared"].startswith("its files cannot be compared: ")
    assert rows["near", "drive-1"]["psnr_db"] is not None


class KilledError(Exception):
    """The process is gone."""


class Dying(Storage):
    """Before its change number `left` its process is killed."""

    def __init__(self, uri: str, left: int) -> None:
        super().__init__(uri)
        self.left = left

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError

    def write(self, path: str, data: bytes) -> None:
        self._live()
        super().write(path, data)

    def delete(self, path: str) -> None:
        self._live()
        super().delete(path)


def test_rows_of_the_page_before_stay_until_the_next_is_written(
    made: tuple[Path, list[Compared], list[str]], tmp_path: Path
) -> None:
    """Somebody may be reading it."""
    judged, settings, ids = made
    copy = tmp_path / "judged"
    shutil.copytree(judged, copy)
    moved = [Compared(one.name, one.output.replace(str(judged), str(copy)), one.given) for one in settings[:2]]
    rows = [{path.name for path in (copy / "compare").iterdir()}]
    for _ in range(2):
        write_comparison(Storage(str(copy)), moved, ids, lambda _: None)
        rows.append({path.name for path in (copy / "compare").iterdir()})
    before, both, now = rows
    assert before < both
    assert both - before == now


def test_killed_at_any_change_it_leaves_no_page_of_another_table(
    made: tuple[Path, list[Compared], list[str]], tmp_path: Path
) -> None:
    """The page before would stay beside the new table, and say nothing of it."""
    judged, settings, ids = made
    copy, left, pages = tmp_path / "judged", 0, set[str]()
    for left in range(20):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(judged, copy)
        moved = [Compared(one.name, one.output.replace(str(judged), str(copy)), one.given) for one in settings[:2]]
        try:
            write_comparison(Dying(str(copy), left), moved, ids, lambda _: None)
        except KilledError:
            pass
        else:
            break
        in_table = {row["setting"] for row in pq.read_table(copy / "compare.parquet").to_pylist()}
        for path, names in (("compare.html", r'"settings":\[([^]]*)\]'), ("compare.json", r'"name": ("[^"]*")')):
            if (copy / path).exists():
                pages.add(path)
                found = ",".join(re.findall(names, (copy / path).read_text()))
                assert set(json.loads(f"[{found}]")) == in_table, (left, path)
    assert 5 < left < 19
    assert pages == {"compare.html", "compare.json"}
    assert {row["setting"] for row in pq.read_table(copy / "compare.parquet").to_pylist()} == {"exact", "near"}
