"""Captions to embeddings: a T5 encoder, or arrays out of files that nobody vouches for.

No network and no sampler: who gets an empty text, and which view a caption is for, is the generator's to say. Nothing
in a file is ever run.

Begin with `text.py`; `t5.py` reads the encoder's weights, `embedding.py` the files.
"""
