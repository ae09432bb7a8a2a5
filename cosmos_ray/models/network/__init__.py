"""The multiview transformer under its published parameter names, and the kernels that make it fast.

Tensors in, tensors out: no sampler, no files, no text, and no family of models that is told apart by its name. What is
faster here is exact but for rounding, `fp8.py` aside, which is asked for.

Begin with `dit.py`, which reads top to bottom; `layers.py`, `rope.py` and `attention.py` are its parts, `shortcuts.py`
what need not be computed, `passes.py` what is fused on a GPU.
"""
