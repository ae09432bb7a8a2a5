"""All gangs of a job: how many, where, which clip to whom, and what becomes of a clip whose attempt failed.

The pool runs in the driver. It computes nothing of a clip and reads no manifest: clips come as a stream, and it says
of each how it ended. The rules (`demand.py`, `health.py`, `workload.py`, `gpu_time.py`) are plain data without Ray, so
that they can be read and tested by themselves; the rest asks them.

Begin with `pool.py`.
"""
