"""Words that many messages share, so that people read the same everywhere."""

from __future__ import annotations

import collections
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

_EXAMPLES = 3
#: What differs between two messages of one kind: names, numbers, places.
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\d+(?:[.,]\d+)*")


def counted(number: int, noun: str) -> str:
    """`1 clip`, `3 clips`, `0 free GPUs`: whatever is counted for a person, with a noun that takes an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def byte_size(count: float, digits: int = 1) -> str:
    """`812 bytes`, `13.4 kB`, `1.2 GB`: so many bytes for people, in the unit in which they are not nothing.

    digits: after the point. Units are powers of 1000."""
    if round(count) < 1000:
        return counted(round(count), "byte")
    power, unit = 1, "kB"
    for more, larger in enumerate(("MB", "GB", "TB", "PB"), 2):
        if round(count / 1000**power, digits) >= 1000:
            power, unit = more, larger
    return f"{count / 1000**power:,.{digits}f} {unit}"


def node_name(node_id: str) -> str:
    """A node for people: the last eight digits of its id, since the ids of one Ray cluster begin alike."""
    return node_id[-8:]


@dataclass(frozen=True)
class Kind:
    """Messages that differ in names and numbers only. count: how many; examples: the first (id, message)."""

    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass
class Kinds:
    """Messages as they come, by kind; of each a few examples are kept. names: words that make no difference either."""

    names: Collection[str] = ()

    _counts: collections.Counter[str] = field(default_factory=collections.Counter)
    _examples: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: collections.defaultdict(list))

    def add(self, of: str, message: str) -> None:
        """of: the id of what the message is about."""
        self._add(of, message, self._kind(message))

    def add_all(self, of: str, messages: Iterable[str]) -> None:
        """Messages about one thing: those of a kind count once, as the first of them and how many more there are."""
        alike = collections.defaultdict(list)
        for message in messages:
            alike[self._kind(message)].append(message)
        for kind, (first, *more) in alike.items():
            self._add(of, f"{first} (and {len(more)} more like it)" if more else first, kind)

    def _kind(self, message: str) -> str:
        kind = _PARTICULAR.sub("…", message)
        return re.sub(rf"\b(?:{'|'.join(map(re.escape, self.names))})\b", "…", kind) if self.names else kind

    def _add(self, of: str, message: str, kind: str) -> None:
        self._counts[kind] += 1
        if len(self._examples[kind]) < _EXAMPLES:
            self._examples[kind].append((of, message))

    def found(self) -> tuple[Kind, ...]:
        """The most frequent first."""
        return tuple(Kind(count, tuple(self._examples[kind])) for kind, count in self._counts.most_common())


def duration(seconds: float) -> str:
    """`2h05m`, `3m07s`, `12s`: a time in two units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
