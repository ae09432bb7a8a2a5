"""Captions that the text encoder cuts: the plan counts their tokens as the encoder does, without loading it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.job_runs import write_manifest

from cosmos_ray.config import build_config
from cosmos_ray.job.cut_captions import LongCaptions
from cosmos_ray.job.plan import Plan, plan_for, survey
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import RowDefaults
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, load_bundle, parse_bundle
from cosmos_ray.models.text.tokens import (
    READ_ASCII_BYTES,
    READ_BYTES,
    cut_captions,
    is_surely_read,
    texts_of,
    token_counter,
)

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="")
TINY = load_bundle("tiny")
LONG, FITS = "car " * 512, "car " * 511  # with the end-of-text token: 513 and 512 tokens


def plan_of(tmp_path: Path, *rows: dict[str, Any], model: str = "tiny") -> Plan:
    rows_with_ids = [{"id": f"row{number}", "prompt": "p", **row} for number, row in enumerate(rows)]
    manifest = write_manifest(tmp_path / "m.parquet", rows_with_ids)
    config = build_config({"manifest": manifest, "output": "none", "model": model})
    return plan_for(config, load_bundle(model), LedgerState.empty())


def test_captions_that_are_cut_are_counted_with_a_row_of_theirs(tmp_path: Path) -> None:
    found = plan_of(tmp_path, {"prompt": FITS}, {"prompt": LONG}, {"prompt": f"{LONG} b"}, {"prompt": FITS})
    [warning] = found.warnings
    assert (warning.count, warning.noun, warning.row) == (2, "caption", "row1")
    assert warning.in_words() == (
        "2 captions: longer than the 512 tokens that the text encoder reads, and cut (as in row row1)"
    )


def test_every_text_of_a_clip_counts_and_every_clip_of_a_row(tmp_path: Path) -> None:
    """A caption a view, negative prompts, samples; also of rows that are looked at one by one."""
    seven = [LONG, *["p"] * 5, LONG]
    for row, count in (
        ({"prompt": seven}, 2),
        ({"negative_prompt": LONG}, 1),
        ({"prompt": LONG, "num_samples": 3}, 3),
        ({"prompt": LONG, "negative_prompt": LONG, "num_samples": 2, "input_video": "file:///a.mp4"}, 4),
        ({"prompt": LONG, "seed": -1}, 0),
        ({"prompt": None, "prompt_embedding": "e.npy"}, 0),
    ):
        assert sum(one.count for one in plan_of(tmp_path, row).warnings) == count, row


def test_a_model_without_a_tokenizer_here_is_asked_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_of(tmp_path, {"prompt": LONG}, model="fake").warnings == ()
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert token_counter(load_bundle("cosmos-predict2-2b-multiview")) is None
    assert token_counter(TINY) is not None


def test_inputs_that_are_not_used_are_counted(tmp_path: Path) -> None:
    unused = {"input_video": "a.mp4", "num_conditional_frames": 0}
    found = plan_of(tmp_path, {"input_video": "a.mp4"}, {**unused, "num_samples": 2}, {**unused, "fps": 30})
    assert [(one.count, one.noun, one.row) for one in found.warnings] == [(3, "clip", "row1")]
    assert found.warnings[0].in_words().startswith("3 clips: the input is not used: num_conditional_frames is 0")


def test_the_row_that_is_named_is_the_first_that_is_so(tmp_path: Path) -> None:
    """Of all files."""
    (tmp_path / "m").mkdir()
    for name in "abc":
        row = {"id": f"{name}0", "prompt": "p", "input_video": "a.mp4", "num_conditional_frames": 0}
        write_manifest(tmp_path / "m" / f"{name}.parquet", [row])
    found = survey(open_manifest(str(tmp_path / "m")), DEFAULTS, LedgerState.empty()).plan
    assert [(one.count, one.row) for one in found.warnings] == [(3, "a0")]


def test_only_the_longest_are_counted_if_there_are_too_many(tmp_path: Path) -> None:
    """Whatever the order; how many were left out is said."""
    captions = [f"{'car ' * length} {number}" for number, length in enumerate([200, 600, 150, 900, 300])]
    rows = [{"id": f"row{number}", "prompt": text} for number, text in enumerate(captions)]
    manifest = open_manifest(write_manifest(tmp_path / "m.parquet", rows))
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text.split())

    monkey = LongCaptions(most_bytes=len(captions[1]) + len(captions[3]) + 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cosmos_ray.job.plan.LongCaptions", lambda **_: monkey)
        found = survey(manifest, DEFAULTS, LedgerState.empty(), tokens=count).plan
    assert counted == [captions[1], captions[3]]
    assert [(one.count, one.words[:5]) for one in found.warnings] == [(2, "longe"), (3, "maybe")]


def test_those_left_out_are_counted_in_clips() -> None:
    captions = LongCaptions(most_bytes=800)
    captions._add(pa.array(["a" * 600, "b" * 700]), np.array([3, 1]), pa.array(["r0", "r1"]))
    (found,) = captions.warnings(lambda _: 1)
    assert (found.count, found.words[:5]) == (3, "maybe")


@pytest.mark.parametrize("text", ["e", "1", "1 ", "!", "ﷺ", "é", "㎨", "ÀÉ ", "好", "\u0300", "İ"])
def test_what_is_not_counted_cannot_be_cut(text: str) -> None:
    """The worst texts that are as long as what nobody counts."""
    count = token_counter(TINY)
    assert count is not None
    longest = text * ((READ_ASCII_BYTES if text.isascii() else READ_BYTES) // len(text.encode()))
    assert is_surely_read(longest)
    assert not is_surely_read(longest + text)
    assert 1 < count(longest) <= 512


def test_words_for_one_clip() -> None:
    count = token_counter(TINY)
    assert count is not None
    assert cut_captions(texts_of(("rear", "front_wide"), [FITS, LONG], LONG), count) == (
        "front_wide: caption cut: 513 tokens, of which the text encoder reads the first 512",
        "negative prompt: caption cut: 513 tokens, of which the text encoder reads the first 512",
    )
    assert cut_captions(texts_of(("rear",), ["p"], ""), count) == ()
    assert cut_captions(texts_of(("rear",), ["1" * 512], ""), count), "a digit is a token: 513 with the end-of-text one"


def test_counting_loads_no_torch() -> None:
    code = (
        "import sys; from cosmos_ray.models.bundle.bundle import load_bundle; "
        "from cosmos_ray.models.text.tokens import token_counter; "
        "print(token_counter(load_bundle('tiny'))('a car'), {'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3 set()"


# --- the counts are the encoder's ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_the_encoder() -> Any:
    from cosmos_ray.models.text.tokenizer import load_tokenizer

    return load_tokenizer(BUILT_IN_FOLDER / "tiny" / "tokenizer.json")


_texts = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from(["car", "</s>", "<pad>", "12", "ünï", "\n", "好"])).map(" ".join)
)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.lists(_texts, min_size=1, max_size=5))
def test_the_built_in_tokenizer_counts_alike(of_the_encoder: Any, texts: list[str]) -> None:
    count = token_counter(TINY)
    assert count is not None
    assert [count(text) for text in texts] == [len(of_the_encoder(text, verbose=False).input_ids) for text in texts]


@pytest.mark.slow
def test_a_t5_tokenizer_in_hugging_face_layout_counts_alike(tmp_path: Path) -> None:
    """A unigram model with T5's own rules for blanks, as its repositories have it; also beyond 512 tokens."""
    from transformers import T5TokenizerFast

    from cosmos_ray.models.bundle.cache import content_sha256
    from cosmos_ray.models.text.tokenizer import load_tokenizer

    pieces = [*"▁abcdefghijklmnopqrstuvwxyz.,1", "▁a", "▁car", "▁the", "rain", "ing"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -float(len(pieces))) for piece in pieces)]
    T5TokenizerFast(vocab=vocabulary).save_pretrained(tmp_path / "tokenizer")
    tiny = (BUILT_IN_FOLDER / "tiny" / "bundle.json").read_text()
    sha256 = content_sha256(tmp_path / "tokenizer")
    description = json.loads(tiny)
    description["files"]["tokenizer"] = {"uri": "tokenizer", "sha256": sha256}
    count = token_counter(parse_bundle(json.dumps(description), str(tmp_path)))
    assert count is not None
    theirs = load_tokenizer(tmp_path / "tokenizer")
    texts = ["a car in the raining city.", "  two  blanks \n", "", "ünï 好", "<extra_id_0> car </s>", "the car " * 400]
    assert [count(text) for text in texts] == [len(theirs(text, verbose=False).input_ids) for text in texts]
    assert count(texts[-1]) > 512


@pytest.mark.parametrize("overhead", [0, 40])
@pytest.mark.parametrize("letter", ["e", "é", "好"])
def test_a_plan_counts_just_those_captions_that_are_not_surely_read(letter: str, overhead: int) -> None:
    """By the rule of the clip's own warning, which is the encoder's."""
    texts = [letter * length for length in range(1, 600)]
    captions, counted = LongCaptions(overhead=overhead), []
    captions._add(pa.array(texts), np.ones(len(texts), int), pa.array(texts))
    captions.warnings(lambda text: counted.append(text) or 0)  # type: ignore[func-returns-value]
    assert counted == [text for text in texts if not is_surely_read(text, overhead)]
