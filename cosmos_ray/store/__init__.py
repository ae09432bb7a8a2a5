"""One folder of an object store or of a local disk, and what goes wrong there.

Whatever is read or written anywhere goes through `Storage`; that is the only place which knows fsspec and the stores'
own errors. Nothing here knows what lies in the folder: not clips, not records, not manifests.

Begin with `storage.py`; `faults.py` says what of a store's answers is worth another try, `traffic.py` counts bytes.
"""
