"""The command line itself: its groups of commands, exit codes, and one line for an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cosmos_ray import signals
from cosmos_ray.cli import compare, inputs, job, machine, manifest, model, output, settings
from cosmos_ray.cli.help import teach
from cosmos_ray.config import nearest_setting
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.foreign import log_shown_only
from cosmos_ray.said import nobody_reads, to_people
from cosmos_ray.schema_words import value_fault
from cosmos_ray.store.faults import explain_store
from cosmos_ray.version import VERSION

HELP = """Make data sets of multi-camera driving videos, on one machine or on a Ray cluster.

Results go to standard output, everything else to standard error."""

#: What Typer makes of a KeyboardInterrupt, in silence. No command of ours ends with it.
_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# As `--help` shows them: this machine, what is asked for, what makes it, the job, what it has made.
app.add_typer(machine.app)
app.add_typer(manifest.app, name="manifest")
app.add_typer(model.app, name="model")
app.add_typer(settings.app)
app.add_typer(inputs.app)
app.add_typer(job.app)
app.add_typer(compare.app)
app.add_typer(output.app)
teach(app)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"cosmos-ray {VERSION}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    signals.hear()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    log_shown_only()
    signals.leave(run(app))


def run(command: Callable[..., Any]) -> int:
    """A Typer app's exit code; our own errors become one line on standard error."""
    try:
        code = int(command(standalone_mode=False, prog_name="cosmos-ray") or 0)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return code
    except UsageError as error:
        return _complain(str(error), 2)
    except CosmosRayError as error:
        return _complain(str(error), 1)
    except OSError as error:
        return _complain(f"a file or store failed: {explain_store(error)}", 1)
    except SystemExit as left:
        # The library for command lines takes a store's broken pipe for standard output's, which it wraps then.
        broken, is_wrapped = left.__context__, type(sys.stdout).__name__ == "PacifyFlushWrapper"
        if not isinstance(broken, BrokenPipeError) or not is_wrapped or nobody_reads():
            raise
        return _complain(f"a file or store failed: {explain_store(broken)}", 1)
    except typer.Exit as error:
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _complain(signals.reason() or "interrupted", 1)
    except Exception as error:
        # Typer's own errors (an unknown flag, a missing argument) know how to show themselves, with exit code 2.
        if not hasattr(error, "show"):
            raise
        _say_value_fault(error)
        error.show()
        if hint := _setting_hint(error):
            to_people(hint)
        return int(getattr(error, "exit_code", 2))


def _say_value_fault(error: Any) -> None:
    """Typer looks at values by pydantic, and shows its words."""
    if isinstance(error.__cause__, ValidationError):
        error.message = "; ".join(value_fault(one) for one in error.__cause__.errors())


def _setting_hint(error: Exception) -> str:
    """For a flag that there is not: most settings have none, and are told by `--set`."""
    flag = str(getattr(error, "option_name", "") or "")
    context = getattr(error, "ctx", None)
    takes_settings = context is not None and any(one.name == "assignments" for one in context.command.params)
    if not flag.startswith("--") or not takes_settings or getattr(error, "possibilities", None):
        return ""
    near = nearest_setting(flag[2:].replace("-", "_"))
    return f"Settings beyond the flags: --set {near}=… (`cosmos-ray config` has all)" if near else ""


def _complain(message: str, code: int) -> int:
    signals.complain(message)
    return code
