"""Reading what people have: texts, JSON, folders, and what kind of file each is."""

from __future__ import annotations

import codecs
import errno
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cosmos_ray.clip.container import HEAD, UNKNOWN, kind_of
from cosmos_ray.errors import ManifestError
from cosmos_ray.foreign import shown_uri
from cosmos_ray.store.regular import TooLargeError, check_regular
from cosmos_ray.store.storage import filesystem_of, read_bytes
from cosmos_ray.store.uris import normalise_uri, scheme_of

VIDEOS = (".mp4", ".mov", ".m4v")
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
_OTHER_VIDEOS = (".mkv", ".avi", ".webm", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".m2v", ".vob", ".mxf", ".wmv",
                 ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".dv", ".y4m", ".ivf", ".mjpeg", ".mjpg", ".h264", ".264",
                 ".h265", ".265", ".hevc")  # fmt: skip
ANY_VIDEOS = VIDEOS + _OTHER_VIDEOS
_OTHER_PICTURES = (".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm",
                   ".exr", ".dng")  # fmt: skip
#: Whatever a camera may have been meant by.
MEDIA = ANY_VIDEOS + PICTURES + _OTHER_PICTURES
#: Largest file of captions of one clip, and largest JSON, bytes.
MAX_CAPTION_BYTES, MAX_BYTES = 2**20, 2**28
#: Largest table, bytes, and values of one file: each takes some fifty bytes of memory, however short it is.
MAX_TABLE_BYTES, MAX_VALUES = 2**30, 2**26
#: Largest file of the published programs' own specs.
MAX_SPEC_BYTES = 2**26
#: With which each value of a JSON text begins, but for the first of a list or an object.
JSON_MARKS = ",[{"
#: How a text begins that Windows calls Unicode.
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: How the texts begin that stand in a file's place: (whose they are, what fetches the file).
_POINTERS = {
    b"version https://git-lfs.github.com/spec/": ("Git LFS", "git lfs pull"),
    b"/annex/objects/": ("git-annex", "git annex get"),
}
_POINTER_BYTES = 1024
#: Bytes read at a time, and what may stand between two objects of a list.
_PIECE = 2**20
_LARGEST = 16 * _PIECE
_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Folder:
    """What lies directly in a folder, in order of names, without hidden entries. files: sizes in bytes by name."""

    uri: str
    files: dict[str, int | None]
    folders: tuple[str, ...]

    def uri_of(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def named(self, name: str) -> str | None:
        """The file of this name, in any case. Raises ManifestError for two."""
        found = [file for file in self.files if file.lower() == name]
        if len(found) > 1:
            raise ManifestError(f"{self.uri} has {' and '.join(found)}, expected one of them")
        return found[0] if found else None

    def of_kind(self, suffixes: tuple[str, ...]) -> list[str]:
        """Names of files, in the order in which a person counts: frame_9 before frame_10."""
        return sorted((name for name in self.files if suffix_of(name) in suffixes), key=_counted)

    def check_media(self) -> None:
        """Raises ManifestError for the first video or picture of a kind that is not read, with the way out, and for
        one that Git LFS, git-annex or DVC has not fetched."""
        for name, size in self.files.items():
            suffix = suffix_of(name)
            if suffix == ".dvc" and suffix_of(stem_of(name)) in MEDIA and stem_of(name) not in self.files:
                raise ManifestError(f"{self.uri_of(name)} stands for {stem_of(name)}, which `dvc pull` fetches")
            if suffix in _OTHER_VIDEOS:
                made = f"ffmpeg -i {name} -c copy {posixpath.splitext(name)[0]}.mp4"
                raise ManifestError(
                    f"{self.uri_of(name)} is no mp4 or mov: `{made}` makes one of it, without `-c copy` where mp4 does "
                    "not take its codec"
                )
            if suffix in _OTHER_PICTURES:
                raise ManifestError(f"{self.uri_of(name)} is no JPEG or PNG: convert it first")
            if suffix in VIDEOS + PICTURES and size is not None and size < _POINTER_BYTES:
                check_fetched(self.uri_of(name))


def list_folder(uri: str) -> Folder:
    """Raises ManifestError if there is none."""
    fs, path = filesystem_of(uri)
    try:
        found = fs.ls(path, detail=True)
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError) and error.errno != errno.ENAMETOOLONG:
            raise
        raise ManifestError(f"there is no folder {uri}") from None
    if [entry["name"] for entry in found if entry["type"] != "directory"] == [path] and len(found) == 1:
        raise ManifestError(f"{uri} is a file, expected a folder")
    entries = {}
    for entry in found:
        full = entry["name"].rstrip("/")
        name = posixpath.basename(full)
        if full != path.rstrip("/") and name and not name.startswith("."):  # a store may list the folder's own marker
            entries[name] = entry
    names = sorted(entries)
    folders = tuple(name for name in names if entries[name]["type"] == "directory")
    return Folder(uri, {name: entries[name].get("size") for name in names if name not in folders}, folders)


def check_fetched(uri: str) -> None:
    """Raises ManifestError for what stands in a file's place: a text of Git LFS or git-annex, or a link to nowhere."""
    try:
        head = read_bytes(uri)
    except OSError as error:
        if scheme_of(uri) == "file" and error.errno in (errno.EINVAL, errno.ENXIO, errno.EACCES, errno.EPERM):
            raise ManifestError(f"{uri} {_no_input(error)}") from None
        if not isinstance(error, FileNotFoundError) and error.errno != errno.ELOOP:
            raise
        raise ManifestError(
            f"{uri} is a link to a file that is not there (one of git-annex's: `git annex get` fetches it)"
        ) from None
    for beginning, (whose, way) in _POINTERS.items():
        if head.startswith(beginning):
            raise ManifestError(f"{uri} is a pointer of {whose}, not the file itself: `{way}` fetches it")


def _check_regular(uri: str, path: str) -> None:
    """Before a file is opened that might never answer. Raises ManifestError."""
    try:
        check_regular(path)
    except OSError as error:
        raise ManifestError(f"{uri} {_no_input(error)}") from None


def check_no_pipe(uri: str) -> None:
    """Raises ManifestError for what stands in a file's place: /dev/stdin, a shell's `<(...)`, a named pipe."""
    if scheme_of(uri) == "file" and os.path.exists(path := filesystem_of(uri)[1]):
        _check_regular(uri, path)


def kind_in_words(data: bytes) -> str:
    """What a file is that is no text but is called like one, with the way out; "" where nobody knows. Texts are not
    asked about: a caption may begin as a picture does ("BMW")."""
    kind, way = kind_of(data[:HEAD])
    return "" if kind == UNKNOWN else f"it is {kind}" + (f" ({way})" if way else "")


def _no_input(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be read by this user: expected a file that may"
    return "is a pipe, a device or a socket, expected a regular file: move it away, or put the file in its place"


def suffix_of(name: str) -> str:
    """In lower case, with its dot; "" without."""
    return posixpath.splitext(name)[1].lower()


def stem_of(uri: str) -> str:
    """The file's name without folder and suffix."""
    return posixpath.splitext(posixpath.basename(uri))[0]


def read_text(uri: str, max_bytes: int = MAX_BYTES) -> str:
    """All of a text file. Raises ManifestError for a larger one, unread, for what is no regular file, and for a link to
    a file of another suffix."""
    _check_link(uri)
    return read_named_text(uri, max_bytes)


def read_named_text(uri: str, max_bytes: int) -> str:
    """The same of a file that the user has named, and which may be a link to anywhere."""
    try:
        data = read_bytes(uri, max_bytes=max_bytes)
        return data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    except TooLargeError as error:
        raise ManifestError(f"{uri}: found {error.size} bytes, expected at most {error.most}") from error
    except OSError as error:
        said = _no_input(error) if error.errno == errno.EINVAL else f"cannot be read: {type(error).__name__}"
        raise ManifestError(f"{uri} {said}") from error
    except UnicodeDecodeError as error:
        said = kind_in_words(data) or f"{error.reason} at byte {error.start}"
        raise ManifestError(f"{uri} is no UTF-8 text: {said}") from error


def _check_link(uri: str) -> None:
    """Folders come from strangers, and what is read of them becomes captions: a link called caption.txt may lead to a
    file of secrets. Those that people make have the suffix of their file."""
    if scheme_of(uri) != "file" or not os.path.islink(path := normalise_uri(uri)):
        return
    if suffix_of(real := os.path.realpath(path)) != suffix_of(path):
        raise ManifestError(
            f"{uri} is a symbolic link to {shown_uri(real)}: expected one to a file that is called {suffix_of(path)} "
            "too, or the file itself"
        )


def check_values(uri: str, text: str, marks: str) -> None:
    """Raises ManifestError for a text with more values than are read at once. marks: of which there is one a value."""
    if len(text) > MAX_VALUES and (found := sum(map(text.count, marks))) > MAX_VALUES:
        raise ManifestError(f"{uri}: found about {found} values, expected at most {MAX_VALUES}: write several files")


def from_json(text: str) -> Any:
    """What a JSON text says. Raises JSONDecodeError; ManifestError for an object that has a key twice."""
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_each_once([key for key, _ in pairs])
    return dict(pairs)


def check_each_once(keys: Sequence[str]) -> None:
    """Of an object: whoever reads it takes the last value of a key, and loses all others. Raises ManifestError."""
    if len(set(keys)) < len(keys):
        raise ManifestError(twice_in_words(keys))


def twice_in_words(keys: Iterable[Any]) -> str:
    """Of keys of which one repeats."""
    twice = next(key for key, count in Counter(keys).items() if count > 1)
    return f"found the key {twice!r} twice in one object, expected each once"


def read_json(uri: str) -> Any:
    """What a JSON file says. Raises ManifestError."""
    text = read_text(uri)
    check_values(uri, text, JSON_MARKS)
    try:
        return from_json(text)
    except json.JSONDecodeError as error:
        way = "; files with an object a line are called .jsonl" if error.msg == "Extra data" else ""
        raise ManifestError(f"{uri} is no JSON: {error}{way}") from error
    except ManifestError as error:
        raise ManifestError(f"{uri}: {error}") from None
    except ValueError as error:  # a number of thousands of digits
        raise ManifestError(f"{uri} is JSON that cannot be read: {error}") from error
    except RecursionError as error:
        raise ManifestError(f"{uri} is JSON that nests too deep to be read") from error


def read_json_list(uri: str) -> list[Any]:
    """The items of a JSON list; one object counts as a list of one."""
    found = read_json(uri)
    items = [found] if isinstance(found, dict) else found
    if not isinstance(items, list) or not items:
        raise ManifestError(f"{uri}: found {type(found).__name__}, expected a list of objects that is not empty")
    return items


def each_object(uri: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, one in memory at a time: tables have millions of them.

    Raises ManifestError for anything else, once it is reached.
    """
    check_no_pipe(uri)
    fs, path = filesystem_of(uri)
    reader, listed = codecs.getincrementaldecoder("utf-8-sig")(), _ListInPieces(uri)
    try:
        with fs.open(path, "rb") as file:
            while piece := file.read(_PIECE):
                yield from listed.objects_with(reader.decode(piece))
        yield from listed.objects_with(reader.decode(b"", final=True))
    except OSError as error:
        raise ManifestError(f"{uri} cannot be read: {type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{uri} is no UTF-8 text: {error.reason}") from error
    except RecursionError as error:
        raise ManifestError(f"{uri} is JSON that nests too deep to be read") from error
    except ValueError as error:  # a number of thousands of digits
        raise ManifestError(f"{uri} is JSON that cannot be read: {error}") from error
    if not listed.is_whole:
        raise ManifestError(f"{uri} is no JSON list of objects, or ends too early")


class _ListInPieces:
    """A JSON list of objects whose text comes in pieces, of which only what is not decoded yet is kept."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._text, self._at, self._has_begun = "", 0, False

    def objects_with(self, piece: str) -> Iterator[dict[str, Any]]:
        """Those whose end has come with this piece. Raises ManifestError, ValueError, RecursionError."""
        self._text, self._at = self._text[self._at :] + piece, 0
        while self._is_at_a_value():
            try:
                found, after = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if len(self._text) - self._at > _LARGEST:
                    raise ManifestError(f"{self._uri} is no JSON list of objects, or has one without an end") from None
                return  # its end is not read yet
            if not self._has_begun or not isinstance(found, dict):
                raise ManifestError(f"{self._uri}: expected a list of objects, found {type(found).__name__}")
            yield found
            self._at = after

    def _is_at_a_value(self) -> bool:
        """After what stands between two; False at the end of the list, and of what has come of it."""
        self._pass_separators()
        if not self._has_begun and self._text.startswith("[", self._at):
            self._has_begun, self._at = True, self._at + 1
            self._pass_separators()
        return self._at < len(self._text) and self._text[self._at] != "]"

    def _pass_separators(self) -> None:
        self._at = _BETWEEN.match(self._text, self._at).end()  # type: ignore[union-attr]

    @property
    def is_whole(self) -> bool:
        return self._has_begun and self._text[self._at :].strip() == "]"


def read_captions(uri: str, count: int) -> str | list[str]:
    """One caption, or one a view, of a text file: its lines that are not empty, 1 or `count` of them."""
    lines = [line.strip() for line in read_text(uri, MAX_CAPTION_BYTES).splitlines() if line.strip()]
    if len(lines) not in (1, count):
        expected = "1" if count == 1 else f"1 or {count}, one a view"
        raise ManifestError(f"{uri}: found {len(lines)} lines that are not empty, expected {expected}")
    return lines[0] if len(lines) == 1 else lines


def _counted(name: str) -> list[tuple[int, str]]:
    """Digits as numbers; equal numbers (7 and 07) in the order of their texts."""
    parts = re.split(r"(\d+)", name)
    return [(int(part) if number % 2 else 0, part) for number, part in enumerate(parts)]
