"""The mark that files made from an output carry: of the state that they were made from. Another one: they are stale.

It is the same for the same outcomes wherever their records lie, so moving records into parts changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.ledger.layout import TABLE
from cosmos_ray.ledger.run import Run
from cosmos_ray.ledger.state import LedgerState

#: Raised by a release that makes other files from the same state.
_FORMAT = 3
_AT_ONCE = 65536


def mark_of(run: Run, state: LedgerState) -> str:
    """Of what is settled, and of the manifest and the settings as `run` has them. A second for a million clips."""
    about = asdict(run)
    del about["manifest_version"]  # it says when the manifest was written; its hash says what
    if run.manifest.endswith(f"/{TABLE}"):  # in the output, wherever that is now
        about["manifest"] = TABLE
    digest = hashlib.sha256(json.dumps([_FORMAT, about], sort_keys=True).encode())
    table = state.settled_table
    facts = [table["id"], *(table[name].cast(pa.string()) for name in ("generation", "attempt")), table["status"]]
    outcomes = pc.binary_join_element_wise(*facts, " ").combine_chunks()
    if len(outcomes):  # not every pyarrow takes none of a column without chunks
        outcomes = outcomes.take(pc.sort_indices(outcomes))
    for start in range(0, len(outcomes), _AT_ONCE):
        digest.update("".join(f"\n{one}" for one in outcomes.slice(start, _AT_ONCE).to_pylist()).encode())
    return digest.hexdigest()
