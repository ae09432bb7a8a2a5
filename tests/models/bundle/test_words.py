"""Faults of a `bundle.json` are told by its keys, with what was found and expected, and no word of its classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, parse_bundle

SPEC = (BUILT_IN_FOLDER / "tiny" / "bundle.json").read_text()


def words_of(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_bundle(text, "/mine")
    said = str(caught.value)
    assert said.startswith("/mine/bundle.json: ")
    for inside in (
        "FileRef",
        "RandomWeights",
        "function",
        "Input should",
        "Extra inputs",
        "Field required",
        "Value error",
    ):
        assert inside not in said
    return said.removeprefix("/mine/bundle.json: ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec.update(hieght=3), "there is no key hieght; `height` is near"),
        (lambda spec: spec["network"].update(nun_heads=0), "there is no key network.nun_heads; `num_heads` is near"),
        (lambda spec: spec.pop("name"), "name is missing"),
        (lambda spec: spec.update(name="a b"), 'name: found "a b", expected a text like ^[A-Za-z0-9]'),
        (lambda spec: spec.update(height="tall"), 'height: found "tall", expected a whole number'),
        (lambda spec: spec.update(n_views=9), "n_views: found 9, expected at most 7"),
        (lambda spec: spec["network"].update(num_heads=0), "network.num_heads: found 0, expected more than 0"),
        (lambda spec: spec.update(numerics="bf16"), "numerics: found \"bf16\", expected 'reference' or 'float32'"),
        (lambda spec: spec.update(height=60), "height x width 60x112: expected multiples of 16"),
        (lambda spec: spec.update(files=[]), "files: found [], expected an object"),
        (lambda spec: spec["files"].update(dit="x.pt"), 'files.dit: found "x.pt", expected an object'),
        (lambda spec: spec["files"].update(dit={}), "files.dit.uri is missing"),
        (lambda spec: spec["files"]["dit"].pop("sha256"), "files.dit: uri 'dit.safetensors': sha256 is required"),
        (lambda spec: spec["files"]["dit"].update(sha256="zz"), 'files.dit.sha256: found "zz", expected a text like'),
        (lambda spec: spec["files"]["dit"].update(url="x"), "there is no key files.dit.url; `uri` is near"),
        (lambda spec: spec["files"].update(vae={"random_seed": -1}), "vae.random_seed: found -1, expected"),
        (lambda spec: spec["files"]["vae"].update(random_seed=1), "there is no key files.vae.random_seed"),
        (lambda spec: spec["files"].update(tokenizer={"random_seed": 1}), "no key files.tokenizer.random_seed"),
    ],
)  # fmt: skip
def test_a_fault_is_told_by_its_key(change: Callable[[dict[str, Any]], object], words: str) -> None:
    spec = json.loads(SPEC)
    change(spec)
    assert words in words_of(json.dumps(spec))


def test_what_is_no_json_or_no_object() -> None:
    assert words_of("{").startswith("is no JSON: EOF")
    assert words_of("[]") == "the file: found [], expected an object"


def test_all_faults_are_told_at_once_and_each_once() -> None:
    spec = json.loads(SPEC)
    del spec["name"], spec["files"]["vae"]
    assert words_of(json.dumps(spec)) == "name is missing; files.vae is missing"
