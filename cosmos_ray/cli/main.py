"""The command line itself: its groups of commands, exit codes, and one line for an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import typer

from cosmos_ray.cli import inputs, job, machine, manifest, model, output
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.store.storage import explain

HELP = """Make data sets of multi-camera driving videos, on one machine or on a Ray cluster.

Results go to standard output, everything else to standard error.
Exit codes: 0 done; 1 the job failed; 2 bad arguments, manifest or model; 3 more clips failed than allowed."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)
# As `--help` shows them: what is asked for, what makes it, the job, what it has made.
app.add_typer(machine.app)
app.add_typer(manifest.app, name="manifest")
app.add_typer(model.app, name="model")
app.add_typer(inputs.app)
app.add_typer(job.app)
app.add_typer(output.app)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run(app))


def run(command: Callable[..., Any]) -> int:
    """A Typer app's exit code; our own errors become one line on standard error."""
    try:
        return int(command(standalone_mode=False) or 0)
    except UsageError as error:
        return _complain(str(error), 2)
    except CosmosRayError as error:
        return _complain(str(error), 1)
    except OSError as error:
        return _complain(f"a file or store failed: {explain(error)}", 1)
    except typer.Exit as error:
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", 1)
    except Exception as error:
        # Typer's own errors (an unknown flag, a missing argument) know how to show themselves, with exit code 2.
        if not hasattr(error, "show"):
            raise
        error.show()
        return int(getattr(error, "exit_code", 2))


def _complain(message: str, code: int) -> int:
    print(f"cosmos-ray: {message}", file=sys.stderr)
    return code
