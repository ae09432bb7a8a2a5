"""Captions to embeddings: T5, Cosmos-Reason1, or arrays out of files that nobody vouches for.

No network and no sampler: who gets an empty text, and which view a caption is for, is the generator's to say. Nothing
in a file is ever run.

Begin with `text.py`; `t5.py` and `reason1.py` read the encoders' weights, `embedding.py` the files. `qwen_vl.py` writes
words instead: it is the local refiner of prompts.
"""
