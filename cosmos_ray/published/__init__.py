"""The published examples' own flags on this project's gangs: one module a script, entry points in `jobs/`.

A translation and nothing else: flags become a manifest and a job, the result is put where the example would put it. No
part of the package may need anything from here.

Begin with `multiview.py`.
"""
