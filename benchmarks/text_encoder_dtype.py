"""What a text encoder in bfloat16 changes: embeddings of one text in bfloat16 against float32. On a CPU, in a minute.

    python benchmarks/text_encoder_dtype.py [--layers 24] [--feed-forward 8192] [--heads 16] [--tokens 60]

The encoder has random weights, so this shows how rounding grows through that many layers, not what it does to the
published weights. The network rounds embeddings to bfloat16 anyway; that alone is shown too. Prints a line each,
errors ||a - b|| / ||b||.
"""

from __future__ import annotations

import argparse

import torch
from reporting import machine, report
from torch import Tensor

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.bundle.dims import T5Dims
from cosmos_ray.models.text.t5 import random_encoder
from cosmos_ray.models.text.text import encode_ids

WIDTH, HEAD_WIDTH, VOCABULARY = 1024, 128, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--feed-forward", type=int, default=8192)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=60)
    arguments = parser.parse_args()
    dims = T5Dims(
        vocab_size=VOCABULARY,
        d_kv=HEAD_WIDTH,
        d_ff=arguments.feed_forward,
        num_layers=arguments.layers,
        num_heads=arguments.heads,
    )
    encoder = random_encoder(dims, WIDTH, seed=0).eval()
    for name, parameter in encoder.named_parameters():
        if name.endswith("SelfAttention.q.weight"):
            parameter.data *= HEAD_WIDTH**-0.5  # T5 divides no scores: it is trained with small queries
    generator = torch.Generator().manual_seed(0)
    ids_1M = torch.randint(3, VOCABULARY, (1, TEXT_TOKENS), generator=generator)
    mask_1M = (torch.arange(TEXT_TOKENS) < arguments.tokens).long()[None]

    def embedding() -> Tensor:
        return encode_ids(encoder, ids_1M, mask_1M)[0, : arguments.tokens].float()

    exact_MD = embedding()
    encoder.bfloat16()
    report(**machine("torch"))
    for what, found_MD in (("bfloat16 encoder", embedding()), ("rounded to bfloat16", exact_MD.bfloat16().float())):
        relative = ((found_MD - exact_MD).norm() / exact_MD.norm()).item()
        cosine = torch.cosine_similarity(found_MD.flatten().double(), exact_MD.flatten().double(), dim=0).item()
        report(what=what, error=float(f"{relative:.2g}"), cosine=round(cosine, 6))


if __name__ == "__main__":
    main()
