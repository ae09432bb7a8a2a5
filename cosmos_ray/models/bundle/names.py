"""Names of the models that come with the package, and what else they are called. Light: `--help` shows them."""

from __future__ import annotations

import difflib
import re

BUILT_IN = (
    "tiny", "tiny25", "fake", "cosmos-predict2-2b-multiview", "cosmos-predict2.5-2b-multiview",
    "cosmos-predict2.5-2b-multiview-2025-10", "cosmos-transfer2.5-2b-multiview",
)  # fmt: skip
#: Models of one view; `models.bundle.single` knows these by more names, for other sizes and rates.
OF_ONE_VIEW = (
    "tiny-video2world", "tiny-text2image", "tiny-text2image-distilled", "tiny-text2world",
    "cosmos-predict2-2b-video2world", "cosmos-predict2-14b-video2world",
    "cosmos-predict2-0.6b-text2image", "cosmos-predict2-2b-text2image", "cosmos-predict2-14b-text2image",
    "cosmos-predict2-2b-text2world", "cosmos-predict2-14b-text2world",
    "cosmos-predict2-14b-sample-gr00t-dreams-gr1", "cosmos-predict2-14b-sample-gr00t-dreams-droid",
)  # fmt: skip
LISTED = (*BUILT_IN, "tiny-transfer25", *OF_ONE_VIEW)
#: Names of the hub, for those who know a model by where it was published. Repositories of the later models hold
#: several, each in a folder; one of them is known here, which the repository's name alone stands for too.
ALIASES = {
    **{
        f"nvidia/Cosmos-Predict2-{name}": f"cosmos-predict2-{name.lower()}"
        for name in (
            "2B-Multiview", "2B-Video2World", "14B-Video2World", "0.6B-Text2Image", "2B-Text2Image", "14B-Text2Image",
            "14B-Sample-GR00T-Dreams-GR1", "14B-Sample-GR00T-Dreams-DROID",
        )
    },
    **{
        f"nvidia/Cosmos-{name}2.5-2B{folder}": f"cosmos-{name.lower()}2.5-2b-multiview"
        for name in ("Predict", "Transfer")
        for folder in ("", "/auto/multiview")
    },
}  # fmt: skip
#: After a file's hash in a name: which of its model's two networks it is, and which of the file's weights are taken.
_PART = re.compile(r"(?<=\.[0-9a-f]{8})(?:\.picture_dit)?(?:\.net_ema)?")
#: Longest name of a bundle, characters.
MAX_NAME = 128
_HUB = ("https://huggingface.co/", "hf://")


def built_in_name(name: str) -> str | None:
    """The built-in model that `name` is, by its own name or by the hub's; None for any other."""
    if name in LISTED:
        return name
    for prefix in _HUB:
        name = name.removeprefix(prefix)
    wanted = name.rstrip("/").lower()  # the hub takes names in any case
    return next((known for alias, known in ALIASES.items() if alias.lower() == wanted), None)


def nearest_name(name: str) -> str | None:
    """The model that a name which is none may have meant."""
    names = {known.lower(): known for known in (*LISTED, *ALIASES)}
    near = difflib.get_close_matches(name.lower(), names, 1, 0.7)
    return names[near[0]] if near else None


def aliases_of(name: str) -> list[str]:
    """Published names that mean this model."""
    return [alias for alias, known in ALIASES.items() if known == name]


def derived_name(name: str, sha256: str, of_picture: bool, ema: bool) -> str:
    """Of the model `name` with the network of a file of this sha256: another one for whatever can be other weights."""
    return f"{name}.{sha256[:8]}{'.picture_dit' * of_picture}{'.net_ema' * ema}"


def name_in_fingerprint(name: str) -> str:
    """Without what other fields of a bundle say too. Earlier releases had no more in a derived model's name, and an
    output that was begun with one of these goes on."""
    return _PART.sub("", name)
