"""Small files that strangers may have put there: not read are those that are no regular file, too large, no object."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from cosmos_ray.models.bundle.hub import weight_files
from cosmos_ray.models.bundle.qwen2_files import read_dims
from cosmos_ray.models.bundle.t5_files import read_config
from cosmos_ray.store import regular
from cosmos_ray.store.regular import TooLargeError, check_folder, read_object

DEEP = "[" * 100_000


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_object(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize("text", ["", "[]", "3", DEEP, '{"a": ' + DEEP, "{\xff}"])
def test_what_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        read_object(tmp_path / "a.json")


#: Ways to have somebody read for ever.
BOTTOMLESS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "large": lambda path: path.write_bytes(b" " * (2**20 + 1)),
}


@pytest.mark.parametrize("kind", BOTTOMLESS)
def test_a_file_without_end_is_not_begun(tmp_path: Path, kind: str) -> None:
    BOTTOMLESS[kind](tmp_path / "config.json")
    with pytest.raises(OSError):
        read_object(tmp_path / "config.json")
    for read in (read_config, read_dims):
        with pytest.raises(ValueError, match=r"found no readable config\.json"):
            read(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "model.safetensors.index.json")
    assert kind == "large" or weight_files(tmp_path) == []


@pytest.mark.parametrize("read", [read_config, read_dims])
def test_a_models_settings_that_nest_too_deep_are_none(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "config.json").write_text(f'{{"model_type": {DEEP}')
    with pytest.raises(ValueError, match=r"found no readable config\.json"):
        read(tmp_path)


def test_a_folder_for_a_library_has_regular_files_of_some_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tokenizer.json", "model.safetensors", "chat_template.jinja"):
        (tmp_path / name).write_bytes(b" " * 10)
    (tmp_path / "below").mkdir()
    check_folder(tmp_path)
    monkeypatch.setattr(regular, "_WORDS", 9)
    with pytest.raises(TooLargeError):
        check_folder(tmp_path)
    monkeypatch.setattr(regular, "_WORDS", 10)
    os.mkfifo(tmp_path / "added_tokens.json")
    with pytest.raises(OSError, match="not a regular file"):
        check_folder(tmp_path)


def test_in_such_a_folder_a_link_is_as_large_as_the_file_it_names(tmp_path: Path) -> None:
    """Models' folders are made of links into a cache."""
    (tmp_path / "model").mkdir()
    with (tmp_path / "blob").open("wb") as file:
        file.truncate(2**26 + 1)
    for name, is_read in (("weights.safetensors", False), ("tokenizer.json", True)):
        (tmp_path / "model" / name).symlink_to(tmp_path / "blob")
        with pytest.raises(TooLargeError) if is_read else nullcontext():
            check_folder(tmp_path / "model")
