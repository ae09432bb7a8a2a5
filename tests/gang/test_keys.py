"""Keys of a gang's clips: each changes with everything that decides what it stands for, and with nothing else.

The tables name every field there is: one that is added later has to be said to decide, or not to.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.other_clip import OTHER_CLIP

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.check_rules import CheckRules
from cosmos_ray.clip.guardrail_rules import CheckFacts, Guardrails
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.config import GangConfig, InputsConfig
from cosmos_ray.gang.inputs import Source
from cosmos_ray.gang.prepare import InputFile, Prepared
from cosmos_ray.gang.ready import Preparation
from cosmos_ray.gang.refined_words import GangWords
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Refining
from cosmos_ray.refine.refiner import Words
from cosmos_ray.store.reach import Reach
from cosmos_ray.store.storage import Storage

FAKE = load_bundle("fake")
LOCAL = Refining(RefinerRules(backend="local", model="m"), "m", "do it")
BLUR = CheckFacts("blur", "1", False, True, True)
SPEC = GangSpec(FAKE, 2, "cpu", "reference", "/out", 1, GangConfig(step_checkpoint=1))
#: Of each field of a gang's description another value.
OTHER_SPEC: dict[str, Any] = {
    "bundle": FAKE.model_copy(update={"height": 128}),
    "gang_size": 4,
    "device": "cuda",
    "numerics": "float32",
    "output": "s3://b/out",
    "epoch": 2,
    "settings": GangConfig(max_attempts=1, step_checkpoint=1),
    "approximations": Approximations(guidance_interval=(0.0, 0.5)),
    "inputs": InputsConfig(rate="as_is", strict=True),
    "manifest": "/m.parquet",
    "home": "/home",
    "home_read": "/home",
    "patience_s": 1.0,
    "checks": CheckRules(max_black=0.1),
    "refining": LOCAL,
    "words": {"a": ("b",)},
    "guardrails": Guardrails(checks=(BLUR,)),
    "rare_stores": ("s3://b",),
    "preset": "fast",
}
CLIP = Clip("a", "a", ("A street.",), n_views=2, num_steps=2, seed=4, row_hash="row")


def changed(table: dict[str, Any], base: Any, key: Any) -> set[str]:
    """The fields with which a key changes; no two of them make the same one."""
    assert table.keys() == {field.name for field in fields(base)}
    keys = {name: key(replace(base, **{name: value})) for name, value in table.items()}
    found = {name: one for name, one in keys.items() if one != key(base)}
    assert len(set(map(str, found.values()))) == len(found)
    return set(found)


def test_a_gangs_fingerprint_is_of_what_fixes_the_videos() -> None:
    deciding = {"bundle", "numerics", "approximations", "refining", "guardrails"}
    assert changed(OTHER_SPEC, SPEC, lambda spec: spec.fingerprint) == deciding
    assert changed(OTHER_SPEC, SPEC, lambda spec: spec.standard) == deciding


def test_what_fixes_the_videos_together_does_so_each() -> None:
    """None of three takes another's place, or its turn."""
    names = ("approximations", "refining", "guardrails")
    subsets = itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(4))
    specs = [replace(SPEC, **{name: OTHER_SPEC[name] for name in subset}) for subset in subsets]
    assert len({spec.fingerprint for spec in specs}) == len(specs) == 8
    settings = [{"attention": "fp8"}, {"attention": "fp8", "fp8_interval": (0, 1)}, {"solver": "unipc"}]
    chosen = [replace(SPEC, approximations=Approximations(**one)) for one in settings]
    assert len({spec.fingerprint for spec in (SPEC, *chosen)}) == 4


@pytest.mark.parametrize("changes_pixels", [True, False])
def test_a_standard_is_of_every_check_and_a_fingerprint_of_those_that_change_videos(changes_pixels: bool) -> None:
    """By name and version, however it looks: what a text was asked about changes no picture."""
    first = CheckFacts("one", "1", True, True, changes_pixels)
    lists = [
        (),
        (first,),
        (replace(first, name="two"),),
        (replace(first, version="2"),),
        (first, replace(first, name="x")),
    ]
    specs = [replace(SPEC, guardrails=Guardrails(checks=checks)) for checks in lists]
    assert len({spec.standard for spec in specs}) == len(lists)
    assert len({spec.fingerprint for spec in specs}) == (len(lists) if changes_pixels else 1)
    turned = replace(SPEC, guardrails=Guardrails(checks=lists[-1][::-1]))
    assert (turned.fingerprint != specs[-1].fingerprint) is changes_pixels, "each gets the frames of the one before"
    assert specs[0].standard == specs[0].fingerprint
    table = OTHER_SPEC | {"guardrails": Guardrails(checks=(replace(first, name="two"),))}
    deciding = {"bundle", "numerics", "approximations", "refining", "guardrails"}
    assert changed(table, specs[1], lambda spec: spec.standard) == deciding, "and of what fixes the videos"


def test_gangs_take_each_others_place_where_what_is_loaded_is_the_same() -> None:
    """Other approximations, checks and outputs are taken up with the model as it is; another refiner is not."""
    loaded = {"bundle", "gang_size", "device", "numerics", "refining"}
    assert changed(OTHER_SPEC, SPEC, lambda spec: spec.loaded) == loaded
    asked = Refining(RefinerRules(backend="endpoint", url="http://127.0.0.1:1/v1"), "m", "do it")
    assert replace(SPEC, refining=asked).loaded == SPEC.loaded, "a server is nobody's to load"


def test_inputs_are_read_as_the_job_says_where_they_may_lie() -> None:
    spec = replace(
        SPEC,
        manifest="s3://b/m.parquet",
        home="s3://b",
        home_read="/b",
        inputs=InputsConfig(allow=("/a",)),
        rare_stores=("x",),
    )
    assert spec.source == Source("s3://b/m.parquet", Reach("s3://b", ("/a",)), ("x",))


# --- requests --------------------------------------------------------------------------------------------------------

FILE = InputFile("s3://b/in.mp4", 1000, "etag", frames=35, height=64, width=112, fps=10.0)
CONVERTED = VideoInfo(35, 64, 112, 10.0, conversions=("cropped",))
OTHER_FILE: dict[str, Any] = {
    "uri": "s3://b/other.mp4",
    "size": 1001,
    "version": "another",
    "frames": 36,
    "height": 65,
    "width": 113,
    "fps": 10.5,
    "taken": (3,),
    "facts": replace(CONVERTED, conversions=(), codec="h265", warnings=("doubtful",)),
}


def prepared(*files: InputFile, words: Words | None = None, **rules: Any) -> Prepared:
    request = ClipRequest("a", ("A street.",), "", 2, 0, seed=4, guidance=3.0, num_steps=2)
    return Prepared(request, files, (), InputRules(**rules), words)


def test_a_requests_hash_is_of_its_row_of_which_all_else_is_and_of_its_seed_once_it_is_another() -> None:
    assert changed(OTHER_CLIP, CLIP, lambda clip: prepared(FILE).request_hash(clip, "model")) == {"row_hash", "redone"}
    again, later = CLIP.with_next_seed(), CLIP.with_next_seed().with_next_seed()
    assert len({prepared().request_hash(clip, "model") for clip in (CLIP, again, later)}) == 3


def test_a_requests_hash_is_of_what_its_inputs_are() -> None:
    """And of how they were taken, where an earlier release did not take them so."""
    deciding = {"uri", "size", "version", "frames", "height", "width", "fps"}
    assert changed(OTHER_FILE, FILE, lambda file: prepared(file).request_hash(CLIP, "model")) == deciding
    converted = replace(FILE, facts=CONVERTED)
    table = OTHER_FILE | {"facts": replace(CONVERTED, conversions=("stretched",))}
    assert changed(table, converted, lambda file: prepared(file).request_hash(CLIP, "model")) == {
        *deciding,
        "taken",
        "facts",
    }
    assert prepared(converted).request_hash(CLIP, "model") != prepared(FILE).request_hash(CLIP, "model")


def test_a_requests_hash_is_of_the_order_of_its_inputs_and_of_how_they_are_taken() -> None:
    second = replace(FILE, uri="s3://b/second.mp4")
    rules: list[dict[str, Any]] = [
        {},
        {"rate": "as_is"},
        {"fit": "pad"},
        {"fit": "stretch"},
        {"rate": "as_is", "fit": "pad"},
    ]
    hashes = [prepared(FILE, second, **one).request_hash(CLIP, "model") for one in rules]
    hashes += [prepared(second, FILE).request_hash(CLIP, "model"), prepared(FILE, second).request_hash(CLIP, "other")]
    assert len(set(hashes)) == len(hashes)
    assert prepared(FILE, second, max_frames=7).request_hash(CLIP, "model") == hashes[0], "that only refuses"
    assert prepared(FILE, second, fit="crop").request_hash(CLIP, "model") == hashes[0], "as the family does anyway"
    of_text = {prepared(**one).request_hash(CLIP, "model") for one in rules}
    assert len(of_text) == 1, "nothing is taken"
    assert set(InputRules.model_fields) == {"rate", "fit", "max_frames"}


def stored(found: Prepared, clip: Clip = CLIP, spec: GangSpec = SPEC) -> str:
    """The name of a clip's state between two steps."""

    async def nobody(*_: Any, **__: Any) -> None:
        raise AssertionError

    preparation = Preparation(spec, Storage(spec.output), nobody)
    checkpoint, _ = asyncio.run(preparation._stored_state(clip, found))
    assert checkpoint is not None
    assert checkpoint.every == spec.settings.step_checkpoint
    return checkpoint.path


def test_a_stored_state_is_of_clip_request_model_and_words(tmp_path: Path) -> None:
    """Whatever differs: a clip that is gone on with is the one that was begun."""
    spec = replace(SPEC, output=str(tmp_path))
    words = Words(("Seen.",), "asked")
    names = [
        stored(prepared(), spec=spec),
        stored(prepared(FILE), spec=spec),
        stored(prepared(), replace(CLIP, id="b"), spec),
        stored(prepared(), replace(CLIP, row_hash="edited"), spec),
        stored(prepared(), spec=replace(spec, numerics="float32")),
        stored(prepared(words=words), spec=spec),
        stored(prepared(words=words), replace(CLIP, row_hash="edited"), spec),
        stored(prepared(words=words), spec=replace(spec, numerics="float32")),
        stored(prepared(words=replace(words, prompts=("Other.",))), spec=spec),
        stored(prepared(words=replace(words, prompts=("Seen.", "Seen."))), spec=spec),
    ]
    assert len(set(names)) == len(names)
    assert stored(prepared(words=replace(words, how="kept")), spec=spec) == names[5], "however they were come by"
    other = GangConfig(step_checkpoint=7)
    assert stored(prepared(), spec=replace(spec, settings=other)) == names[0]


def test_an_attempt_without_an_answer_is_known_by_clip_generation_and_number(tmp_path: Path) -> None:
    """Another attempt asks again; the same one, made anew with the next seed, has the row's own words."""
    asked: list[str] = []

    async def no_answer(_: str, ask: Any, **__: Any) -> str:
        asked.append(ask.words)
        raise NoWordsError("no")

    async def run() -> list[int]:
        words = GangWords(replace(SPEC, refining=LOCAL), Storage(str(tmp_path)), no_answer)
        counts = []
        for clip, attempt in (
            (CLIP, 1), (CLIP.with_next_seed(), 1), (CLIP, 2), (replace(CLIP, id="b"), 1),
            (replace(CLIP, generation=1), 1), (CLIP, 1),
        ):  # fmt: skip
            found = await words.of(clip, attempt, prepared().request)
            assert found is not None
            assert (found.prompts, found.how) == (("A street.",), "own")
            counts.append(len(asked))
        return counts

    assert asyncio.run(run()) == [1, 1, 2, 3, 4, 4]


def test_only_what_is_asked_for_has_words(tmp_path: Path) -> None:
    async def never(*_: Any, **__: Any) -> str:
        raise AssertionError

    def words(spec: GangSpec, request: ClipRequest) -> Words | None:
        return asyncio.run(GangWords(spec, Storage(str(tmp_path)), never).of(CLIP, 1, request))

    request = prepared().request
    text = ClipText((np.zeros((1, 4), np.float32),) * 2, None)
    assert words(SPEC, request) is None
    assert words(replace(SPEC, refining=LOCAL), replace(request, prompts=(), text=text)) is None
    given = replace(SPEC, refining=LOCAL, words={"a": ("Given.",), "b": ("Another's.",)})
    assert words(given, request) == Words(("Given.",), "given")
    assert words(replace(SPEC, words={"a.1": ("Another's.",)}), request) is None
