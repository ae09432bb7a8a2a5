"""Rows with inputs that no job can take, one of each kind, and what is said of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cosmos_ray.clip.encode import encode_mp4, encode_png
from cosmos_ray.clip.request import VIEWS
from support.videos import ffmpeg

CASES = Path(__file__).parents[1] / "clip" / "data"


class RunsCode:
    """Unpickling this would leave a folder behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.marker,)


def movie(frames: int) -> bytes:
    return encode_mp4(np.full((frames, 64, 112, 3), 90, np.uint8), 10)


def pictures(name: str, count: int) -> dict[str, Any]:
    return {"input_frames": {view: [name] * count for view in VIEWS}}


def with_noise(video: bytes) -> bytes:
    """With its pictures' bytes overwritten."""
    at = video.index(b"mdat") + 8
    size = int.from_bytes(video[at - 12 : at - 8], "big") - 8
    return video[:at] + b"\x55" * size + video[at + size :]


def _resized(folder: Path) -> None:
    """Seven frames, and seven of twice their size, the parameters of each before it."""
    parts = []
    for size in ("112x64", "224x128"):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=10:d=0.7", "-pix_fmt", "yuv420p", folder / f"{size}.ts")
        parts.append((folder / f"{size}.ts").read_bytes())
    (folder / "both.ts").write_bytes(b"".join(parts))
    ffmpeg("-i", folder / "both.ts", "-c", "copy", folder / "resized.mp4")


def _more_files(folder: Path) -> None:
    whole = movie(14)
    _resized(folder)
    (folder / "riff.mp4").write_bytes(b"RIFF\0\1\0\0AVI LIST" + bytes(600))
    (folder / "upright.mp4").write_bytes(whole)
    ffmpeg("-display_rotation", "45", "-i", folder / "upright.mp4", "-c", "copy", folder / "turned.mp4")
    (folder / "circle.mp4").symlink_to(folder / "circle.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "leads-out.mp4").symlink_to("/etc/hostname")
    Image.new("CMYK", (112, 64)).save(folder / "print.jpg")
    (folder / "cut.png").write_bytes(encode_png(np.full((64, 112, 3), 90, np.uint8))[:-20])
    (folder / "telephone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(600))


def bad_inputs(folder: Path) -> tuple[list[dict[str, Any]], dict[str, tuple[str, str, str]]]:
    """(rows, with `good`, `good-too` and `pictures`, which are; (column, found, expected) of the others, by id)."""
    whole = movie(14)
    (folder / "good.mp4").write_bytes(whole)
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "text.mp4").write_text("#EXTM3U\n/etc/hostname\n")
    (folder / "odd.mp4").write_bytes(movie(13))
    np.save(folder / "narrow.npy", np.zeros((1, 7 * 512, 3), np.float32))
    (folder / "evil.pkl").write_bytes(pickle.dumps(RunsCode(folder / "was-run")))
    (folder / "mkv.mp4").write_bytes((CASES / "mkv.mp4").read_bytes())
    (folder / "picture.png").write_bytes(encode_png(np.full((64, 112, 3), 90, np.uint8)))
    (folder / "fragments.mp4").write_bytes((CASES / "fragdash_trunc2.mp4").read_bytes())
    (folder / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (folder / "empty.mp4").touch()
    (folder / "noise.mp4").write_bytes(with_noise(whole))
    (folder / "drm.mp4").write_bytes(whole.replace(b"avc1", b"encv"))
    _more_files(folder)
    cameras = ["good.mp4"] * 7
    rows: list[dict[str, Any]] = [
        {"id": "good", "prompt": ["a road"], "input_video": "good.mp4"},
        {"id": "missing", "prompt": ["a road"], "input_video": "nowhere.mp4"},
        {"id": "http", "prompt": ["a road"], "input_video": "http://example.com/a.mp4"},
        {"id": "climbs", "prompt": ["a road"], "input_video": "../outside.mp4"},
        {"id": "truncated", "prompt": ["a road"], "input_video": "cut.mp4"},
        {"id": "playlist", "prompt": ["a road"], "input_video": "text.mp4"},
        {"id": "uneven", "prompt": ["a road"], "input_video": "odd.mp4"},
        {"id": "short", "prompt": ["a road"], "input_video": "good.mp4", "num_conditional_frames": 5},
        {"id": "three-captions", "prompt": ["a", "b", "c"], "input_video": "good.mp4"},
        {"id": "six-cameras", "prompt": ["a road"], "input_videos": cameras[:6]},
        {"id": "narrow", "prompt_embedding": "narrow.npy"},
        {"id": "evil", "prompt_embedding": "evil.pkl"},
        {"id": "matroska", "prompt": ["a road"], "input_video": "mkv.mp4"},
        {"id": "folder", "prompt": ["a road"], "input_video": str(folder)},
        {"id": "below-a-file", "prompt": ["a road"], "input_video": "good.mp4/a.mp4"},
        {"id": "long-name", "prompt": ["a road"], "input_video": "x" * 300},
        {"id": "slow", "prompt": ["a road"], "input_videos": cameras, "num_conditional_frames": 5, "fps": 60},
        {"id": "few-pictures", "prompt": ["a road"], **pictures("picture.png", 4), "num_conditional_frames": 5},
        {"id": "no-picture", "prompt": ["a road"], **pictures("good.mp4", 1)},
        {"id": "pictures", "prompt": ["a road"], **pictures("picture.png", 5), "num_conditional_frames": 5},
        {"id": "no-frames", "prompt": ["a road"], "num_conditional_frames": 5},
        {"id": "fragments", "prompt": ["a road"], "input_video": "fragments.mp4"},
        {"id": "pointer", "prompt": ["a road"], "input_video": "pointer.mp4"},
        {"id": "empty", "prompt": ["a road"], "input_video": "empty.mp4"},
        {"id": "noise", "prompt": ["a road"], "input_video": "noise.mp4"},
        {"id": "drm", "prompt": ["a road"], "input_video": "drm.mp4"},
        {"id": "picture", "prompt": ["a road"], "input_video": "picture.png"},
        {"id": "other-host", "prompt": ["a road"], "input_video": "file://nas/good.mp4"},
        {"id": "avi", "prompt": ["a road"], "input_video": "riff.mp4"},
        {"id": "turned", "prompt": ["a road"], "input_video": "turned.mp4"},
        {"id": "circle", "prompt": ["a road"], "input_video": "circle.mp4"},
        {"id": "pipe", "prompt": ["a road"], "input_video": "pipe.mp4"},
        {"id": "leads-out", "prompt": ["a road"], "input_video": "leads-out.mp4"},
        {"id": "signed", "prompt": ["a road"], "input_video": "s3://b/a.mp4?X-Amz-Signature=5ecret"},
        {"id": "long-key", "prompt": ["a road"], "input_video": "s3://b/" + "k" * 1100},
        {"id": "bucket", "prompt": ["a road"], "input_video": "s3://b/"},
        {"id": "for-print", "prompt": ["a road"], **pictures("print.jpg", 1)},
        {"id": "cut-picture", "prompt": ["a road"], **pictures("cut.png", 1)},
        {"id": "telephones", "prompt": ["a road"], **pictures("telephone.heic", 1)},
        {"id": "other-embedding", "prompt_embedding": "good.mp4"},
        {"id": "no-embedding", "prompt_embedding": "nowhere.npy"},
        {"id": "says-nothing", "prompt": ["nan"]},
        {"id": "sheets-error", "prompt": ["#NAME?"]},
        {"id": "of-windows", "prompt": ["a road"], "input_video": "C:\\clips\\a.mp4"},
        {"id": "of-a-shell", "prompt": ["a road"], "input_videos": ["~/good.mp4"] * 7},
        {"id": "one-slash", "prompt": ["a road"], "input_video": "s3:/b/a.mp4"},
        {"id": "resized", "prompt": ["a road"], "input_video": "resized.mp4"},
        {"id": "against-nothing", "prompt": ["a road"], "negative_prompt": "None"},
        {"id": "one-twice", "prompt": ["a road"], "views": ["rear", "rear"]},
        {"id": "longer", "prompt": ["a road"], "num_chunks": 2},
        {"id": "controlled", "prompt": ["a road"], "control_videos": dict.fromkeys(VIEWS, "good.mp4")},
        {"id": "good-too", "prompt": ["a road"], "input_videos": cameras, "num_conditional_frames": 5},
    ]
    expected = {
        "missing": ("input_video", "nowhere.mp4", "a file that exists"),
        "http": ("input_video", "http://example.com/a.mp4", "scheme 'http'"),
        "climbs": ("input_video", "../outside.mp4", "'..'"),
        "truncated": ("input_video", "cut.mp4", "truncated"),
        "playlist": ("input_video", "text.mp4", "not an mp4"),
        "uneven": ("input_video", "13", "7"),
        "short": ("input_video", "2", "5"),
        "three-captions": ("prompt", "['a', 'b', 'c']", "one caption or 7"),
        "six-cameras": ("input_videos", "good.mp4", "7 URIs"),
        "narrow": ("prompt_embedding", "3584, 3", "3584, 1"),
        "evil": ("prompt_embedding", ".pkl file", "array"),
        "matroska": ("input_video", "mkv.mp4", "`ffmpeg -i FILE -c copy OUT.mp4`"),
        "folder": ("input_video", str(folder), "a file, not a folder"),
        "below-a-file": ("input_video", "good.mp4/a.mp4", "is a file, not a folder"),
        "long-name": ("input_video", "xxx", "too long"),
        "slow": ("input_videos", "14 frames", "at the row's 60 a second"),
        "few-pictures": ("input_frames", "picture.png", "at least 5 pictures"),
        "no-picture": ("input_frames", "an mp4 or QuickTime video", "`input_video`"),
        "fragments": ("input_video", "fragments.mp4", "truncated"),
        "pointer": ("input_video", "pointer.mp4", "`git lfs pull`"),
        "empty": ("input_video", "empty.mp4", "an empty file"),
        "noise": ("input_video", "noise.mp4", "damaged"),
        "drm": ("input_video", "drm.mp4", "encrypted"),
        "picture": ("input_video", "picture.png", "`input_frames`"),
        "other-host": ("input_video", "file://nas/good.mp4", "'nas' where a host stands"),
        "no-frames": ("num_conditional_frames", "5", "no input video"),
        "avi": ("input_video", "riff.mp4", "`ffmpeg -i FILE -c copy OUT.mp4`"),
        "turned": ("input_video", "turned by 45 degrees", "a multiple of 90"),
        "circle": ("input_video", "circle.mp4", "lead in a circle"),
        "pipe": ("input_video", "pipe.mp4", "not a regular file"),
        "leads-out": ("input_video", "leads-out.mp4", "inputs.allow"),
        "signed": ("input_video", "s3://b/a.mp4", "?"),
        "long-key": ("input_video", "kkk", "too long"),
        "bucket": ("input_video", "s3://b/", "a file, not a folder"),
        "for-print": ("input_frames", "CMYK", "RGB"),
        "cut-picture": ("input_frames", "cut.png", "truncated"),
        "telephones": ("input_frames", "a HEIF or AVIF picture", "OUT.png"),
        "other-embedding": ("prompt_embedding", "good.mp4", ".safetensors"),
        "no-embedding": ("prompt_embedding", "nowhere.npy", "a file that exists"),
        "says-nothing": ("prompt", "nan", "a word that tables write for nothing"),
        "sheets-error": ("prompt", "#NAME?", "a word that tables write for nothing"),
        "of-windows": ("input_video", "C:", "a path of Windows"),
        "of-a-shell": ("input_videos", "~/good.mp4", "which only a shell resolves"),
        "one-slash": ("input_video", "s3:/b/a.mp4", "without two slashes"),
        "resized": ("input_video", "pictures of 224x128 in a video of 112x64", "one size"),
        "against-nothing": ("negative_prompt", "None", "null for the model's own"),
        "one-twice": ("views", "['rear', 'rear']", "each camera once"),
        "longer": ("num_chunks", "2", "makes no longer videos"),
        "controlled": ("control_videos", "good.mp4", "no control branch"),
    }
    return rows, expected
