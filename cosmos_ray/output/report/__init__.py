"""The page of an output, `report.html`: one file that needs no server, with a contact sheet of some clips.

`build.py` gathers what it shows, `page.py` is what a page has, `sheets.py` makes pictures out of videos. The page links
videos and copies none.

Begin with `build.py`.
"""
