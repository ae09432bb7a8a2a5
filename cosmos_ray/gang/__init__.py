"""One gang: its leader, which holds the GPUs, its ranks, one a GPU, and one clip's way through them.

A gang knows its clips and its output. It knows neither the manifest's rows, nor other gangs, nor what becomes of a clip
whose attempt failed: it reports, and the pool decides.

Begin with `leader.py`, `GangLeader._run`; then `ranks.py` and `rank.py`. `prepare.py` is a clip's beginning,
`commit.py` its end.
"""
