"""Batch files of the published command lines: every key of an item is used, said, or an error."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.published import multiview, one_view, text2image, video2world
from cosmos_ray.published.options import between


def items(content: Any, kind: Any, folder: Path, said: list[str]) -> list[one_view.Item]:
    path = folder / "batch.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return one_view.read_items(SimpleNamespace(batch_input_json=str(path)), kind, said.append)


def test_keys_of_an_item_that_nobody_knows_are_said_and_those_that_are_nearly_known_refused(tmp_path: Path) -> None:
    said: list[str] = []
    item = {"prompt": "A street.", "input_video": "in.mp4", "seed": 3, "note": "x"}
    (found,) = items([item], video2world.KIND, tmp_path, said)
    assert found == one_view.Item("in.mp4", "A street.", "output_0.mp4")
    assert said == [f"item 0 of {tmp_path}/batch.json: keys without effect: seed, note (flags hold for all items)"]
    (picture,) = items([item], text2image.KIND, tmp_path, said)
    assert picture.input_path == "", "which that command does not take"
    for key, near in {"output_vidoe": "output_video", "promt": "prompt", "input_videos": "input_video"}.items():
        with pytest.raises(UsageError, match=f"there is no key {key}; `{near}` is near"):
            items([item | {key: "x"}], video2world.KIND, tmp_path, said)


def test_of_an_item_that_is_left_out_what_it_lacks_is_said_and_which_key_may_be_it(tmp_path: Path) -> None:
    """As files for other tools have it: `caption` beside a video, `video_path` beside a prompt."""
    given = [
        {"caption": "A street.", "video_path": "in.mp4", "mood": "x"},
        {"prompt": "A street.", "input_path": ""},
        {"prompt": "A street.", "input_video": "in.mp4", "caption": "only carried along"},
        "in.mp4",
    ]
    left_out = [
        "it lacks input_video and prompt; `caption` is called `prompt` here; `video_path` is called `input_video` here",
        "it lacks input_video",
        "found str, expected an object with input_video and prompt",
    ]
    path, said = tmp_path / "batch.json", []
    (item,) = items(given, video2world.KIND, tmp_path, said)
    assert item.prompt == "A street."
    expected = [f"item {number} of {path} is left out: {why}" for number, why in zip((0, 1, 3), left_out, strict=True)]
    assert [line for line in said if "left out" in line] == expected
    said.clear()
    multiview.read_items(argparse.Namespace(batch_input_json=str(path), num_conditional_frames=1), said.append)
    assert [line for line in said if "left out" in line] == expected
    with pytest.raises(UsageError, match="has no item with prompt"):
        items(given[:1], text2image.KIND, tmp_path, said)
    assert said[-1].endswith("it lacks prompt; `caption` is called `prompt` here")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Whoever reads it takes the last one, and loses the other."""
    twice = '[{"prompt": "a", "prompt": "b", "input_video": "in.mp4"}]'
    with pytest.raises(UsageError, match=r"--batch_input_json: .*found the key 'prompt' twice"):
        items(twice, video2world.KIND, tmp_path, [])


def test_a_result_is_not_where_its_prompts_are_written(tmp_path: Path) -> None:
    item = {"prompt": "A street.", "input_video": "in.mp4", "output_video": str(tmp_path / "a.txt")}
    with pytest.raises(UsageError, match=r"a\.txt: found a name that ends in \.txt, expected another"):
        items([item], video2world.KIND, tmp_path, [])


@pytest.mark.parametrize("names", [("a.mp4", "a.mp4"), ("a.mp4", "a.mov"), ("a.mp4", "./a.MP4")])
def test_two_results_never_share_a_file_nor_their_prompts_one(names: tuple[str, str], tmp_path: Path) -> None:
    given = [{"prompt": "A street.", "input_video": "in.mp4", "output_video": f"{tmp_path}/{name}"} for name in names]
    with pytest.raises(UsageError, match="two clips would be written to the same file"):
        items(given, video2world.KIND, tmp_path, [])
    with pytest.raises(UsageError, match="two clips would be written to the same file"):
        multiview.read_items(argparse.Namespace(batch_input_json=str(tmp_path / "batch.json")), print)


@pytest.mark.parametrize("key", ["input_video", "output_video", "prompt"])
def test_no_account_of_a_strangers_list_is_asked_or_written_to(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's credentials would go there."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    for module in (one_view, multiview):
        monkeypatch.setattr(module, "version_of", lambda path: pytest.fail(f"{path} was asked"))
    item = {"prompt": "A street.", "input_video": "in.mp4", key: "abfs://c@other.dfs.core.windows.net/a.txt"}
    refused = r"item 0 of .*: its account other is not the environment's"
    (tmp_path / "batch.json").write_text(json.dumps([item]))
    with pytest.raises(UsageError, match=refused):
        multiview.read_items(argparse.Namespace(batch_input_json=str(tmp_path / "batch.json")), print)
    if key != "prompt":  # which is words there, whatever they look like
        with pytest.raises(UsageError, match=refused):
            items([item], video2world.KIND, tmp_path, [])


def test_bounds_are_said_whole() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected 0 to 4294967295$"):
        between(int, 0, 2**32 - 1)("4294967296")
