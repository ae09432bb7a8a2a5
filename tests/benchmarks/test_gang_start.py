"""How long a gang's start takes, and another's after a kill: what the script reads and prints, not what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gang_start import parts_of, table  # type: ignore[import-not-found]
from support.paths import ROOT
from support.waiting import PATIENCE_S

from cosmos_ray.gang.processes import GangInfo


def test_parts_are_read_out_of_a_gangs_line() -> None:
    info = GangInfo(
        "node", (), 21.44, {"processes": 1.9, "device and group": 0.25, "network": 3.0}, "FA3, plain: no gcc"
    )
    assert parts_of(f"gang-0001 is up: 1 rank on node 351f, {info.how_loaded()}") == {
        "loading": 21.4, "loading: processes": 1.9, "loading: device and group": 0.2, "loading: network": 3.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="no times of loading in: gang-0001 is up"):
        parts_of("gang-0001 is up: it was kept, with its model loaded")


def test_the_table_has_a_row_a_figure() -> None:
    runs = [
        {"fresh": {"ranks": 1.0, "up": 9.0}, "rebuilt": {"noticed": 0.1, "up": 4.0}},
        {"fresh": {"ranks": 2.0, "up": 8.0}, "rebuilt": {"noticed": 0.3, "up": 5.0}},
    ]
    assert table(runs).splitlines()[2:] == [
        "| ranks | 1.50 (1.00 to 2.00) |  |",
        "| up | 8.50 (8.00 to 9.00) | 4.50 (4.00 to 5.00) |",
        "| noticed |  | 0.20 (0.10 to 0.30) |",
    ]


@pytest.mark.long
@pytest.mark.ray
def test_a_fresh_gang_and_a_rebuilt_one_are_measured() -> None:
    words = ["--model", "tiny", "--gang-size", "2", "--runs", "1", "--views", "1", "--after", "3", "--spares", "always"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gang_start.py"), *words, "--steps", "2", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    ours = [line for line in done.stdout.splitlines() if line.startswith(("{", "|"))]  # Ray speaks of the dead rank too
    _, first, second, *rows = ours
    for line in first, second:
        run = json.loads(line)
        for kind in ("fresh", "rebuilt"):
            assert 0 < run[kind]["up"] < run[kind]["denoising"] < run[kind]["first step"]
            assert run[kind]["loading: network"] > 0
        assert 0 <= run["rebuilt"]["noticed"] < run["rebuilt"]["up"]
    assert rows[0] == "| s | fresh | rebuilt |"
    assert "in the place of gang-0001" in done.stderr
