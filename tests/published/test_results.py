"""What published commands do with a job's clips: which file comes where, what is said, how it ends. The job is stood in
for; whole commands are run in `test_multiview.py` and `test_one_view.py`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.videos import moving_picture

from cosmos_ray.clip.encode import encode_mp4, encode_png
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.pictures import PNG
from cosmos_ray.clip.request import PICTURE, VIDEO, VIEWS
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.published import inference, multiview, multiview25, one_view, text2image, text2world, video2world
from cosmos_ray.store.storage import Storage

#: Of which each view of the videos made here is, all over.
BRIGHT = dict(zip([*VIEWS, VIDEO], range(20, 240, 28), strict=True))
JPEG = b"\xff\xd8\xff"


@cache
def video(view: str) -> bytes:
    return encode_mp4(np.full((2, 16, 32, 3), BRIGHT[view], np.uint8), 10)


def record_of(clip_id: str, paths: dict[str, str], **changes: Any) -> Record:
    entries = tuple(FileEntry(view, path, 1, "0") for view, path in paths.items())
    plain: dict[str, Any] = {field.name: None for field in dataclasses.fields(Record)}
    known = {"id": clip_id, "status": "ok", "files": entries, "seconds": {}, "refined_prompts": ()}
    return Record(**(plain | known | changes))


class Job:
    """Makes the views of each row, or fails it; keeps what it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *views: str) -> None:
        self.views = views
        self.configs: list[Any] = []
        self.rows: list[dict[str, Any]] = []
        self.records: list[Record] = []
        self.changes: dict[str, Any] = {}
        self.failed: tuple[str, ...] = ()
        self.missing: tuple[str, ...] = ()
        self.exit_code = 0
        monkeypatch.setattr("cosmos_ray.job.job.generate", self.generate)
        for module in (multiview, one_view, inference):
            monkeypatch.setattr(module, "Ledger", lambda storage: SimpleNamespace(records=lambda: self.records))

    def generate(self, config: Any, say: Any) -> Any:
        self.configs.append(config)
        self.rows = pq.read_table(config.manifest.removeprefix("file://")).to_pylist()
        storage = Storage(config.output)
        for number, row in enumerate(self.rows):
            files = {}
            for view in self.views:
                suffix = "png" if view == PICTURE else "mp4"
                files[view] = f"clips/{row['id']}/1/{view}.{suffix}"
                picture = np.full((16, 32, 3), 99, np.uint8)
                storage.write(files[view], encode_png(picture) if view == PICTURE else video(view))
            changes = {"seconds": {"denoise": float(number)}, **self.changes}
            if row["id"] in self.failed:
                changes |= {"status": "failed", "failure_class": "model", "error": "NaN", "files": ()}
            if row["id"] not in self.missing:
                self.records.append(record_of(row["id"], files, **changes))
        return SimpleNamespace(exit_code=self.exit_code)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Job]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.mp4").write_bytes(encode_mp4(moving_picture(3, 64, 112), 10))
    (tmp_path / "in.png").write_bytes(encode_png(moving_picture(1, 64, 112)[0]))
    return lambda *views: Job(monkeypatch, *views)


def rows_of_views(path: Path, views: int) -> list[int]:
    """Brightness of each view of a stacked video, from the top."""
    frames = decode_mp4(path.read_bytes())
    return [round(float(part.mean())) for part in np.split(frames, views, axis=1)]


MULTIVIEW = ("--model", "tiny", "--device", "cpu", "--prompt", "a street", "--input_path", "in.mp4")


@pytest.mark.parametrize(
    ("flags", "negative"),
    [((), load_bundle("tiny").sampling.negative_prompt), (("--negative_prompt", "haze"), "haze")],
)
def test_views_are_stacked_in_rig_order_with_their_prompts_beside(
    job: Callable[..., Job], tmp_path: Path, flags: tuple[str, ...], negative: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job("rear", "front_wide", "cross_right")
    code = multiview.main([*MULTIVIEW, "--n_views", "7", "--save_path", "out/a.mp4", "--num_gpus", "2", *flags])
    assert code == 0
    expected = [BRIGHT[view] for view in ("front_wide", "cross_right", "rear")]
    assert rows_of_views(tmp_path / "out/a.mp4", 3) == pytest.approx(expected, abs=3)
    assert (tmp_path / "out/a.txt").read_text() == f"[Prompt]\na street\n\n[Negative Prompt]\n{negative}\n"
    (config,) = made.configs
    assert (config.gang_size, config.max_failed, config.device, config.inputs.rate) == (2, "0", "cpu", "as_is")
    assert (config.model, config.dit, config.ema, config.resolution) == ("tiny", None, False, None)
    said = capsys.readouterr().err
    assert "out/a.mp4: 3 views, 10 frames a second" in said
    assert "the same command goes on from it" in said


def test_one_view_is_copied_as_it_is(job: Callable[..., Job], tmp_path: Path) -> None:
    job("front_wide")
    assert multiview.main([*MULTIVIEW, "--save_path", "a.mp4"]) == 0
    assert (tmp_path / "a.mp4").read_bytes() == video("front_wide")


@pytest.mark.parametrize("failed", [("clip-00000",), ("clip-00001",)])
def test_a_clip_of_a_batch_that_fails_is_said_and_the_others_are_written(
    job: Callable[..., Job], tmp_path: Path, failed: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    made = job("front_wide")
    made.failed, made.exit_code = failed, 3
    items = [
        {"input_video": "in.mp4", "prompt": ["one", "two"], "output_video": "0.mp4"},
        {"input_video": "in.mp4", "prompt": "three", "output_video": "1.mp4"},
    ]
    (tmp_path / "batch.json").write_text(json.dumps(items))
    assert multiview.main([*MULTIVIEW, "--batch_input_json", "batch.json", "--n_views", "2"]) == 3
    lost = int(failed[0][-1])
    assert not (tmp_path / f"{lost}.mp4").exists()
    assert (tmp_path / f"{1 - lost}.mp4").exists()
    assert (
        (tmp_path / f"{1 - lost}.txt").read_text().startswith("[Prompt]\none\ntwo\n" if lost else "[Prompt]\nthree\n")
    )
    assert f"{lost}.mp4: not made (model): NaN" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["multiview", "video2world"])
def test_a_benchmark_leaves_the_first_run_out(
    job: Callable[..., Job], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job("front_wide", VIDEO)
    if command == "multiview":
        assert multiview.main([*MULTIVIEW, "--benchmark"]) == 0
    else:
        assert video2world.main([*ONE_VIEW, "--benchmark"]) == 0
    assert [row["id"] for row in made.rows] == ["clip-00000", *(f"clip-00000.run{run}" for run in (1, 2, 3))]
    assert "mean of 3 clips after the first: 2.000 s a clip" in capsys.readouterr().err


def test_a_benchmark_of_several_leaves_each_ones_first_run_out(
    job: Callable[..., Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(VIDEO)
    items = [{"input_video": "in.png", "prompt": "a", "output_video": f"{name}.mp4"} for name in "abc"]
    (tmp_path / "batch.json").write_text(json.dumps(items))
    assert video2world.main(["--model", "tiny", "--batch_input_json", "batch.json", "--benchmark"]) == 0
    assert [row["id"] for row in made.rows[:3]] == ["clip-00000", "clip-00001", "clip-00002"]
    assert "mean of 9 clips after the first: 7.000 s a clip" in capsys.readouterr().err, "of 3 to 11"


ONE_VIEW = ("--model", "tiny", "--device", "cpu", "--prompt", "a street", "--input_path", "in.png")


def test_a_video_of_one_view_is_the_result_with_both_prompts(
    job: Callable[..., Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(VIDEO)
    made.changes = {"refined_prompts": ("a street at dusk",)}
    assert video2world.main([*ONE_VIEW, "--save_path", "a.mp4", "--negative_prompt", "haze"]) == 0
    assert (tmp_path / "a.mp4").read_bytes() == video(VIDEO)
    assert (tmp_path / "a.txt").read_text() == (
        "[Prompt]\na street\n\n[Negative Prompt]\nhaze\n\n[Refined Prompt]\na street at dusk\n"
    )
    assert re.search(r"a.mp4: \S+/clips/clip-00000/1/video.mp4\n", capsys.readouterr().err)
    (config,) = made.configs
    assert (config.max_failed, config.inputs.rate, config.device) == ("0", "as_is", "cpu")
    (row,) = made.rows
    assert (row["prompt"], row["negative_prompt"], row["seed"]) == ("a street", "haze", 0)
    assert row["input_video"].endswith("/in.png")


def test_without_a_negative_prompt_the_models_own_stands_beside_the_video(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    made = job(VIDEO)
    assert video2world.main([*ONE_VIEW, "--save_path", "a.mp4"]) == 0
    own = load_bundle("tiny-video2world").sampling.negative_prompt
    assert own
    assert (tmp_path / "a.txt").read_text() == f"[Prompt]\na street\n\n[Negative Prompt]\n{own}\n"
    assert "negative_prompt" not in made.rows[0]


@pytest.mark.parametrize(("name", "start"), [("a.png", PNG), ("A.PNG", PNG), ("a.jpg", JPEG), ("a", JPEG)])
def test_a_picture_is_a_png_where_its_name_says_so_and_else_a_jpeg(
    job: Callable[..., Job], tmp_path: Path, name: str, start: bytes
) -> None:
    job(PICTURE)
    assert text2image.main(["--model", "tiny", "--device", "cpu", "--prompt", "a street", "--save_path", name]) == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_text_becomes_a_video_and_the_picture_that_it_begins_with(job: Callable[..., Job], tmp_path: Path) -> None:
    job(PICTURE, VIDEO)
    flags = ["--model", "tiny", "--device", "cpu", "--prompt", "a street", "--save_path", "b/a.mp4"]
    assert text2world.main(flags) == 0
    assert (tmp_path / "b/a.mp4").read_bytes() == video(VIDEO)
    assert (tmp_path / "b/a.picture.png").read_bytes().startswith(PNG)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"a.mp4", "a.txt", "a.picture.png", "a.work"}


@pytest.mark.parametrize("lost", ["failed", "missing"])
def test_a_video_of_one_view_that_is_not_made_is_said(
    job: Callable[..., Job], tmp_path: Path, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(VIDEO)
    setattr(made, lost, ("clip-00000",))
    made.exit_code = 3
    items = [{"input_video": "in.png", "prompt": name, "output_video": f"{name}.mp4"} for name in "ab"]
    (tmp_path / "batch.json").write_text(json.dumps(items))
    assert video2world.main([*ONE_VIEW, "--batch_input_json", "batch.json"]) == 3
    assert not (tmp_path / "a.mp4").exists()
    assert (tmp_path / "b.txt").read_text().startswith("[Prompt]\nb\n")
    said = capsys.readouterr().err
    assert ("a.mp4: not made (model): NaN" if lost == "failed" else "a.mp4: not made\n") in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input_video": "in.png", "prompt": 7}, "expected strings"),
        ({"prompt": "a"}, "has no item with input_video and prompt"),
        ({"input_video": "", "prompt": "a"}, "has no item with input_video and prompt"),
    ],
)
def test_items_that_are_none_are_refused(
    job: Callable[..., Job], tmp_path: Path, given: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job(VIDEO)
    (tmp_path / "batch.json").write_text(json.dumps([given]))
    assert video2world.main([*ONE_VIEW, "--batch_input_json", "batch.json"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["multiview", "video2world"])
def test_items_that_name_no_result_are_numbered(job: Callable[..., Job], tmp_path: Path, command: str) -> None:
    made = job("front_wide", VIDEO)
    main, flags = (multiview.main, MULTIVIEW) if command == "multiview" else (video2world.main, ONE_VIEW)
    items = [{"input_video": flags[-1], "prompt": name} for name in "ab"]
    (tmp_path / "batch.json").write_text(json.dumps(items))
    assert main([*flags, "--batch_input_json", "batch.json"]) == 0
    assert [row["prompt"] for row in made.rows] == ["a", "b"]
    for number, name in enumerate("ab"):
        assert (tmp_path / f"output_{number}.txt").read_text().startswith(f"[Prompt]\n{name}\n")


PREDICT = {"name": "one", "prompt": "a street", "inference_type": "text2world", "num_steps": 2} | {
    view: {"video_path": f"{view}.mp4"} for view in VIEWS
}


@pytest.mark.parametrize("lost", ["", "failed", "missing"])
def test_specs_results_lie_in_one_folder_under_their_names(
    job: Callable[..., Job], tmp_path: Path, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job("rear", "front_wide")
    specs = [PREDICT, PREDICT | {"name": "two", "seed": 7}]
    for spec in specs:
        (tmp_path / f"{spec['name']}.json").write_text(json.dumps(spec))
    if lost:
        setattr(made, lost, ("one",))
        made.exit_code = 3
    flags = ["-i", "one.json", "two.json", "-o", "results", "--model", "tiny25", "--device", "cpu"]
    code = multiview25.main([*flags, "--context-parallel-size", "2", "--disable-guardrails"])
    assert code == made.exit_code
    (config,) = made.configs
    assert (config.model, config.dit, config.gang_size, config.max_failed) == ("tiny25", None, 2, "0")
    assert (config.device, config.inputs.rate, config.guardrails.enabled) == ("cpu", "as_is", False)
    assert [row["id"] for row in made.rows] == ["one", "two"]
    written = {path.name for path in (tmp_path / "results").iterdir() if path.is_file()}
    assert written == {"two.mp4", "two.json"} | (set() if lost else {"one.mp4", "one.json"})
    assert json.loads((tmp_path / "results/two.json").read_text())["seed"] == 7
    said = capsys.readouterr().err
    assert "two: two.mp4, two.json" in said
    words = {"": "one: one.mp4, one.json", "failed": "one: not made (model): NaN", "missing": "one: not made\n"}
    assert words[lost] in said


@pytest.mark.parametrize("flags", [("--resolution", "480"), ("--aspect_ratio", "1:1")])
@pytest.mark.parametrize("command", [video2world, text2world])
def test_a_network_that_attends_to_neighbourhoods_makes_one_size(
    job: Callable[..., Job], command: Any, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(VIDEO)
    assert command.main(["--device", "cpu", "--prompt", "a street", "--disable_guardrail", "--natten", *flags]) == 2
    assert "--natten: found --resolution" in capsys.readouterr().err
    assert made.configs == []
