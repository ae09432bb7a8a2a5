"""What a guardrail is known by: another version for whatever its verdicts depend on, another place for its files."""

from __future__ import annotations

import importlib.metadata
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest

from cosmos_ray.clip.guardrail_rules import (
    HUB_NAMES,
    LLAMA_GUARD,
    SIGLIP,
    WEIGHTS,
    CheckFacts,
    GuardrailRules,
    Guardrails,
)
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.guardrails import boxes, places, reference
from cosmos_ray.models.guardrails.blocklist import matched
from cosmos_ray.models.guardrails.check import facts_of, load, problems_of
from cosmos_ray.models.guardrails.guard import load_guard
from cosmos_ray.models.guardrails.places import Place
from cosmos_ray.models.guardrails.reference import BlocklistCheck, ContentFilter, FaceBlur, LlamaGuardCheck

REVISION = "0123456789" * 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))


def rules(**settings: Any) -> GuardrailRules:
    return GuardrailRules(enabled=True, **settings)


def test_a_check_is_known_by_all_that_it_says_of_itself() -> None:
    """What it may change, and what it looks at: whoever has written it."""

    def ask(_: object) -> None:
        return None

    both = {"check_text": ask, "check_video": ask}
    facts = {
        "text": facts_of(SimpleNamespace(name="a", version=3, check_text=ask)),
        "video": facts_of(SimpleNamespace(name="a", version="3", check_video=ask)),
        "both": facts_of(SimpleNamespace(name="b", version="4", changes_pixels=True, **both)),
    }
    assert facts == {
        "text": CheckFacts("a", "3", True, False, False),
        "video": CheckFacts("a", "3", False, True, False),
        "both": CheckFacts("b", "4", True, True, True),
    }
    assert [field.name for field in fields(CheckFacts)] == ["name", "version", "texts", "videos", "changes_pixels"]


def test_what_a_check_need_not_have_is_not_asked_for() -> None:
    said: list[str] = []
    plain: Any = SimpleNamespace(name="a", version="1")
    asking: Any = SimpleNamespace(name="a", version="1", problems=lambda: ["no list"], load=said.append)
    assert (problems_of(plain), problems_of(asking)) == ((), ("no list",))
    load(plain, "cuda")
    load(asking, "cuda")
    assert said == ["cuda"]


# --- the files of each check -----------------------------------------------------------------------------------------


def test_each_check_takes_its_own_files() -> None:
    given = rules(weights="/W", llama_guard="/L", siglip="/S")
    found = {kind.name: list(kind(given).places) for kind in (BlocklistCheck, LlamaGuardCheck, ContentFilter, FaceBlur)}
    assert found == {
        "blocklist": [Place("/W", ("blocklist",))],
        "llama_guard": [Place("/L", (), "config.json")],
        "content_filter": [
            Place("/W", ("video_content_safety_filter/safety_filter.pt",)),
            Place("/S", (), "config.json"),
        ],
        "face_blur": [Place("/W", ("face_blur_filter/Resnet50_Final.pth",))],
    }
    assert [kind.changes_pixels for kind in (BlocklistCheck, LlamaGuardCheck, ContentFilter, FaceBlur)] == [
        False, False, False, True,
    ]  # fmt: skip


def test_siglip_is_in_the_weights_folder_where_it_is_there_or_the_hubs(tmp_path: Path) -> None:
    check = ContentFilter(rules(weights=str(tmp_path)))
    assert check.places[1] == Place(SIGLIP, (), "config.json")
    inside = tmp_path / "video_content_safety_filter" / "models--google--siglip" / "snapshots" / "x"
    inside.mkdir(parents=True)
    (inside / "config.json").write_text("{}")
    assert ContentFilter(rules(weights=str(tmp_path))).places[1] == Place(str(inside), (), "config.json")
    assert ContentFilter(rules(weights=str(tmp_path), siglip="/S")).places[1].location == "/S"


def test_a_folder_is_named_as_it_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gang's processes begin elsewhere, and a clip may be made again from another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    found = rules(weights="w", llama_guard="~/l", siglip="s3://b/s")
    assert found.model_dump(include={"weights", "llama_guard", "siglip"}) == {
        "weights": str(tmp_path / "w"), "llama_guard": "/home/somebody/l", "siglip": "s3://b/s",
    }  # fmt: skip
    for name in HUB_NAMES:
        assert rules(weights=name).weights == name
    assert RefinerRules(backend="local", model="m").model == str(tmp_path / "m")
    assert RefinerRules(backend="local", model="hf://o/r@main").model == "hf://o/r@main"
    assert RefinerRules(backend="endpoint", url="http://h/v1", model="m").model == "m"


def test_a_name_of_the_hub_is_the_published_revision_of_it() -> None:
    assert set(HUB_NAMES) == {
        "nvidia/Cosmos-Guardrail1", "meta-llama/Llama-Guard-3-8B", "google/siglip-so400m-patch14-384",
    }  # fmt: skip
    assert set(HUB_NAMES.values()) == {WEIGHTS, LLAMA_GUARD, SIGLIP}
    for name, uri in HUB_NAMES.items():
        of_name, of_uri = Place(name, ()).hub, Place(uri, ()).hub
        assert of_name == of_uri
        assert of_name is not None
        assert f"hf://{of_name.repo}@{of_name.revision}" == uri
        assert of_name.repo == name
    assert Place("/models", ()).hub is Place("s3://b/models", ()).hub is None
    with pytest.raises(UsageError, match="expected a folder, a URI, hf://"):
        _ = Place("hf://nvidia/Cosmos-Guardrail1", ()).hub


def test_of_the_hub_a_place_is_known_by_its_revision_and_of_each_its_parts_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place(f"hf://a/b@{REVISION}", ("list", "head.pt"))
    assert place.version() == REVISION[:12]
    asked: list[Any] = []
    monkeypatch.setattr(hub, "fetch_parts", lambda *given: asked.append(given) or Path("here"))
    monkeypatch.setattr(hub, "ask_parts", lambda *given: asked.append(given) or hub.HubAnswer("unavailable", "out"))
    place.folder()
    Place(f"hf://a/b@{REVISION}", (), "config.json").folder()
    assert [given[1:] for given in asked] == [
        (["list", "list/*", "head.pt", "head.pt/*"], ("original/*",)),
        (["*"], ("original/*",)),
    ]
    asked.clear()
    monkeypatch.setattr(hub, "snapshot", lambda _: None)
    assert place.problems() == ["out"]
    assert not place.can_be_fetched()
    assert Place(f"hf://a/b@{REVISION}", (), "config.json").problems() == ["out"]
    assert [given[1] for given in asked] == [("list", "head.pt"), ("list", "head.pt"), ("config.json",)]
    monkeypatch.setattr(hub, "ask_parts", lambda *_: hub.HubAnswer("ok", "within reach"))
    assert (place.problems(), place.can_be_fetched()) == ([], True)
    assert not Place("/models", ("list",)).can_be_fetched()


def test_a_repository_is_here_when_all_parts_of_it_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot", lambda _: tmp_path)
    place, whole = Place(f"hf://a/b@{REVISION}", ("list", "head.pt")), Place(f"hf://a/b@{REVISION}", (), "config.json")
    (tmp_path / "list").mkdir()
    assert (place.here(), whole.here()) == (None, None)
    for name in ("head.pt", "config.json"):
        (tmp_path / name).write_text("")
    assert (place.here(), whole.here()) == (tmp_path, tmp_path)


def test_a_stores_folder_is_known_by_names_sizes_and_marks_of_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever mark the store has: an ETag, in either spelling, or a time."""
    base = {"b/list/a": {"size": 1, "ETag": "x"}}
    listings: list[dict[str, dict[str, Any]]] = [
        base,
        {"b/list/b": {"size": 1, "ETag": "x"}},
        {"b/list/a": {"size": 2, "ETag": "x"}},
        {"b/list/a": {"size": 1, "ETag": "y"}},
        {"b/list/a": {"size": 1, "etag": "z"}},
        {"b/list/a": {"size": 1, "etag": "w", "mtime": "3"}},
        {"b/list/a": {"size": 1, "mtime": "3"}},
        {"b/list/a": {"size": 1, "mtime": "4"}},
        {**base, "b/list/c": {"size": 1, "ETag": "x"}},
    ]
    asked: list[Any] = []
    versions = []
    for listing in listings:
        monkeypatch.setattr(places, "listed", lambda *given, found=listing: asked.append(given) or found)
        versions.append(Place("s3://b", ("list",)).version())
    assert len(set(versions)) == len(listings)
    assert {len(one) for one in versions} == {12}
    assert set(asked) == {("s3://b", ("list",))}
    monkeypatch.setattr(places, "listed", lambda *_: dict(reversed(listings[-1].items())))
    assert Place("s3://b", ("list",)).version() == versions[-1], "in whatever order it lists them"


def test_a_stores_files_are_brought_to_a_place_for_each_store_and_content() -> None:
    memory = fsspec.filesystem("memory")
    found = []
    for store, text in (("one", b"a"), ("two", b"a"), ("two", b"bb")):
        memory.pipe(f"/guards/{store}/list/words.txt", text)
        memory.pipe(f"/guards/{store}/unused", text)
        folder = Place(f"memory://guards/{store}", ("list",)).folder()
        assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == [
            "list/words.txt"
        ]
        found.append((folder, (folder / "list" / "words.txt").read_bytes()))
    assert [text for _, text in found] == [b"a", b"a", b"bb"]
    assert len({folder for folder, _ in found}) == 3
    assert found[1][0].exists(), "a job that began with those goes on with them"
    missing = Place("memory://guards/one", ("list", "lists", "head.pt"))
    assert missing.problems() == [f"memory://guards/one has no {part}" for part in ("lists", "head.pt")]
    assert Place("memory://guards/none", ("list",)).problems() == ["nothing at memory://guards/none"]


@pytest.mark.parametrize(
    ("locations", "said"),
    [(("/W", "hf://a/b"), []), (("hf://a/b", "/W"), []), (("/W", "/S"), ["it is cut off"])],
    ids=["the second", "the first", "none"],
)
def test_what_is_spoilt_here_is_no_problem_where_the_hub_would_bring_it_again(
    monkeypatch: pytest.MonkeyPatch, locations: tuple[str, ...], said: list[str]
) -> None:
    """Of whichever place it is of a check that has several."""

    class Spoilt(reference.BlocklistCheck):
        places = [Place(location, ()) for location in locations]  # type: ignore[assignment]  # noqa: RUF012

        def look(self) -> None:
            raise UsageError("it is cut off")

    monkeypatch.setattr(Place, "problems", lambda self: [])
    monkeypatch.setattr(Place, "can_be_fetched", lambda self: self.location.startswith("hf://"))
    assert reference._Reference.problems(Spoilt(rules())) == said
    monkeypatch.setattr(Place, "problems", lambda self: [f"nothing at {self.location}"])
    assert reference._Reference.problems(Spoilt(rules())) == [f"nothing at {location}" for location in locations]


def test_word_lists_are_known_by_the_packages_that_read_them_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "blocklist").mkdir()
    (tmp_path / "blocklist" / "words").write_text("a")
    versions = {"better-profanity": "0.7.0", "nltk": "3.9"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])

    def version() -> str:
        return BlocklistCheck(rules(weights=str(tmp_path))).version

    found = [version()]
    for name in list(versions):
        versions[name] += ".1"
        found.append(version())
    assert found[0] == f"reference {Place(str(tmp_path), ('blocklist',)).version()} better-profanity 0.7.0 nltk 3.9"
    assert len(set(found)) == 3


def test_data_that_are_links_are_copied_once_a_revision(tmp_path: Path) -> None:
    """Another revision's words are other words."""
    copies = []
    for digit in "12":
        for _ in range(2):
            data = tmp_path / (digit * 40) / "blocklist" / "nltk_data"
            data.mkdir(parents=True, exist_ok=True)
            blob = tmp_path / f"blob{digit}"
            blob.write_text(digit)
            (data / "words").unlink(missing_ok=True)
            (data / "words").symlink_to(blob)
            copy = reference._regular(data)
            assert not (copy / "words").is_symlink()
            assert (copy / "words").read_text() == digit
            copies.append(copy)
    assert copies[0] == copies[1] != copies[2] == copies[3]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "words").write_text("w")
    assert reference._regular(tmp_path / "plain") == tmp_path / "plain"


def test_of_boxes_the_surest_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "_COMPARED", 2)
    found = np.array([[100.0 * n, 0.0, 100.0 * n + 50, 50.0] for n in range(4)])
    assert boxes.best(found, np.array([0.8, 0.95, 0.6, 0.9])).tolist() == found[[1, 3]].tolist()


def test_entries_that_end_in_punctuation_are_found_from_six_signs_on() -> None:
    assert matched("a womb++ here", ["womb++"]) == "partial"
    assert matched("a wom++ here", ["wom++"]) == ""


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("looks", [True, False])
def test_a_process_loads_the_checks_that_it_runs_and_no_other(asks: bool, looks: bool) -> None:
    """Each takes gigabytes."""
    loaded: list[str] = []

    def check(name: str, method: str) -> Any:
        return SimpleNamespace(name=name, version="1", load=lambda _: loaded.append(name), **{method: lambda _: None})

    checks = [check("words", "check_text"), check("looks", "check_video")]
    load_guard(Guardrails(checks=tuple(map(facts_of, checks))), checks, "cpu", asks, looks)
    assert loaded == ["words"] * asks + ["looks"] * looks
