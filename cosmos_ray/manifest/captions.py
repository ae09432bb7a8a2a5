"""What one row says in `prompt`: one caption, or one a view; and what a bad caption is told."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Mapping
from typing import Any

from cosmos_ray.errors import column_error

MAX_PROMPT_CHARS = 20_000
#: What stands in `prompt` where somebody took it for a reference.
_FILE_NAME = re.compile(r"\S+\.(txt|pt|pkl|npy|safetensors)", re.IGNORECASE)

#: What begins as the text of a list or an object does that holds texts.
_LISTED = re.compile(r"\s*[\[{]\s*(['\"]|array\()")
#: What stands between two values, or for none, in the text of a list.
_COMMA, _GAPS = ",", ("nan", "None", "null")
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


def parsed(value: Any) -> Any:
    """A list or an object from its JSON, or from what Python, pandas and numpy print; anything else as it is."""
    if not isinstance(value, str) or not value.strip().startswith(("[", "{")):
        return value
    for reader in (json.loads, _flat_list, ast.literal_eval):
        try:
            found = reader(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
            continue
        if isinstance(found, list | dict):
            return found
    return value


def _flat_list(text: str) -> list[Any] | None:
    """Of a list's text, whose values numpy puts side by side without a comma: Python would join them to one. None for
    what is no list of texts and gaps."""
    tokens = [token.string for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline)]
    tokens = [token for token in tokens if token.strip()]
    if tokens[0] != "[" or tokens[-1] != "]":
        return None
    values = [token for token in tokens[1:-1] if token != _COMMA]
    return [None if value in _GAPS else ast.literal_eval(value) for value in values]


def _is_list(text: str) -> bool:
    """Whether a text is that of a list or an object, also where it cannot be read."""
    return not isinstance(parsed(text), str) or (_LISTED.match(text) is not None and text.rstrip().endswith(("]", "}")))


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
    if any(map(_is_list, prompts)):
        raise column_error(
            "prompt", found, "captions, not the text of a list (`cosmos-ray manifest from-table` reads JSON's)"
        )
    return prompts
