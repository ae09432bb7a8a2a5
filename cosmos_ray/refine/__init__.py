"""Prompts rewritten by a language model, ahead of the clips that are made of them.

What is asked, of whom, what counts as an answer, and where the words are kept so that nobody asks twice. No torch and
no Ray: the local model is `models/text/qwen_vl.py`, and who calls whom in a gang is the gang's affair. Begin with
`refiner.py`.
"""
