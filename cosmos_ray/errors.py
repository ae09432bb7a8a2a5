"""What can go wrong, and whose fault it is.

Two kinds matter to a job. A *row fault* is data: it becomes a `failed` record and the job goes on.
A *job fault* (`ManifestError`, `UsageError`, `LeaseLost`) stops the command with a message and an exit code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cosmos_ray.foreign import shown, shown_value

FailureClass = Literal["input", "model", "oom", "timeout", "gang", "storage", "guardrail", "internal"]
FAILURE_CLASSES: tuple[FailureClass, ...] = get_args(FailureClass)


@dataclass(frozen=True)
class Fault:
    """What went wrong with one attempt at a clip, and whose fault it is. is_verdict: the clip was made and checks do
    not want it: the job is well, and would make the same again. is_unclear: of a class that is a row's own, and the job
    may be to blame all the same: a check that raises may do so of every row."""

    failure_class: FailureClass
    message: str
    is_verdict: bool = False
    is_unclear: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", shown(self.message))


class CosmosRayError(Exception):
    """Base of every error that cosmos_ray raises on purpose. Its message may be printed, whoever wrote parts of it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(shown(message))


class UsageError(CosmosRayError):
    """Bad arguments, configuration or bundle: exit code 2, before any GPU is taken."""


class ManifestError(UsageError):
    """The manifest as a whole cannot be used (columns, types, ids): exit code 2."""


class LeaseHeld(CosmosRayError):
    """Another job, alive, owns this output."""


class LeaseLost(CosmosRayError):
    """Another job has taken this output over: stop before anything is committed."""


class RowError(CosmosRayError):
    """One row cannot be made. `failure_class` goes into its record.

    The message names the column, what was found and what was expected, so that a person can mend the row
    without reading code.
    """

    def __init__(self, message: str, failure_class: FailureClass = "input") -> None:
        super().__init__(message)
        self.failure_class: FailureClass = failure_class

    def __reduce__(self) -> tuple[type[RowError], tuple[str, FailureClass]]:
        # Exceptions cross processes; the default reduce would drop the class.
        return type(self), (str(self), self.failure_class)


class UncheckedError(RowError):
    """A check could not say whether a row is fine, so its clip is not made. Whose fault it is, other rows will show."""


def column_error(column: str, found: object, expected: str) -> RowError:
    """An `input` fault of one column, in the wording that every such message has."""
    return RowError(f"column `{column}`: found {shown_value(found)}, expected {expected}")


def argument_error(name: str, found: object, expected: str) -> UsageError:
    """Of an argument of a call from Python, by its name."""
    return UsageError(f"{name}: found {shown_value(found)}, expected {expected}")


def first_line(error: BaseException) -> str:
    """What goes into records and logs of an error, which may bring a traceback of another process."""
    return shown(str(error).strip().partition("\n")[0], 500) or type(error).__name__
