"""`cosmos-ray`, and how the programs in `jobs/` begin: signals are obeyed before the first slow import."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal


def main(module: str = "cosmos_ray.cli.main") -> None:
    """End with what that module's `main` gives."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, _end)
    from cosmos_ray import signals

    signals.hear()
    try:
        signals.leave(importlib.import_module(module).main())
    except KeyboardInterrupt:
        signals.complain(signals.reason() or "interrupted")
        signals.leave(1)


def _end(number: int, _: object) -> None:
    """Until `signals` is there to hear."""
    with contextlib.suppress(OSError):
        os.write(2, f"cosmos-ray: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(1)


if __name__ == "__main__":
    main()
