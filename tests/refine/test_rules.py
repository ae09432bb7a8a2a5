"""The settings of a refiner: what they may be, and that a URL with a secret in it is refused without telling it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from support.chat_server import MODEL, chat_server

from cosmos_ray.clip.refiner_rules import PUBLISHED, RefinerRules
from cosmos_ray.config import GenerateConfig, build_config
from cosmos_ray.errors import UsageError
from cosmos_ray.refine.settings import instructions_of, model_of, refining_of


def config(**rules: Any) -> GenerateConfig:
    return GenerateConfig(manifest="m", output="o", refiner=rules)


def test_nothing_is_refined_unless_somebody_asks_for_it() -> None:
    assert not GenerateConfig(manifest="m", output="o").refiner.is_on
    assert build_config({"manifest": "m", "output": "o"}, None, ["refiner.backend=none"]).refiner.backend == "none"


def test_one_setting_turns_the_published_one_on() -> None:
    rules = build_config({"manifest": "m", "output": "o"}, None, ["refiner.backend=local"]).refiner
    found = refining_of(rules)
    assert (found.model, rules.max_tokens, rules.on_failure) == (PUBLISHED, 512, "keep")
    assert "Cosmos-Reason1-7B@8fe96c1fa10db9e666b6fa6a87fea57dd9635649" in PUBLISHED


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:hunter2secret@host:8000/v1",
        "https://hunter2secret@host/v1",
        "http://host/v1?api_key=hunter2secret",
        "http://host/v1#hunter2secret",
        "ftp://ann:hunter2secret@host/v1",
        "http://ann:hunter2secret@/v1",
        "http://ann:hunter2secret@host:99999999/v1",
        "hunter2secret",
        "  hunter2secret/with+marks==",
    ],
)
def test_a_url_with_a_secret_in_it_is_refused_and_nobody_is_told(url: str) -> None:
    for make in (
        lambda: config(backend="endpoint", url=url, model="m"),
        lambda: build_config(
            {"manifest": "m", "output": "o"}, None, ["refiner.backend=endpoint", f"refiner.url={url}"]
        ),
        lambda: build_config({"manifest": "m", "output": "o", "refiner": {"url": url, "backend": "wrong"}}),
    ):
        with pytest.raises(UsageError, match="refiner") as raised:
            make()
        assert "hunter2secret" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"backend": "endpoint"}, "without refiner.url"),
        ({"backend": "endpoint", "url": "host:8000"}, "found host:8000, expected one such as http://10.0.0.7:8000/v1"),
        ({"backend": "local", "url": "http://host/v1"}, "beside refiner.url"),
        ({"view_template": "{prompt}"}, "expected a text with {camera}"),
        ({"view_template": "{camera} {weather}"}, "expected a text with {camera}"),
        ({"view_template": "{camera.__class__}"}, "expected a text with {camera}"),
        ({"frames": 6}, "refiner.frames"),
        ({"max_tokens": 0}, "refiner.max_tokens"),
        ({"timeout_s": 0}, "refiner.timeout_s"),
        (
            {"backend": "endpoint", "model": "hf_" + "x" * 34},
            "refiner.model: found what looks like a key, expected the",
        ),
        ({"api_key": "x"}, "there is no such setting"),
    ],
)
def test_what_they_cannot_be_is_said_by_name(rules: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        config(**rules)


def test_a_url_ends_where_its_version_does() -> None:
    assert RefinerRules(backend="endpoint", url=" http://host:8000/v1/ ", model="m").url == "http://host:8000/v1"


def test_instructions_are_our_own_or_those_of_a_file(tmp_path: Path) -> None:
    ours = instructions_of(RefinerRules())
    assert "80 to 100 words" in ours
    (tmp_path / "mine.txt").write_text("Write verse. 雨\n", "utf-8")
    assert instructions_of(RefinerRules(instructions=str(tmp_path / "mine.txt"))) == "Write verse. 雨"


@pytest.mark.parametrize(
    ("data", "why"),
    [(None, "cannot be read"), (b" \n", "is empty"), (b"\xff\xfe", "cannot be read"), (b"x" * 70_000, "70000 bytes")],
)
def test_instructions_that_cannot_be_read_are_an_error(tmp_path: Path, data: bytes | None, why: str) -> None:
    if data is not None:
        (tmp_path / "mine.txt").write_bytes(data)
    with pytest.raises(UsageError, match=f"refiner.instructions: .*{why}"):
        instructions_of(RefinerRules(instructions=str(tmp_path / "mine.txt")))


def test_a_server_with_one_model_need_not_be_told_which() -> None:
    with chat_server() as server:
        rules = RefinerRules(backend="endpoint", url=server.url)
        assert model_of(rules) == MODEL
        server.models = ("a", "b")
        with pytest.raises(UsageError, match=r"has 2 \(a, b\), expected one of them"):
            model_of(rules)
        server.models = None
        with pytest.raises(UsageError, match=r"not given, and cannot be asked for: .*404"):
            model_of(rules)
    assert model_of(rules.model_copy(update={"model": "mine"})) == "mine"


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "vl"
    rules = RefinerRules(backend="local", model=str(folder))
    with pytest.raises(UsageError, match=r"expected a folder with config\.json"):
        model_of(rules)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    first = model_of(rules)
    (folder / "config.json").write_text("{ }")
    assert first.startswith("vl@")
    assert model_of(rules) != first
