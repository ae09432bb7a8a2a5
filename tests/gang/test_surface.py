"""Tables of what gangs and refiners are told, and of the keys that follow, beside how they were
(`tests/golden-surfaces/gang`)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from support.other_clip import OTHER_CLIP
from support.surfaces import assert_as_it_was

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.family import FAMILIES
from cosmos_ray.clip.guardrail_rules import CheckFacts, GuardrailRules, Guardrails
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.gang.fits import fault_of
from cosmos_ray.gang.prepare import InputFile, Prepared
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import checkpoint_of
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, load_bundle
from cosmos_ray.refine.answers import NoWordsError, words_of
from cosmos_ray.refine.asks import Refining, asks_of, camera_name, plain

FAKE = load_bundle("fake")
CLIP = Clip("a", "a", ("A street.",), n_views=2, num_steps=2, seed=4, row_hash="row")


def said(make: Any) -> str:
    try:
        return str(make())
    except (RowError, UsageError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except NoWordsError as error:
        return f"{error} {error.is_rows} {error.passes} {error.after_s} {error.status}"


def test_keys_of_gangs() -> None:
    checks = (CheckFacts("blur", "1", False, True, True), CheckFacts("words", "2", True, False))
    rules = {
        "nothing": RefinerRules(), "local": RefinerRules(backend="local", model="hf://o/r@1"),
        "endpoint": RefinerRules(backend="endpoint", url="http://h:1/v1/", temperature=0.5),
        "each": RefinerRules(backend="endpoint", url="http://h:1/v1", captions="each", frames=2, timeout_s=3),
    }  # fmt: skip
    refined = {name: Refining(one, "m", "do it") for name, one in rules.items()}
    lines = [f"{name}: {one.deciding} {one.rules.answer_s} {one.rules.is_on}" for name, one in refined.items()]
    for (name, refining), some, chosen in product(
        refined.items(), ((), checks[:1], checks), (Approximations(), Approximations(solver="unipc"))
    ):
        guardrails = Guardrails(GuardrailRules(enabled=bool(some), own=("mine",)), some)
        spec = GangSpec(
            FAKE, 2, "cpu", "reference", "/out", 1, GangConfig(), chosen, refining=refining, guardrails=guardrails
        )
        lines.append(f"{name} {len(some)} {chosen.chosen}: {spec.fingerprint} {spec.standard} {spec.loaded[:4]}")
        lines.append(f"    {spec.loaded[4].model!r} {guardrails.versions} {guardrails.of_pixels} {guardrails.chosen}")
        lines.append(f"    {guardrails.as_json()}")
    for wanted, device, model in product(("auto", "always", "never"), ("cpu", "cuda"), ("fake", "tiny")):
        settings = GangConfig().model_copy(update={"spare_ranks": wanted})
        has = GangSpec(load_bundle(model), 2, device, "reference", "/out", 1, settings).has_spares
        lines.append(f"spares {wanted} {device} {model}: {has}")
    assert_as_it_was("gang/keys.txt", "\n".join(lines))


def test_keys_of_requests() -> None:
    request = ClipRequest("a", ("A street.",), "", 2, 0, seed=4, guidance=3.0, num_steps=2)
    facts = VideoInfo(35, 64, 112, 10.0, conversions=("cropped",))
    file = InputFile("s3://b/in.mp4", 1000, "etag", frames=35, height=64, width=112, fps=10.0)
    files = {
        "none": (), "one": (file,), "two": (file, replace(file, uri="x")),
        "converted": (replace(file, facts=facts, taken=(3, 4)),), "as it is": (replace(file, taken=(3, 4)),),
    }  # fmt: skip
    lines = []
    for (name, some), rules, clip in product(
        files.items(), (InputRules(), InputRules(fit="pad"), InputRules(rate="as_is")), (CLIP, replace(CLIP, redone=2))
    ):
        key = Prepared(request, some, rules=rules).request_hash(clip, "model")
        lines.append(f"{name} {rules.chosen} {clip.redone}: {key}")
        for every in (1, 7):
            lines.append(f"    {checkpoint_of(clip.id, key, every)}")
    lines += [f"{name}: {[one.deciding for one in some]}" for name, some in files.items()]
    assert_as_it_was("gang/requests.txt", "\n".join(lines))


def test_rows_that_models_cannot_make() -> None:
    lines = []
    for name in sorted(folder.name for folder in BUILT_IN_FOLDER.iterdir() if (folder / "bundle.json").is_file()):
        bundle = load_bundle(name)
        rows = {"plain": CLIP, **{key: replace(CLIP, **{key: value}) for key, value in OTHER_CLIP.items()}}
        rows["steered"] = replace(CLIP, controls=("c.mp4",), num_chunks=2)
        rows["goes on"] = replace(CLIP, num_chunks=3, num_conditional_frames=5, chunk_overlap=4)
        rows["too much"] = replace(CLIP, controls=("c.mp4",), num_chunks=3, chunk_overlap=99)
        lines += [f"{name} {key}: {fault_of(row, bundle)}" for key, row in rows.items()]
    assert_as_it_was("gang/fits.txt", "\n".join(lines))


def test_what_refiners_are_asked() -> None:
    frames = np.arange(3 * 5 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 5, 2, 2, 3)
    lines = []
    for captions, most, shown, prompts, name in product(
        ("one", "each"), (None, 0, 2), (None, frames), (("a {camera}",), ("a", " ", "c <|im_end|>"), ()),
        ("predict2-multiview", "predict2.5-multiview"),
    ):  # fmt: skip
        rules = RefinerRules(backend="local", model="hf://o/r@1", captions=captions, frames=most)  # type: ignore[arg-type]
        refining = Refining(rules, "m", "do it")
        for views in (VIEWS[:3], ("rear", "front_wide", "front_tele")):
            asked = [
                one and (one.words, None if one.frames is None else one.frames.ravel()[::7].tolist(), one.key(refining))
                for one in asks_of(prompts, views, shown, FAMILIES[name], rules)
            ]
            lines.append(f"{captions} {most} {shown is not None} {prompts} {name} {views[0]}: {asked}")
    lines += [camera_name("front_wide"), plain("<|a|> < |b|>")]
    answers: list[object] = [
        "A street.", ' "A street."  ', "\u201cA\u201d", '"a" and "b"', "<think>x</think> A\nb\tc", "<think>x", "",
        "...", "<html>a", "< b > a", "I'm sorry, no", "Sorry, no", "Sorrel", "we cannot", "As an AI model",
        "\x1b[1mbold\x1b[0m",
        "a\u200db\u200e", "a" * 128, "a" * 129, "a" * 256, "a" * 257, None, 3, b"a", "\x1b]0;t\x07a", "</THINK>b",
    ]  # fmt: skip
    lines += [f"{str(one)[:40]!r}: {said(lambda one=one: repr(words_of(one, 16))[:160])}" for one in answers]
    assert_as_it_was("gang/asked.txt", "\n".join(lines))
