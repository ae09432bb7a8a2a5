"""Tables of what rules about clips give, case by case, beside how they were (`tests/golden-surfaces/clip`).

A change of any value is seen here, also one that no test was written for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from support.surfaces import assert_as_it_was

from cosmos_ray.clip import accept as accept_module
from cosmos_ray.clip import frames as frames_module
from cosmos_ray.clip import info as info_module
from cosmos_ray.clip import seams, taken
from cosmos_ray.clip.accept import Treatment, accept
from cosmos_ray.clip.agreement import agreements, of_views
from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.chunks import chunk_seed, chunks_behind, conditioned_frames
from cosmos_ray.clip.colour import HDR, WIDE, picture_to_bt709, to_bt709
from cosmos_ray.clip.family import FAMILIES
from cosmos_ray.clip.info import Stream, VideoInfo, describe
from cosmos_ray.clip.memory import to_decode
from cosmos_ray.clip.packets import Packets
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.clip.resize import crop_warning, fit_frame, resize_crop, stretch_frame, stretch_warning
from cosmos_ray.clip.sampling import PRESETS, SamplingConfig
from cosmos_ray.errors import RowError, UsageError


def said(make: Any) -> str:
    """A value, or the words of why there is none."""
    try:
        return str(make())
    except (RowError, UsageError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def of_pixels(pixels: np.ndarray) -> str:
    """Shape, kind, sum and some values; the sum of each pixel times its number tells places apart."""
    flat = pixels.astype(np.int64).ravel()
    weighed = int((flat * (np.arange(len(flat)) % 9973 + 1)).sum())
    return f"{pixels.dtype} {list(pixels.shape)} {int(flat.sum())} {weighed} {flat[:: max(len(flat) // 7, 1)].tolist()}"


def picture(height: int, width: int, most: int = 255) -> np.ndarray:
    kind = np.uint8 if most < 256 else np.uint16
    return np.random.RandomState(height * width).randint(0, most + 1, (height, width, 3)).astype(kind)


def packets(times: Sequence[int] = range(0, 5000, 500), base: Fraction = Fraction(1, 5000)) -> Packets:
    shown = np.array(times, np.int64)
    return Packets(shown, shown[::5], base, 500, shown)


def test_pictures_of_every_shape_and_fit() -> None:
    lines = []
    shapes = [(48, 64), (96, 60), (31, 47), (200, 33), (20, 20)]
    for (height, width), size in itertools.product(shapes, [(48, 64), (32, 80), (64, 64)]):
        given = picture(height, width)
        name = f"{height}x{width} to {size[0]}x{size[1]}"
        lines += [f"{name} {fit}: {of_pixels(fit_frame(given, size, fit))}" for fit in ("crop", "pad", "stretch")]
        lines.append(f"{name} rounded: {of_pixels(stretch_frame(given, size))}")
        lines.append(f"{name} two: {of_pixels(resize_crop(np.stack([given, 255 - given]), size))}")
        lines.append(f"{name} words: {crop_warning(height, width, size)}; {stretch_warning(height, width, size)}")
    assert_as_it_was("clip/fits.txt", "\n".join(lines))


def test_colours_of_every_transfer_and_primaries() -> None:
    lines = []
    for transfer, primaries in itertools.product((*HDR, "", "bt709"), (*WIDE, "", "bt709")):
        lines.append(f"{transfer} {primaries}: {of_pixels(to_bt709(picture(70, 9, 65535), transfer, primaries))}")
    ramp = np.repeat(np.arange(0, 65536, 1285, dtype=np.uint16)[None, :, None], 3, axis=2)
    lines += [f"ramp {transfer}: {to_bt709(ramp, transfer, 'bt2020')[0, :, 1].tolist()}" for transfer in (*HDR, "")]
    lines += [f"picture {of}: {of_pixels(picture_to_bt709(picture(70, 9), of))}" for of in (*WIDE, "")]
    assert_as_it_was("clip/colours.txt", "\n".join(lines))


#: Streams, each by what differs from a plain one.
STREAMS: list[dict[str, Any]] = [
    {},
    *({"transfer": one} for one in ("arib-std-b67", "smpte2084", "bt2020-10", "linear", "log100", "iec61966-2-1")),
    *({"primaries": one} for one in ("bt2020", "smpte432", "film", "bt470m", "bt709", "smpte170m")),
    *({"matrix": one} for one in ("bt2020nc", "bt2020c", "ycgco", "bt470bg", "gbr", "fcc")),
    *({"range": one} for one in ("pc", "tv")),
    *({"pixel_format": one} for one in ("yuvj420p", "yuva420p", "rgb24", "gbrp10le", "yuv420p10le", "pal8", "ya8")),
    *({"pixel_aspect": Fraction(*one)} for one in ((4, 3), (3, 4), (4, 1), (1, 4), (41, 10), (1, 5), (1001, 1000))),
    *({"rotation": one} for one in (90.0, -90.0, 180.0, 45.0, 0.5, 91.5, 270.0)),
    *({"rotation": one, "is_mirrored": True} for one in (0.0, 90.0, 180.0)),
    *({"field_order": one} for one in ("top first", "bottom first", "unknown")),
    *({"dolby": one} for one in ((5, 0), (8, 1), (7, 6))),
    *({"height": height, "width": width} for height, width in ((719, 1280), (720, 1280), (2160, 3840), (4320, 7680))),
    *({"height": height, "width": width} for height, width in ((4321, 7680), (0, 16), (16, 0), (3000, 6000))),
    {"codec": "none"},
    {"codec": "prores", "is_default": True},
    {"transfer": "smpte2084", "primaries": "bt2020", "matrix": "bt2020nc", "pixel_format": "yuv420p10le"},
    {"rotation": 90.0, "pixel_aspect": Fraction(4, 3), "field_order": "top first"},
    {"height": 2160, "width": 3840, "pixel_aspect": Fraction(4, 3), "pixel_format": "yuv420p12be"},
]


#: What two of these make of each other.
TOGETHER: list[dict[str, Any]] = [
    *({"rotation": one} for one in (90.0, 180.0)),
    {"is_mirrored": True},
    *({"pixel_aspect": Fraction(*one)} for one in ((4, 3), (3, 4))),
    {"field_order": "top first"},
    {"transfer": "smpte2084"},
    *({"primaries": one} for one in ("bt2020", "film")),
    *({"matrix": one} for one in ("bt2020nc", "bt709")),
    *({"pixel_format": one} for one in ("yuva420p10le", "yuvj420p", "rgb24")),
    {"range": "pc"},
    *({"height": height, "width": width} for height, width in ((700, 1280), (720, 1280), (3000, 6000))),
    {"is_default": True},
    {"stereo": "top and bottom", "sphere": "equirectangular"},
    {"dolby": (8, 0)},
    *({"height": 8000, "width": 4000, "pixel_aspect": Fraction(*of)} for of in ((6, 1), (1, 1), (5, 4))),
    {"pixel_aspect": Fraction(9, 2)},
    {"height": 1, "width": 33_000_000},
]


def test_what_two_kinds_make_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_module, "deinterlacer", lambda: "(deinterlaced)")
    lines = []
    for one, other in itertools.combinations(TOGETHER, 2):
        if one.keys() & other.keys():
            continue
        stream = replace(Stream(2, "h264", "yuv420p", 96, 160), **one, **other)
        sound_between = [Stream(0, "mjpeg", "yuvj420p", 8, 8), stream]

        def made(stream: Stream = stream, streams: Sequence[Stream] = sound_between) -> str:
            info, of = accept(streams if stream.is_default else [stream], stream, packets())
            shown = f"{info.height}x{info.width} {info.pixel_aspect} {info.matrix} {info.range} {info.transfer}"
            kinds = f"{of.source_hw} {of.deinterlace} {of.shape.partition(':flags')[0]} {of.transfer} {of.primaries}"
            return f"{shown} as {of.height}x{of.width} {kinds} {of.memory} {[*info.conversions, *info.warnings]}"

        lines.append(f"{one} {other}: {said(made)}")
    assert_as_it_was("clip/treatments2.txt", "\n".join(lines))


def test_what_is_made_of_videos_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_module, "deinterlacer", lambda: "(deinterlaced)")
    lines = []
    plain = Stream(0, "h264", "yuv420p", 96, 160)
    for changes in STREAMS:
        stream = replace(plain, **changes)

        def made(stream: Stream = stream) -> str:
            info, treatment = accept([plain, stream] if stream.is_default else [stream], stream, packets())
            return f"{info}\n    {treatment}"

        lines.append(f"{changes}\n    {said(made)}")
    assert_as_it_was("clip/treatments.txt", "\n".join(lines))


def line(text: str, number: int = 0, language: str = "(und)") -> str:
    return f"  Stream #0:{number}[0x{number + 1}]{language}: {text}"


DESCRIBED: dict[str, list[str]] = {
    "plain": [line("Video: h264 (High) (avc1 / 0x31), yuv420p(tv, bt709, progressive), 160x96 [SAR 1:1], 10 fps")],
    "mixed tags": [line("Video: hevc (Main 10), yuv420p10le(pc, bt2020nc/bt2020/smpte2084, top first), 64x48, 25 fps")],
    "unknown tags": [line("Video: h264, yuv420p(unknown/bt709/reserved, bottom first), 64x48 [SAR 4:3 DAR 16:9]")],
    "swapped": [line("Video: mpeg2video, yuv420p(tv, top coded first (swapped)), 720x576 [SAR 0:1 DAR 0:1]")],
    "two shapes": [line("Video: h264, yuv420p, 64x48 [SAR 1:1 DAR 4:3], SAR 4:3 DAR 16:9, 5 fps (default)")],
    "depth": [line("Video: prores (apch), yuv422p10le(bt709, 10 bpc), 64x48"), line("Audio: aac", 1)],
    "turned": [line("Video: h264, yuv420p, 64x48"), "      displaymatrix: rotation of -90.00 degrees"],
    "turned twice": [line("Video: h264, yuv420p, 64x48"), "      displaymatrix: rotation of 180.00 degrees",
                     line("Video: h264, yuv420p, 64x48", 1)],
    "hidden": [line("Video: h264, yuv420p, 64x48"), "      Frame cropping: 1/2/3/4"],
    "dolby": [line("Video: hevc, yuv420p10le, 64x48"), "   DOVI configuration record: version: 1.0, profile: 8, "
              "level: 6, rpu flag: 1, el flag: 0, bl flag: 1, compatibility id: 4"],
    "three": [line("Video: h264, yuv420p, 64x48", 2), line("Video: mjpeg, yuvj420p, 8x8 (attached pic)", 1),
              line("Video: h264, yuv420p, 32x24 (default)", 0), line("Video: h264, yuv420p, 9x9", 2)],
    "narrow pixels": [line("Video: h264, yuv420p, 720x480 [SAR 10:11 DAR 15:11], 30 fps")],
    "ten tracks": [line("Video: h264, yuv420p, 64x48", 10), line("Video: h264, yuv420p, 32x24", 2)],
    "in a group, and again": ["    Stream #0:1[0x2]: Video: h264, yuv420p, 64x48 (default)", "      Side data:",
              "      stereo3d: side by side, view: packed", line("Video: h264, yuv420p, 64x48", 1), "   stereo3d: 2D"],
    "side data of the second": [line("Video: h264, yuv420p, 64x48"), line("Video: h264, yuv420p, 32x24", 1),
              "      Spherical Mapping: equirectangular (0.0/0.0/0.0)", "      Frame Cropping: 0/0/40/40"],
    "flat": [line("Video: h264, yuv420p, 64x48"), "      stereo3d: unspecified", "      spherical: rectilinear"],
    "thumbnails": [line("Video: mjpeg, yuvj420p, 8x8 (timed thumbnails)"), line("Video: h264, yuv420p, 64x48", 1)],
    "half a tag": [line("Video: h264, yuv420p(tv, bt709/unknown/unknown), 64x48"), line("Video: h264", 1)],
    "no size": [line("Video: none, none")],
    "no video": [line("Audio: aac")],
}  # fmt: skip


def test_streams_are_read_from_every_kind_of_description(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, asked = [], []
    monkeypatch.setattr(info_module, "is_mirrored", lambda path, track: (path.name, track) != ("turned twice", 0))
    for name, log in DESCRIBED.items():

        @contextmanager
        def piped(arguments: Sequence[str], on_log: Any, log: list[str] = log) -> Iterator[None]:
            asked.append([one.replace(str(Path.cwd()), "(here)") for one in arguments])
            for text in ["Input #0, mov, from 'a':", *log]:
                on_log(text)
            yield None

        monkeypatch.setattr(info_module, "piped", piped)
        lines.append(f"{name}: {said(lambda name=name: describe(Path(name)))}")
    assert_as_it_was("clip/descriptions.txt", "\n".join([*lines, f"asked: {asked[0]}"]))


def arguments_of(
    monkeypatch: pytest.MonkeyPatch, treatment: Treatment, indices: Sequence[int], of: Packets, counted: bool = False
) -> list[str]:
    """What ffmpeg is asked for those frames, and the kind of those that were handed on."""
    calls: list[str] = []
    shown: list[str] = []
    depth = 6 if treatment.is_recoloured else 3

    @contextmanager
    def piped(arguments: Sequence[str], errors: Any, on_log: Any, memory: int) -> Iterator[IO[bytes]]:
        calls.append(f"{' '.join(arguments).replace(str(Path.cwd()), '(here)')} memory {memory}")
        on_log("config in time_base: 1/5000, frame_rate: 10/1")
        for number, time in enumerate(of.times):
            on_log(f"n: {number} pts: {time} pts_time:1 pos: 48 fmt:yuv420p sar:1/1 s:8x4 i:P iskey:1")
        yield BytesIO(bytes(range(4 * 8 * depth)) * len(indices))

    monkeypatch.setattr(frames_module, "piped", piped)
    info = VideoInfo(len(of.times), treatment.height, treatment.width, 10.0, track=2)
    video = frames_module.Video(Path("a.mp4"), info, of, treatment)
    run = frames_module._counted if counted else frames_module._read

    def keep(index: int, frame: np.ndarray) -> None:
        shown.append(f"{index}: {of_pixels(frame)}")

    log = run(video, treatment, indices, keep)
    return [*calls, f"{len(log.times)} {log.base} {log.fields!r} {sorted(log.sizes)}", *shown]


def test_what_ffmpeg_is_asked_for_frames_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Treatment(4, 8, (4, 8))
    keyed = packets(range(0, 20000, 500))
    cases = {
        "first": (plain, [0], keyed, False),
        "later": (plain, [12, 13, 17], keyed, False),
        "last": (plain, [39], keyed, False),
        "deinterlaced": (replace(plain, deinterlace="bwdif=a", memory=7), [6, 7], keyed, False),
        "shaped": (replace(plain, shape="scale=8:4"), [3], keyed, False),
        "recoloured": (replace(plain, transfer="smpte2084", primaries="bt2020"), [1], keyed, False),
        "both": (replace(plain, primaries="bt2020", shape="scale=8:4"), [1], keyed, False),
        "counted": (replace(plain, deinterlace="bwdif=a"), [1, 2, 9], keyed, True),
    }
    lines = []
    for name, case in cases.items():
        lines += [f"{name}:", *(f"    {one}" for one in arguments_of(monkeypatch, *case))]
    assert_as_it_was("clip/asked.txt", "\n".join(lines))


def rates(*fps: float, seconds: float = 3.0) -> list[np.ndarray]:
    return [np.arange(round(seconds * one)) / one for one in fps]


def test_frames_that_are_taken_at_every_rate() -> None:
    gap = np.delete(np.arange(30) / 10, [4, 5, 6, 26, 27])
    late = rates(30, seconds=2.2)[0]
    tables = {"one": rates(10), "two": rates(10, 30), "ntsc": rates(30000 / 1001, 25), "slow": rates(5, 10),
              "gap": [gap, gap + 0.0], "ends": [rates(10)[0], late], "single": [np.zeros(1)]}  # fmt: skip
    lines = []
    for (name, times), count, fps in itertools.product(tables.items(), (1, 5), (10.0, 15.0, 30.0)):
        views = VIEWS[: len(times)]
        usual = [1 / float(np.median(np.diff(one))) if len(one) > 1 else 10.0 for one in times]
        for way in ("take_frames", "take_first"):
            found = said(lambda way=way, o=(times, views, count, fps): getattr(taken, way)(*o).tolist())  # type: ignore[misc]
            lines.append(f"{name} {way} {count} at {fps}: {found}")
            if "Error" not in found:
                of = getattr(taken, way)(times, views, count, fps)
                lines.append(f"    gaps: {taken.gap_warnings(times, of, views, fps, way == 'take_first')}")
                lines.append(f"    timing: {taken.timing_warnings(times, of, usual, views, fps)}")
        asked = len(times[0]), "rear", count, usual[0], fps
        first = said(lambda o=asked: taken.first_frames(*o))  # type: ignore[misc]
        lines.append(f"{name} first {count} at {fps}: {first}; {taken.first_warnings(usual, views, fps)}")
    lines += [f"started {of}: {taken.start_warnings(of, 10.0)}" for of in ([0.0, 0.0], [0.0, 0.04], [1.0, 0.0, 2.5])]
    lines += [f"numbered {of}: {said(lambda of=of: taken.numbered_frames(20, 'rear', *of))}"
              for of in ((5, 3, 3), (6, 3, 3), (7, 3, 3), (1, 19, 1))]  # fmt: skip
    assert_as_it_was("clip/taken.txt", "\n".join(lines))


def test_families_and_approximations() -> None:
    chosen = [
        Approximations(**one)
        for one in (
            {}, {"solver": "unipc"}, {"schedule": "karras9"}, {"solver": "unipc", "schedule": "karras12"},
            {"guidance_interval": (0.1, 0.5)}, {"attention": "fp8"},
            {"attention": "fp8", "fp8_interval": (0.0, 0.5), "fp8_exact_blocks": (1, -2)},
        )
    ]  # fmt: skip
    lines = []
    for one in chosen:
        lines.append(
            f"{one}: {one.chosen} {one.in_effect} {one.guided_share:.6g} {said(lambda o=one: o.check_blocks(1))}"
        )
        for number in range(7):
            lines.append(f"    {number}: {one.is_guided(number, 7)} {sorted(one.fp8_blocks(number, 7, 4))}")
    for name, family in FAMILIES.items():
        lines.append(f"{name}: {asdict(family)}")
        lines.append(f"    {family.files} {family.has_condition_mask} {family.max_steps} {family.passes(9)}")
        lines.append(f"    {[family.is_guided(words) for words in ('', 'x')]}")
        for given, asked in itertools.product((0, 1, 5), (None, 1, 5)):
            overlap = family.overlap(given, asked)
            lines.append(f"    {given} {asked}: {overlap} {[family.frames(29, chunks, overlap) for chunks in (1, 3)]}")
        lines += [f"    {one.chosen}: {said(lambda f=family, o=one: asdict(f.solved_by(o)))}" for one in chosen]
        lines.append(f"    seeds {[said(lambda f=family, n=n: chunk_seed(40, n, f)) for n in range(3)]}")
    for preset, steps in itertools.product(PRESETS, (None, 8)):
        config = SamplingConfig(preset=preset, num_steps=steps)  # type: ignore[arg-type]
        lines.append(f"{preset} {steps}: {[config.steps_of(n) for n in (1, 4, 10, 35)]} {config.approximations}")
    lines += [f"chunks {n}: {conditioned_frames(n)} {chunks_behind(n, 29)} {chunks_behind(n, 5)}" for n in range(1, 30)]
    lines += [f"memory {of}: {to_decode(*of)}" for of in ((1000, 2000, False), (1000, 2000, True))]
    assert_as_it_was("clip/families.txt", "\n".join(lines))


@pytest.mark.parametrize("seed", [0, 1])
def test_views_that_agree_and_shots_that_run_on(seed: int) -> None:
    random = np.random.RandomState(seed)
    small = {view: random.randint(0, 255, (3, 24, 40, 3)).astype(np.float32) for view in VIEWS}
    found = agreements(small)
    lines = [f"{first} {second}: {value:.3f}" for (first, second), value in found.items()]
    lines += [f"{view}: {value:.3f}" for view, value in of_views(found).items()]
    lines.append(f"means: {of_views({('rear', 'rear_left'): 1 / 3, ('rear_left', 'cross_left'): 0.55555})}")
    moving = np.cumsum(random.randint(-9, 9, (30, 50, 70, 3)), 0) + 100
    for total, views in ((30, 5), (28, 7), (30, 2), (6, 6)):
        wanted = seams.seam_frames(total, views)
        shots = {index: seams.shrink(moving[index].astype(np.uint8)) for index in wanted}
        lines.append(f"{total} {views}: {wanted} {bool(wanted) and seams.runs_on(shots, total, views)}")
    lines.append(" ".join(f"{value:.3f}" for value in seams.shrink(picture(50, 70)).ravel()[::40]))
    assert_as_it_was(f"clip/agreement{seed}.txt", "\n".join(lines))
