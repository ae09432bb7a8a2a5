"""URIs: the one form that they have here, and which ones a manifest may name."""

from __future__ import annotations

import os
import posixpath
import re
from urllib.parse import unquote

from cosmos_ray.errors import UsageError, argument_error
from cosmos_ray.store.accounts import tells_secrets, wrong_form

#: Stores with a server-side create-if-absent (or, for `file`, an equivalent).
SCHEMES = frozenset({"file", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
#: A local file as Java and Spark write it, `file:/data/a.mp4`.
_FILE = re.compile(r"^file:(?=/(?!/))", re.IGNORECASE)
#: What looks like a relative path and is none: (how it begins, what it is).
_MISREAD = (
    (re.compile(rf"^(?:{'|'.join(sorted(SCHEMES - {'file'}))}|https?):/?(?!/)", re.IGNORECASE),
     "a URI without two slashes after its scheme (`pathlib` and `os.path` take one away)"),
    (re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\)"), "a path of Windows: files here lie under /, or in a store"),
    (re.compile(r"^~(?:[\w.-]*/|$)"), "a path with `~`, which only a shell resolves"),
)  # fmt: skip


def scheme_of(uri: str) -> str:
    """`s3` for `s3://…`; `file` for a plain path."""
    match = _SCHEME.match(uri)
    return match.group(1).lower() if match else "file"


def is_absolute(uri: str) -> bool:
    """Whether it starts from nowhere else: a path that begins with `/`, or a URI."""
    return uri.startswith("/") or bool(_SCHEME.match(uri) or _FILE.match(uri))


def misread(uri: str) -> str | None:
    """What a reference is that would be taken for a relative path, and is none; None for any other."""
    return next((what for begins, what in _MISREAD if begins.match(uri)), None)


def path_text(name: str, given: object) -> str:
    """A path or URI that somebody gave in Python, as text. UsageError, naming the argument, for anything else."""
    found = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(found, str):
        raise argument_error(name, given, "a path or a URI")
    return found


def normalise_uri(uri: str) -> str:
    """An absolute URI or path without a trailing slash; local ones as plain absolute paths."""
    scheme = scheme_of(uri)
    try:
        path = _local_path(uri) if scheme == "file" else uri
    except ValueError as error:
        raise UsageError(f"found {uri!r}, expected a URI that may be read, not {error}") from None
    if "::" in path:
        raise UsageError(f"chained URIs are not supported: {uri!r}")
    if scheme == "file":
        return os.path.abspath(path)
    if not _SCHEME.sub("", uri).strip("/"):
        raise UsageError(f"found {uri!r}, expected {scheme}://BUCKET or a folder in it")
    if wrong := tells_secrets(uri):
        raise UsageError(f"found {uri!r}, expected a URI that may be read, not {wrong}")
    return uri.rstrip("/")


def _local_path(uri: str) -> str:
    """The path of a local URI; `file://` ones are percent-encoded. Raises ValueError, whose text completes "not …"."""
    if wrong := misread(uri):
        raise ValueError(wrong)
    uri = _FILE.sub("file://", uri)
    path, match = uri, _SCHEME.match(uri)
    if match:
        rest = uri[match.end() :]
        host, slash, below = rest.partition("/")
        if host and host.lower() != "localhost":
            raise ValueError(f"a file:// URI with {host!r} where a host stands: file:///PATH names a file of this one")
        try:
            path = unquote(slash + below, errors="strict")
        except UnicodeDecodeError:
            raise ValueError("a file:// URI whose percent-encoding is no UTF-8") from None
    if not path or "\x00" in path:
        raise ValueError("an empty or malformed URI")
    return path


def resolve_reference(reference: str, base: str) -> str:
    """The absolute URI of an input named in a manifest that lies in folder `base`.

    Raises ValueError (text for a person) for a scheme that is not allowed, a chained URI, a relative path that climbs
    out of `base`, a local path in a manifest that is not local itself (it would be read on whatever node gets it), and
    one that says more than where something lies: user, password, options, a host. Whose account it is: `reach`.
    """
    if not _SCHEME.sub("", reference).strip("/") or "\x00" in reference:
        raise ValueError("an empty or malformed URI")
    scheme = scheme_of(reference)
    if "::" in (_local_path(reference) if scheme == "file" else reference):
        raise ValueError("a chained URI ('::'), which is not allowed")
    if scheme not in SCHEMES:
        raise ValueError(f"a URI of scheme {scheme!r}, which is not one of {', '.join(sorted(SCHEMES))}")
    base_is_local = scheme_of(base) == "file"
    absolute = is_absolute(reference)
    if scheme == "file" and absolute:
        if not base_is_local:
            raise ValueError("a local path in a manifest that is not on a local disk")
        return normalise_uri(reference)
    if absolute:
        if wrong := wrong_form(reference):
            raise ValueError(wrong)
        return scheme + reference[len(scheme) :]
    if not base_is_local and (wrong := wrong_form(f"{base.rstrip('/')}/{reference}")):
        raise ValueError(wrong)
    if ".." in reference.replace("\\", "/").split("/"):
        raise ValueError("a relative path with '..', which would leave the manifest's folder")
    return f"{base.rstrip('/')}/{posixpath.normpath(reference)}"


def parent_uri(uri: str) -> str:
    """The folder that holds `uri`."""
    return normalise_uri(uri).rsplit("/", 1)[0] or "/"
