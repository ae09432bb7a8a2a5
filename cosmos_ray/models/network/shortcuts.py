"""Self-attention of the blocks where part of the answer is known already, or not asked for. Exact but for rounding.

Legend: R texts of a clip, L tokens of all views and ranks, in any order; s and o those of L that are the same under
every text and the others, w those whose answer is asked for; N heads, K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cosmos_ray.models.network.attention import attention, attention_with_lse


def attend_under_texts(q_RLNK: Tensor, k_RLNK: Tensor, v_RLNK: Tensor, same_s: Tensor, other_o: Tensor) -> Tensor:
    """`attention` of each of a clip's R branches, where tokens `same_s` have the same q, k and v in all of them.

    What the same tokens make of each other is computed once, and merged by log-sum-exp with what they make of the
    others (Milakov and Gimelshein, arXiv 1805.02867).
    """
    out_RLNK = torch.empty_like(q_RLNK)
    out_RLNK[:, other_o] = attention(q_RLNK[:, other_o], k_RLNK, v_RLNK)
    q_1sNK, k_1sNK, v_1sNK = (x_RLNK[:1, same_s] for x_RLNK in (q_RLNK, k_RLNK, v_RLNK))
    once_1sNK, once_lse_1sN = attention_with_lse(q_1sNK, k_1sNK, v_1sNK)
    for text in range(len(q_RLNK)):
        k_1oNK, v_1oNK = (x_RLNK[text : text + 1, other_o] for x_RLNK in (k_RLNK, v_RLNK))
        more_1sNK, more_lse_1sN = attention_with_lse(q_1sNK, k_1oNK, v_1oNK)
        part_1sN1 = torch.sigmoid(once_lse_1sN - more_lse_1sN)[..., None]
        merged_1sNK = torch.lerp(more_1sNK.float(), once_1sNK.float(), part_1sN1)
        out_RLNK[text, same_s] = merged_1sNK[0].to(out_RLNK.dtype)
    return out_RLNK


def attend_for_wanted(q_BLNK: Tensor, k_BLNK: Tensor, v_BLNK: Tensor, wanted_w: Tensor) -> Tensor:
    """`attention` for the queries `wanted_w`; zeros for all others."""
    out_BLNK = torch.zeros_like(q_BLNK)
    out_BLNK[:, wanted_w] = attention(q_BLNK[:, wanted_w], k_BLNK, v_BLNK)
    return out_BLNK
