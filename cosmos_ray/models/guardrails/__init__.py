"""Checks of what is asked for and of what was made: prompts before a clip is made, its videos after. Free of Ray.

`guard.py` runs a job's checks, closed where one fails; `check.py` says what a check is, whoever has written it.
`reference.py` has the published ones, `package.py` cosmos-guardrail's, `own.py` the users'. Begin with `check.py`.
What a job wants of them is in `clip/guardrail_rules.py`; weights are brought by `places.py`.
"""
