"""Which checks a job has, and what is said of those that cannot run, before it takes a GPU."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import own_checks
from support.guardrail_weights import write_blocklist, write_llama_guard

from cosmos_ray.clip.family import PREDICT2, TEXT2IMAGE, TEXT2WORLD
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import UsageError
from cosmos_ray.models.guardrails import checks
from cosmos_ray.models.guardrails.checks import checks_of, guardrails_of, look


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(own_checks.install(folder))


def rules(**settings: Any) -> GuardrailRules:
    return GuardrailRules(enabled=True, **settings)


def test_off_is_no_check_and_nothing_is_looked_for() -> None:
    found = guardrails_of(GuardrailRules(weights="/nowhere"), PREDICT2)
    assert (found.checks, found.versions, found.chosen) == ((), {}, {})


def test_the_published_checks_are_in_the_published_order() -> None:
    names = ["blocklist", "llama_guard", "content_filter", "face_blur"]
    assert [check.name for check in checks_of(rules(), PREDICT2)] == names
    assert [check.name for check in checks_of(rules(), TEXT2WORLD)] == names
    assert [check.name for check in checks_of(rules(), TEXT2IMAGE)] == names[:2]
    assert [check.name for check in checks_of(rules(checks=("face_blur", "blocklist")), PREDICT2)] == [
        names[0],
        names[3],
    ]


def test_missing_files_are_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        guardrails_of(rules(weights=str(tmp_path / "empty"), llama_guard=str(tmp_path / "no")), PREDICT2)
    said = str(caught.value)
    for words in (
        "empty has no blocklist",
        "empty has no face_blur_filter/Resnet50_Final.pth",
        f"no folder {tmp_path}/no",
    ):
        assert words in said
    assert "--set guardrails.weights=PLACE" in said


@pytest.mark.parametrize("location", ["hf://nvidia/Cosmos-Guardrail1", "hf://x", "hf://a/b@main"])
def test_a_place_on_the_hub_has_a_revision(location: str) -> None:
    findings = list(look(rules(weights=location, checks=("blocklist",))))
    assert [one.level for one in findings] == ["problem"]
    assert "expected a folder, a URI, hf://owner/repo@" in findings[0].message


def test_a_folder_without_nltks_data_is_a_problem(tmp_path: Path) -> None:
    folder = write_blocklist(tmp_path)
    shutil.rmtree(folder / "nltk_data")
    (found,) = look(rules(weights=str(tmp_path), checks=("blocklist",)))
    assert (found.level, found.message) == ("problem", f"{folder} has no nltk_data")


def test_a_blocklist_that_is_there_is_fine_and_its_version_changes_with_it(tmp_path: Path) -> None:
    folder = write_blocklist(tmp_path)
    versions = []
    for _ in range(2):
        facts = guardrails_of(rules(weights=str(tmp_path), checks=("blocklist",)), PREDICT2)
        versions.append(facts.versions["blocklist"])
        (folder / "custom" / "more.txt").write_text("zumble\n")
    assert versions[0] != versions[1]
    assert "better-profanity 0.7.0" in versions[0]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ messages", "chat template cannot be used: TemplateSyntaxError"),
        ("{{ raise_exception('no') }}", "chat template cannot be used: TemplateError: no"),
        ("{{ 'x' * 9999999999 }}", "it takes more time or memory"),
        ("{{ bos_token }}", "leaves out what it is given"),
    ],
)
def test_a_template_of_llama_guard_that_is_no_use_is_found_before_a_job(
    tmp_path: Path, template: str, words: str
) -> None:
    write_llama_guard(tmp_path)
    (found,) = look(rules(checks=("llama_guard",), llama_guard=str(tmp_path)))
    assert found.level == "ok"
    path = next(
        path for path in (tmp_path / "chat_template.jinja", tmp_path / "tokenizer_config.json") if path.exists()
    )
    assert path.suffix == ".jinja"
    path.write_text(template)
    (found,) = look(rules(checks=("llama_guard",), llama_guard=str(tmp_path)))
    assert (found.level, words in found.message) == ("problem", True), found.message


def test_nothing_to_check_with_is_an_error() -> None:
    for settings in ({"provider": "none"}, {"checks": ()}):
        with pytest.raises(UsageError, match=r"^guardrails: enabled, and there is no check"):
            guardrails_of(rules(**settings), PREDICT2)
        (found,) = look(rules(**settings))
        assert (found.subject, found.message.split(":")[0]) == ("guardrails", "enabled, and there is no check")


def test_all_that_a_check_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking: Any = SimpleNamespace(name="mine", version="1", check_text=None, problems=lambda: ["no list", "no words"])
    fine: Any = SimpleNamespace(name="other", version="2", check_text=None)
    monkeypatch.setattr(checks, "checks_of", lambda *_: [lacking, fine])
    assert [(one.level, one.subject, one.message) for one in look(rules())] == [
        ("problem", "guardrail mine", "no list"),
        ("problem", "guardrail mine", "no words"),
        ("ok", "guardrail other", "2"),
    ]
    with pytest.raises(
        UsageError, match=r"^guardrails: guardrail mine: no list; guardrail mine: no words\. Give them: "
    ):
        guardrails_of(rules(), PREDICT2)


@pytest.mark.usefixtures("own")
def test_own_checks_come_last_by_their_entry_points(tmp_path: Path) -> None:
    write_blocklist(tmp_path)
    wanted = rules(checks=("blocklist",), own=("no-red", "corner"), weights=str(tmp_path))
    found = guardrails_of(wanted, PREDICT2)
    assert list(found.versions) == ["blocklist", "no-red", "corner"]
    assert found.of_pixels == {"corner": "3"}
    assert [(one.texts, one.videos) for one in found.checks] == [(True, False), (False, True), (False, True)]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", "no installed package has an entry point `gone` in the group cosmos_ray.guardrails; there: "),
        ("nothing", "the check `nothing` has no check_text or check_video"),
        ("absent", "guardrail absent: its word list is not on this machine"),
        ("leaves", "`leaves` cannot be made: SystemExit: 0"),
        ("leaves-late", "guardrail leaves-late: it cannot be asked what it lacks: SystemExit: 0"),
    ],
)
def test_an_own_check_that_cannot_run_is_said(name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        guardrails_of(rules(provider="none", own=(name,)), PREDICT2)
    assert words in str(caught.value)
