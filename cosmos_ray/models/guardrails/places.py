"""Where the guardrails' files lie: a folder, of a store too, or a repository of the hub at a revision. No torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cosmos_ray.clip.guardrail_rules import HUB_NAMES
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.cache import cache_folder, folder_sha256, short_key
from cosmos_ray.models.bundle.fetch import fetch_parts, listed
from cosmos_ray.models.bundle.references import FileRef, HubFile
from cosmos_ray.store.faults import explain

#: Of a hash, as versions show it.
_SHOWN = 12
#: What repositories hold twice.
_NEVER = ("original/*",)


@dataclass(frozen=True)
class Place:
    """location: as a setting says it. parts: files and folders of it that are used, () for all, of which `asked` tells
    whether they are there."""

    location: str
    parts: tuple[str, ...]
    asked: str = ""

    @property
    def hub(self) -> HubFile | None:
        """None for a folder. UsageError for what is neither."""
        location = HUB_NAMES.get(self.location, self.location)
        if not location.startswith("hf://"):
            return None
        try:
            return FileRef(uri=location).hub()
        except ValidationError:
            raise UsageError(
                f"found {location!r}, expected a folder, a URI, hf://owner/repo@<40 hex digits of a revision>, or one "
                f"of {', '.join(HUB_NAMES)}"
            ) from None

    @property
    def is_store(self) -> bool:
        return "://" in self.location and self.hub is None

    def here(self) -> Path | None:
        """The folder, if it is on this machine already, of the hub's perhaps not whole. Asks no network."""
        if (of_hub := self.hub) is not None:
            found = hub.snapshot(of_hub)
            return found if found and all((found / part).exists() for part in self._told_by) else None
        if self.is_store:
            return None
        folder = Path(self.location).expanduser()
        return folder if folder.is_dir() else None

    @property
    def _told_by(self) -> tuple[str, ...]:
        return self.parts or (self.asked,)

    def can_be_fetched(self) -> bool:
        """Whether the hub would give what is not here: a download may have been cut off."""
        of_hub = self.hub
        return of_hub is not None and hub.ask_parts(of_hub, self._told_by).level == "ok"

    def folder(self) -> Path:
        """The same, brought here first if need be. Raises UsageError."""
        if (of_hub := self.hub) is not None:
            patterns = [pattern for part in self.parts for pattern in (part, f"{part}/*")] or ["*"]
            return hub.fetch_parts(of_hub, patterns, _NEVER)
        if self.is_store:
            target = cache_folder("guardrails") / short_key(f"{self.location} {self.version()}")
            fetch_parts(self.location, self.parts, target)
            return target
        found = self.here()
        if found is None:
            raise UsageError(f"no folder {self.location}")
        return found

    def version(self) -> str:
        """Changes with the files: the revision, or (the beginning of) a hash of what is used."""
        if (of_hub := self.hub) is not None:
            return of_hub.revision[:_SHOWN]
        if self.is_store:
            files = sorted(
                (name, str(info.get("size")), str(info.get("ETag") or info.get("etag") or info.get("mtime")))
                for name, info in listed(self.location, self.parts).items()
            )
            return hashlib.sha256(repr(files).encode()).hexdigest()[:_SHOWN]
        folder = self.folder()
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        used = [name for name in names if not self.parts or any(_is_of(name, part) for part in self.parts)]
        return folder_sha256(folder, used)[:_SHOWN]

    def problems(self) -> list[str]:
        """Why a job could not have the files; [] if it could."""
        try:
            if (of_hub := self.hub) is not None:
                if self.here() is not None:
                    return []
                answer = hub.ask_parts(of_hub, self._told_by)
                return [] if answer.level == "ok" else [answer.message]
            if self.is_store:
                found = listed(self.location, self.parts)
                has = [any(name.endswith(f"/{part}") or f"/{part}/" in name for name in found) for part in self.parts]
                missing = [part for part, is_there in zip(self.parts, has, strict=True) if not is_there]
                if not found:
                    return [f"nothing at {self.location}"]
            else:
                folder = self.folder()
                missing = [part for part in self.parts if not (folder / part).exists()]
        except UsageError as error:
            return [str(error)]
        except OSError as error:
            return [f"no answer about {self.location}: {explain(error)}"]
        return [f"{self.location} has no {part}" for part in missing]


def _is_of(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/")
