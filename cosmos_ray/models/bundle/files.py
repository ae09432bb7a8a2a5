"""Where a bundle's files are on this machine, and whether they are what the bundle says. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import fetch, hub
from cosmos_ray.models.bundle.bundle import Bundle, FileKind
from cosmos_ray.models.bundle.cache import cache_root, content_sha256
from cosmos_ray.models.bundle.references import FileRef, OwnCheckpoint, RandomWeights

#: Of a network that one has to have trained oneself.
NOT_PUBLISHED = (
    "no checkpoint of this network was published: `--set model.dit=FILE` (or `--dit_path`) names one of yours"
)


def local_path(bundle: Bundle, kind: FileKind) -> Path:
    """The file or folder of one part on this machine, fetched into a cache first if it is remote.

    Raises UsageError if it cannot be had, or has another sha256 than the bundle says: nothing is made of a file before.
    What was verified on this machine and not written to since is not read again.
    """
    reference = _file_reference(bundle, kind)
    hub_file = reference.hub()
    if hub_file is not None:
        return hub.fetch(hub_file, kind)
    path = _place(bundle, kind, reference)
    root = bundle.root_of(kind)
    if "://" in root:
        fetch.fetch(f"{root}/{reference.uri}", path, str(reference.sha256))
    elif not _is_there(path):
        raise UsageError(f"bundle `{bundle.name}`: files.{kind} not found at {path}")
    elif (found := content_sha256(path)) != reference.sha256:
        raise UsageError(f"{path}: found sha256 {found}, expected {reference.sha256}")
    return path


def cached_path(bundle: Bundle, kind: FileKind) -> Path | None:
    """As `local_path`, of a part that is here already; else None. Asks no network."""
    reference = _file_reference(bundle, kind)
    hub_file = reference.hub()
    if hub_file is not None:
        return hub.cached(hub_file, kind)
    path = _place(bundle, kind, reference)
    return path if _is_there(path) else None


def _is_there(path: Path) -> bool:
    """A pipe or a device is not: reading it might have no end."""
    return path.is_file() or path.is_dir()


def fetch_bundle(bundle: Bundle) -> Iterator[tuple[FileKind, Path]]:
    """Each part and where it now is on this machine, one after the other, verified. Raises UsageError."""
    for kind in bundle.kinds:
        if isinstance(bundle.file(kind), FileRef):
            yield kind, local_path(bundle, kind)


def source_key(bundle: Bundle, kind: FileKind) -> str:
    """What fixes the content of one part: its sha256, or its place on the hub and the revision."""
    reference = _file_reference(bundle, kind)
    return reference.sha256 or reference.uri


def _place(bundle: Bundle, kind: FileKind, reference: FileRef) -> Path:
    """Remote files are cached under their sha256, so that a changed one is never taken for the old one."""
    root = bundle.root_of(kind)
    if "://" in root:
        return cache_root() / "bundles" / str(reference.sha256) / Path(reference.uri).name
    return Path(root, reference.uri)


def _file_reference(bundle: Bundle, kind: FileKind) -> FileRef:
    reference = bundle.file(kind)
    if isinstance(reference, RandomWeights):
        raise UsageError(f"bundle `{bundle.name}`: files.{kind} are random weights, there is no file")
    if isinstance(reference, OwnCheckpoint):
        raise UsageError(f"model `{bundle.name}`: {NOT_PUBLISHED}")
    return reference
