"""Names of the models that come with the package, and what else they are called. No imports: `--help` shows them."""

from __future__ import annotations

BUILT_IN = (
    "tiny", "tiny25", "fake", "cosmos-predict2-2b-multiview", "cosmos-predict2.5-2b-multiview",
    "cosmos-predict2.5-2b-multiview-2025-10", "cosmos-transfer2.5-2b-multiview",
)  # fmt: skip
#: Names of the hub, for those who know a model by where it was published.
ALIASES = {"nvidia/Cosmos-Predict2-2B-Multiview": "cosmos-predict2-2b-multiview"}
_HUB = ("https://huggingface.co/", "hf://")


def built_in_name(name: str) -> str | None:
    """The built-in model that `name` is, by its own name or by the hub's; None for any other."""
    if name in BUILT_IN:
        return name
    for prefix in _HUB:
        name = name.removeprefix(prefix)
    wanted = name.rstrip("/").lower()  # the hub takes names in any case
    return next((known for alias, known in ALIASES.items() if alias.lower() == wanted), None)


def aliases_of(name: str) -> list[str]:
    return [alias for alias, known in ALIASES.items() if known == name]
