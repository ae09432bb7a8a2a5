"""A conversation with the local refiner: by its folder's own chat template, where it has one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from random_qwen_vl import byte_tokenizer
from transformers import AutoTokenizer

from cosmos_ray.errors import UsageError
from cosmos_ray.models.text import template as template_module
from cosmos_ray.models.text.conversation import PAD, Conversation
from cosmos_ray.models.text.template import check_template

PICTURE = f"<|vision_start|>{PAD}<|vision_end|>"
#: One of nobody's: pictures come before the words, and a turn has a number.
TEMPLATE = (
    "{% for one in messages %}[{{ loop.index }} {{ one.role }}]"
    "{% if one.content is string %}{{ one.content }}{% else %}"
    f"{{% for part in one.content if part.type == 'image' %}}{PICTURE}{{% endfor %}}"
    "{% for part in one.content if part.type == 'text' %}{{ part.text }}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}[answer]{% endif %}"
)


def folder_with(folder: Path, template: str | None) -> Path:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def conversation_of(folder: Path) -> Conversation:
    return Conversation.of(folder, AutoTokenizer.from_pretrained(str(folder), local_files_only=True))


def test_without_a_template_it_has_the_published_form(tmp_path: Path) -> None:
    found = conversation_of(folder_with(tmp_path, None))
    assert found.text("Rewrite it.", "a bus", [2, 1]) == (
        "<|im_start|>system\nRewrite it.<|im_end|>\n<|im_start|>user\na bus"
        f"<|vision_start|>{PAD}{PAD}<|vision_end|>{PICTURE}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_tokenizers_template_says_what_stands_where(tmp_path: Path) -> None:
    found = conversation_of(folder_with(tmp_path, TEMPLATE))
    assert found.text("Rewrite it.", "a {{ bus }}", []) == "[1 system]Rewrite it.[2 user]a {{ bus }}[answer]"
    assert found.text("Rewrite it.", "a bus", [1, 3]) == (
        f"[1 system]Rewrite it.[2 user]{PICTURE}<|vision_start|>{PAD * 3}<|vision_end|>a bus[answer]"
    )


def test_the_file_of_older_folders_is_the_models_own(tmp_path: Path) -> None:
    folder_with(tmp_path, TEMPLATE)
    older = {"chat_template": TEMPLATE.replace("[answer]", "[older]")}
    (tmp_path / "chat_template.json").write_text(json.dumps(older))
    assert conversation_of(tmp_path).text("x", "y", []).endswith("[older]")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for one in messages %}{{ one.content }}{% endfor %}", "found places for 0 pictures"),
        ("{% for one in messages %}", "its chat template cannot be used: TemplateSyntaxError"),
        ("{{ messages[7].content }}", "its chat template cannot be used"),
        (PAD, "leaves out what it is given"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "its chat template cannot be used"),
    ],
    ids=["words only", "syntax", "undefined", "nothing", "hostile"],
)
def test_a_template_that_is_no_use_is_refused_by_the_folder(tmp_path: Path, template: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"refiner {tmp_path}: .*{words}"):
        conversation_of(folder_with(tmp_path, template))


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
HUGE = "{{ 'x' * 9999999999 }}"
LONG = "{% for i in range(99999) %}{{ 'words words words ' }}{% endfor %}"


@pytest.mark.parametrize("template", [HUGE, LONG, "x" * 300_000], ids=["memory", "words", "itself"])
def test_a_template_that_takes_too_much_is_refused(tmp_path: Path, template: str) -> None:
    with pytest.raises(
        UsageError, match=r"cannot be used: ValueError: (it takes more time or memory|found 30\d,\d+ char)"
    ):
        conversation_of(folder_with(tmp_path, template + TEMPLATE))


def test_of_several_templates_the_usual_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer may have one for tools, another for a conversation."""
    tried: list[str] = []
    monkeypatch.setattr(template_module, "_takes_too_much", lambda asked: tried.append(json.loads(asked)["template"]))
    check_template({"tools": "a", "default": "b"}, {})
    check_template({"default": "c", "tools": "d"}, {})
    check_template({"tools": "e"}, {})
    check_template("f", {})
    check_template(None, {})
    assert tried == ["b", "c", "f"]


@pytest.mark.long
def test_a_template_that_does_not_end_is_refused(tmp_path: Path) -> None:
    """Its short sibling: one that wants memory."""
    with pytest.raises(UsageError, match="it takes more time or memory"):
        conversation_of(folder_with(tmp_path, ENDLESS + TEMPLATE))


@pytest.mark.parametrize("content", ["", "[]", '{"chat_template": 3}', '{"other": ""}'])
def test_a_file_without_a_template_is_refused(tmp_path: Path, content: str) -> None:
    folder_with(tmp_path, None)
    (tmp_path / "chat_template.json").write_text(content)
    with pytest.raises(UsageError, match=r"chat_template\.json holds no chat template"):
        conversation_of(tmp_path)
