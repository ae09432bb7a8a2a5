"""The refiner's flags of the published commands: who refines, when nobody does, and what is written beside a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chat_server import MODEL, chat_server

from cosmos_ray.clip.encode import encode_png
from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.record import Record
from cosmos_ray.published import one_view, text2world, video2world
from cosmos_ray.published.options import prompts_text


def rules(command: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> RefinerRules:
    """What a command's job would be told."""
    asked: list[RefinerRules] = []

    def make(_flags: Any, _kind: Any, _model: Any, _settings: Any, config: dict[str, Any], *_: Any) -> int:
        asked.append(config["refiner"])
        return 0

    monkeypatch.setattr(one_view, "make", make)
    flags = command.build_parser().parse_args(["--prompt", "a bus", *arguments])
    assert command.make(flags, print) == 0
    return asked[0]


@pytest.mark.parametrize("command", [video2world, text2world])
def test_prompts_of_published_models_are_refined_unless_a_flag_says_otherwise(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rules(command, monkeypatch) == RefinerRules(backend="local")
    assert rules(command, monkeypatch, "--offload_prompt_refiner").device == "between"
    assert rules(command, monkeypatch, "--disable_prompt_refiner") == NOT_REFINED
    url = "http://127.0.0.1:1/v1"
    found = rules(command, monkeypatch, "--refiner_endpoint", url, "--refiner_model", "m")
    assert (found.backend, found.url, found.model) == ("endpoint", url, "m")


def test_other_models_are_refined_by_whom_somebody_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules(video2world, monkeypatch, "--model", "tiny") == NOT_REFINED
    assert rules(text2world, monkeypatch, "--model", "tiny", "--distill_steps", "0") == NOT_REFINED
    assert rules(video2world, monkeypatch, "--gr00t_variant", "gr1") == NOT_REFINED, "as published"
    assert rules(video2world, monkeypatch, "--model", "tiny", "--refiner_model", "/folder").model == "/folder"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--disable_prompt_refiner", "--refiner_model", "m"), "leave one out"),
        (("--refiner_endpoint", "http://ann:hunter2secret@host/v1"), "comes from the environment"),
        (("--refiner_endpoint", "host"), "expected one such as"),
    ],
)
def test_what_goes_not_together_is_an_error(
    arguments: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=why) as raised:
        rules(video2world, monkeypatch, *arguments)
    assert "hunter2secret" not in str(raised.value)


def test_the_refined_prompt_is_written_beside_the_video_where_there_is_one() -> None:
    assert prompts_text("a bus", "") == b"[Prompt]\na bus\n"
    assert prompts_text("a bus", "blurry", ("a red bus", "its rear")) == (
        b"[Prompt]\na bus\n\n[Negative Prompt]\nblurry\n\n[Refined Prompt]\na red bus\nits rear\n"
    )
    assert Record.__dataclass_fields__["refined_prompts"].default == ()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.usefixtures("one_node")
def test_a_video_is_made_of_what_a_server_says(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(encode_png(np.full((64, 112, 3), 90, np.uint8)))
    words = ["--prompt", "a bus", "--input_path", str(picture), "--save_path", str(tmp_path / "out.mp4")]
    words += ["--model", "tiny", "--num_steps", "2", "--device", "cpu"]
    with chat_server() as server:
        assert video2world.main([*words, "--refiner_endpoint", server.url, "--refiner_model", MODEL]) == 0
    assert len(server.asked[0]["messages"][1]["content"]) == 2, "it has seen the picture"
    assert "[Refined Prompt]\na bus Seen in fine detail.\n" in (tmp_path / "out.txt").read_text()
