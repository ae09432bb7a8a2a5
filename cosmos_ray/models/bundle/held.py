"""Files that a loaded model still reads: on a CPU its weights are pages of them, so who writes to a file changes it.

A file that is replaced by another (a new file under the old name), or removed, stays as it was for those that have it
open; one that is written in place does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, FileKind
from cosmos_ray.models.bundle.cache import remembered_sha256, state_of
from cosmos_ray.models.bundle.files import cached_path, local_path
from cosmos_ray.models.bundle.references import FileRef


@dataclass(frozen=True)
class Held:
    """One file, as it was when the model had just been loaded from it."""

    kind: FileKind
    path: Path
    state: tuple[int, ...]
    sha256: str

    def check(self) -> None:
        """Raises UsageError if it was written to since, and is another now."""
        try:
            now = state_of(self.path)
            is_same = now == self.state or now[-1] != self.state[-1] or remembered_sha256(self.path) == self.sha256
        except FileNotFoundError:
            return
        if not is_same:
            raise UsageError(
                f"files.{self.kind}: {self.path} was written to while a model that was loaded from it is at work: put "
                "a new file into another folder, or in its place when no job is at work"
            )


def held_files(bundle: Bundle, kinds: Collection[FileKind]) -> tuple[Held, ...]:
    """After these parts were loaded: their files, verified once more. Raises UsageError for one that is another now:
    nobody knows what of it was loaded."""
    return tuple(held for kind in bundle.kinds if kind in kinds for held in _held(bundle, kind))


def _held(bundle: Bundle, kind: FileKind) -> Iterator[Held]:
    if not isinstance(bundle.file(kind), FileRef) or (there := cached_path(bundle, kind)) is None:
        return
    files = [there] if there.is_file() else sorted(path for path in there.rglob("*") if path.is_file())
    found = [Held(kind, path.resolve(), state_of(path), remembered_sha256(path)) for path in files]
    local_path(bundle, kind)
    yield from found
