"""Lines to people: where nobody can have them, they are lost, and nothing else is."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cosmos_ray.pool.live import Display
from cosmos_ray.pool.progress import Progress

#: `2>&-`, a disk that is full, a reader that is gone.
NOBODY = ["2>&-", "2>/dev/full", "2>&1 >/dev/null | true"]


def _run(code: str, redirection: str) -> tuple[int, str]:
    command = f'"$0" -c "$1" {redirection}'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, code], stdout=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("redirection", NOBODY)
def test_work_goes_on_when_nobody_hears_of_it(redirection: str) -> None:
    code = "import time\nfrom cosmos_ray import signals\nfrom cosmos_ray.job.say import say\nsignals.hear()\n"
    code += "for n in range(3):\n    say('a line')\n    time.sleep(0.1)\nprint('done')\nsignals.leave(0)"
    assert _run(code, redirection) == (0, "" if "|" in redirection else "done\n")


def test_no_file_takes_the_place_of_a_closed_standard_error(tmp_path: Path) -> None:
    code = "import os\nfrom cosmos_ray import signals\nsignals.hear()\n"
    code += f"file = open({str(tmp_path / 'x')!r}, 'wb')\n"
    code += "os.write(2, b'said, not data')\nsignals.complain('nor this')\nprint(file.fileno() > 2)"
    assert _run(code, "2>&-") == (0, "True\n")
    assert (tmp_path / "x").read_bytes() == b""


class _Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "the terminal is gone")


def test_a_display_of_a_terminal_that_is_gone_ends_no_job() -> None:
    display = Display(Console(file=_Gone(), force_terminal=True))
    with display.shows(Progress(1, 0, display.say)):
        display.say("a line")
        display.say("another")
