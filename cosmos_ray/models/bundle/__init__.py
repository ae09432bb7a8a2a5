"""Which weights a model has, where they come from, whether they fit: all that precedes the first computed tensor.

A bundle is a validated `bundle.json`; its files are found, fetched, verified, converted and kept in the node's cache.
No network, no sampler, and (`weights.py` and `convert.py` aside) no torch: `cosmos-ray model check` must not need a
GPU. `built_in/` holds the bundles that come with the package.

Begin with `bundle.py`, then `files.py` (where is it?) and `check.py` (is it right?).
"""
