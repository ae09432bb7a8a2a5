"""The command line: a thin layer over the package. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import typer

from cosmos_ray.cli import job, manifest, model, output
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.store.storage import explain

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
# As `--help` shows them: what is asked for, what makes it, the job, what it has made.
app.add_typer(manifest.app, name="manifest")
app.add_typer(model.app, name="model")
app.add_typer(job.app)
app.add_typer(output.app)


def main() -> None:
    """Exit codes: 0 done; 1 the job failed; 2 bad arguments, manifest or model; 3 more rows failed than allowed."""
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
