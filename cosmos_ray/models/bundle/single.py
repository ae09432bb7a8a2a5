"""Predict2's published models of one view, by name: what each is and where its files lie. No torch, no Ray.

    cosmos-predict2-2b-video2world                  720p, 16 frames a second, 16:9
    cosmos-predict2-14b-video2world-480p-10fps-9x16
    cosmos-predict2-0.6b-text2image-1x1
    cosmos-predict2-2b-text2world-480p-16fps-distilled2
    cosmos-predict2-14b-sample-gr00t-dreams-gr1

A name says what differs from the published default; every combination of the published tables has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cosmos_ray.clip.family import TEXT2IMAGE, TEXT2IMAGE_DISTILLED, TEXT2WORLD, TRANSFER25, VIDEO2WORLD
from cosmos_ray.models.bundle.prompts import NEGATIVE_PROMPT

#: (width, height) by aspect ratio.
Sizes = Mapping[str, tuple[int, int]]
VIDEO_SIZES: Mapping[str, Sizes] = {
    "720": {"16:9": (1280, 704), "9:16": (704, 1280), "4:3": (960, 704), "3:4": (704, 960), "1:1": (960, 960)},
    "480": {"16:9": (768, 432), "9:16": (432, 768), "4:3": (640, 480), "3:4": (480, 640), "1:1": (480, 480)},
}
PICTURE_SIZES: Sizes = {
    "16:9": (1360, 768), "9:16": (768, 1360), "4:3": (1168, 880), "3:4": (880, 1168), "1:1": (1024, 1024),
}  # fmt: skip
#: Latent frames a video has, by the rate of its frames.
LATENT_FRAMES = {16: 24, 10: 16}

_CONTEXT = {"adaln_lora_dim": 256, "crossattn_emb_channels": 1024}
_DIMS: Mapping[str, dict[str, Any]] = {
    "0.6b": {"model_channels": 1280, "num_blocks": 20, "num_heads": 20, **_CONTEXT},
    "2b": {"model_channels": 2048, "num_blocks": 28, "num_heads": 16, **_CONTEXT},
    "14b": {"model_channels": 5120, "num_blocks": 36, "num_heads": 40, **_CONTEXT},
}
_VIDEO_ROPE: Mapping[str, tuple[float, float]] = {"2b": (3.0, 1.0), "14b": (2.0, 20 / 24)}
_VIDEO_REVISIONS = {
    "2b": "f50c09f5d8ab133a90cac3f4886a6471e9ba3f18",
    "14b": "03b03a377fede782647afac998f674d9f358e319",
}
_PICTURE_REVISIONS = {
    "0.6b": "80e9f1599778499e9b5435179861871b5a3561d4",
    "2b": "acdb5fde992a73ef0355f287977d002cbfd127e0",
    "14b": "015332720f70dd7b497c1cff9fd0c936a77f160b",
}
_GR00T_REVISIONS = {
    "gr1": "926f34dd83860c5406ab4b400e156c3fd6fe6c0d",
    "droid": "ebc29d30a3fab504bcc779a85bca073d14ad39f9",
}


def _letters(blocks: Mapping[str, Sequence[int]]) -> str:
    """A letter a block."""
    by_block = {block: letter for letter, numbers in blocks.items() for block in numbers}
    return "".join(by_block[block] for block in range(len(by_block)))


#: What each block of the networks that attend to neighbourhoods attends to.
NATTEN = {
    "2b": _letters(
        {"A": [0, 1], "B": [2, 5, 10], "C": [3, 4, 6, 7, 8, 9, 27], "E": [*range(11, 23), 24, 25, 26], "F": [23]}
    ),
    "14b": _letters(
        {
            "A": range(11),
            "B": [11, 12],
            "C": range(13, 23),
            "E": [23, 25, 29, 30, 33, 35],
            "F": [24, 26, 28, 31, 32, 34],
            "G": [27],
        }
    ),
}
#: A network that nobody has published, for a checkpoint of one's own.
LARGE_MULTIVIEW = "cosmos-predict2-14b-multiview"
_TINY = {
    "tiny-video2world": VIDEO2WORLD,
    "tiny-text2image": TEXT2IMAGE,
    "tiny-text2image-distilled": TEXT2IMAGE_DISTILLED,
    "tiny-text2world": TEXT2WORLD,
}
#: Not of one view: the small model under Transfer2.5's recipe.
TINY_TRANSFER = "tiny-transfer25"
_T5 = "hf://google-t5/t5-11b@90f37703b3334dfe9d2b009bfcbfbf1ac9d28ea3"

_RATIO = r"(?:-(?P<ratio>1x1|4x3|3x4|16x9|9x16))?"
_VIDEO = re.compile(
    rf"cosmos-predict2-(?P<size>2b|14b)-video2world(?:-(?P<resolution>480|720)p-(?P<fps>10|16)fps)?"
    rf"(?:(?P<natten>-natten)|{_RATIO})"
)
_PICTURE = re.compile(rf"cosmos-predict2-(?P<size>0\.6b|2b|14b)-text2image(?P<distilled>-distilled)?{_RATIO}")
_WORLD = re.compile(
    r"cosmos-predict2-(?P<size>2b|14b)-text2world(?:-(?P<resolution>480|720)p-(?P<fps>10|16)fps)?"
    rf"(?:-distilled(?P<steps>[1-4]))?(?:(?P<natten>-natten)|{_RATIO})"
)
_GR00T = re.compile(rf"cosmos-predict2-14b-sample-gr00t-dreams-(?P<variant>gr1|droid){_RATIO}")


def video_name(size: str, resolution: str, fps: int, ratio: str, is_natten: bool = False) -> str:
    """size: `2B` or `14B`; ratio: as `16:9`. What is the published default is not said. is_natten: of 720p and 16:9,
    the network that attends to neighbourhoods."""
    cut = "" if (resolution, fps) == ("720", 16) else f"-{resolution}p-{fps}fps"
    return f"cosmos-predict2-{size.lower()}-video2world{cut}{'-natten' if is_natten else ''}{_in_name(ratio)}"


def picture_name(size: str, is_distilled: bool, ratio: str) -> str:
    """Of Text2Image of this size and aspect ratio."""
    return f"cosmos-predict2-{size.lower()}-text2image{'-distilled' if is_distilled else ''}{_in_name(ratio)}"


def world_name(size: str, resolution: str, fps: int, distill_steps: int, ratio: str, is_natten: bool = False) -> str:
    """As `video_name`; distill_steps: of the picture's distilled model, 0 for the usual one."""
    cut = "" if (resolution, fps) == ("720", 16) else f"-{resolution}p-{fps}fps"
    distilled = f"-distilled{distill_steps}" if distill_steps else ""
    end = "-natten" if is_natten else _in_name(ratio)
    return f"cosmos-predict2-{size.lower()}-text2world{cut}{distilled}{end}"


def gr00t_name(variant: str, ratio: str) -> str:
    """Of the GR00T sample `gr1` or `droid`."""
    return f"cosmos-predict2-14b-sample-gr00t-dreams-{variant}{_in_name(ratio)}"


def published(name: str) -> dict[str, Any] | None:
    """What the bundle of that name says; None if no published model of one view is called so."""
    if match := _VIDEO.fullmatch(name):
        size, resolution, fps = match["size"], match["resolution"] or "720", int(match["fps"] or 16)
        ratio, is_natten = _said(match["ratio"]), match["natten"] is not None
        if is_natten and resolution != "720":
            return None
        dit = f"{_video_repo(size)}/model-{resolution}p-{fps}fps{'-natten' if is_natten else ''}.pt"
        said = _video(
            video_name(size, resolution, fps, ratio, is_natten), size, VIDEO_SIZES[resolution][ratio], fps, dit
        )
        return {**said, "network": {**said["network"], "natten": NATTEN[size]}} if is_natten else said
    if match := _PICTURE.fullmatch(name):
        return _picture(match["size"], match["distilled"] is not None, _said(match["ratio"]))
    if name == LARGE_MULTIVIEW:
        return _large_multiview()
    if match := _WORLD.fullmatch(name):
        sides = match["resolution"] or "720", int(match["fps"] or 16)
        return _world(match["size"], *sides, int(match["steps"] or 0), _said(match["ratio"]), bool(match["natten"]))
    if match := _GR00T.fullmatch(name):
        variant, ratio = match["variant"], _said(match["ratio"])
        repo = f"nvidia/Cosmos-Predict2-14B-Sample-GR00T-Dreams-{variant.upper()}@{_GR00T_REVISIONS[variant]}"
        dit = f"{repo}/model-480p-16fps.pt"
        return _video(gr00t_name(variant, ratio), "14b", VIDEO_SIZES["480"][ratio], 16, dit)
    return None


def tiny(name: str, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the bundle of that name says, a small one whose network is random; None if none is called so. known: what
    `tiny` says, whose autoencoder and text encoder it has."""
    distilled = re.fullmatch(r"(tiny-text2world)-distilled([1-4])", name)
    family = _TINY.get(distilled[1] if distilled else name)
    if family is None:
        return None
    takes_frames = family.has_condition_mask
    network = {**known["network"], "num_heads": 16, **_one_view(3.0 if takes_frames else 4.0, 1.0, takes_frames)}
    sides = {} if takes_frames else {"state_t": 1, "width": 128}
    sampling = dict(known["sampling"])
    if not takes_frames:
        sampling |= {"negative_prompt": "", "num_steps": family.max_steps or sampling["num_steps"]}
    picture: dict[str, Any] = {}
    files = {**known["files"], "dit": {"random_seed": 24}}
    if family.makes_picture:
        of_picture = tiny("tiny-text2image-distilled" if distilled else "tiny-text2image", known)
        assert of_picture is not None
        steps = {"num_steps": int(distilled[2])} if distilled else {}
        picture = {"picture": _as_picture(of_picture) | steps}
        files["picture_dit"] = of_picture["files"]["dit"]
    return {
        **known,
        **picture,
        "name": name,
        "family": family.name,
        "n_views": 1,
        "model_fps": 24.0,
        **sides,
        "sampling": sampling,
        "network": network,
        "files": files,
    }


def tiny_transfer(known: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle TINY_TRANSFER says: `known`, what `tiny25` says, with a control branch."""
    network = {**known["network"], "vace_block_every_n": 3}
    return {**known, "name": TINY_TRANSFER, "family": TRANSFER25.name, "network": network}


def _in_name(ratio: str) -> str:
    return "" if ratio == "16:9" else f"-{ratio.replace(':', 'x')}"


def _said(ratio: str | None) -> str:
    return (ratio or "16x9").replace("x", ":")


def _video_repo(size: str) -> str:
    return f"nvidia/Cosmos-Predict2-{size.upper()}-Video2World@{_VIDEO_REVISIONS[size]}"


def _video(name: str, size: str, sides: tuple[int, int], fps: int, dit: str) -> dict[str, Any]:
    space, time = _VIDEO_ROPE[size]
    return {
        **_common(name, sides, dit, f"{_video_repo(size)}/tokenizer/tokenizer.pth"),
        "family": VIDEO2WORLD.name,
        "state_t": LATENT_FRAMES[fps],
        "fps": None if fps == VIDEO2WORLD.fps else fps,
        "sampling": {"num_steps": 35, "guidance": 7.0, "negative_prompt": NEGATIVE_PROMPT},
        "network": {**_DIMS[size], **_one_view(space, time, True)},
    }


def _world(
    size: str, resolution: str, fps: int, distill_steps: int, ratio: str, is_natten: bool
) -> dict[str, Any] | None:
    video = published(video_name(size, resolution, fps, ratio, is_natten))
    if video is None:
        return None
    of_picture = published(picture_name(size, distill_steps > 0, ratio))
    assert of_picture is not None
    picture = _as_picture(of_picture)
    if distill_steps:
        picture["num_steps"] = distill_steps
    return {
        **video,
        "name": world_name(size, resolution, fps, distill_steps, ratio, is_natten),
        "family": TEXT2WORLD.name,
        "picture": picture,
        "files": {**video["files"], "picture_dit": of_picture["files"]["dit"]},
    }


def _large_multiview() -> dict[str, Any]:
    """The dimensions of the published network of 14B, the positions of the multiview one of 2B."""
    said = _common(LARGE_MULTIVIEW, VIDEO_SIZES["720"]["16:9"], "", f"{_video_repo('2b')}/tokenizer/tokenizer.pth")
    return {
        **said,
        "state_t": 8,
        "n_views": 7,
        "model_fps": 30.0,
        "sampling": {"num_steps": 35, "guidance": 7.0, "negative_prompt": NEGATIVE_PROMPT},
        "network": _DIMS["14b"],
        "files": {**said["files"], "dit": {"own": True}},
    }


def _as_picture(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a bundle says of the model of its pictures, of what that says of itself."""
    sampling = {name: said["sampling"][name] for name in ("num_steps", "guidance")}
    return {name: said[name] for name in ("family", "height", "width", "network")} | sampling


def _picture(size: str, is_distilled: bool, ratio: str) -> dict[str, Any]:
    repo = f"nvidia/Cosmos-Predict2-{size.upper()}-Text2Image@{_PICTURE_REVISIONS[size]}"
    family, end = (TEXT2IMAGE_DISTILLED, "_distilled") if is_distilled else (TEXT2IMAGE, "")
    name, sides = picture_name(size, is_distilled, ratio), PICTURE_SIZES[ratio]
    return {
        **_common(name, sides, f"{repo}/model{end}.pt", f"{repo}/tokenizer/tokenizer.pth"),
        "family": family.name,
        "state_t": 1,
        "sampling": {"num_steps": family.max_steps or 35, "guidance": 4.0, "negative_prompt": ""},
        "network": {**_DIMS[size], **_one_view(4.0, 1.0, False)},
    }


def _common(name: str, sides: tuple[int, int], dit: str, vae: str) -> dict[str, Any]:
    width, height = sides
    return {
        "name": name,
        "generator": "cosmos",
        "height": height,
        "width": width,
        "n_views": 1,
        "model_fps": 24.0,
        "numerics": "reference",
        "vae": {"dim": 96},
        "files": {
            "dit": {"uri": f"hf://{dit}"},
            "vae": {"uri": f"hf://{vae}"},
            "text_encoder": {"uri": _T5},
            "tokenizer": {"uri": _T5},
        },
    }


def _one_view(space: float, time: float, has_condition_mask: bool) -> dict[str, Any]:
    """What all networks of one view have in common. space, time: how far positions are stretched."""
    return {
        "n_cameras_emb": 0,
        "view_condition_dim": 0,
        "has_condition_mask": has_condition_mask,
        "rope_h_extrapolation_ratio": space,
        "rope_w_extrapolation_ratio": space,
        "rope_t_extrapolation_ratio": time,
    }
