"""What is asked for: the Parquet manifest, its columns, what is wrong with its rows, and the clips that they ask for.

No model, no ledger: what is done already is none of the manifest's business. `rows.py` alone knows what is wrong with a
row; `table.py` is its fast sibling for a million of them, and asks it where it is not sure. Neither knows who wrote the
files: `columns.py`, `schema.py` and `partitions.py` make one table of whatever there is, and `names.py` finds misspelt
columns.

Begin with `rows.py`; then `files.py` (where rows lie) and `builders` (manifests out of what people have).
"""
