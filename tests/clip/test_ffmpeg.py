"""Whose fault it is that ffmpeg cannot do what is needed: the machine's, before anything starts, and never a row's."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import imageio_ffmpeg
import pytest

from cosmos_ray.clip import ffmpeg as tool
from cosmos_ray.clip.info import input_arguments
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.limits import TimeIsUp, time_limit

REAL = imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another binary, in a script's place; its tests write what it does."""
    path = tmp_path / "ffmpeg"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
    return path


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def changed(path: Path, pattern: str, to: str) -> None:
    """The real binary, some of whose words are changed."""
    script(path, f'for last; do :; done\ncase "$last" in -version|-encoders|-decoders|-filters) {REAL} "$@" | sed '
                 f"'s/{pattern}/{to}/';; *) exec {REAL} \"$@\";; esac")  # fmt: skip


def test_the_binary_of_this_machine_can_do_what_is_needed() -> None:
    found = tool.check_ffmpeg()
    assert found.path == REAL
    assert {"libx264", "mjpeg", "png"} <= found.encoders
    assert {"h264", "hevc"} <= found.decoders
    assert "showinfo" in found.filters
    assert found.version[0] in "n0123456789N"


def test_a_binary_that_is_missing_is_named(fake: Path) -> None:
    with pytest.raises(UsageError, match=rf"ffmpeg cannot be started: {fake}: No such file"):
        tool.check_ffmpeg()
    fake.write_text("no program")
    with pytest.raises(UsageError, match=r"cannot be started: .*Permission denied"):
        tool.check_ffmpeg()
    with pytest.raises(UsageError, match="cannot be started"):
        tool.run(("-version",))
    with pytest.raises(UsageError, match="cannot be started"), tool.piped(("-version",)):
        pass


@pytest.mark.parametrize("version", ["4.2.2-static", "n5.0.1", "5.0-essentials", "3.4.11-0ubuntu0.1"])
def test_an_old_binary_is_refused_by_its_version(fake: Path, version: str) -> None:
    changed(fake, "ffmpeg version [^ ]*", f"ffmpeg version {version}")
    with pytest.raises(UsageError, match=rf"too old: {fake} is version {version}, expected 5\.1 or newer"):
        tool.check_ffmpeg()


@pytest.mark.parametrize("version", ["5.1", "n5.1.6", "5.1.9-0+deb12u1", "6.0-static", "10.0", "N-12345-gabcdef"])
def test_a_binary_of_the_oldest_version_or_of_none_will_do(fake: Path, version: str) -> None:
    changed(fake, "ffmpeg version [^ ]*", f"ffmpeg version {version}")
    assert tool.check_ffmpeg().version == version


def test_an_old_binary_is_refused_by_what_it_cannot_do(fake: Path) -> None:
    """Built from a working copy: its version is a hash."""
    script(fake, f'for word; do if [ "$word" = -fps_mode ]; then echo Unrecognized option >&2; exit 1; fi; done\n'
                 f'{REAL} "$@" | sed "s/ffmpeg version [^ ]*/ffmpeg version N-12345-gabcdef/"')  # fmt: skip
    with pytest.raises(UsageError, match="is version N-12345-gabcdef, expected"):
        tool.check_ffmpeg()


def test_what_a_binary_lacks_is_named(fake: Path) -> None:
    changed(fake, r" \(libx264\|showinfo\|vstack\) ", " none ")
    with pytest.raises(UsageError, match=f"{fake} has no encoder libx264, no filter showinfo, no filter vstack "):
        tool.check_ffmpeg()


def test_a_binary_that_answers_nothing_is_refused(fake: Path) -> None:
    script(fake, "exit 3")
    with pytest.raises(UsageError, match=f"does not work: {fake} -version"):
        tool.check_ffmpeg()


def test_the_answer_is_kept(fake: Path, tmp_path: Path) -> None:
    script(fake, f'echo x >> {tmp_path}/calls; exec {REAL} "$@"')
    first = tool.check_ffmpeg()
    calls = (tmp_path / "calls").read_text()
    assert tool.check_ffmpeg() is first
    assert (tmp_path / "calls").read_text() == calls


def test_a_job_is_refused_before_it_begins(fake: Path, tmp_path: Path) -> None:
    script(fake, "echo ffmpeg version 4.4.2 Copyright")
    command = [sys.executable, "-m", "cosmos_ray", "generate", "--manifest", "none.parquet", "--model", "tiny"]
    done = subprocess.run([*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ffmpeg is too old" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_says_the_cause_without_names_and_addresses(tmp_path: Path) -> None:
    with pytest.raises(tool.FfmpegFailed) as caught, tool.piped(("-i", f"file:{tmp_path}/none.mp4")):
        pass
    assert "No such file or directory" in " ".join(caught.value.errors)
    assert not any("0x" in line for line in caught.value.errors)


def test_output_is_read_as_it_comes_and_a_reader_may_leave(tmp_path: Path) -> None:
    """Picture without end: a reader that waits for it is told that it takes too long."""
    source = ("-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "64x64", "-i", "file:/dev/zero")
    with tool.piped((*source, "-f", "rawvideo", "pipe:1")) as stdout:
        assert stdout.read(100) == bytes(100)


def test_a_run_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "TIMEOUT_S", 0.5)
    source = ("-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "64x64", "-re", "-i", "file:/dev/zero")
    with pytest.raises(subprocess.TimeoutExpired), tool.piped((*source, "-f", "null", "-")):
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, subprocess.TimeoutExpired("ffmpeg", 1), RuntimeError])
def test_a_run_that_is_broken_off_leaves_no_process(
    fake: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    script(fake, "exec sleep 20")
    begun: list[subprocess.Popen[bytes]] = []
    start = tool._start
    monkeypatch.setattr(tool, "_start", lambda *of: (begun.append(start(*of)), begun[-1])[1])

    def communicate(*_: object) -> None:
        raise error

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    with pytest.raises(BaseException) as caught:
        tool.run(())
    assert caught.type in (error, type(error))
    with pytest.raises(RuntimeError, match="given up"), tool.piped(()):
        raise RuntimeError("given up")
    assert [process.returncode for process in begun] == [-9, -9]
    assert all(pipe.closed for process in begun for pipe in (process.stdout, process.stderr) if pipe)


def test_nothing_is_begun_when_the_time_is_up(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(fake, "exec sleep 20")
    begun: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", begun.append)
    for begin in (lambda: tool.run(()), lambda: tool.run((), memory=5), lambda: list(read_all(5))):
        with time_limit(0), pytest.raises(TimeIsUp):
            begin()
    assert begun == []


def test_lines_of_a_log_lose_who_wrote_them() -> None:
    assert tool.log_line("[h264 @ 0x55d0] [error] no frame!") == ("error", "no frame!")
    assert tool.log_line("[info]   Stream #0:0: Video: h264") == ("info", "  Stream #0:0: Video: h264")
    assert tool.log_line("[Parsed_showinfo_0 @ 0x7f] [info] n:   0") == ("info", "n:   0")
    assert tool.log_line("a line of its own") == ("", "a line of its own")


def test_of_a_log_the_first_errors_of_any_weight_are_kept_and_the_rest_is_told() -> None:
    """What ends the program is `fatal`, what should not be is `panic`; what is said without a level is told."""
    told: list[str] = []
    errors: list[str] = []
    lines = [f"[{level}] {level}" for level in ("info", "error", "warning", "fatal", "verbose", "panic")]
    more = [f"[h264 @ 0x5] [error] {number}" for number in range(30)]
    log = "\n".join([*lines, "of its own", *more]) + "\n"
    tool._read_log(io.BytesIO(log.encode() + b"[error] \xff"), errors, told.append)
    assert errors == ["error", "fatal", "panic", *map(str, range(17))]
    assert told == ["info", "warning", "verbose", "of its own"]


def test_the_cause_is_the_first_line_that_says_something_and_names_a_file_without_folders(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    said = ["", "  ", f" file:{path}: no index ", "then this"]
    assert tool.first_error(said, path) == "a.mp4: no index"
    assert tool.first_error(said) == f"file:{path}: no index"
    assert tool.first_error([]) == "no reason given"
    failed = tool.FfmpegFailed(said[3:])
    assert (str(failed), failed.errors) == ("ffmpeg failed: then this", ("then this",))
    assert str(tool.FfmpegFailed(said).of(path)) == "damaged: a.mp4: no index"


@pytest.mark.parametrize(
    ("code", "memory", "words"),
    [(1, 2**30, []), (-11, None, []), (-11, 2**30, []), (1, 2**30, ["Cannot allocate memory"]),
     (1, 2**30, ["ff_frame_thread_encoder_init failed"]), (1, 2**30, ["pthread_create() failed: x"])],
)  # fmt: skip
def test_memory_is_blamed_where_ffmpeg_says_so_or_dies_of_it(code: int, memory: int | None, words: list[str]) -> None:
    said = ["moov atom not found", *words]
    failed = tool._failed(said, code, memory)
    assert isinstance(failed, tool.FfmpegFailed)
    if not words and (code == 1 or memory is None):  # another fault, or nobody held it to any
        assert (failed.errors, str(failed.of(Path("a.mp4")))) == (tuple(said), "damaged: moov atom not found")
    else:
        assert failed.errors == ("it takes more than 1024 MB", *said)
        assert str(failed.of(Path("a.mp4"))) == "too much to decode: it takes more than 1024 MB"


@pytest.mark.parametrize("memory", [None, 2**30])
def test_an_ffmpeg_that_the_system_kills_is_not_the_fault_of_what_it_reads(fake: Path, memory: int | None) -> None:
    """Of a node without memory left; the clip is tried again, as after any `oom`."""
    script(fake, "kill -9 $$")
    for read in (lambda: tool.run((), memory=memory), lambda: list(read_all(memory or 2**30))):
        with pytest.raises(RowError, match=r"killed \(signal 9\)") as caught:
            read()
        assert caught.value.failure_class == "oom"


def read_all(memory: int) -> Iterator[bytes]:
    with tool.piped((), memory=memory) as out:
        yield out.read()


def test_nothing_is_opened_that_lies_behind_a_network(tmp_path: Path) -> None:
    """Whatever a file refers to, or is: ffmpeg opens files and pipes, and never asks a server."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}/a.mp4"
            (tmp_path / "list.txt").write_text(f"file '{url}'\n")
            for source in (["-i", url], ["-f", "concat", "-safe", "0", "-i", str(tmp_path / "list.txt")]):
                with pytest.raises(tool.FfmpegFailed, match="whitelist"), tool.piped([*source, "-f", "null", "-"]):
                    pass
        finally:
            server.shutdown()
    assert asked == []


def test_a_file_from_outside_is_read_as_an_mp4_that_refers_to_nothing(tmp_path: Path) -> None:
    arguments = input_arguments(tmp_path / "a.mp4")
    before = arguments[: arguments.index("-i")]
    assert before[-4:] == ("-f", "mov", "-enable_drefs", "0")
    assert arguments[-1] == f"file:{tmp_path}/a.mp4", "a path, whatever it looks like"
