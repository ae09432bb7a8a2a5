"""A program: renders a chat template of strangers within limits that end it. Run as a file, imports nothing of ours.

Standard input: JSON, `template` and `given`, what it is told. Exit code 3: it wanted more memory, or to say more,
than any conversation does; a signal: more of a processor. What else is wrong with a template is for its library to say.
"""

from __future__ import annotations

import json
import re
import resource
import sys

_MEMORY, _CPU_S, _CHARACTERS = 2**29, 5, 2**20
TOO_MUCH = 3


def main() -> int:
    asked = json.load(sys.stdin)
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    made.globals["raise_exception"] = made.globals["strftime_now"] = str
    template = re.sub(r"{%-?\s*(?:end)?generation\s*-?%}", "", asked["template"])  # transformers' own
    try:
        return TOO_MUCH if len(made.from_string(template).render(**asked["given"])) > _CHARACTERS else 0
    except MemoryError:
        return TOO_MUCH
    except Exception:  # noqa: BLE001 - whatever a stranger has written
        return 0


if __name__ == "__main__":
    sys.exit(main())
