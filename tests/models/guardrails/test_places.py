"""Where the guardrails' files lie: what a place's version depends on, and what of it is used."""

from __future__ import annotations

from pathlib import Path

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.models.guardrails.places import Place
from cosmos_ray.models.guardrails.reference import ContentFilter


def test_a_folders_version_is_of_what_is_used_alone(tmp_path: Path) -> None:
    """Weights and much else lie in one folder: a file that nobody reads makes no clip another one."""
    for name in ("list/a.txt", "head.pt", "list2/b.txt", "readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    def version() -> str:
        return Place(str(tmp_path), ("list", "head.pt"), "head.pt").version()

    before = version()
    assert len(before) == 12
    for name, is_used in (("readme.md", False), ("list2/b.txt", False), ("list/a.txt", True), ("head.pt", True)):
        (tmp_path / name).write_text("other")
        assert (version() != before) == is_used, name
        before = version()
    everything = Place(str(tmp_path), (), "head.pt")
    before = everything.version()
    (tmp_path / "readme.md").write_text("another")
    assert everything.version() != before


def test_a_checks_version_is_of_all_places_that_it_takes_files_from(tmp_path: Path) -> None:
    for folder in ("weights", "siglip"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("{}")
    head = tmp_path / "weights" / "video_content_safety_filter" / "safety_filter.pt"
    head.parent.mkdir()
    head.write_text("head")
    rules = GuardrailRules(enabled=True, weights=str(tmp_path / "weights"), siglip=str(tmp_path / "siglip"))
    versions = [ContentFilter(rules).version]
    for file in (head, tmp_path / "siglip" / "config.json"):
        file.write_text("other")
        versions.append(ContentFilter(rules).version)
    assert len(set(versions)) == 3


def test_what_a_folder_lacks_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    assert Place(str(tmp_path), ("list", "head.pt"), "head.pt").problems() == [f"{tmp_path} has no head.pt"]
    assert Place(str(tmp_path / "none"), ("list",), "list").problems() == [f"no folder {tmp_path}/none"]
