"""One picture of several clips, for a page or a README: a band of moments a clip, a column a camera.

    python datasets/contact_sheet.py demo/sample/clips/day demo/sample/clips/dusk --out sheet.jpg [--moments 2]

A clip is a folder with one mp4 a camera, as the sample drive and every job's output have them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cosmos_ray.clip.encode import encode_jpeg
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.output.report.sheets import contact_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, help="folders with one mp4 a camera")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--moments", type=int, default=2)
    parser.add_argument("--width", type=int, default=160, help="pixels a camera")
    arguments = parser.parse_args()
    bands = []
    for clip in arguments.clips:
        videos = {view: (clip / f"{view}.mp4").read_bytes() for view in VIEWS if (clip / f"{view}.mp4").exists()}
        bands.append(contact_rows(videos, arguments.moments, arguments.width))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(encode_jpeg(np.concatenate(bands)))
    print(arguments.out)


if __name__ == "__main__":
    main()
