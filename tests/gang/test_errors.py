"""What a gang raises keeps its reason on the way to the driver."""

from __future__ import annotations

import pickle

from cosmos_ray.gang.verdict import GangBrokenError


def test_why_a_gang_broke_crosses_processes() -> None:
    arrived = pickle.loads(pickle.dumps(GangBrokenError("oom", "load: a rank ran out of memory")))
    assert (type(arrived), arrived.failure_class, str(arrived)) == (
        GangBrokenError,
        "oom",
        "load: a rank ran out of memory",
    )
