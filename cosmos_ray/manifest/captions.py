"""What one row says in `prompt`: one caption, or one a view; and what a bad caption is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cosmos_ray.errors import column_error

MAX_PROMPT_CHARS = 20_000
#: What stands in `prompt` where somebody took it for a reference.
_FILE_NAME = re.compile(r"\S+\.(txt|pt|pkl|npy|safetensors)", re.IGNORECASE)

#: What programs write as text for nothing: a video of the caption "nan" is nobody's wish.
_NOTHING = re.compile(r"\s*(nan|none|null|nat|n/a|#n/a|<na>)\s*", re.IGNORECASE)
#: What a spreadsheet writes where it could not reckon, in any language: #REF!, #NAME?, #DIV/0!, #WERT!.
_SHEETS_ERROR = re.compile(r"\s*#[^\W_]{1,12}(/0)?[!?]\s*")


def says_nothing(text: str) -> bool:
    """Whether a text is only a word that programs write where there is none."""
    return bool(_NOTHING.fullmatch(text)) or is_sheets_error(text)


def is_sheets_error(text: object) -> bool:
    """Whether a cell has an error of the spreadsheet that it comes from instead of a value."""
    return isinstance(text, str) and _SHEETS_ERROR.fullmatch(text) is not None


def prompts_of(row: Mapping[str, Any], n_views: int) -> tuple[str, ...]:
    """The captions; () for a row with an embedding. Raises RowError."""
    found = row.get("prompt")
    if row.get("prompt_embedding") is not None:
        if found:
            raise column_error("prompt", found, "null, because the row has a `prompt_embedding`")
        return ()
    prompts = (found,) if isinstance(found, str) else tuple(found or ())
    if len(prompts) not in (1, n_views) or not all(isinstance(text, str) for text in prompts):
        raise column_error("prompt", found, f"one caption or {n_views}, one a view")
    if not any(text.strip() for text in prompts):
        raise column_error("prompt", found, "a caption that is not empty")
    if any(map(says_nothing, prompts)):
        raise column_error("prompt", found, "a caption, not a word that tables write for nothing")
    if any(_FILE_NAME.fullmatch(text.strip()) for text in prompts):
        raise column_error(
            "prompt", found, "a caption: `cosmos-ray manifest` reads .txt files, `prompt_embedding` takes embeddings"
        )
    if any(len(text) > MAX_PROMPT_CHARS for text in prompts):
        raise column_error("prompt", found, f"at most {MAX_PROMPT_CHARS} characters a caption")
    return prompts
