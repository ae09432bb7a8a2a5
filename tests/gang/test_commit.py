"""The last steps of a clip: its files are verified, its sidecar is written, its record is committed. In that order."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.clip.settings import Settings
from cosmos_ray.config import GangConfig, InputsConfig
from cosmos_ray.errors import LeaseLost
from cosmos_ray.gang.commit import Made, clip_folder, commit_made, record_of, sidecar_of
from cosmos_ray.gang.prepare import InputFile, Prepared
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage
from cosmos_ray.version import VERSION

CLIP = Clip("a", "a", ("A street.",), negative_prompt="blurry", n_views=2, row_hash="r" * 64, generation=3)
INPUT = InputFile("s3://b/in.mp4", 1000, "etag", frames=35, height=64, width=112, fps=10.0)


class Watched(Storage):
    """What was done, in order."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.done: list[tuple[str, str]] = []

    def stat(self, path: str) -> Any:
        self.done.append(("stat", path))
        return super().stat(path)

    def write(self, path: str, data: bytes) -> None:
        self.done.append(("write", path))
        super().write(path, data)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        self.done.append(("create", path))
        return super().write_if_absent(path, data)


@pytest.fixture
def output(tmp_path: Path) -> Watched:
    return Watched(str(tmp_path))


def spec_of(output: Storage, **changes: Any) -> GangSpec:
    spec = GangSpec(
        bundle=load_bundle("fake"),
        gang_size=2,
        device="cpu",
        numerics="reference",
        output=output.uri,
        epoch=4,
        settings=GangConfig(),
    )
    return replace(spec, **changes)


def made(output: Storage, attempt: int = 1, clip: Clip = CLIP, **changes: Any) -> Made:
    """As ranks have stored it."""
    files = []
    for view in VIEWS[: clip.n_views]:
        path = f"clips/{clip.id}/{attempt}/{view}.mp4"
        Storage.write(output, path, view.encode())
        files.append(FileEntry(view, path, len(view), hashlib.sha256(view.encode()).hexdigest()))
    request = ClipRequest(clip.id, clip.prompts, clip.negative_prompt, clip.n_views, 0, 0, 7.0, 35)
    found = Made(
        clip=clip,
        attempt=attempt,
        prepared=Prepared(request, (INPUT,)),
        gang="gang-0001",
        node="node",
        started="2026-01-01T00:00:00.000+00:00",
        peak_memory_bytes=1234,
        seconds={"denoise": 1.23456789, "decode": 2.0},
        files=tuple(files),
    )
    return replace(found, **changes)


def commit_clip(output: Storage, spec: GangSpec, clip: Made) -> Record:
    return commit_made(output, record_of(spec, clip), sidecar_of(spec, clip))


def records(output: Storage) -> list[Record]:
    return list(Ledger(Storage(output.uri)).records())


def test_a_record_says_all_of_its_clip(output: Watched) -> None:
    clip = made(output)
    spec = spec_of(output, preset="fast")
    record = commit_clip(output, spec, clip)
    assert record.sidecar is not None
    sidecar = output.read(record.sidecar.path)
    assert record.finished is not None
    assert record.finished > "2026"
    assert replace(record, finished=None) == Record(
        id="a",
        generation=3,
        status="ok",
        failure_class=None,
        attempt=1,
        error=None,
        row_hash="r" * 64,
        epoch=4,
        request_hash=clip.prepared.request_hash(CLIP, spec.fingerprint),
        gang="gang-0001",
        node="node",
        started="2026-01-01T00:00:00.000+00:00",
        seconds={"denoise": 1.234568, "decode": 2.0},
        files=clip.files,
        seed=0,
        sidecar=FileEntry("", "clips/a/1/clip.json", len(sidecar), hashlib.sha256(sidecar).hexdigest()),
        settings=Settings(
            "fake",
            0.0,
            0,
            VIEWS[:2],
            clip.clip.negative_prompt,
            EXACT.in_effect,
            "112x64",
            29,
            clip.clip.fps,
            "fast",
            "reference",
            False,
            0,
        ),
    )
    assert records(output) == [record]


def test_a_sidecar_says_how_a_clip_was_made(output: Watched) -> None:
    """Its keys are read by other tools and by `reproduce`: release 0.1's stay."""
    spec = spec_of(output, approximations=Approximations(guidance_interval=(0, 0.5)))
    clip = made(output, attempt=2, first_step=10)
    commit_clip(output, spec, clip)
    found = json.loads(output.read("clips/a/2/clip.json"))
    assert found["clip"] == json.loads(json.dumps(asdict(CLIP)))
    assert (found["attempt"], found["first_step"]) == (2, 10)
    (told,) = found["inputs"]
    assert {name: told[name] for name in ("uri", "size", "version", "frames", "height", "width", "fps")} == {
        "uri": "s3://b/in.mp4",
        "size": 1000,
        "version": "etag",
        "frames": 35,
        "height": 64,
        "width": 112,
        "fps": 10.0,
    }
    assert found["request_hash"] == clip.prepared.request_hash(CLIP, spec.fingerprint)
    assert found["model"] == {"name": "fake", "fingerprint": spec.bundle.fingerprint, "numerics": "reference"}
    assert found["approximations"] == {"guidance_interval": [0.0, 0.5]}
    assert found["gang"] == {
        "name": "gang-0001",
        "size": 2,
        "device": "cpu",
        "node": "node",
        "peak_memory_bytes": 1234,
    }
    assert found["network_calls_a_step"] == 2
    assert found["seconds"] == {"denoise": 1.234568, "decode": 2.0}
    assert found["files"] == [asdict(entry) for entry in clip.files]
    versions = found["versions"]
    assert (versions["python"], versions["cosmos-ray"]) == (platform.python_version(), VERSION)
    assert {"torch", "ray", "diffusers", "transformers", "numpy", "imageio-ffmpeg"} <= set(versions)


def test_what_was_doubtful_and_how_inputs_were_taken_is_with_the_clip(output: Watched) -> None:
    """In its record, from which the index has it, and beside it; of rules only those that are not the family's own."""
    spec = spec_of(output, inputs=InputsConfig(rate="as_is", fit="crop"))
    record = commit_clip(output, spec, made(output, warnings=("rear: cropped", "caption cut")))
    assert record.warnings == ("rear: cropped", "caption cut")
    found = json.loads(output.read("clips/a/1/clip.json"))
    assert found["warnings"] == ["rear: cropped", "caption cut"]
    assert found["input_rules"] == {"rate": "as_is"}
    stretching = spec_of(output, inputs=InputsConfig(fit="stretch"), bundle=load_bundle("tiny25"))
    commit_clip(output, stretching, made(output, attempt=2, clip=replace(CLIP, id="b")))
    assert json.loads(output.read("clips/b/2/clip.json"))["input_rules"] == {}


def test_a_clip_without_negative_prompt_takes_one_call_a_step(output: Watched) -> None:
    commit_clip(output, spec_of(output), made(output, clip=replace(CLIP, negative_prompt="")))
    assert json.loads(output.read("clips/a/1/clip.json"))["network_calls_a_step"] == 1


def test_files_first_then_the_sidecar_then_the_lease_and_the_record_last(output: Watched) -> None:
    clip = made(output)
    output.done.clear()
    record = commit_clip(output, spec_of(output), clip)
    assert record.sidecar is not None
    order = [
        *(("stat", entry.path) for entry in clip.files),
        ("write", "clips/a/1/clip.json"),
        ("stat", f"{LEASE}/00000005.json"),
    ]
    assert output.done[:4] == order
    creations = [path for what, path in output.done if what == "create"]
    assert len(creations) == 1
    assert creations[0].endswith("/a.3.json")
    assert output.done.index(("create", creations[0])) == 4


@pytest.mark.parametrize("harm", ["gone", "cut", "longer"])
def test_a_file_that_is_not_as_it_was_stored_is_no_clip(output: Watched, harm: str) -> None:
    clip = made(output)
    path = clip.files[1].path
    if harm == "gone":
        output.delete(path)
    else:
        output.write(path, b"cut" if harm == "cut" else b"cross_right and more")
    size = len("cross_right")
    found = {"gone": "nothing", "cut": "3", "longer": "20"}[harm]
    with pytest.raises(OSError, match=f"^{path}: stored {size} bytes, found {found}$"):
        commit_clip(output, spec_of(output), clip)
    assert records(output) == []
    assert not output.exists("clips/a/1/clip.json")


def test_a_view_that_nobody_published_is_no_clip(output: Watched) -> None:
    clip = made(output)
    with pytest.raises(RuntimeError, match=r"^no rank published cross_right$"):
        commit_clip(output, spec_of(output), replace(clip, files=clip.files[:1]))
    with pytest.raises(RuntimeError, match=r"^no rank published cross_right, front_wide$"):
        commit_clip(output, spec_of(output), replace(clip, files=()))
    assert records(output) == []


def test_who_lost_the_output_commits_nothing(output: Watched) -> None:
    output.write(f"{LEASE}/00000005.json", b"the next owner")
    with pytest.raises(LeaseLost):
        commit_clip(output, spec_of(output), made(output))
    assert records(output) == []


def test_a_clip_that_another_attempt_has_made_is_that_ones(output: Watched) -> None:
    first = commit_clip(output, spec_of(output), made(output, attempt=2))
    assert commit_clip(output, spec_of(output), made(output, attempt=1)) == first
    assert records(output) == [first]


def test_no_attempt_writes_into_anothers_folder() -> None:
    assert clip_folder(CLIP, 7) == "clips/a/7"


@pytest.mark.parametrize(
    ("model", "without", "under_another"),
    [
        ("tiny", 1, 2),
        ("tiny25", 1, 2),
        ("cosmos-predict2.5-2b-multiview-2025-10", 2, 2),  # against no text at all, always
        ("tiny-text2image", 2, 2),  # against no text where there is none
    ],
)
def test_a_sidecar_counts_the_network_calls_of_a_step_as_its_family_makes_them(
    output: Watched, model: str, without: int, under_another: int
) -> None:
    spec = spec_of(output, bundle=load_bundle(model))
    clips = [replace(CLIP, negative_prompt=negative) for negative in ("", "ugly")]
    counts = [sidecar_of(spec, made(output, clip=clip))["network_calls_a_step"] for clip in clips]
    assert counts == [without, under_another]
