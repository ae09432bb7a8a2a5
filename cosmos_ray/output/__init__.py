"""What was made, for people and for training code, from an output alone: status, index, export, report.

Works from any machine, while a job runs or years after. Nothing here changes what was committed, needs a cluster or
loads a model.

Begin with `status.py`; `index.py` is the table of the clips, `export.py` copies them into other layouts, `report/` is
the page, `compare/` that of several settings.
"""
