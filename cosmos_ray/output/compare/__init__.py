"""The page of a comparison: outputs of the same rows under several settings, side by side.

Here live what is gathered of them (`gather.py`), how far their clips are from each other (`distance.py`), the table
that one decides by (`lines.py`), and the page (`page.py`, with the report's own scripts). It reads outputs, as the
report does; nothing here makes clips or measures while they are made.

Begin with `build.py`.
"""
