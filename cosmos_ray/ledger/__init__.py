"""What is done, who may do it, and where everything lies in an output.

A clip exists exactly when its commit record does, and one job at a time owns an output. Here is all that is promised
about crashes. No Ray, no torch, and nobody who makes clips: whoever commits comes from above.

Begin with `layout.py` (the tree of an output), then `ledger.py` (records) and `lease.py` (owners). `state.py`,
`rows.py`, `parts.py` and `compaction.py` are for a million records; `tidy.py` finds what is left over.
"""
