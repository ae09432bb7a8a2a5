"""A Ray that a job starts for itself is nobody else's to reach."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
def test_it_listens_to_this_machine_alone_and_keeps_its_folder_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    addresses = {words[1].removeprefix("::ffff:") for words in said if words[0] == "at"}
    assert addresses == {"127.0.0.1"}
    assert [words for words in said if words[0] == "mode"] == [["mode", "0o700"]]
