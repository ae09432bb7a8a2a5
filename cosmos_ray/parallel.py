"""Context parallelism: one clip over the ranks of a gang (Ulysses, arXiv 2309.14509).

Every rank holds the same contiguous part of every view's tokens. Only self-attention needs all tokens: there the
ranks trade "all heads of my tokens" for "my heads of all tokens", and back. Everything else is local.

Legend: B batch, V views, L tokens (of one view, or of all views where there is no V), N heads, K head width,
C values a token, P ranks; a lower-case l or n is one rank's part of L or N.

The collectives move bytes, not numbers: some gloo versions know no bfloat16, and bytes need no dtype at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ContextParallel:
    """This process's place in its gang. The default is a gang of one, which needs no process group.

    group: the gang's process group (gloo on CPU, NCCL on CUDA); None is the default group of torch.distributed.
    """

    rank: int = 0
    world_size: int = 1
    group: dist.ProcessGroup | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not in 0..{self.world_size - 1}")


def share_slice(tokens: int, parallel: ContextParallel) -> slice:
    """The part of `tokens` consecutive tokens that belongs to this rank. ValueError if they do not divide."""
    if tokens % parallel.world_size:
        raise ValueError(f"{tokens} tokens a view do not divide over {parallel.world_size} ranks")
    share = tokens // parallel.world_size
    return slice(parallel.rank * share, (parallel.rank + 1) * share)


def shard(x_VL: Tensor, parallel: ContextParallel) -> Tensor:
    """This rank's share [V, l, ...] of [V, L, ...] (a view of the same memory)."""
    return x_VL[:, share_slice(x_VL.shape[1], parallel)]


def sequence_to_heads(
    q_BlNK: Tensor, k_BlNK: Tensor, v_BlNK: Tensor, parallel: ContextParallel
) -> tuple[Tensor, Tensor, Tensor]:
    """All heads of my tokens -> my heads of all tokens, [B, l, N, K] -> [B, P*l, N/P, K] three times, in one exchange.

    The tokens come out rank after rank, not in the clip's order; without mask and with positions already applied,
    attention does not mind.
    """
    if parallel.world_size == 1:
        return q_BlNK, k_BlNK, v_BlNK
    batch, length, heads, width = q_BlNK.shape
    ranks = parallel.world_size
    if heads % ranks:
        raise ValueError(f"{heads} heads do not divide over {ranks} ranks")
    sent_P3BlnK = q_BlNK.new_empty((ranks, 3, batch, length, heads // ranks, width))
    for i, x_BlNK in enumerate((q_BlNK, k_BlNK, v_BlNK)):
        sent_P3BlnK[:, i] = x_BlNK.unflatten(2, (ranks, -1)).permute(2, 0, 1, 3, 4)
    received_P3BlnK = _all_to_all(sent_P3BlnK, parallel)
    q_BLnK, k_BLnK, v_BLnK = received_P3BlnK.permute(1, 2, 0, 3, 4, 5).flatten(2, 3).unbind(0)
    return q_BLnK, k_BLnK, v_BLnK


def heads_to_sequence(x_BLnK: Tensor, parallel: ContextParallel) -> Tensor:
    """My heads of all tokens -> all heads of my tokens, [B, P*l, N/P, K] -> [B, l, N, K]: the way back."""
    if parallel.world_size == 1:
        return x_BLnK
    sent_PBlnK = x_BLnK.unflatten(1, (parallel.world_size, -1)).transpose(0, 1).contiguous()
    received_PBlnK = _all_to_all(sent_PBlnK, parallel)
    return received_PBlnK.permute(1, 2, 0, 3, 4).flatten(2, 3)


def gather_views_to_owners(local_VlC: Tensor, parallel: ContextParallel) -> dict[int, Tensor]:
    """Bring each view together on its owner: view v on rank v % P. Collective.

    Returns this rank's views, {v: [L, C]}, in the clip's token order; empty on a rank beyond the number of views.
    """
    views, share, values = local_VlC.shape
    ranks = parallel.world_size
    if ranks == 1:
        return dict(enumerate(local_VlC))
    owned_by = [list(range(rank, views, ranks)) for rank in range(ranks)]
    mine = owned_by[parallel.rank]
    sent = _as_bytes(local_VlC[[view for owned in owned_by for view in owned]])
    received_PvlC = local_VlC.new_empty((ranks, len(mine), share, values))
    view_bytes = share * values * local_VlC.element_size()
    dist.all_to_all_single(
        _as_bytes(received_PvlC),
        sent,
        output_split_sizes=[len(mine) * view_bytes] * ranks,
        input_split_sizes=[len(owned) * view_bytes for owned in owned_by],
        group=parallel.group,
    )
    return {view: received_PvlC[:, i].flatten(0, 1) for i, view in enumerate(mine)}


def gather_all(local_VlC: Tensor, parallel: ContextParallel) -> Tensor:
    """The whole clip [V, L, C] from every rank's share [V, l, C], on every rank. Collective."""
    if parallel.world_size == 1:
        return local_VlC
    gathered_PVlC = local_VlC.new_empty((parallel.world_size, *local_VlC.shape))
    parts = [_as_bytes(part_VlC) for part_VlC in gathered_PVlC]
    dist.all_gather(parts, _as_bytes(local_VlC.contiguous()), group=parallel.group)
    return gathered_PVlC.transpose(0, 1).flatten(1, 2)


def _all_to_all(sent_P: Tensor, parallel: ContextParallel) -> Tensor:
    """Send row p to rank p; row p of the result came from rank p."""
    received_P = torch.empty_like(sent_P)
    dist.all_to_all_single(_as_bytes(received_P), _as_bytes(sent_P), group=parallel.group)
    return received_P


def _as_bytes(x: Tensor) -> Tensor:
    """The memory of a contiguous tensor as a flat tensor of bytes."""
    return x.view(-1).view(torch.uint8)
