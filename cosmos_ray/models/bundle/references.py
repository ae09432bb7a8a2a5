"""Where a bundle's files lie: beside it, or on the Hugging Face hub at one revision; or weights that are drawn."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cosmos_ray.models.bundle.dims import Strict

#: Half of a repository's id, as the hub has them.
_NAME = r"(?![^/@]*(?:--|\.\.))\w(?:[\w.-]*\w)?"
_HF_URI = re.compile(
    rf"hf://(?P<repo>{_NAME}/{_NAME})@(?P<revision>[0-9a-f]{{40}})(?:/(?P<path>[^\s/]+(?:/[^\s/]+)*))?"
)


class HubFile(Strict):
    """A file (or, without `path`, a whole repository) of the Hugging Face hub at one revision."""

    repo: str
    revision: str
    path: str | None

    @property
    def url(self) -> str:
        return f"https://huggingface.co/{self.repo}"


class FileRef(Strict):
    """A file or folder: relative to the bundle's folder, or `hf://owner/repo@<40 hex revision>[/path]`.

    sha256: of the file; of a folder, `folder_sha256`. Required for relative URIs, since nothing else pins them.
    """

    uri: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _check(self) -> FileRef:
        if self.uri.startswith("hf://"):
            self.hub()
            return self
        parts = self.uri.split("/")
        if not self.uri or "://" in self.uri or "\\" in self.uri or parts[0] == "" or {"..", "."} & set(parts):
            raise ValueError(
                f"uri {self.uri!r}: expected a path inside the bundle's folder (relative, no `..`) "
                "or hf://owner/repo@revision[/path]"
            )
        if self.sha256 is None:
            raise ValueError(f"uri {self.uri!r}: sha256 is required for files of the bundle's folder")
        return self

    def hub(self) -> HubFile | None:
        """The hub file this refers to; None for a path relative to the bundle. Raises ValueError if malformed."""
        if not self.uri.startswith("hf://"):
            return None
        match = _HF_URI.fullmatch(self.uri)
        if match is None or {"..", "."} & set((match["path"] or "").split("/")):
            raise ValueError(f"uri {self.uri!r}: expected hf://owner/repo@<40 hex digits of a revision>[/path]")
        return HubFile(repo=match["repo"], revision=match["revision"], path=match["path"])


class RandomWeights(Strict):
    """Weights drawn from `numpy.random.RandomState(random_seed)`: the same with every version of torch."""

    random_seed: Annotated[int, Field(ge=0, lt=2**32)]


class OwnCheckpoint(Strict):
    """Weights that nobody has published: a job names a checkpoint of one's own."""

    own: Literal[True]
