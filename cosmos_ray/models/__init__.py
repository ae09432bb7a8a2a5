"""How a clip is made: one request in, the frames of every camera out. No Ray, no stores of clips, no manifest.

`protocol.py` says what every generator promises; `generator.py` keeps it with the network, `fake.py` without a model,
for tests of everything round it. `load.py` chooses. The rooms below: `network` (the transformer), `text` (captions to
embeddings), `vae` (latents to frames), `bundle` (which weights, from where, do they fit), `guardrails` (checks of what
is asked for and of what was made).

Begin with `generator.py`, then `sampler.py`, whose solvers are beside it; `parallel.py` is what a gang adds.
"""
