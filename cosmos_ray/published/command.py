"""How a published command runs: whom it speaks to, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from cosmos_ray import signals
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.foreign import shown

Say = Callable[[str], None]


def say(message: str) -> None:
    print(shown(message), file=sys.stderr, flush=True)


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
