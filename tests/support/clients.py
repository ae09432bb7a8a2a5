"""fsspec keeps a client with the credentials that it was made with, for whoever asks with the same arguments later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fsspec


def forget_clients(*schemes: str) -> None:
    """Of these stores: those made from now on read the environment as it is."""
    for scheme in schemes:
        fsspec.get_filesystem_class(scheme).clear_instance_cache()


@contextmanager
def fresh_clients(*schemes: str) -> Iterator[None]:
    """Clients made meanwhile read the environment as it is, and are not kept."""
    forget_clients(*schemes)
    yield
    forget_clients(*schemes)
