"""A model copied whole, with the hashes of all that it is, to a folder or a store of one's own. No torch, no Ray."""

from __future__ import annotations

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import BUNDLE_FILE, Bundle, FileKind, load_bundle
from cosmos_ray.models.bundle.cache import content_sha256, folder_sha256
from cosmos_ray.models.bundle.derive import copy_part, files_of, write_bundle
from cosmos_ray.models.bundle.files import fetch_bundle, local_path
from cosmos_ray.models.bundle.hub import wanted_files
from cosmos_ray.models.bundle.references import FileRef
from cosmos_ray.store.storage import Storage

#: What a copy's name ends with: it has another fingerprint than its source, and says so.
SUFFIX = ".mirror"


def mirror(bundle: Bundle, to: str) -> Bundle:
    """Write a folder (a path or a URI) that holds all of a model's files, and a `bundle.json` that names their sha256.

    Files are fetched into this machine's caches first, and verified; of a repository of the hub, what the model loads
    is copied. Parts of random weights stay what they are. `bundle.json` comes last: a copy that was cut off is none,
    and the same call makes it whole. A copy that is there already is verified, and left as it is. Returns the bundle as
    it is loaded from the folder. UsageError if another model is there, or if the model has no files.
    """
    storage = Storage(to)
    if bundle.files is None:
        raise UsageError(f"model `{bundle.name}` has no files to copy")
    to_write = None if storage.exists(BUNDLE_FILE) else storage
    copies: dict[str, FileRef] = {
        kind: _copied(bundle, kind, reference, to_write)
        for kind in bundle.kinds
        if isinstance(reference := bundle.file(kind), FileRef)
    }
    files = bundle.files.model_copy(update=copies)
    copy = bundle.model_copy(update={"files": files, "name": bundle.name + SUFFIX})
    return _verified(copy, storage) if to_write is None else write_bundle(copy, storage)


def _verified(copy: Bundle, storage: Storage) -> Bundle:
    """The bundle that is there, if it is this one and its files are as it says."""
    there = load_bundle(storage.uri)
    if there.fingerprint != copy.fingerprint:
        raise UsageError(
            f"{storage.uri_of(BUNDLE_FILE)} is there already, of another model (`{there.name}`): "
            "--to takes another folder"
        )
    for _ in fetch_bundle(there):
        pass
    return there


def _copied(bundle: Bundle, kind: FileKind, reference: FileRef, storage: Storage | None) -> FileRef:
    """storage: where to; None if it is there already."""
    path = local_path(bundle, kind)
    names = files_of(path)
    if reference.hub() is not None:  # the client's folder of a repository has whatever anybody fetched of it
        names = wanted_files(names, kind)
    name = kind if path.is_dir() else kind + path.suffix
    if storage is not None:
        copy_part(path, storage, name, names)
    return FileRef(uri=name, sha256=folder_sha256(path, names) if path.is_dir() else content_sha256(path))
