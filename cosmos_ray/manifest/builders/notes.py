"""What a builder says beside the manifest it writes: counted, with first examples, once a kind."""

from __future__ import annotations

from dataclasses import dataclass, field

_EXAMPLES = 3
#: A kind of warning that builders of folders share.
UNUSED = "files and folders that no clip uses"


@dataclass(frozen=True)
class Built:
    """rows: of the manifest. warnings: what was given and is not used, or is doubtful. remarks: what was done."""

    rows: int
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass
class Notes:
    """Warnings as they come up: of a million alike, the number and the first few are kept."""

    remarks: list[str] = field(default_factory=list)
    _found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def warn(self, what: str, example: str) -> None:
        """what: the kind, as it is said once. example: which one."""
        count, examples = self._found.get(what, (0, []))
        if len(examples) < _EXAMPLES:
            examples.append(example)
        self._found[what] = (count + 1, examples)

    def built(self, rows: int) -> Built:
        warnings = tuple(
            f"{what}: {count}: {'; '.join(examples)}{'; ...' if count > len(examples) else ''}"
            for what, (count, examples) in self._found.items()
        )
        return Built(rows, warnings, tuple(self.remarks))
