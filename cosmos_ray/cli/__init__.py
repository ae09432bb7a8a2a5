"""The command line: a file a group of commands, each a Typer app that `main.py` adds in the order of a user's day.

A command goes where the thing lies that it looks at: `manifest.py` builds what is asked for, `model.py` looks after
what makes it, `job.py` has jobs and their settings, `output.py` what a job has made. Options that two commands take in
the same words are in `options.py`. A command turns its arguments into one call of the package and the answer into
lines; anything more belongs below. Torch, Ray and whatever takes long to import are imported in the command that needs
them, so that `--help` and mistyped flags answer at once. Begin with `main.py`.
"""
