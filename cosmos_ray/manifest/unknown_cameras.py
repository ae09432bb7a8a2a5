"""Cameras' names that are no view's: all of them in one message, each with the name that it may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.data_sets import DATA_SETS

#: Names that are listed, and from when on one is like another.
_LISTED, _NEAR = 12, 0.75


class UnknownCamerasError(ManifestError):
    """Names in which there is no view, or several. names: those found in each; known: that could have been."""

    def __init__(self, words: str, names: Mapping[str, Sequence[str]], known: Sequence[str]) -> None:
        super().__init__(words)
        self.names, self.known = dict(names), tuple(known)

    def __reduce__(self) -> tuple[type[UnknownCamerasError], tuple[str, Mapping[str, Sequence[str]], Sequence[str]]]:
        return type(self), (str(self), self.names, self.known)


class Names(Protocol):
    """Of cameras: the view of one, for which UnknownCamerasError is raised, and those that are known."""

    @property
    def known(self) -> Sequence[str]: ...

    def view_of(self, name: str) -> str | None: ...


@dataclass
class Unknown:
    """Gathers such names, so that people mend all of them at once.

    found: by name, the views in it; places: of each, where it was met first.
    """

    names: Names
    found: dict[str, Sequence[str]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def view_of(self, name: str, where: str = "", short: str | None = None) -> str | None:
        """As that of `names`; None also for one that is gathered. short: what it is called, if not `name`."""
        try:
            return self.names.view_of(name)
        except UnknownCamerasError as error:
            self.found.setdefault(short or name, error.names[name])
            self.places.setdefault(short or name, where)
            return None

    def check(self, way_out: str = "") -> None:
        """Raises UnknownCamerasError, beginning with the first one's place, if there are any. way_out: its end."""
        if self.found:
            error = unknown_cameras(self.found, self.names.known)
            where = next(iter(self.places.values()))
            raise UnknownCamerasError(
                f"{where}: {error}{way_out}" if where else f"{error}{way_out}", error.names, error.known
            )


def unknown_cameras(names: Mapping[str, Sequence[str]], known: Sequence[str]) -> UnknownCamerasError:
    """The error that says them."""
    expected = f"{', '.join(known)}{in_data_set(list(names))}"
    if len(names) == 1:
        ((name, found),) = names.items()
        words = (
            f"camera name {name!r}: found {list(found) or 'no view'} in it{_near(name, found, known)}, expected one of "
        )
        return UnknownCamerasError(words + expected, names, known)
    listed = ", ".join(f"{name!r}{_near(name, names[name], known)}" for name in list(names)[:_LISTED])
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    words = f"camera names {listed}{rest}: found no view in each, or several, expected one of {expected}"
    return UnknownCamerasError(words, names, known)


def in_data_set(names: Sequence[str]) -> str:
    """`; nuscenes calls its cameras so: …`: the preset that knows all of these names, the most of their words; ""
    for none. A camera of one word (`front`) is anybody's: only that name itself tells of a data set."""
    known = {
        data_set: [max(map(len, fitting)) if (fitting := _told_in(name, cameras)) else 0 for name in names]
        for data_set, cameras in DATA_SETS.items()
    }
    whole = {data_set: sum(lengths) for data_set, lengths in known.items() if lengths and all(lengths)}
    if not whole:
        return ""
    best = max(whole, key=lambda data_set: whole[data_set])
    return f"; {best} calls its cameras so: `--cameras {best}` knows {'them' if len(names) > 1 else 'it'}"


def _told_in(name: str, cameras: Mapping[str, object]) -> list[str]:
    """A data set's cameras that a name is, or ends with."""
    words, told = words_of(name), list(map(words_of, cameras))
    return [one for one in told if words == one or ("_" in one and words.endswith(f"_{one}"))]


def words_of(name: str) -> str:
    """A name in lower case, its parts joined by `_`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _near(name: str, found: Sequence[str], known: Sequence[str]) -> str:
    """` (nearest: front_wide)`: the known name that one, or the end of one, was probably meant to be."""
    words = words_of(name).split("_")
    ends = ["_".join(words[at:]) for at in range(len(words))]
    likeness, nearest = max((difflib.SequenceMatcher(None, end, one).ratio(), one) for end in ends for one in known)
    return f" (nearest: {nearest})" if likeness >= _NEAR and not found else ""
