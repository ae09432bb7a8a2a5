"""Entry point of a job: `ray job submit --working-dir . -- python jobs/generate.py --manifest URI --output URI ...`.

Takes the flags of `cosmos-ray generate` and has its exit codes. The package need not be installed: it lies beside this
folder, in the working directory that Ray has unpacked and put on the path of every worker.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["generate"]
    main()
