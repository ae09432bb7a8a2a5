"""An output whose report has something of everything: clips with and without previews, failures, hostile words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.preview import encode_preview
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.index import write_index
from cosmos_ray.output.report import files
from cosmos_ray.output.report.build import write_report
from cosmos_ray.store.storage import Storage
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, clips, run_of, settle

HOSTILE = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">' \" </script>"
#: The first clip with a preview; those before are as an older release made them.
WITH_PREVIEW = 3


def write_scene(manifest: Path, output: Storage, made: int = 60, failed: int = 5) -> None:
    """Clips drive-000, drive-001, … with all their videos, then failures; rows lie in files of ten."""
    rows: list[dict[str, Any]] = [
        {
            "id": f"drive-{i:03d}",
            "prompt": f"street {i}",
            "seed": 100 - i,
            "weather": ("rain", "fog", "sun")[i % 3],
            "speed": i * 0.1,
        }
        for i in range(made + failed)
    ]
    rows[1] |= {"prompt": HOSTILE, "weather": HOSTILE}
    write_manifest(manifest, [{**row, "javascript:alert(1)": HOSTILE} for row in rows])
    grey = np.broadcast_to(np.arange(0, 240, 8, dtype=np.uint8)[:, None, None, None], (30, 48, 96, 3))
    video = encode_mp4(grey, 10)
    small = encode_preview([grey[:, ::2, ::2]] * 7, 10)
    for number, clip in enumerate(clips(str(manifest)).values()):
        if number >= made:
            settle(output, clip, "input", error=f"{HOSTILE} {number}")
            continue
        paths = {view: f"clips/{clip.id}/1/{view}.mp4" for view in reversed(VIEWS)}
        for path in paths.values():
            output.write(path, video)
        entries = tuple(FileEntry(view, path, len(video), "s") for view, path in paths.items())
        previews = []
        for suffix, data in zip((".mp4", ".jpg"), small, strict=True):
            if number >= WITH_PREVIEW:
                path = f"previews/{clip.id}/1{suffix}"
                output.write(path, data)
                previews.append(FileEntry("preview", path, len(data), "s"))
        warnings = (HOSTILE,) if number == 1 else ()
        settle(output, clip, files=entries, previews=tuple(previews), warnings=warnings)
    state = Ledger(output).state()
    write_index(output, open_manifest(str(manifest)), DEFAULTS, state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_ROWS", 10)
        write_report(output, run_of(str(manifest), rows=made + failed, clips=made + failed), state)
