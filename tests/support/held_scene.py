"""A check or a refiner that is at work when its rank, its leader or the driver dies, for the table of faults
(`tests/chaos.py`). The first question holds until then; the key of the refiner's server is found nowhere after it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.refine.endpoint import KEY
from support.chaos_scene import Scene, kill_driver_and_run_again, kill_leader
from support.chat_server import MODEL, Answer, chat_server, refines, refused

SECRET = "sk/very+secret-7f3a"
_HOLD = "COSMOS_RAY_TEST_HOLD"
_CHECK = f'''
"""A check that the first question holds, until its process is killed."""

import os
import time


def hold(kind):
    path = os.path.join(os.environ["{_HOLD}"], kind)
    try:
        with open(path + ".part", "x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    os.link(path + ".part", path)
    time.sleep(3600)


class Text:
    name, version = "holds", "1"

    def check_text(self, text):
        hold("held")


class Video:
    name, version = "holds", "1"

    def check_video(self, frames):
        hold("held")
'''


@contextmanager
def check_that_holds(folder: Path, kind: str) -> Iterator[Mapping[str, str]]:
    """kind: `Text` or `Video`. The settings of a job with it; what is started meanwhile has it installed."""
    site = folder / "site"
    info = site / "holds-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "holds.py").write_text(_CHECK)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: holds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[cosmos_ray.guardrails]\nholds = holds:{kind}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_HOLD, str(folder))
        patch.setenv("PYTHONPATH", f"{site}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
        yield {"guardrails.enabled": "true", "guardrails.provider": "none", "guardrails.own": "[holds]"}


@contextmanager
def refiner_that_holds(folder: Path) -> Iterator[Mapping[str, str]]:
    """Its second question is refused with the key in the words, the third has an answer, and so on."""
    released = threading.Event()
    asked: list[str] = []

    def answer(body: dict[str, Any]) -> Answer:
        asked.append(str(body["messages"][-1]["content"]))
        if len(asked) == 1:
            (folder / "held").write_text(str(os.getpid()))
            released.wait(600)
        return refused(503, f"who has {SECRET}?") if len(asked) == 2 else refines(body)

    with chat_server(answer) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, SECRET)
        try:
            yield {
                "refiner.backend": "endpoint", "refiner.url": server.url, "refiner.model": MODEL,
                "refiner.timeout_s": "600", "refiner.patience_s": "900",
            }  # fmt: skip
        finally:
            released.set()
        assert server.keys[0] == f"Bearer {SECRET}"
    kept = [json.loads(path.read_bytes())["words"] for path in folder.glob("out/_cosmos_ray/refined/*/*.json")]
    assert len(kept) == 1, kept  # all clips say the same
    assert not [path for path in _files(folder) if SECRET.encode() in path.read_bytes()], "the key is told"


def _files(folder: Path) -> Iterator[Path]:
    """Of the job, and of the Ray that was started last."""
    session = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray/session_latest"
    for home in (folder, session.resolve()):
        yield from (path for path in home.rglob("*") if path.is_file())


def it_holds(scene: Scene) -> object:
    return (scene.folder / "held").exists()


def kill_rank_that_checks(scene: Scene) -> None:
    os.kill(int((scene.folder / "held").read_text()), signal.SIGKILL)


def kill_leader_that_asks(scene: Scene) -> None:
    kill_leader(scene)


def kill_driver_whose_leader_asks(scene: Scene) -> None:
    kill_driver_and_run_again(scene)
