"""A job from top to bottom: check, plan, own the output, run the gangs, write index and report.

The only folder that knows manifest, ledger and gangs together, so keep what could live below out of it. Ray is imported
when gangs are to run, not before: `plan.py` and `cost.py` answer without it.

Begin with `job.py`, `generate`: it calls `check.py`, then `clips.py`, which runs the gangs. `pipeline.py` is the stream
of clips, `reproduce.py` a job of one clip.
"""
