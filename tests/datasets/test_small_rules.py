"""What is kept, counted and cut while data sets are made: bounds that are met exactly, and what is made again."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import make_sample
import numpy as np
import pytest
import tiny_data
import torch
from contact_sheet import contact_rows
from cut_windows import frame_indices
from make_sample import STAMP, demo_scenes, write_clip
from sample_drive import PALETTES, Car, Scene, scene_from_seed
from tiny_data import CAPTION_TOKENS, car_cells, latent_cells, make_clips, tokenise
from tiny_state import State

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import UsageError

SCENE = Scene("day", (), ego_speed=8.0, buildings=5)


def test_a_video_of_fewer_frames_than_moments_shows_some_again() -> None:
    video = encode_mp4(np.full((1, 48, 96, 3), 200, np.uint8), 10)
    sheet = contact_rows({"rear": video}, moments=3, width=32).astype(int)
    assert [round(sheet[y * 18 + 8, 16].mean() / 10) for y in range(3)] == [20, 20, 20]


def test_the_last_frame_of_a_video_may_be_the_last_that_is_cut() -> None:
    assert frame_indices(30.0, 28, 10, seconds=1.0, start=0.0)[-1] == 27
    with pytest.raises(UsageError, match="27 frames"):
        frame_indices(30.0, 27, 10, seconds=1.0, start=0.0)


def test_scenes_of_the_demo_are_the_first_with_two_cars_of_each_palette() -> None:
    for seed in (0, 1):
        for name, scene in demo_scenes(seed).items():
            found = (scene_from_seed(number) for number in itertools.count(1000 * seed))
            first = next(one for one in found if one.palette == name and len(one.cars) >= 2)
            assert scene == replace(first, streaks=scene.streaks)
    assert any(len(scene.cars) == 2 for scene in demo_scenes(0).values())


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Arguments of each rendering, none of which takes its time."""
    asked: list[Any] = []

    def write_views(folder: Path, frames: Any, fps: int) -> None:
        for name in (*VIEWS, "video"):
            (folder / f"{name}.mp4").write_text(str(frames))

    monkeypatch.setattr(make_sample, "render", lambda *of, **more: asked.append((of, more)) or len(asked))
    monkeypatch.setattr(make_sample, "write_views", write_views)
    return asked


def test_a_clip_is_rendered_again_for_whatever_decides_its_pixels(tmp_path: Path, rendered: list[Any]) -> None:
    others: list[dict[str, Any]] = [
        {"scene": replace(SCENE, ego_speed=9.0)}, {"height": 64}, {"width": 64}, {"num_frames": 5}, {"fps": 5},
        {"start_time": 1.0},
    ]  # fmt: skip
    known: dict[str, Any] = {"scene": SCENE, "height": 32, "width": 56}
    for other in others:
        assert write_clip(tmp_path, **known), other
        assert not write_clip(tmp_path, **known), other
        assert write_clip(tmp_path, **{**known, **other}), other
    assert len(rendered) == 2 * len(others)


def test_a_rendering_that_was_cut_off_leaves_no_word_that_it_is_whole(
    tmp_path: Path, rendered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path, SCENE, 32, 56)

    def killed(folder: Path, *_: object) -> None:
        (folder / f"{VIEWS[0]}.mp4").write_text("another")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(make_sample, "write_views", killed)
        with pytest.raises(KeyboardInterrupt):
            write_clip(tmp_path, SCENE, 64, 112)
    assert not (tmp_path / STAMP).exists()
    assert write_clip(tmp_path, SCENE, 32, 56), "else it would be taken for what it was before"


def test_the_views_are_joined_in_the_rigs_order_whatever_the_mappings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[np.ndarray] = []
    monkeypatch.setattr(make_sample, "encode_mp4", lambda frames, fps: joined.append(frames) or b"")
    frames = {view: np.full((1, 2, 2, 3), number, np.uint8) for number, view in enumerate(VIEWS)}
    make_sample.write_views(tmp_path, dict(reversed(frames.items())), 10)
    assert joined[-1][:, 0, 0, 0].tolist() == list(range(7))


def test_a_state_carries_its_weights_rounded_and_goes_on_from_its_own_progress(tmp_path: Path) -> None:
    state = State(tmp_path / "one")
    state.save_carry("vae", {"w": torch.tensor([1.001, 2.0])})
    carried = state.load_carry("vae")
    assert carried is not None
    assert carried["w"].dtype == torch.bfloat16, "a few MB a file"
    state.progress.clips = 1
    state.save_progress()
    (state.carry / "progress.json").write_text('{"clips": 5}')
    assert State(tmp_path / "one").progress.clips == 1
    (tmp_path / "one" / "progress.json").unlink()
    assert State(tmp_path / "one").progress.clips == 5


def test_a_state_that_has_begun_takes_nothing_of_another(tmp_path: Path) -> None:
    other, new = State(tmp_path / "other"), State(tmp_path / "new")
    other.progress.clips = 3
    other.save_progress()
    new.take(other.carry)
    assert new.progress.clips == 3
    new.progress.clips = 8
    new.save_progress()
    new.take(other.carry)
    assert State(tmp_path / "new").progress.clips == 8


def test_latent_frames_hold_one_frame_and_then_four_each() -> None:
    for frame, latent in enumerate([0, 1, 1, 1, 1, 2, 2, 2, 2]):
        cells = torch.zeros(1, 1, 9, 1, 1, dtype=torch.bool)
        cells[0, 0, frame] = True
        assert latent_cells(cells).flatten().tolist() == [one == latent for one in range(3)], frame


def test_a_caption_may_have_just_as_many_tokens_as_there_is_room_for() -> None:
    def tokens(texts: list[str]) -> Any:
        return SimpleNamespace(input_ids=[[7] * int(text) for text in texts])

    assert (tokenise(tokens, [str(CAPTION_TOKENS), "2"]) != 0).sum(dim=1).tolist() == [CAPTION_TOKENS, 2]
    with pytest.raises(ValueError, match=f"a caption of {CAPTION_TOKENS + 1} tokens"):
        tokenise(tokens, [str(CAPTION_TOKENS + 1)])


def test_a_car_ahead_is_in_no_camera_that_looks_back() -> None:
    scene = replace(SCENE, cars=(Car("red", "ahead", 12.0),))
    cells = car_cells([scene], 1, 64, 112, "cpu")[0].flatten(1).any(dim=1)
    assert {view for view, is_there in zip(VIEWS, cells.tolist(), strict=True) if is_there} == {
        "front_wide", "front_tele",
    }  # fmt: skip


def test_every_batch_of_clips_has_the_cars_of_its_own_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [replace(SCENE, cars=(Car("red", "ahead", x),)) for x in (8.0, 40.0, 20.0)]
    assert set(PALETTES) >= {SCENE.palette}
    monkeypatch.setattr(tiny_data, "training_scenes", lambda first, count: scenes)
    batches = [torch.zeros(2, 7, 5, 64, 112, 3), torch.zeros(1, 7, 5, 64, 112, 3)]
    monkeypatch.setattr(tiny_data, "render_batches", lambda *_: iter(batches))
    monkeypatch.setattr(tiny_data, "encode_clips", lambda _, frames: frames[:, :, 0])
    monkeypatch.setattr(tiny_data, "tokenise", lambda _, texts: torch.zeros(len(texts), 4))
    size: Any = SimpleNamespace(num_frames=5, height=64, width=112)
    found = make_clips(size, SimpleNamespace(device="cpu"), None, 0, 3, float("inf"))  # type: ignore[arg-type]
    assert len(found) == 3
    for number, scene in enumerate(scenes):
        assert torch.equal(found.cars[number], latent_cells(car_cells([scene], 5, 64, 112, "cpu"))[0]), number
