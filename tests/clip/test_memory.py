"""How much memory decoding may take, in numbers, and that it comes back."""

from __future__ import annotations

import threading

import pytest
from support.waiting import PATIENCE_S, wait_for

from cosmos_ray.clip import memory
from cosmos_ray.clip.memory import ALL, room_for, to_decode
from cosmos_ray.limits import TimeIsUp, time_limit


def test_deep_pictures_take_twice_as_much_beside_what_ffmpeg_takes_for_itself() -> None:
    base = to_decode(0, 0, False)
    assert base == to_decode(0, 0, True) == 300 * 2**20
    assert to_decode(1000, 0, False) - base == 30_000
    assert to_decode(0, 1000, False) - base == 60_000
    assert to_decode(1000, 1000, True) - base == 180_000


def test_what_was_had_comes_back_also_after_a_fault_and_nobody_needs_more_than_there_is() -> None:
    for needed in (ALL, 2 * ALL):
        with pytest.raises(ValueError, match="spoilt"), time_limit(5), room_for(needed):
            raise ValueError("spoilt")
    with room_for(ALL - 1), room_for(1), time_limit(0.05), pytest.raises(TimeIsUp, match="memory"), room_for(1):
        pass
    with time_limit(0.05), room_for(ALL):
        pass


def test_all_who_find_room_go_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several who wait: not one after the other, where there is room for all."""
    waiting: list[str] = []
    monkeypatch.setattr(memory, "time_left", lambda seconds, what: (waiting.append(what), PATIENCE_S)[1])
    inside = threading.Barrier(3, timeout=60)

    def work() -> None:
        with room_for(ALL // 4):
            inside.wait()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    with room_for(ALL):
        for thread in threads:
            thread.start()
        wait_for(lambda: len(waiting) == 3, "threads to wait for room")
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not inside.broken
    assert waiting == ["waiting for memory to read inputs in"] * 3
