"""The video tokenizer (Wan 2.1's autoencoder): conditioning frames to latents, latents to frames.

Pixels and latents alone: no views, no gangs, no files but its weights. The computation is diffusers', or ours over a
whole sequence at once, which gives the same numbers in half the time.

Begin with `vae.py`; `vae_whole.py` is the second way, `pixels.py` what bytes become.
"""
