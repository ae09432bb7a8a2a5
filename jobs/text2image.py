"""One picture with the flags of Cosmos-Predict2's example: `python jobs/text2image.py --prompt ...`.

Runs on the Ray cluster of RAY_ADDRESS, under `ray job submit --working-dir .`, or on this machine alone. See
`cosmos_ray.published.text2image`; the package need not be installed if this is started from the repository's root.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray.__main__ import main

if __name__ == "__main__":
    main("cosmos_ray.published.text2image")
