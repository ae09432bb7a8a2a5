"""What `cosmos-ray reproduce` asks for, compares and says, without making a clip (test_reproduce.py makes them).

* the row that it makes asks for the same clip, by its hash, whatever the first row said
* of two videos it says how far apart they are, and of two sidecars what is not as it was
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.job_runs import write_manifest

from cosmos_ray.clip.encode import encode_mp4, encode_png
from cosmos_ray.clip.family import TEXT2IMAGE, TRANSFER25, VIDEO2WORLD, Family
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.config import GangConfig, build_config
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.job import reproduce
from cosmos_ray.job.plan import manifest_clips
from cosmos_ray.job.reproduce import Difference
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.rows import Clip, RowDefaults
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry", seed=3)
OTHERS = RowDefaults(n_views=7, num_steps=10, guidance=1.0, negative_prompt="", seed=0)
CAMERAS = {view: f"s3://b/{view}.mp4" for view in VIEWS}
ROWS: dict[str, dict[str, Any]] = {
    "text": {"prompt": "A street."},
    "list of one": {"prompt": ["A street."]},
    "a caption a view": {"prompt": [f"View {view}." for view in VIEWS]},
    "settings": {
        "prompt": "A street.",
        "negative_prompt": "",
        "guidance": 0.0,
        "seed": 9,
        "num_steps": 2,
        "n_views": 3,
        "fps": 24,
    },
    "embedding": {"prompt_embedding": "s3://b/e.pt"},
    "one video": {"prompt": "A street.", "input_video": "s3://b/in.mp4", "num_conditional_frames": 5},
    "a video a view": {"prompt": "A street.", "input_videos": [CAMERAS[view] for view in VIEWS]},
    "named cameras": {"prompt": "A street.", "input_videos": CAMERAS},
    "one view": {"prompt": "A street.", "input_videos": ["s3://b/in.mp4"], "n_views": 1},
    "samples": {"prompt": "A street.", "num_samples": 3, "seed": 5},
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_its_row_asks_for_the_same_clip_whatever_the_job_leaves_out(tmp_path: Path, row: dict[str, Any]) -> None:
    """By the hash of all that decides a video; the settings that the first job gave are in the row."""
    first = write_manifest(tmp_path / "first.parquet", [{"id": "a", **row}])
    for clip in manifest_clips(first, DEFAULTS):
        assert clip.error is None
        clip = Clip.from_json(clip.to_json())  # as it was in the sidecar
        (tmp_path / "again.parquet").write_bytes(reproduce._manifest_of(clip))
        (again,) = manifest_clips(str(tmp_path / "again.parquet"), OTHERS)
        assert (again.id, again.error, again.row_hash) == (clip.id, None, clip.row_hash)


@pytest.mark.parametrize(
    ("family", "row"),
    [
        (VIDEO2WORLD, {"input_video": "s3://b/in.mp4", "num_conditional_frames": 5, "num_chunks": 2}),
        (VIDEO2WORLD, {"input_video": "s3://b/in.JPG"}),
        (TEXT2IMAGE, {}),
        (TRANSFER25, {"control_videos": ["s3://b/map.mp4"], "num_chunks": 3, "chunk_overlap": 9}),
        (TRANSFER25, {"control_videos": ["s3://b/map.mp4"], "num_chunks": 2, "chunk_overlap": 1}),
    ],
    ids=["a video", "a picture", "a caption", "chunks", "two chunks"],
)
def test_so_does_a_row_of_one_view(tmp_path: Path, family: Family, row: dict[str, Any]) -> None:
    defaults, others = (replace(one, n_views=1, family=family.name) for one in (DEFAULTS, OTHERS))
    first = write_manifest(tmp_path / "first.parquet", [{"id": "a", "prompt": "A cup.", **row}])
    (clip,) = manifest_clips(first, defaults)
    assert clip.error is None
    (tmp_path / "again.parquet").write_bytes(reproduce._manifest_of(Clip.from_json(clip.to_json())))
    (again,) = manifest_clips(str(tmp_path / "again.parquet"), others)
    assert (again.cameras, again.error, again.row_hash) == (clip.cameras, None, clip.row_hash)


# --- videos ----------------------------------------------------------------------------------------------------------


def compare(folder: Path, one: bytes, other: bytes) -> Difference:
    storages = [Storage(str(folder / name)) for name in ("old", "new")]
    records = []
    for storage, data in zip(storages, (one, other), strict=True):
        storage.write("rear.mp4", data)
        files = (FileEntry("front_wide", "x", 0, ""), FileEntry("rear", "rear.mp4", 0, ""))
        records.append(Record("a", 0, "ok", None, 1, None, "h", 1, files=files))
    return reproduce._compare("rear", storages[0], records[0], storages[1], records[1])


def test_of_two_videos_it_says_how_far_apart_they_are(tmp_path: Path) -> None:
    def grey(level: int, frames: int = 3) -> bytes:
        return encode_mp4(np.full((frames, 32, 48, 3), level, np.uint8), 10)

    assert compare(tmp_path, grey(90), grey(90)) == Difference("rear", True, None, 0)
    assert compare(tmp_path, grey(90), grey(90) + b"\x00\x00\x00\x08free") == Difference("rear", False, None, 0)
    found = compare(tmp_path, grey(200), grey(90))
    assert not found.same_bytes
    assert found.max_levels == pytest.approx(110, abs=2)
    assert found.psnr_db == pytest.approx(20 * math.log10(255 / found.max_levels), abs=0.1)
    with pytest.raises(CosmosRayError, match=r"rear\.mp4 has frames of \(3, 32, 48, 3\), made again \(2, 32, 48, 3\)"):
        compare(tmp_path, grey(90), grey(90, frames=2))


def test_of_two_pictures_too(tmp_path: Path) -> None:
    one, other = (encode_png(np.full((32, 48, 3), level, np.uint8)) for level in (90, 95))
    assert compare(tmp_path, one, one) == Difference("rear", True, None, 0)
    assert compare(tmp_path, one, other).max_levels == 5


def test_a_difference_in_words() -> None:
    assert Difference("rear", True, None, 0).in_words() == "the same bytes"
    assert Difference("rear", False, None, 0).in_words() == "the same frames in other bytes"
    assert Difference("rear", False, 41.26, 9).in_words() == "41.3 dB, colours at most 9 of 255 levels apart"


# --- circumstances ---------------------------------------------------------------------------------------------------


def sidecar(**changes: Any) -> dict[str, Any]:
    return {
        "inputs": [{"uri": "s3://b/in.mp4", "size": 3, "version": "etag"}],
        "versions": {"torch": "2.1", "ray": "2.60"},
        "gang": {"size": 2, "device": "cuda", "name": "gang-0001", "node": "a", "peak_memory_bytes": 1},
        "model": {"name": "fake", "fingerprint": load_bundle("fake").fingerprint, "numerics": "float32"},
        **changes,
    }


def test_what_is_not_as_it_was_is_said_and_what_does_not_matter_is_not() -> None:
    elsewhere = {"size": 2, "device": "cuda", "name": "gang-0007", "node": "b", "peak_memory_bytes": 2}
    assert list(reproduce._other_circumstances(sidecar(), sidecar(gang=elsewhere))) == []
    now = sidecar(
        inputs=[{"uri": "s3://b/in.mp4", "size": 4, "version": "other"}],
        versions={"torch": "2.2", "numpy": "2"},
        gang={**elsewhere, "size": 1, "device": "cpu"},
    )
    assert list(reproduce._other_circumstances(sidecar(), now)) == [
        "input s3://b/in.mp4 is not as it was: size was 3, is 4, version was etag, is other",
        "versions: numpy was None, is 2, ray was 2.60, is None, torch was 2.1, is 2.2",
        "gang: device was cuda, is cpu, size was 2, is 1",
    ]


def test_only_the_model_that_made_the_clip_may_make_it_again() -> None:
    flags = {"manifest": "m", "output": "o", "model": "fake", "sampling": {"numerics": "float32"}}
    reproduce._check_model(build_config(flags), sidecar())
    with pytest.raises(UsageError, match="model tiny is not the one that made the clip: found fingerprint"):
        reproduce._check_model(build_config({**flags, "model": "tiny"}), sidecar())
    assert reproduce._model_of(sidecar()) == "fake"
    with pytest.raises(UsageError, match="a bundle named `/etc`: --model must say in which folder it is"):
        reproduce._model_of(sidecar(model={"name": "/etc"}))


# --- which clip ------------------------------------------------------------------------------------------------------


def test_only_a_clip_that_was_made_has_something_to_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its newest record counts."""
    storage = Storage(str(tmp_path))
    ledger = Ledger(storage)
    ledger.commit(Record("a", 0, "failed", "oom", 1, "out of memory", "h", 1))
    with pytest.raises(UsageError, match=r"clip `a` of .* was not made \(oom\): out of memory"):
        reproduce._record(storage, "a")
    monkeypatch.setattr(reproduce, "run_of", lambda output: None)  # an output of a job
    with pytest.raises(UsageError, match="has no clip `b`"):
        reproduce._record(storage, "b")
    ledger.retry()
    storage.write("clip.json", b"{}")
    entry = FileEntry("", "clip.json", 2, hashlib.sha256(b"{}").hexdigest())
    made = ledger.commit(Record("a", 1, "ok", None, 2, None, "h", 1, sidecar=entry))
    assert reproduce._record(storage, "a") == made
    assert reproduce._sidecar(storage, made) == {}
    storage.write("clip.json", b"[]")
    with pytest.raises(UsageError, match=r"clip\.json: found 2 bytes of another sha256"):
        reproduce._sidecar(storage, made)


def test_a_model_of_the_same_name_and_other_weights_is_another_model() -> None:
    """What counts is what it is made of; a folder elsewhere with the same is the same."""
    config = build_config({"manifest": "m", "output": "o", "model": "tiny"})
    fingerprint = load_bundle("tiny").fingerprint
    reproduce._check_model(config, {"model": {"name": "renamed", "fingerprint": fingerprint}})
    with pytest.raises(UsageError, match=f"found fingerprint {fingerprint}, expected {'0' * 64} of `tiny`"):
        reproduce._check_model(config, {"model": {"name": "tiny", "fingerprint": "0" * 64}})


# --- what is asked of the job ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, {}),
        ({"model": "tiny"}, {"model": "tiny"}),
        ({"gang_size": 1}, {"gang_size": 1}),
        ({"assignments": ["gang.max_attempts=9"]}, {"max_attempts": 9}),
        ({"assignments": ["gang_size=4"]}, {"gang_size": 4}),
    ],
    ids=["nothing", "model", "gang", "a setting", "a setting that is a flag's"],
)
def test_the_job_is_that_of_the_clip_but_for_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Its row, its model, its gang's size, its settings and its refined words."""
    asked: list[Any] = []

    def work_through(config: Any, say: Any, about: Any, words: Any) -> None:
        about("of no interest")
        asked.append((config, words))
        raise CosmosRayError("enough")

    monkeypatch.setattr("cosmos_ray.job.job.work_through", work_through)
    monkeypatch.setattr(reproduce, "_check_model", lambda *_: None)
    first = write_manifest(tmp_path / "first.parquet", [{"id": "a", "prompt": "A street."}])
    (clip,) = manifest_clips(first, DEFAULTS)
    facts = sidecar(
        clip=asdict(clip), approximations={"solver": "unipc"}, input_rules={"fit": "pad"}, refined_prompts=["Wet."],
        guardrails={"settings": {"enabled": True}},
    )  # fmt: skip
    monkeypatch.setattr(reproduce, "_record", lambda *_: None)
    monkeypatch.setattr(reproduce, "_sidecar", lambda *_: facts)
    for to in (None, str(tmp_path / "kept")):
        heard: list[str] = []
        with pytest.raises(CosmosRayError, match="enough"):
            reproduce.reproduce(str(tmp_path / "out"), "a", heard.append, to=to, **said)
        assert heard == []
        config, words = asked.pop()
        found = {
            "model": config.model, "gang_size": config.gang_size, "max_attempts": config.gang.max_attempts,
            "numerics": config.sampling.numerics, "solver": config.sampling.solver, "fit": config.inputs.fit,
            "guardrails": config.guardrails.enabled,
        }  # fmt: skip
        assert found == {
            "model": "fake", "gang_size": 2, "max_attempts": GangConfig().max_attempts, "numerics": "float32",
            "solver": "unipc", "fit": "pad", "guardrails": True, **expected,
        }  # fmt: skip
        assert words == {"a": ("Wet.",)}
        where = Path(config.output).parent
        assert Path(config.manifest) == where / "manifest.parquet"
        assert where == Path(to) if to else where.is_relative_to(tmp_path / "out")
        assert where.exists() == (to is not None), "what nobody asked for is removed, also of a clip that is not made"
