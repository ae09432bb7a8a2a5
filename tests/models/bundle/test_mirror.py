"""A model copied whole: its files, what the hub has of them, and the hashes that every node checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import mirror as module
from cosmos_ray.models.bundle.bundle import Bundle, FileKind, load_bundle
from cosmos_ray.models.bundle.cache import content_sha256, folder_sha256
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.files import local_path
from cosmos_ray.models.bundle.mirror import mirror
from cosmos_ray.models.bundle.references import FileRef

pytestmark = pytest.mark.usefixtures("own_cache")

TINY = load_bundle("tiny")
#: Of a repository: what T5 and its tokenizer load, and what somebody else's program has fetched beside it.
REPOSITORY = (
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tf_model.h5",
    "spiece.model",
    "tokenizer.json",
)


def test_a_copy_is_a_model_of_its_own_with_the_same_files(tmp_path: Path) -> None:
    copy = mirror(TINY, str(tmp_path / "copy"))
    assert copy == load_bundle(str(tmp_path / "copy"))
    assert copy.name == "tiny.mirror"
    assert copy.fingerprint != TINY.fingerprint
    assert {finding.level for finding in check_bundle(copy)} == {"ok"}
    kinds: tuple[FileKind, ...] = ("dit", "vae")
    for kind in kinds:
        assert local_path(copy, kind).parent == tmp_path / "copy"
        assert content_sha256(local_path(copy, kind)) == content_sha256(local_path(TINY, kind))


def test_a_copy_that_is_there_is_verified_and_another_model_is_never_written_over(tmp_path: Path) -> None:
    """A Job of Kubernetes that is run again ends well."""
    copy, place = mirror(TINY, str(tmp_path / "copy")), tmp_path / "copy"
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert mirror(TINY, str(place)) == copy
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    with pytest.raises(UsageError, match=r"already, of another model \(`tiny\.mirror`\): --to takes another"):
        mirror(load_bundle("tiny25"), str(place))
    vae = next(place.glob("vae*"))
    data = vae.read_bytes()
    vae.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UsageError, match=r"found sha256 .*, expected "):
        mirror(TINY, str(place))
    vae.unlink()
    with pytest.raises(UsageError, match="not found at"):
        mirror(TINY, str(place))


def test_a_copy_that_was_cut_off_is_no_model_and_is_made_whole(tmp_path: Path) -> None:
    mirror(TINY, str(tmp_path / "copy"))
    (tmp_path / "copy" / "bundle.json").unlink()
    (tmp_path / "copy" / "vae.safetensors").write_bytes(b"half")
    with pytest.raises(UsageError, match="found no readable bundle"):
        load_bundle(str(tmp_path / "copy"))
    assert {finding.level for finding in check_bundle(mirror(TINY, str(tmp_path / "copy")))} == {"ok"}


def test_of_a_repository_what_the_model_loads_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer's copy has no weights, and neither has a format that nobody reads."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in REPOSITORY:
        (snapshot / name).write_text(name)
    (tmp_path / "dit.pt").write_text("network")
    monkeypatch.setattr(module, "local_path", lambda _, kind: found(tmp_path, kind))
    copy = mirror(load_bundle("cosmos-predict2-2b-multiview"), str(tmp_path / "copy"))
    assert reference(copy, "dit").uri == "dit.pt"
    assert names(tmp_path / "copy" / "text_encoder") == {*REPOSITORY} - {"tf_model.h5"}
    assert names(tmp_path / "copy" / "tokenizer") == {"config.json", "spiece.model", "tokenizer.json"}
    kinds: tuple[FileKind, ...] = ("text_encoder", "tokenizer")
    for kind in kinds:
        assert reference(copy, kind).sha256 == folder_sha256(tmp_path / "copy" / kind)


def found(folder: Path, kind: str) -> Path:
    """Where the hub's client would have put it."""
    return folder / "dit.pt" if kind in ("dit", "vae") else folder / "snapshot"


def reference(bundle: Bundle, kind: FileKind) -> FileRef:
    one = bundle.file(kind)
    assert isinstance(one, FileRef)
    return one


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_model_without_files_has_no_copy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`fake` has no files to copy"):
        mirror(load_bundle("fake"), str(tmp_path / "copy"))
