"""Running ffmpeg, and what the one that is found here can do.

There is one binary: that of the package `imageio-ffmpeg`, or the one that IMAGEIO_FFMPEG_EXE names. It comes without
ffprobe. A binary that is missing, too old or built without what is needed is the fault of the machine, never that of a
row: `check_ffmpeg` is asked on the driver before a job starts and in each rank before it is up.

Input files come from strangers: ffmpeg may open local files and pipes only, and every run has an end.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from cosmos_ray.clip.memory import LOOK, hold_to, room_for
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.limits import time_left

#: Longest time that one ffmpeg process may take, seconds.
TIMEOUT_S = 300

#: The first version with `-fps_mode`.
OLDEST = (5, 1)

_NEEDED = {
    "encoder": frozenset({"libx264", "mjpeg", "png"}),
    "decoder": frozenset({"h264", "mjpeg", "png"}),
    "filter": frozenset({"format", "scale", "select", "setparams", "setpts", "settb", "showinfo", "vstack"}),
}
_COMMON = ("-hide_banner", "-nostdin", "-nostats", "-protocol_whitelist", "file,pipe")
#: A thread takes memory, and one that decodes also that of the frames it is ahead. Else there is one a core, also for
#: what is written: on a node of 64 they took all that a small video may have.
_FEW_THREADS = ("-cpucount", "2", "-filter_threads", "2", "-threads", "2")
_NO_MEMORY = re.compile(r"allocate memory|pthread_create\(\) failed|frame_thread_encoder_init failed")
#: Of ffmpeg's errors the first ones are kept: the cause, and what followed from it.
_ERRORS_KEPT = 20
_PREFIXES = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(\w+)\] (?:\[[^\]]* @ 0x[0-9a-f]+\] )*")


@dataclass(frozen=True)
class Abilities:
    """Of one binary: its version as it says it, and the names of its encoders, decoders and filters."""

    path: str
    version: str
    encoders: frozenset[str]
    decoders: frozenset[str]
    filters: frozenset[str]


class FfmpegFailed(RuntimeError):
    """ffmpeg ended with an error; `errors` is what it wrote of errors, a line each, without addresses. kind: what is
    wrong with the file that it was to read."""

    def __init__(self, errors: Sequence[str], kind: str = "damaged") -> None:
        super().__init__(f"ffmpeg failed: {first_error(errors)}")
        self.errors = tuple(errors)
        self._kind = kind

    def __reduce__(self) -> tuple[type[FfmpegFailed], tuple[tuple[str, ...], str]]:
        # A rank's reach its leader: from the message alone each letter would be an error of its own.
        return type(self), (self.errors, self._kind)

    def of(self, path: Path) -> RowError:
        """As the fault of this file."""
        return RowError(f"{self._kind}: {first_error(self.errors, path)}")


def check_ffmpeg() -> Abilities:
    """What this machine's ffmpeg can do; asked once a process.

    Raises UsageError if there is none, it is older than 5.1, or it lacks something that every job needs.
    """
    return _abilities(ffmpeg_path())


def ffmpeg_path() -> str:
    """The binary. UsageError if there is none."""
    try:
        return os.environ.get("IMAGEIO_FFMPEG_EXE") or str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UsageError(f"there is no ffmpeg: {str(error).partition(chr(10))[0]}") from error


def run(arguments: Sequence[str], data: bytes = b"", memory: int | None = None) -> bytes:
    """Run ffmpeg with `data` as its standard input; its standard output. memory: bytes that it may have.

    Raises FfmpegFailed; TimeoutExpired after TIMEOUT_S; UsageError if the binary cannot be started.
    """
    threads = () if memory is None else _FEW_THREADS
    command = [ffmpeg_path(), *_COMMON, "-loglevel", "level+error", *threads, *arguments]
    with contextlib.nullcontext() if memory is None else room_for(memory):
        process = _start(command, subprocess.PIPE, memory)
        with process:
            try:
                out, log = process.communicate(data, time_left(TIMEOUT_S, "ffmpeg"))
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        errors = [text for _, text in map(log_line, log.decode(errors="replace").splitlines())]
        raise _failed(errors, process.returncode, memory)
    return out


@contextlib.contextmanager
def piped(
    arguments: Sequence[str],
    errors: list[str] | None = None,
    on_log: Callable[[str], None] = lambda _: None,
    memory: int = LOOK,
) -> Iterator[IO[bytes]]:
    """Run ffmpeg and read its standard output as it comes; what is not read is never in memory. memory: bytes that it
    may have.

    errors: takes the first lines of errors, also of a run that ends well. on_log: called with each other line of the
    log, in a thread of its own. If the body ends early, by an exception or with output left, ffmpeg is ended. Else
    raises what `run` raises, once all is read.
    """
    command = [ffmpeg_path(), *_COMMON, "-loglevel", "level+info", *_FEW_THREADS, *arguments]
    with room_for(memory):
        process = _start(command, subprocess.DEVNULL, memory)
        yield from _piped(process, command[0], memory, [] if errors is None else errors, on_log)


def _piped(
    process: subprocess.Popen[bytes], name: str, memory: int, errors: list[str], on_log: Callable[[str], None]
) -> Iterator[IO[bytes]]:
    assert process.stdout is not None
    assert process.stderr is not None
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    reader = threading.Thread(target=_read_log, args=(process.stderr, errors, on_log), daemon=True)
    watchdog = threading.Timer(time_left(TIMEOUT_S, "ffmpeg"), give_up)
    watchdog.daemon = True
    reader.start()
    watchdog.start()
    ended_early = True
    try:
        yield process.stdout
        ended_early = process.stdout.read(1) != b""
    finally:
        if ended_early:
            process.kill()
        process.stdout.close()
        process.wait()
        watchdog.cancel()
        reader.join()
        process.stderr.close()
    if late.is_set():
        time_left(1, "ffmpeg")
        raise subprocess.TimeoutExpired(name, TIMEOUT_S)
    if process.returncode and not ended_early:
        raise _failed(errors, process.returncode, memory)


def _start(command: list[str], stdin: int, memory: int | None) -> subprocess.Popen[bytes]:
    time_left(1, "ffmpeg")
    try:
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise _cannot_start(command[0], error) from error
    if memory is not None:
        hold_to(process.pid, memory)
    return process


def _failed(errors: list[str], code: int, memory: int | None) -> FfmpegFailed | RowError:
    """Why ffmpeg ended with `code`. Of more memory than it may have it says so, or dies of a signal of its own; SIGKILL
    comes from the machine, which has none left for anybody: no fault of the file's."""
    if code == -signal.SIGKILL:
        return RowError("ffmpeg was killed (signal 9), as Linux does where a node has no memory left", "oom")
    if memory is not None and (code < 0 or any(map(_NO_MEMORY.search, errors))):
        return FfmpegFailed([f"it takes more than {memory // 2**20} MB", *errors], "too much to decode")
    return FfmpegFailed(errors)


def log_line(line: str) -> tuple[str, str]:
    """(level, text) of a line of a log with `-loglevel level`, without the names and addresses of who wrote it."""
    found = _PREFIXES.match(line)
    return (found.group(1), line[found.end() :]) if found else ("", line)


def first_error(errors: Sequence[str], path: Path | None = None) -> str:
    """The cause of those after it, without folders."""
    line = next((text for text in errors if text.strip()), "no reason given").strip()
    return line.replace(f"file:{path.absolute()}", path.name) if path else line


def _read_log(log: IO[bytes], errors: list[str], on_log: Callable[[str], None]) -> None:
    for raw in log:
        level, text = log_line(raw.decode(errors="replace").rstrip("\n"))
        if level in ("error", "fatal", "panic"):
            if len(errors) < _ERRORS_KEPT:
                errors.append(text)
        else:
            on_log(text)


def _cannot_start(path: str, error: OSError) -> UsageError:
    return UsageError(f"ffmpeg cannot be started: {path}: {error.strerror or error}")


@lru_cache(maxsize=8)
def _abilities(path: str) -> Abilities:
    version = _say(path, "-version").partition("\n")[0]
    found = Abilities(
        path,
        version.removeprefix("ffmpeg version ").partition(" ")[0],
        *(_names(_say(path, "-hide_banner", f"-{what}")) for what in ("encoders", "decoders", "filters")),
    )
    number = re.match(r"n?(\d+)\.(\d+)", found.version)  # versions built from a working copy have none
    is_old = number is not None and tuple(map(int, number.groups())) < OLDEST
    try:
        if not is_old:
            source = ("-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "16x16", "-i", "pipe:0")
            run((*source, "-fps_mode", "passthrough", "-f", "null", "-"), bytes(256))
    except (FfmpegFailed, subprocess.TimeoutExpired):
        is_old = True
    oldest = ".".join(map(str, OLDEST))
    if is_old:
        raise UsageError(f"ffmpeg is too old: {path} is version {found.version}, expected {oldest} or newer{_MEND}")
    has = {"encoder": found.encoders, "decoder": found.decoders, "filter": found.filters}
    missing = [f"{kind} {name}" for kind, names in _NEEDED.items() for name in sorted(names - has[kind])]
    if missing:
        raise UsageError(f"ffmpeg lacks what is needed: {path} has no {', no '.join(missing)}{_MEND}")
    return found


_MEND = " (the package imageio-ffmpeg brings one that will do; IMAGEIO_FFMPEG_EXE names another)"


def _say(path: str, *arguments: str) -> str:
    """What ffmpeg says of itself. UsageError if it says nothing."""
    try:
        done = subprocess.run([path, *arguments], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=True)
    except OSError as error:
        raise _cannot_start(path, error) from error
    except subprocess.SubprocessError as error:
        raise UsageError(f"ffmpeg does not work: {path} {arguments[-1]}: {error}") from error
    return done.stdout.decode(errors="replace")


def _names(table: str) -> frozenset[str]:
    """Second words of the lines of a table such as ` V....D libx264   libx264 H.264 ...`."""
    return frozenset(words[1] for words in map(str.split, table.splitlines()) if len(words) > 1)
