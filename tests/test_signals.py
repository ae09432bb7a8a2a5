"""What tells a command to end, without Ray: heard wherever its main thread is, obeyed in time, once or twice."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.paths import ROOT
from support.waiting import PATIENCE_S

from cosmos_ray import signals

#: What an orderly end may take, in bodies that have none.
_SOON = "signals.GRACE_S = 0.3\n"
#: In C code that gives Python's lock away and waits for ever: no handler runs in its main thread.
_DEAF = """
import ctypes
lock = ctypes.create_string_buffer(256)
ctypes.CDLL(None).pthread_mutex_lock(lock)
while True:
    try:
        there()
        ctypes.CDLL(None).pthread_mutex_lock(lock)
    except BaseException:
        pass
"""
_SWALLOWS = """
import time
while True:
    try:
        there()
        time.sleep(60)
    except BaseException:
        pass
"""
_LOSES = """
import time
class Late:
    def __del__(self):
        there()
        time.sleep(60)
Late()
time.sleep(60)
"""
_POLITE = """
import time
try:
    there()
    time.sleep(60)
except KeyboardInterrupt:
    print("cleaned up", flush=True)
    signals.complain(signals.reason())
    signals.leave(1)
"""
_THERE = """
once = ["there"]
there = lambda: once and print(once.pop(), flush=True)
"""
_JOB = """
import os
say = lambda *words: os.write(1, (" ".join(words) + "\\n").encode())
job = signals.job(lambda why: say("heard", why) and {in_order}, lambda: say("at last"), lambda: say("swept"))
with job:
    try:
        exec(body)
    except signals.Interrupted as error:
        say("interrupted:", str(error))
        raise SystemExit(1)
"""

_ALL = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """start(body): a program that hears signals and has said that it is there."""
    started: list[subprocess.Popen[str]] = []

    def start(body: str, first: str = "") -> subprocess.Popen[str]:
        code = f"from cosmos_ray import signals\nsignals.hear()\nbody = {body!r}\n{_THERE}"
        code += first or "exec(body)"
        program = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(program)
        assert program.stdout is not None
        said = b""
        while not said.endswith(b"\n") and (one := os.read(program.stdout.fileno(), 1)):
            said += one  # no more than that line, or what follows at once would be lost to `communicate`
        assert said == b"there\n"
        return program

    yield start
    for program in started:
        program.kill()
        program.wait()


def end(program: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    said, complained = program.communicate(timeout=PATIENCE_S)
    return program.returncode, said.splitlines(), complained.splitlines()


@pytest.mark.parametrize("number", _ALL)
def test_a_command_cleans_up_says_one_line_and_ends_with_1(start: Start, number: signal.Signals) -> None:
    program = start(_POLITE)
    program.send_signal(number)
    assert end(program) == (1, ["cleaned up"], [f"cosmos-ray: stopped by {number.name}"])


@pytest.mark.parametrize(
    "body", [_DEAF, _SWALLOWS, _LOSES], ids=["in C code", "an exception that is swallowed", "one that is lost"]
)
def test_one_that_does_not_end_is_ended(start: Start, body: str) -> None:
    program = start(_SOON + body)
    program.send_signal(signal.SIGTERM)
    assert end(program) == (1, [], ["cosmos-ray: stopped by SIGTERM"])


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    program = start(_SWALLOWS, _JOB.format(in_order=True))
    program.send_signal(signal.SIGINT)
    assert program.stdout is not None
    assert program.stdout.readline() == "heard stopped by SIGINT\n"
    while program.poll() is None:  # the first fifth of a second still counts as the first
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    code, said, complained = end(program)
    assert (code, complained) == (1, ["cosmos-ray: ended at once by a second SIGTERM"])
    assert said[-1] == "swept"
    assert "at last" not in said


def test_a_stop_that_comes_twice_at_once_is_one(start: Start) -> None:
    """As `timeout` sends it: to the process and to its group."""
    program = start(_POLITE)
    program.send_signal(signal.SIGTERM)
    program.send_signal(signal.SIGTERM)
    assert end(program) == (1, ["cleaned up"], ["cosmos-ray: stopped by SIGTERM"])


def test_two_signals_of_one_stop_are_one_and_the_first_says_why(start: Start) -> None:
    """Told at once to the thread that hears them, which the system does not promise of two processes' signals."""
    body = "import os, time\nsignals._ONE_STOP_S = 60\nthere()\n"  # a busy machine may hold that thread
    body += "signals._signals._writes.send(bytes([15, 2, 15]))\n"
    body += "while not signals._signals._is_dealt_with: time.sleep(0.01)\n"
    body += "time.sleep(0.3)\nsay('goes on', signals.reason())"
    code, said, complained = end(start(body, _JOB.format(in_order=True)))
    assert (code, said, complained) == (0, ["heard stopped by SIGTERM", "goes on stopped by SIGTERM"], [])


@pytest.mark.parametrize("in_order", [True, False])
def test_what_came_first_is_the_reason_whichever_thread_hears_what_comes_next(in_order: bool) -> None:
    heard = signals._Signals.__new__(signals._Signals)
    told: list[str] = []
    heard.reason, heard._is_dealt_with = "", False
    heard._job = signals._Job(lambda why: told.append(why) or in_order, lambda: None, lambda: None)
    interrupted = [heard._hear(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT)]
    assert (heard.reason, set(told)) == ("stopped by SIGINT", {"stopped by SIGINT"})
    assert interrupted == [not in_order] * 3
    assert len(told) == (1 if in_order else 3), "a job that ends itself is not told again"


def test_a_second_signal_on_the_way_out_changes_nothing(start: Start) -> None:
    """What a library does at exit may take its time, and Python has put the system's handlers back by then."""
    late = "import os, signal, weakref\nclass Late: pass\nlate = Late()\n"
    late += "weakref.finalize(late, os.kill, os.getpid(), signal.SIGTERM)\n"
    program = start(late + _POLITE)
    program.send_signal(signal.SIGINT)
    assert end(program) == (1, ["cleaned up"], ["cosmos-ray: stopped by SIGINT"])


@pytest.mark.parametrize("number", _ALL)
def test_a_signal_when_all_is_done_is_one_line_or_none(start: Start, number: signal.Signals) -> None:
    """While libraries end, it ends the command; when Python would take itself apart there is nobody left to get it."""
    late = f"import atexit, os, signal\natexit.register(os.kill, os.getpid(), {int(number)})\n"
    program = start(late + "import time\nthere()\ntime.sleep(0.2)\nprint('the result')\nsignals.leave(0)")
    assert end(program) == (1, ["the result"], [f"cosmos-ray: stopped by {number.name}"])
    late = "import os\nclass Late:\n    def __del__(self, kill=os.kill, me=os.getpid()):\n"
    late += f"        kill(me, {int(number)})\nos.late = Late()\n"
    program = start(late + "import time\nthere()\ntime.sleep(0.2)\nprint('the result')\nsignals.leave(0)")
    assert end(program) == (0, ["the result"], [])


@pytest.mark.parametrize("entry", sorted((ROOT / "jobs").glob("*.py")), ids=lambda path: path.name)
def test_every_entry_point_hears_signals_and_leaves_as_they_say(entry: Path) -> None:
    code = entry.read_text()
    assert "from cosmos_ray.__main__ import main\n" in code
    assert code.count("import ") == 4, "an import, perhaps a slow one, before signals are heard"


def test_a_job_that_ends_in_good_order_is_not_interrupted(start: Start) -> None:
    body = "import time\nthere()\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    program = start(body, _JOB.format(in_order=True))
    program.send_signal(signal.SIGTERM)
    code, said, complained = end(program)
    assert (code, complained) == (0, [])
    assert set(said) == {"heard stopped by SIGTERM"}


def test_a_job_that_has_no_loop_yet_is_interrupted(start: Start) -> None:
    program = start("import time; there(); time.sleep(60)", _JOB.format(in_order=False))
    program.send_signal(signal.SIGTERM)
    code, said, _ = end(program)
    assert code == 1
    assert said[-1] == "interrupted: stopped by SIGTERM"


def test_what_a_job_has_to_do_is_done_though_it_hangs(start: Start) -> None:
    program = start(_SOON + _SWALLOWS, _JOB.format(in_order=True))
    program.send_signal(signal.SIGTERM)
    code, said, complained = end(program)
    assert (code, complained) == (1, ["cosmos-ray: stopped by SIGTERM; the same command goes on from here"])
    assert said[-2:] == ["at last", "swept"]


def test_nothing_of_a_job_that_hangs_is_waited_for_longer_than_five_seconds(start: Start) -> None:
    """Here with shorter waits: neither the work nor what has to be done at last ends."""
    assert signals.GRACE_S + signals.LAST_S < 5
    hangs = _JOB.format(in_order=True).replace('say("at last")', "time.sleep(600)")
    program = start(_SWALLOWS, f"import time\nsignals.GRACE_S = signals.LAST_S = 0.1\n{hangs}")
    began = time.monotonic()
    program.send_signal(signal.SIGTERM)
    code, said, complained = end(program)
    assert time.monotonic() - began < signals.GRACE_S
    assert (code, complained) == (1, ["cosmos-ray: stopped by SIGTERM; the same command goes on from here"])
    assert said[-1] == "swept"


def test_after_a_job_within_another_the_outer_one_hears_again(start: Start) -> None:
    """A comparison has a Ray to end between its jobs."""
    within = "with signals.job(lambda why: True, lambda: None, lambda: None):\n    pass\n"
    program = start(_SOON + within + _SWALLOWS, _JOB.format(in_order=True))
    program.send_signal(signal.SIGTERM)
    code, said, _ = end(program)
    assert code == 1
    assert said[-2:] == ["at last", "swept"]
    assert set(said[:-2]) == {"heard stopped by SIGTERM"}


@pytest.mark.parametrize("number", _ALL)
def test_a_library_that_takes_the_handlers_is_no_way_out(start: Start, number: signal.Signals) -> None:
    program = start(
        f"import signal\nsignal.signal({int(number)}, lambda *_: print('taken', flush=True))\n{_SOON}{_SWALLOWS}"
    )
    program.send_signal(number)
    code, _, complained = end(program)
    assert (code, complained) == (1, [f"cosmos-ray: stopped by {number.name}"])


def test_a_program_without_a_last_word_of_its_own_says_one_line(start: Start) -> None:
    program = start("", "import time\nthere()\ntime.sleep(60)")
    program.send_signal(signal.SIGINT)
    assert end(program) == (1, [], ["cosmos-ray: stopped by SIGINT"])


@pytest.mark.parametrize("number", _ALL)
def test_a_signal_before_signals_are_heard_is_one_line(number: signal.Signals) -> None:
    """Between the first line of a program and the import of what hears signals."""
    code = "import os, sys\nfrom cosmos_ray.__main__ import main\n"
    code += "class Late:\n    def find_spec(self, name, *_):\n"
    code += f"        if name == 'cosmos_ray.signals':\n            os.kill(os.getpid(), {int(number)})\n"
    code += "sys.meta_path.insert(0, Late())\nmain()\n"
    done = subprocess.run([sys.executable, "-c", code, "config"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"cosmos-ray: stopped by {number.name}\n")


def test_an_error_that_nobody_foresaw_tells_no_secret(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    """A library's error may have all of the environment in it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn+FEMI")
    code, _, complained = end(start("", "import os\nthere()\nraise ValueError(f'boom {dict(os.environ)}')"))
    assert code == 1
    assert complained[0].startswith("Traceback")
    assert complained[-1].startswith("ValueError: boom {")
    assert "wJalr" not in "".join(complained)


def test_one_whose_last_word_nobody_can_have_ends_too(start: Start) -> None:
    """A terminal that is gone, a log's disk that is full: the word is lost, not the end."""
    program = start(_SOON + _SWALLOWS, "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 2)\nexec(body)")
    program.send_signal(signal.SIGTERM)
    assert end(program) == (1, [], [])


_IGNORES = ["sh", "-c", "trap '' HUP; exec \"$@\"", "nohup"]


@pytest.mark.parametrize("is_late", [False, True], ids=["before signals are heard", "after"])
def test_one_that_was_told_to_ignore_a_closed_terminal_goes_on(is_late: bool) -> None:
    code = "import os, signal, sys, types\nhup = lambda: os.kill(os.getpid(), signal.SIGHUP)\n"
    code += "from cosmos_ray.__main__ import main\n"
    code += "class Late:\n    def find_spec(self, name, *_):\n        name == 'cosmos_ray.signals' and hup()\n"
    code += "" if is_late else "sys.meta_path.insert(0, Late())\n"
    code += "job = sys.modules['job'] = types.ModuleType('job')\n"
    code += "job.main = lambda: hup() or print('done') or 0\nmain('job')\n"
    done = subprocess.run([*_IGNORES, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_one_whose_terminal_is_gone_ends_as_if_it_had_one() -> None:
    """The system sends SIGHUP then, and nothing more can be said."""
    body = _POLITE.replace('print("cleaned up", flush=True)', "pass")
    ours, its = pty.openpty()
    code = f"from cosmos_ray import signals\nsignals.hear()\nbody = {body!r}\n{_THERE}exec(body)"
    at_the_terminal = "import fcntl, os, sys, termios\nos.setsid()\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + code
    program = subprocess.Popen([sys.executable, "-c", at_the_terminal], stdin=its, stdout=its, stderr=its)
    try:
        os.close(its)
        said = b""
        while not said.endswith(b"\n"):  # which may come by itself
            said += os.read(ours, 100)
        assert said == b"there\r\n"
        os.close(ours)
        assert program.wait(PATIENCE_S) == 1
    finally:
        program.kill()
        program.wait()
