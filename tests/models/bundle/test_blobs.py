"""Large files of the hub by the sha256 in their blob's name: one that differs is downloaded once more."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.references import HubFile

pytestmark = pytest.mark.usefixtures("own_cache")
GOOD, SPOILT = b"as published", b"spoilt"
SHA256 = hashlib.sha256(GOOD).hexdigest()
FILE = HubFile(repo="owner/repo", revision="0123456789" * 4, path="weights.pt")


class Snapshot:
    """A file of a snapshot: a link to its blob. comes: what each download brings."""

    def __init__(self, folder: Path, name: str = SHA256, holds: bytes = GOOD) -> None:
        (folder / "blobs").mkdir(parents=True)
        (folder / "snapshots").mkdir()
        self.blob, self.path = folder / "blobs" / name, folder / "snapshots" / "weights.pt"
        self.blob.write_bytes(holds)
        self.path.symlink_to(Path("..", "blobs", name))
        self.comes = [GOOD]
        self.asked = 0

    def download(self, of: HubFile, name: str) -> Path:
        assert (of, name) == (FILE, "weights.pt")
        assert not self.blob.exists(), "what differs is removed first: else it would be found, and taken"
        self.asked += 1
        self.blob.write_bytes(self.comes.pop(0))
        return self.path


@pytest.mark.parametrize(
    ("name", "holds", "asked"),
    [
        (SHA256, GOOD, 0),
        (SHA256, SPOILT, 1),
        ("a" * 40, SPOILT, 0),  # git's own hash, of small files
    ],
)
def test_a_blob_that_is_not_what_its_name_says_is_downloaded_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, holds: bytes, asked: int
) -> None:
    file = Snapshot(tmp_path / "hub", name, holds)
    monkeypatch.setattr(hub, "_download", file.download)
    hub._check_blob(FILE, file.path, "weights.pt")
    assert file.asked == asked
    assert file.path.read_bytes() == (GOOD if asked else holds)


def test_one_that_is_wrong_again_is_told_and_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Snapshot(tmp_path / "hub", holds=SPOILT)
    file.comes = [b"spoilt too"]
    monkeypatch.setattr(hub, "_download", file.download)
    with pytest.raises(UsageError, match=rf"weights.pt of .*expected {SHA256} \(downloaded twice\)"):
        hub._check_blob(FILE, file.path, "weights.pt")
    assert not file.blob.exists()


def test_one_that_another_process_has_mended_meanwhile_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Snapshot(tmp_path / "hub")
    found = ["0" * 64, SHA256]
    monkeypatch.setattr(hub, "_sha256_of", lambda path: found.pop(0))
    monkeypatch.setattr(hub, "_download", file.download)
    hub._check_blob(FILE, file.path, "weights.pt")
    assert (file.asked, file.blob.exists(), found) == (0, True, [])


def test_one_that_another_process_has_just_removed_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Snapshot(tmp_path / "hub")
    file.blob.unlink()
    monkeypatch.setattr(hub, "_download", file.download)
    hub._check_blob(FILE, file.path, "weights.pt")
    assert (file.asked, file.path.read_bytes()) == (1, GOOD)


def test_a_blob_that_is_a_link_itself_is_removed_with_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client keeps what repositories share in one place, under other names."""
    file = Snapshot(tmp_path / "hub")
    shared = tmp_path / "shared"
    shared.write_bytes(SPOILT)
    file.blob.unlink()
    file.blob.symlink_to(shared)
    monkeypatch.setattr(hub, "_download", file.download)
    hub._check_blob(FILE, file.path, "weights.pt")
    assert not shared.exists()
    assert (file.blob.is_symlink(), file.path.read_bytes()) == (False, GOOD)


def test_what_is_no_link_has_no_name_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / SHA256).write_bytes(SPOILT)
    monkeypatch.setattr(hub, "_download", None)
    hub._check_blob(FILE, path, "weights.pt")
    assert path.read_bytes() == SPOILT
