"""A model with the network of one's own checkpoint, beside everything else of a known one. No torch, no Ray."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import posixpath
from collections.abc import Sequence
from pathlib import Path

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import BUNDLE_FILE, Bundle, DitPrefix, load_bundle
from cosmos_ray.models.bundle.cache import content_sha256
from cosmos_ray.models.bundle.checkpoint import of_numbers, select_dit
from cosmos_ray.models.bundle.fetch import open_store, size_of
from cosmos_ray.models.bundle.files import local_path
from cosmos_ray.models.bundle.finite import not_finite
from cosmos_ray.models.bundle.headers import WEIGHT_SUFFIXES, Header, parse_header, read_header
from cosmos_ray.models.bundle.names import MAX_NAME, derived_name
from cosmos_ray.models.bundle.references import FileRef
from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.store.faults import explain, explain_store, retrying
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri, parent_uri

#: Tensors that are named, of those that are not finite.
_NAMED = 5
_CHUNK_BYTES = 8 * 1024 * 1024


def with_dit(bundle: Bundle, dit: str, ema: bool = False, of_picture: bool = False) -> Bundle:
    """`bundle` with the network of the checkpoint `dit` (`.pt`, `.pth`, `.safetensors`; a path or a URI).

    Its parameters are under `net.`, or without any prefix; with `ema`, their running average under `net_ema.` is taken.
    of_picture: it is the network of the picture that clips begin with. The file stays where it is, and every node reads
    it from there. It is read once, for its hash, which is part of the
    new bundle's name, as are `ema` and `of_picture`. UsageError if it is not there or is no checkpoint of this network.
    """
    if bundle.files is None:
        raise UsageError(f"model `{bundle.name}` has no network that a checkpoint could be of")
    prefix: DitPrefix = "net_ema." if ema else "net."
    uri = normalise_uri(dit)
    suffix = posixpath.splitext(uri)[1]
    if suffix not in WEIGHT_SUFFIXES:
        raise UsageError(f"checkpoint {dit}: found suffix `{suffix}`, expected {suffixes_expected(suffix)}")
    try:
        header, sha256 = _read(uri)
    except FileNotFoundError:
        raise UsageError(f"checkpoint {dit}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"checkpoint {dit}: {why_unread(uri, error)}") from error
    if of_picture and bundle.picture is None:
        raise UsageError(f"model `{bundle.name}` makes no picture first: it has one network")
    network = bundle.picture.network if of_picture and bundle.picture else bundle.network
    selection = of_numbers(select_dit(header.shapes, header.others, dit_shapes(network), prefix), header)
    if selection.faults:
        raise UsageError(f"checkpoint {dit} is none of `{bundle.name}`: {'; '.join(selection.faults)}")
    try:
        file = FileRef(uri=posixpath.basename(uri), sha256=sha256)
    except ValueError:
        raise UsageError(f"checkpoint {dit}: found a file's name with a backslash, expected one without") from None
    put = bundle.with_picture_dit if of_picture else bundle.with_dit
    name = derived_name(bundle.name, sha256, of_picture, ema)
    if len(name) > MAX_NAME:
        raise UsageError(f"a model of the name `{name}`: found {len(name)} characters, expected at most {MAX_NAME}")
    return put(file, prefix, parent_uri(uri), name)


def derive(bundle: Bundle, to: str) -> Bundle:
    """Write a folder (a path or a URI) that holds `bundle.json` and all files that lie in the bundle's own folders.

    What comes from the hub stays there. Returns the bundle as it is loaded from the folder.
    """
    storage = Storage(to)
    if storage.exists(BUNDLE_FILE):
        raise UsageError(f"{storage.uri_of(BUNDLE_FILE)} is there already: --to takes another folder")
    _check_names(bundle)
    for kind in bundle.kinds:
        reference = bundle.file(kind)
        if isinstance(reference, FileRef) and reference.hub() is None:
            path = local_path(bundle, kind)
            if kind in ("dit", "picture_dit"):
                _check_finite(bundle.picture_bundle() if kind == "picture_dit" else bundle, path)
            copy_part(path, storage, reference.uri, files_of(path))
    return write_bundle(bundle, storage)


def _check_finite(bundle: Bundle, dit: Path) -> None:
    """Raises UsageError for weights of which every clip would come out as no number."""
    try:
        header = read_header(dit)
    except ValueError:  # `with_dit` says so of a checkpoint of one's own
        return
    names = select_dit(header.shapes, header.others, dit_shapes(bundle.network), bundle.dit_prefix).names
    if strange := not_finite(dit, [entry for entry in names.values() if entry in header.tensors], header):
        more = f", and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
        raise UsageError(f"{dit}: found numbers that are not finite: {', '.join(strange[:_NAMED])}{more}")


def _check_names(bundle: Bundle) -> None:
    """Raises UsageError for parts that lie in folders of their own, and would be written over each other in one."""
    own = [
        (kind, reference.uri, bundle.root_of(kind))
        for kind in bundle.kinds
        if isinstance(reference := bundle.file(kind), FileRef) and reference.hub() is None
    ]
    for (kind, uri, root), (other, beside, elsewhere) in itertools.combinations(own, 2):
        if root != elsewhere and (f"{uri}/".startswith(f"{beside}/") or f"{beside}/".startswith(f"{uri}/")):
            raise UsageError(
                f"`{uri}` is the name of {kind} and of {other}, expected names that differ: give your checkpoint "
                "another"
            )


def files_of(part: Path) -> list[str]:
    """Names of a part's files below its folder; [] if it is one file."""
    return sorted(one.relative_to(part).as_posix() for one in part.rglob("*") if one.is_file()) if part.is_dir() else []


def copy_part(part: Path, storage: Storage, name: str, files: Sequence[str]) -> None:
    """A file, or these files of a folder, to `name` in a bundle's folder."""
    if part.is_file():
        storage.write_file(name, part)
    for file in files:
        storage.write_file(f"{name}/{file}", part / file)


def write_bundle(bundle: Bundle, storage: Storage) -> Bundle:
    """`bundle.json`, after all files. Returns the bundle as it is loaded from there.

    What an earlier writer that was killed has left half done goes, where these credentials may look for it.
    """
    with contextlib.suppress(PermissionError):
        storage.remove_unfinished()
    text = json.dumps(bundle.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False)
    storage.write(BUNDLE_FILE, text.encode() + b"\n")
    return load_bundle(storage.uri)


def suffixes_expected(found: str) -> str:
    """Of a checkpoint's file; what has no suffix may be a folder that torch's distributed checkpoints are."""
    expected = ", ".join(WEIGHT_SUFFIXES)
    if found in ("", ".distcp"):
        expected += "; of a distributed checkpoint's folder, `python -m torch.distributed.checkpoint.format_utils "
        expected += "dcp_to_torch FOLDER FILE.pt` makes one"
    return expected


def why_unread(uri: str, error: OSError | ValueError) -> str:
    """What was wrong with a checkpoint's file; what it holds, on a disk, has nothing to do with a store's variables."""
    return explain(error) if isinstance(error, ValueError) and "://" not in uri else explain_store(error)


def _read(uri: str) -> tuple[Header, str]:
    """What the file says it holds, and its sha256."""
    if "://" not in uri:
        file = Path(uri)
        return read_header(file), content_sha256(file)
    filesystem, path = open_store(uri)
    size, suffix = size_of(uri), posixpath.splitext(uri)[1]

    def header() -> Header:
        with filesystem.open(path, "rb") as opened:
            return parse_header(opened, size, suffix)

    def sha256() -> str:
        digest = hashlib.sha256()
        with filesystem.open(path, "rb", block_size=_CHUNK_BYTES) as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    return retrying(header, f"reading {uri}"), retrying(sha256, f"reading {uri}")
