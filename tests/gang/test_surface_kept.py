"""What faults of ranks mean, how long clips may take and all that is kept of a clip, as texts.

They are `tests/golden-surfaces/gang`: a part of a record or a sidecar that changes in silence is a line that
differs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import pytest
from support.surfaces import as_lines, assert_as_it_was, masked

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.check_rules import Mark
from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.guardrail_rules import CheckFacts, GuardrailRules, Guardrails
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.errors import RowError
from cosmos_ray.gang import commit as commit_module
from cosmos_ray.gang.clip_progress import at_of
from cosmos_ray.gang.commit import Made, clip_folder, record_of, sidecar_of
from cosmos_ray.gang.deadline import Pace
from cosmos_ray.gang.prepare import InputFile, Prepared, refuse_doubtful
from cosmos_ray.gang.previews import preview_path
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import checkpoint_of
from cosmos_ray.gang.verdict import GangBrokenError, storage_fault, verdict
from cosmos_ray.ledger.record import FileEntry, Try
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Refining
from cosmos_ray.refine.refiner import Words

FAKE = load_bundle("fake")
BLUR = CheckFacts("blur", "1", False, True, True)
TEXTS = CheckFacts("list", "2", True, False)
GUARDED = Guardrails(GuardrailRules(enabled=True, own=("x",)), (TEXTS, BLUR))
REFINED = Refining(RefinerRules(backend="local", model="hf://a/b@c", captions="each", temperature=0.5), "m", "do it")
SPEC = GangSpec(FAKE, 2, "cpu", "reference", "/out", 4, GangConfig())
SPECS = {
    "plain": SPEC,
    "refined": replace(SPEC, refining=REFINED),
    "guarded": replace(SPEC, guardrails=GUARDED, preset="fast", approximations=Approximations(attention="fp8")),
}


def refusal(function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except (RowError, NoWordsError) as error:
        return f"{type(error).__name__}: {error}"


CLIP = Clip("a", "a", ("A street.",), n_views=2, num_steps=4, row_hash="r" * 64, generation=3, seed=7)


class OutOfMemoryError(RuntimeError):
    """As torch's is called."""


FAULTS: dict[str, list[BaseException | None]] = {
    "the row's": [RowError("a"), RowError("a")], "one's": [RowError("a"), None],
    "not one": [RowError("a"), RowError("b")],
    "too few": [RowError("a")], "of a class": [RowError("a", "oom"), None], "memory": [MemoryError("x"), None],
    "a GPU's": [OutOfMemoryError("x\ny"), OutOfMemoryError("x\ny")], "any": [ValueError("x\ny"), None],
    "broken": [ValueError("x"), GangBrokenError("lost", "gone")], "kinds": [RowError("a"), ValueError("a")],
}  # fmt: skip


def test_what_faults_of_ranks_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "host")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/scratch")
    text = []
    for method, (name, faults) in product(("denoise", "check_captions", "embed", "publish", "refine"), FAULTS.items()):
        found = verdict(method, faults, 2)
        text.append(f"{method}, {name}: {found!r} {getattr(found, 'failure_class', '')}")
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        text.append(f"{storage_fault(OSError(number, 'words'))}")
    for words, strict in product(((), ("a", "b")), (False, True)):
        text.append(f"{words} {strict}: {refusal(refuse_doubtful, words, strict)}")
    assert_as_it_was("gang/faults.txt", "\n".join(text))


def test_how_long_a_clip_may_take_and_how_far_it_is() -> None:
    settings = GangConfig(deadline_first_s=900, deadline_min_s=60, deadline_factor=4)
    text = []
    for denoise, publish in ((0.0, 0.0), (1.0, 2.0), (30.0, 50.0)):
        pace = Pace(denoise, publish)
        text.append(
            f"{pace}: {[pace.of_denoise(settings, work) for work in (0.0, 1.0, 20.0)]} {pace.of_rest(settings)}"
        )
    for step, ends, now in product((0, 1, 4, 5), (None, 130.0), (110.0, 140.0)):
        text.append(f"{step} {ends} {now}: {at_of(CLIP, step, 100.0, ends, now)}")
    for every in (1, 4):
        kept = checkpoint_of("a", "0123456789abcdef" * 4, every)
        text.append(f"{kept} {[step for step in range(10) if kept.wants(step)]}")
    assert_as_it_was("gang/pace.txt", "\n".join(text))


def made(spec: GangSpec, words: Words | None) -> Made:
    files = tuple(FileEntry(view, f"{clip_folder(CLIP, 2)}/{view}.mp4", 5, "f" * 64) for view in CLIP.cameras)
    info = VideoInfo(35, 64, 112, 10.0, conversions=("turned",))
    inputs = (InputFile("s3://b/a.mp4", 9, "etag", 35, 64, 112, 10.0, (1, 2), info), InputFile("b.png", 3, "2"))
    request = ClipRequest("a", CLIP.prompts, "", 2, 0, 7, 7.0, 4)
    prepared = Prepared(request, inputs, ("doubt",), InputRules(rate="as_is"), words)
    return Made(
        CLIP, 2, prepared, "gang-0001", "node", "2031-01-01T00:00:00.000+00:00", 1234,
        {"denoise": 1.23456789}, files, (FileEntry("preview", "p", 1, "e" * 64),), ("w",), 3,
        {"front_wide": Scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)}, (Mark("black", "rear", 0.9, 0.5),),
        (Try(6, ("m",), {}),), {"rear": 2},
    )  # fmt: skip


def test_all_that_is_kept_of_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module, "_versions", dict)
    text = []
    cases = {
        "plain": None,
        "refined": Words(("A busy street.",), "asked"),
        "guarded": Words(CLIP.prompts, "own", "out"),
    }
    for name, words in cases.items():
        spec = SPECS[name]
        facts = {"record": asdict(record_of(spec, made(spec, words))), "sidecar": sidecar_of(spec, made(spec, words))}
        for one in facts.values():
            one["request_hash"] = len(one["request_hash"])  # it has the fingerprint of the code
        facts["sidecar"]["model"]["fingerprint"] = ""
        text += [f"== {name}", *as_lines(facts), f"   {made(spec, words).prepared.words}"]
    text += [str(one.deciding) for one in made(SPEC, None).prepared.inputs]
    text.append(preview_path("a", 3, FileEntry("preview", "preview.jpg", 1, "")))
    assert_as_it_was("gang/kept.txt", masked("\n".join(text)))
