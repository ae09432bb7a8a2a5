"""Checks as users write them, and a folder that declares them as an installed package does."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
"""Checks of nobody in particular."""

import threading


class NoRed:
    """Blocks a view of which a frame is mostly red; raises for one that is all black."""

    name, version = "no-red", "1"

    def check_video(self, frames):
        red, green, blue = (frames[..., channel].mean(axis=(1, 2)) for channel in range(3))
        if not frames.any():
            raise ValueError("secret words of a prompt")
        return "too red" if (red > 2 * (green + blue)).any() else None


class NoDragons:
    name, version = "no-dragons", "2"

    def check_text(self, text):
        if "raise" in text:
            raise RuntimeError(f"cannot read {text}")
        return "dragons" if "dragon" in text.lower() else None


class Corner:
    """Blackens a corner of every frame."""

    name, version, changes_pixels = "corner", "3", True

    def check_video(self, frames):
        changed = frames.copy()
        changed[:, :8, :8] = 0
        return changed, len(frames)


class Nothing:
    name, version = "nothing", "1"


class Leaves:
    def __init__(self):
        raise SystemExit(0)


class LeavesLate(NoRed):
    name = "leaves-late"

    def problems(self):
        raise SystemExit(0)


class Stands:
    def __init__(self):
        threading.Event().wait()


class StandsLate(NoRed):
    name = "stands-late"

    def problems(self):
        threading.Event().wait()


class Raises(NoRed):
    @property
    def changes_pixels(self):
        raise RuntimeError("ask me not")


class Long(NoRed):
    version = "1" * 201


class Lines(NoRed):
    version = "1" + chr(10) + "2"


class Prints(NoRed):
    name = "prints"

    def __init__(self):
        print("made")

    def problems(self):
        print("asked")
        return "one line"


class Endless(NoRed):
    name = "endless"

    def problems(self):
        while True:
            yield "more"


class Scribbles(NoRed):
    """Writes to the frames that it is shown, and does not say so."""

    name = "scribbles"

    def check_video(self, frames):
        frames.flags.writeable = True
        frames[:] = 255


class Absent:
    name, version = "absent", "1"

    def check_text(self, text):
        return None

    def problems(self):
        return ["its word list is not on this machine"]
'''
NAMES = {
    "no-red": "NoRed", "no-dragons": "NoDragons", "corner": "Corner", "nothing": "Nothing", "absent": "Absent",
    "leaves": "Leaves", "leaves-late": "LeavesLate", "stands": "Stands",
    "stands-late": "StandsLate", "scribbles": "Scribbles",
    "raises": "Raises", "long": "Long", "lines": "Lines", "prints": "Prints", "endless": "Endless",
}  # fmt: skip


def install(folder: Path) -> Path:
    """The package in this folder, which has to be on the path."""
    (folder / "own_guardrails.py").write_text(SOURCE)
    info = folder / "own_guardrails-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-guardrails\nVersion: 1.0\n")
    points = "".join(f"{name} = own_guardrails:{kind}\n" for name, kind in NAMES.items())
    (info / "entry_points.txt").write_text(f"[cosmos_ray.guardrails]\n{points}")
    return folder
