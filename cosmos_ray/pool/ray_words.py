"""Ray's own words of a process that died, a paragraph of ids and advice, as one line of a job's log.

Ray prints what its nodes tell of errors wherever a driver runs, and has no setting for that. So the function that it
prints with is stood in for, where this Ray has it; of whatever else it is told it prints as before.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from cosmos_ray.errors import first_line
from cosmos_ray.foreign import shown

log = logging.getLogger(__name__)

_DIED = re.compile(
    r"A worker died or was killed.* Worker PID: (\d+) Worker exit type: (\w+) Worker exit detail: (.*)", re.DOTALL
)
#: From here on advice that is the same each time.
_ADVICE = re.compile(r"\s*(?:Some common causes|If the process was killed).*", re.DOTALL)
_STANDS_IN = "_cosmos_ray_stands_in"


def shorten() -> None:
    """From now on, in this process."""
    from ray._private import worker

    prints = getattr(worker, "print_to_stdstream", None)
    if prints is None or hasattr(prints, _STANDS_IN):
        return

    def tell(data: dict[str, Any], *args: Any, **options: Any) -> None:
        lines = [one_line(str(line)) for line in data.get("lines", ())]
        if lines and all(lines):
            for line in lines:
                log.warning("%s", line)
        else:
            prints(data, *args, **options)

    setattr(tell, _STANDS_IN, True)
    worker.print_to_stdstream = tell


def why(error: BaseException) -> str:
    """What an error says, in a line. Of an actor that could not be made Ray's first line names the actor, and the last
    one what was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and "creation task" in lines[0]:
        return shown(lines[-1], 500)
    return first_line(error)


def one_line(said: str) -> str | None:
    """What matters of Ray's message that a process died; None for any other."""
    found = _DIED.search(said)
    if found is None:
        return None
    process, kind, detail = found.groups()
    return f"Ray: process {process} died ({kind}): {' '.join(_ADVICE.sub('', detail).split())}"
