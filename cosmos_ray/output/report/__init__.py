"""The page of an output, `report.html`: all its clips and failures, from a disk or a store, without a server.

`build.py` gathers and writes it. `listing.py` says what is listed, `values.py` how strangers' values are shown,
`files.py` has the rows in files beside the page, `page.py` makes the page out of `assets/`: HTML, style and scripts.
The page links videos and copies none.

Begin with `build.py`.
"""
