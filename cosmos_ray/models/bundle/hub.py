"""Files of the Hugging Face hub: are they within reach, and where are they on this machine. No torch, no Ray.

Downloads go into the hub client's own cache (HF_HOME), at one fixed revision. The client reads HF_TOKEN, HF_ENDPOINT
and HF_HUB_OFFLINE itself; no message here repeats what a server answered, so none can hold a token or a signed URL.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import FileKind
from cosmos_ray.models.bundle.cache import node_lock, put_in_place, remembered_sha256
from cosmos_ray.models.bundle.references import HubFile
from cosmos_ray.store.regular import read_object
from cosmos_ray.words import byte_size, counted

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Either makes a tokenizer.
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
_TIMEOUT_S = 10
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: HTTP clients of the hub's client, old and new: their errors mean that no server answered.
_CLIENTS = frozenset({"httpx", "httpx2", "httpcore", "requests", "urllib3"})
#: Largest list of which tensor is in which file.
_INDEX = 2**26
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


@dataclass(frozen=True)
class HubAnswer:
    """What the hub says about a file or repository. problem: only a person can mend it; unavailable: it may pass."""

    level: Literal["ok", "problem", "unavailable"]
    message: str


def ask(hub: HubFile, kind: FileKind) -> HubAnswer:
    """Whether this machine, with this account, could download it now. Nothing is downloaded."""

    def probe() -> HubAnswer:
        names = [hub.path] if hub.path else _files_of(hub, kind)
        # Access is granted for a repository as a whole: one file tells. The last one holds weights.
        found = get_hf_file_metadata(hf_hub_url(hub.repo, names[-1], revision=hub.revision), timeout=_TIMEOUT_S)
        size = f", {byte_size(found.size, 2)}" if hub.path and found.size else ""
        what = hub.path or f"{counted(len(names), 'file')} ({', '.join(names)})"
        return HubAnswer("ok", f"on the hub, to be fetched: {what} of {hub.url}{size}, revision {hub.revision}")

    try:
        return _with_answers(probe, hub)
    except _Unusable as error:
        return error.answer


def ask_parts(hub: HubFile, parts: Sequence[str]) -> HubAnswer:
    """The same of files and folders of a repository, all of them."""

    def probe() -> HubAnswer:
        info = HfApi().model_info(hub.repo, revision=hub.revision, timeout=_TIMEOUT_S)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        found = {part: [name for name in names if name == part or name.startswith(f"{part}/")] for part in parts}
        if missing := [part for part, of_part in found.items() if not of_part]:
            words = f"{hub.url} has no {', '.join(missing)} at revision {hub.revision}"
            raise _Unusable(HubAnswer("problem", words))
        get_hf_file_metadata(hf_hub_url(hub.repo, found[parts[0]][0], revision=hub.revision), timeout=_TIMEOUT_S)
        words = f"on the hub, to be fetched: {', '.join(parts)} of {hub.url}, revision {hub.revision}"
        return HubAnswer("ok", words)

    try:
        return _with_answers(probe, hub)
    except _Unusable as error:
        return error.answer


def snapshot(hub: HubFile) -> Path | None:
    """The repository's folder in the client's cache, with whatever of it is there; None if nothing is."""
    name = repo_folder_name(repo_id=hub.repo, repo_type="model")
    folder = Path(constants.HF_HUB_CACHE, name, "snapshots", hub.revision)
    return folder if folder.is_dir() else None


def cached(hub: HubFile, kind: FileKind) -> Path | None:
    """The file, or the repository's folder with all that `kind` needs, if it is on this machine. Asks no network."""
    found = try_to_load_from_cache(hub.repo, hub.path or "config.json", revision=hub.revision)
    if not isinstance(found, str):
        return None
    if hub.path:
        return Path(found)
    folder = Path(found).parent
    if kind == "tokenizer":
        return folder if any((folder / name).exists() for name in TOKENIZER_FILES) else None
    return folder if weight_files(folder) else None


def fetch(hub: HubFile, kind: FileKind) -> Path:
    """The file or folder on this machine, downloaded first if need be (once a node, others wait).

    Large files are compared with the sha256 that the hub names them by; one that differs is removed and downloaded
    once more. Raises UsageError that says what is wrong and what to do.
    """
    where = cached(hub, kind)
    try:
        if where is None:
            # Of the repository, whatever the revision: revisions share their blobs.
            with node_lock(hub.repo, f"downloading {hub.repo}"):
                names = [hub.path] if hub.path else _with_answers(lambda: _files_of(hub, kind), hub)
                paths = [_with_answers(partial(_download, hub, name), hub) for name in names]
                where = paths[0] if hub.path else paths[0].parents[names[0].count("/")]
        for path in [where] if hub.path else _used_files(where, kind):
            _check_blob(hub, path, path.relative_to(where).as_posix() if where.is_dir() else str(hub.path))
    except _Unusable as error:
        raise UsageError(error.answer.message) from error
    return where


def fetch_parts(hub: HubFile, patterns: Iterable[str], but: Iterable[str] = ()) -> Path:
    """The folder of a repository in the client's cache, with all files that match; downloaded if need be.

    Raises UsageError that says what is wrong and what to do.
    """

    def download() -> str:
        names = list(patterns), list(but)
        return snapshot_download(hub.repo, revision=hub.revision, allow_patterns=names[0], ignore_patterns=names[1])

    try:
        with node_lock(hub.repo, f"downloading {hub.repo}"):
            return Path(_with_answers(download, hub))
    except _Unusable as error:
        raise UsageError(error.answer.message) from error


def weight_files(folder: Path) -> list[Path]:
    """Weights of a Hugging Face folder, safetensors before pickles, all shards; [] if there are none or some lack."""
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{single}.index.json"
        if index.exists():
            try:
                names = sorted({str(name) for name in read_object(index, _INDEX)["weight_map"].values()})
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                return []
            paths = [folder / Path(name).name for name in names]
            if all(path.exists() for path in paths):
                return paths
        if (folder / single).exists():
            return [folder / single]
    return []


def wanted_files(names: Iterable[str], kind: FileKind) -> list[str]:
    """Of a repository's files, those that an encoder or a tokenizer loads from; weights last, in one format only."""
    top = sorted(name for name in names if "/" not in name)
    small = [name for name in top if name.endswith((".json", ".jinja", ".model")) and not name.endswith(".index.json")]
    # What `cached` looks for comes last: a download that was cut off must not be taken for a whole one.
    small.sort(key=lambda name: TOKENIZER_FILES.index(name) if name in TOKENIZER_FILES else -1)
    if kind == "tokenizer":
        return small
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        weights = [name for name in top if name == stem + suffix or (name.startswith(stem) and _SHARD.search(name))]
        weights = [name for name in weights if name.endswith(suffix)]
        if weights:
            index = [name for name in top if name == f"{stem}{suffix}.index.json"]
            return small + index + weights
    return small


def _files_of(hub: HubFile, kind: FileKind) -> list[str]:
    info = HfApi().model_info(hub.repo, revision=hub.revision, timeout=_TIMEOUT_S)
    names = wanted_files([sibling.rfilename for sibling in info.siblings or ()], kind)
    if not names or (kind == "text_encoder" and not names[-1].endswith((".safetensors", ".bin"))):
        answer = f"{hub.url} at {hub.revision} holds no files of a {kind.replace('_', ' ')} in Hugging Face layout"
        raise _Unusable(HubAnswer("problem", answer))
    return names


def _download(hub: HubFile, name: str) -> Path:
    if not isinstance(try_to_load_from_cache(hub.repo, name, revision=hub.revision), str):
        logger.info("downloading %s of %s", name, hub.repo)
        _fetch_blob(hub, name)
    return Path(hf_hub_download(hub.repo, name, revision=hub.revision))


def _fetch_blob(hub: HubFile, name: str) -> None:
    """Bring a large file to where the client finds it, by way of `<blob>.part`, from which the next process goes on.

    The client itself begins a file again after a kill, and leaves what it had. It does the small files, and those too
    large for plain HTTP.
    """
    url = hf_hub_url(hub.repo, name, revision=hub.revision)
    found = get_hf_file_metadata(url, timeout=_TIMEOUT_S)
    size, etag = found.size or 0, found.etag or ""
    if not _SHA256.fullmatch(etag) or not 0 < size <= constants.MAX_HTTP_DOWNLOAD_SIZE:
        return
    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=hub.repo, repo_type="model"), "blobs")
    blob, part = folder / etag, folder / f"{etag}.part"
    if blob.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        if file.tell() > size:
            file.seek(0)  # truncating alone leaves the position, from which it would go on
            file.truncate()
        if have := file.tell():
            logger.info("going on with %s at byte %d of %d", name, have, size)
        http_get(url, file, resume_size=have, headers=build_hf_headers(), expected_size=size)
    put_in_place(part, blob)


def _used_files(folder: Path, kind: FileKind) -> list[Path]:
    return weight_files(folder) if kind == "text_encoder" else []


def _check_blob(hub: HubFile, path: Path, name: str) -> None:
    """Files in large-file storage are blobs named by their sha256; others by a hash of git's, which is not checked.

    That name is the snapshot's link's: the blob may itself be a link into the client's store of shared files, where
    names are another hash.
    """
    blob = path.parent / os.readlink(path) if path.is_symlink() else path
    expected = blob.name
    if not path.is_symlink() or not _SHA256.fullmatch(expected):
        return
    found = _sha256_of(path)
    if found == expected:
        return
    logger.warning("%s: found sha256 %s, expected %s; downloading it again", path, found, expected)
    with node_lock(hub.repo, f"downloading {hub.repo}"):
        if _sha256_of(path) == expected:
            return
        _remove(blob)
        found = _sha256_of(_with_answers(lambda: _download(hub, name), hub))
        if found != expected:
            _remove(blob)
            raise UsageError(f"{name} of {hub.url}: found sha256 {found}, expected {expected} (downloaded twice)")


def _sha256_of(path: Path) -> str | None:
    """None if there is no such file: another process may have just found it spoilt and removed it."""
    try:
        return remembered_sha256(path)
    except FileNotFoundError:
        return None


def _remove(blob: Path) -> None:
    for file in (blob.resolve(), blob):
        file.unlink(missing_ok=True)


class _Unusable(Exception):
    def __init__(self, answer: HubAnswer) -> None:
        super().__init__(answer.message)
        self.answer = answer


def _with_answers(operation: Callable[[], T], hub: HubFile) -> T:
    """Errors of the hub's client as what they mean to a person."""
    try:
        return operation()
    except Exception as error:
        answer = _answer(error, hub)
        if answer is None:
            raise
        raise _Unusable(answer) from error


def _answer(error: BaseException, hub: HubFile) -> HubAnswer | None:
    """None: not an error of the hub's or the network's."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return _answer(error.__cause__, hub)  # "not in the cache" hides why it could not be downloaded
    what = f"{hub.path} of {hub.url}" if hub.path else hub.url
    who = "the account of HF_TOKEN has no access" if get_token() else "nobody is logged in (HF_TOKEN is not set)"
    if isinstance(error, GatedRepoError):
        return HubAnswer("problem", f"{what} is gated, and {who}: ask for it at {hub.url}, then try again")
    if isinstance(error, RevisionNotFoundError):
        return HubAnswer("problem", f"{hub.url} has no revision {hub.revision}")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return HubAnswer("problem", f"{hub.url} has no file {hub.path} at revision {hub.revision}")
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError):
        return _unavailable(hub, "it is not in the local cache and HF_HUB_OFFLINE forbids downloads")
    if isinstance(error, HfHubHTTPError):
        return _answer_to_status(error, hub, what)
    if type(error).__module__.partition(".")[0] in _CLIENTS or isinstance(error, ConnectionError | TimeoutError):
        return _unavailable(hub, f"no answer from {_endpoint()} ({type(error).__name__})")
    return None


def _answer_to_status(error: HfHubHTTPError, hub: HubFile, what: str) -> HubAnswer:
    status = error.response.status_code if error.response is not None else 0
    if status == 401 and error.response.headers.get("X-Error-Code") != "RepoNotFound":
        said = "HF_TOKEN is not accepted" if get_token() else "a login is asked for and HF_TOKEN is not set"
        return HubAnswer(
            "problem", f"{what}: {said} (401); ask for access at {hub.url}, tokens are made at its settings"
        )
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        return HubAnswer("problem", f"{hub.url}: no such repository, or a private one that this account may not see")
    if status == 403:
        return HubAnswer("problem", f"{what}: forbidden (403), the token's permissions do not cover it; see {hub.url}")
    return _unavailable(hub, f"{_endpoint()} answered {status}")


def _unavailable(hub: HubFile, why: str) -> HubAnswer:
    where = f"{hub.path} of {hub.url}" if hub.path else hub.url
    return HubAnswer("unavailable", f"not available offline: {where} at revision {hub.revision}; {why}")


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)
