"""Spare ranks that die or hang, for the table of faults (`tests/chaos.py`): while they wait, and while they take a
gang's place. A spare that is stopped (SIGSTOP) stands for one that hangs in an import, and holds that moment."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from support.chaos_scene import GANG, Scene, kill_driver_and_run_again, kill_leader, kill_only_node_and_add_another
from support.job_runs import actor_pids
from support.waiting import PATIENCE_S, wait_for

WITH_SPARES = {"gang.spare_ranks": "always"}
#: What a job says of spares that took a gang's place, of one that hangs, and of one that is dead.
TAKEN, HANGS, DEAD = "is up in the place of", "a spare rank does not answer", "is not made again where it was"


def spares_wait(scene: Scene) -> object:
    return scene.settled() >= 1 and len(actor_pids("Rank", "gang-0001-spare")) == GANG


def kill_working_rank(scene: Scene) -> None:
    os.kill(actor_pids("Rank", "gang-0001-rank")[0], signal.SIGKILL)


def kill_spare(scene: Scene) -> None:
    os.kill(actor_pids("Rank", "gang-0001-spare")[0], signal.SIGKILL)


def kill_spare_then_rank(scene: Scene) -> None:
    kill_spare(scene)
    kill_working_rank(scene)


def stop_spare_then_kill_rank(scene: Scene) -> None:
    _hold(scene)


def kill_other_spare(scene: Scene) -> None:
    held = _hold(scene)
    (other,) = set(actor_pids("Rank", "gang-0001-spare")) - {held}
    os.kill(other, signal.SIGKILL)


def kill_leader_meanwhile(scene: Scene) -> None:
    _hold(scene)
    kill_leader(scene)


def kill_driver_meanwhile(scene: Scene) -> None:
    _hold(scene)
    kill_driver_and_run_again(scene)


def stop_driver_meanwhile(scene: Scene) -> None:
    """It is told to (SIGTERM); then the same command goes on."""
    _hold(scene)
    job = scene.jobs[-1]
    job.send_signal(signal.SIGTERM)
    assert job.wait(PATIENCE_S) == 1
    last = [line for line in scene.log().splitlines() if line.startswith("cosmos-ray: ")]
    assert len(last) == 1, last
    assert "stopped by SIGTERM" in last[0], last
    assert "Traceback" not in scene.log()
    scene.start_job()


def take_node_away_meanwhile(scene: Scene) -> None:
    held = _hold(scene)
    kill_only_node_and_add_another(scene)
    with contextlib.suppress(ProcessLookupError):
        os.kill(held, signal.SIGKILL)  # what is stopped does not see that its machine is gone


def kill_spare_while_it_loads(scene: Scene) -> None:
    spare = actor_pids("Rank", "gang-0001-spare")[0]
    kill_working_rank(scene)
    wait_for(lambda: " broke: " in scene.log(), "the gang to break")
    time.sleep(0.3)
    os.kill(spare, signal.SIGKILL)


def _hold(scene: Scene) -> int:
    """The gang breaks, and its spares are waited for; the one that holds them."""
    held = actor_pids("Rank", "gang-0001-spare")[-1]
    os.kill(held, signal.SIGSTOP)
    kill_working_rank(scene)
    wait_for(lambda: " broke: " in scene.log(), "the gang to break")
    return held
