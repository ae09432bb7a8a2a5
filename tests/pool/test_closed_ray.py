"""A Ray that a job starts for itself is nobody else's to reach."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray._private import ray_constants

from cosmos_ray.pool import closed_ray

#: Every address that the Ray of this process listens at, and who may enter the folder that its session is in.
_LOOK = """
import logging, os, stat, ray
import psutil  # which Ray brings
from cosmos_ray.pool import closed_ray
ray.init(address="local", num_cpus=1, log_to_driver=False, logging_level=logging.ERROR, **closed_ray.close())
me = psutil.Process()
ray.get(ray.remote(lambda: 1).remote())
for process in [me, *me.children(recursive=True)]:
    try:
        for found in process.net_connections("inet"):
            if found.status == psutil.CONN_LISTEN:
                print("at", found.laddr.ip)
    except psutil.Error:
        pass
folder = ray._private.worker._global_node.get_session_dir_path()
while not os.path.basename(folder).startswith("cosmos-ray"):
    folder = os.path.dirname(folder)
print("mode", oct(stat.S_IMODE(os.stat(folder).st_mode)))
"""


@pytest.mark.ray
@pytest.mark.long
def test_it_listens_to_this_machine_alone_and_keeps_its_folder_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    addresses = {words[1].removeprefix("::ffff:") for words in said if words[0] == "at"}
    assert addresses == {"127.0.0.1"}
    assert [words for words in said if words[0] == "mode"] == [["mode", "0o700"]]


def test_what_is_closed_is_opened_again_and_the_folder_is_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may join other clusters afterwards. (Without Ray: what it is told.)"""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("COSMOS_RAY_DASHBOARD", raising=False)
    before = ray_constants.ENABLE_RAY_CLUSTER
    options = closed_ray.close()
    assert options["include_dashboard"] is False
    assert options["_system_config"] == {"enable_metrics_collection": False}
    assert ray_constants.ENABLE_RAY_CLUSTER is False
    assert os.environ[closed_ray._LOOPBACK] == "0"
    of_tokens = logging.getLogger("ray._private.authentication.authentication_token_setup")
    assert not of_tokens.isEnabledFor(logging.WARNING)  # its notice would be in each job's log
    found = Path(options["_temp_dir"]).parent.stat()
    assert stat.S_IMODE(found.st_mode) == stat.S_IRWXU
    assert found.st_uid == os.geteuid()
    closed_ray.reopen()
    closed_ray.reopen()
    assert before == ray_constants.ENABLE_RAY_CLUSTER
    assert closed_ray._LOOPBACK not in os.environ
    assert of_tokens.isEnabledFor(logging.WARNING)
    monkeypatch.setenv("COSMOS_RAY_DASHBOARD", "1")
    assert closed_ray.close() == {"include_dashboard": True}


def test_sessions_of_a_week_ago_go_but_none_that_is_written_to(tmp_path: Path) -> None:
    old = time.time() - 8 * 86400
    for name, logs in (("session_2026-01-01_1", old), ("session_2026-01-02_2", time.time()), ("other", old)):
        log = tmp_path / name / "logs" / "raylet.out"
        log.parent.mkdir(parents=True)
        log.write_text("said")
        os.utime(log, (logs, logs))
        for folder in (log.parent, log.parent.parent):
            os.utime(folder, (old, old))
    (tmp_path / "session_2026-01-03_3").mkdir()
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_2026-01-02_2")
    closed_ray._sweep(tmp_path)
    left = {one.name for one in tmp_path.iterdir()}
    assert left == {"session_2026-01-02_2", "session_2026-01-03_3", "session_latest", "other"}
    closed_ray._sweep(tmp_path / "nothing there")
