"""How a published command runs: what its help says, whom it speaks to, and how it ends."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

from cosmos_ray import signals
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.foreign import shown
from cosmos_ray.said import to_people

Say = Callable[[str], None]


#: What each command ends with, as `run` says.
_CODES = "exit codes: 0 done; 1 the job failed; 2 bad arguments, inputs or model; 3 a clip could not be made"


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults where there are some to tell, and examples as lines of their own, to be copied."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_told = action.default is not None and action.default is not False and action.default != ""
        return super()._get_help_string(action) if is_told else action.help

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def parser_of(prog: str, description: str, *examples: str) -> argparse.ArgumentParser:
    """examples: what comes after the program's name."""
    shown = "\n".join(f"  python jobs/{prog} {example}" for example in examples)
    return argparse.ArgumentParser(
        prog=prog, description=description, epilog=f"examples:\n{shown}\n\n{_CODES}", formatter_class=_Help
    )


def say(message: str) -> None:
    to_people(shown(message))


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    make: Callable[[argparse.Namespace, Say], int],
) -> int:
    """Exit codes: 0 done; 1 the job failed; 2 bad arguments, inputs or model; 3 a clip could not be made."""
    flags = parser.parse_args(arguments)
    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise UsageError("start this with python, not torchrun: Ray starts a gang's processes, one a GPU")
        return make(flags, say)
    except KeyboardInterrupt:
        say(f"{parser.prog}: {signals.reason() or 'interrupted'}")
        return 1
    except CosmosRayError as error:
        say(f"{parser.prog}: {error}")
        return 2 if isinstance(error, UsageError) else 1
